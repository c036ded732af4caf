"""`[[hosts]]`: secrets are named and never shown; unsafe settings are refused."""

from pathlib import Path
from typing import Any

import pytest

from asyncbuild.config import HostSettings, load
from asyncbuild.domain.errors import ConfigError
from asyncbuild.forges.origins import template_of

_GOOD = {"host": "git.example.org", "kind": "gitlab", "webhook_secret": "env:HOOK"}
_KEY = {"ssh_key": "env:KEY", "known_hosts": "git.example.org ssh-ed25519 AAAA"}
_REMOTE = "https://git.example.org/{owner}/{repository}.git"


@pytest.mark.parametrize(
    ("more", "url"),
    [
        ({}, "https://{}/{{owner}}/{{repository}}.git"),
        ({"kind": "bitbucket-server"}, "https://{}/scm/{{owner}}/{{repository}}.git"),
        (_KEY, "ssh://git@{}/{{owner}}/{{repository}}.git"),
        (_KEY | {"kind": "bitbucket-server"}, "ssh://git@{}:7999/{{owner}}/{{repository}}.git"),
    ],
)
def test_each_kind_has_its_usual_remote(more: dict[str, Any], url: str) -> None:
    """Host, kind and key are enough."""
    assert url.format("git.example.org") == template_of(HostSettings(**(_GOOD | more)))


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"host": "https://git.example.org"}, "write the host"),
        ({"host": "123456789012"}, "write the host"),
        ({"host": "a..b"}, "write the host"),
        ({"user": "a:b"}, "no colon"),
        ({"webhook_secret": None}, "needs webhook_secret"),
        ({"ssh_key": "env:KEY"}, "needs known_hosts"),
        (_KEY | {"known_hosts": "# a comment"}, "lines of known_hosts"),
        (_KEY | {"known_hosts": "@cert-authority * ssh-rsa AAAA"}, "lines of known_hosts"),
        (_KEY | {"token": "env:TOKEN"}, "exclude each other"),
        (_KEY | {"remote": _REMOTE}, "ssh_key needs a remote with ssh://"),
        ({"token": "env:T", "remote": "ssh://git@h/{owner}/{repository}"}, "token needs a remote"),
        ({"remote": "http://git.example.org/{owner}/{repository}"}, "in the clear"),
        ({"remote": "https://bot:hunter2@h/{owner}/{repository}"}, "holds a login"),
        ({"remote": "https://h/{owner}"}, "lacks {owner} or {repository}"),
        ({"remote": "https://{owner}.h/{nothing}/{repository}"}, "is not a URL with"),
        ({"remote": "ext::sh -c {owner}/{repository}"}, "is not a URL with"),
        ({"remote": "ftp://h/{owner}/{repository}"}, "begins with no https://"),
    ],
)
def test_invalid_entries_are_refused(more: dict[str, Any], fault: str) -> None:
    """Each fault is reported by itself, and never with a password."""
    with pytest.raises(ValueError, match=fault) as caught:
        HostSettings(**(_GOOD | more))
    assert fault in str(caught.value)


@pytest.mark.parametrize("name", ["token", "ssh_key", "webhook_secret"])
@pytest.mark.parametrize("secret", ["ghp_16C7e42F292c", "env:ASYNCBUILD_X", "env:a b", "file:x"])
def test_a_secret_given_in_place_of_its_name_is_not_shown(
    name: str, secret: str, tmp_path: Path
) -> None:
    """A user who pastes the token itself reads the remedy, and finds no token in the log (I10)."""
    path = tmp_path / "config.toml"
    path.write_text(
        f'[[hosts]]\nhost = "h.example"\nkind = "github"\nsignature = "off"\n{name} = "{secret}"\n'
    )
    with pytest.raises(ConfigError, match=f"{name}: say where the secret is") as caught:
        load(path)
    assert secret not in str(caught.value)


def test_a_password_in_a_remote_is_not_shown(tmp_path: Path) -> None:
    """Passwords inside a URL are not shown either (I10)."""
    path = tmp_path / "config.toml"
    path.write_text(
        '[[hosts]]\nhost = "h.example"\nkind = "github"\nsignature = "off"\n'
        'remote = "https://bot:hunter2@h.example/{owner}/{repository}"\n'
    )
    with pytest.raises(ConfigError, match="holds a login") as caught:
        load(path)
    assert "hunter2" not in str(caught.value)
