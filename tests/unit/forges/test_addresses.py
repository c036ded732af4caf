"""URLs of `.gitmodules` and their addresses: compared with git's own results, and hostile ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.config import GitSettings, HostSettings
from asyncbuild.domain.repository import Repository
from asyncbuild.forges.addresses import (
    Address,
    Submodule,
    parse_address,
    parse_gitmodules,
    resolve,
    show_url,
    split_scp,
)
from asyncbuild.forges.codecommit_urls import parse_codecommit
from asyncbuild.forges.origins import repository_at
from asyncbuild.forges.remotes import Remotes


def test_sections_are_found_by_path() -> None:
    """Names may have dots; the last value counts; other sections are ignored."""
    listing = (
        b"core.x\n1\0submodule.a.b.path\nlib\0submodule.a.b.url\nold\0submodule.a.b.url\n../new\0"
        b"submodule.n.path\nv/n\0submodule.n.update\nnone\0submodule.flag\0submodule.x.url\n../x\0"
    )
    expected = {b"lib": Submodule("a.b", "../new"), b"v/n": Submodule("n", update="none")}
    assert expected == parse_gitmodules(listing)


@pytest.mark.parametrize("name", ["..", "../x", "a/../b", "a\\..\\b", ""])
def test_names_that_leave_the_directory_are_skipped(name: str) -> None:
    """Git has done so since CVE-2018-11235."""
    listing = f"submodule.{name}.path\nlib\0submodule.{name}.url\n../lib\0".encode()
    assert parse_gitmodules(listing) == {}


def test_values_that_look_like_an_option_are_skipped() -> None:
    """Git has done so since CVE-2018-17456."""
    listing = b"submodule.a.path\nlib\0submodule.a.url\n--upload-pack=x\0"
    assert {b"lib": Submodule("a")} == parse_gitmodules(listing)


@pytest.mark.parametrize(
    ("parent", "url", "expected"),
    [  # most from git's t0060-path-utils.sh, "relative_url"
        ("https://h/o/web.git", "../lib.git", "https://h/o/lib.git"),
        ("https://h/o/web", "../../p/lib/", "https://h/p/lib"),
        ("https://h/o/web/", "./lib", "https://h/o/web/lib"),
        ("https://h/o/web", "./../lib", "https://h/o/lib"),
        ("user@host:path/to/repo", "../subrepo", "user@host:path/to/subrepo"),
        ("user@host:repo", "../subrepo", "user@host:subrepo"),
        ("/u/addtest", "../repo", "/u/repo"),
        ("ssh://hostname:22/repo", "../subrepo", "ssh://hostname:22/subrepo"),
        ("helper:://hostname/repo", "../subrepo", "helper:://hostname/subrepo"),
        ("https://h/o/web", "https://other/x", "https://other/x"),
        ("https://h/o/web", "lib", "lib"),
    ],
)
def test_relative_urls_are_resolved_as_by_git(parent: str, url: str, expected: str) -> None:
    """Beside the parent, above it, in it."""
    assert expected == resolve(parent, url)


@pytest.mark.parametrize("steps", range(3, 9))
@pytest.mark.parametrize("parent", ["https://h/o/web", "ssh://git@h:22/o/web", "http://h/o/web/"])
def test_a_relative_url_that_leaves_its_host_is_refused(parent: str, steps: int) -> None:
    """Git gives an error, or an scp-like name of the scheme, which leads elsewhere."""
    with pytest.raises(ValueError, match="climbs"):
        resolve(parent, "../" * steps + "x")


_WORDS = st.lists(
    st.sampled_from(
        [
            *(
                "http",
                "https",
                "ssh",
                "file",
                "://",
                ":",
                "/",
                "//",
                "..",
                "../",
                "./",
                "@",
                "[",
                "]",
            ),
            *(
                "h",
                "H.example",
                "a..b",
                "127.0.0.1",
                "::1",
                ":22",
                ":99999",
                ":x",
                "%20",
                "%2e",
                "%00",
            ),
            *(
                " ",
                "\n",
                "\x00",
                "\ud800",
                "\u212a",
                "?",
                "#",
                "-",
                "ext::",
                "codecommit",
                "~",
                "r.git",
            ),
        ]
    )
).map("".join)


@given(parent=_WORDS, url=_WORDS)
def test_no_url_raises_another_error(parent: str, url: str) -> None:
    """A URL is resolved and has an address, or not; an address leads to no other host."""
    try:
        url = resolve(parent, url)
    except ValueError as error:
        assert "climbs" in str(error)  # noqa: PT017 - it may also be none
    address = parse_address(url)
    if address is not None:
        assert {"", ".", ".."}.isdisjoint(address.path.split("/")[1:])
        assert not set("\n\x00") & set(url)
    split_scp(url)
    show_url(url)
    Remotes(GitSettings()).knows(address or Address("https", "h", None, "/x"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("git@h:o/r.git", ("git@h", "o/r.git")),
        ("h:/srv/r.git", ("h", "/srv/r.git")),
        ("h:r x", ("h", "r x")),
        *((other, None) for other in ("ssh://h/r", "/srv/a:b", "./a:b", "r", "h:", "ext::x", "")),
    ],
)
def test_scp_like_names_are_recognised(url: str, expected: tuple[str, str] | None) -> None:
    """Their path is relative to the home of the login, and is left as it is."""
    assert expected == split_scp(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:pw@Git.Example:443/o/r.git/", Address("https", "git.example", None, "/o/r")),
        ("http://h:8080/o/r", Address("http", "h", 8080, "/o/r")),
        ("git@github.com:o/r.git", Address("ssh", "github.com", None, "/o/r")),
        ("ssh://git@h:7999/o/r", Address("ssh", "h", 7999, "/o/r")),
        ("file:///srv/r.git", Address("file", "", None, "/srv/r")),
        ("/srv/r", Address("file", "", None, "/srv/r")),
        ("/srv/my r", Address("file", "", None, "/srv/my r")),
        ("git@h:my r.git", Address("ssh", "h", None, "/my r")),
        ("https://h/My%20Project/r", Address("https", "h", None, "/My Project/r")),
        *(
            (hostile, None)
            for hostile in (
                *("", "-oProxyCommand=x", "--upload-pack=x", "ext::sh -c id", "ext::x", "fd::3"),
                *("https://h/../etc", "https://h/o/%2e%2e/x", "file:///../etc", "/a/../b", "/"),
                *("ftp://h/o/r", "file://host/x", "https:///x", "https://h:99999999/x", "lib"),
                *("https://h/a\nb", "https://h/a b", "https://h/o//r", "https://[h/x", "x:"),
                *("https://a..b/r", "https://.h/r", "ssh://a b/r", "https://h/" + "x" * 5_000),
                *("https://h/o/r?x=1", "https://h/o/r#x", "https://h/o/%0ar", "https://h"),
            )
        ),
    ],
)
def test_urls_of_one_server_have_one_address(url: str, expected: Address | None) -> None:
    """One address has many URLs; a URL that leads elsewhere, or nowhere, has none."""
    assert expected == parse_address(url)


def test_urls_of_git_remote_codecommit() -> None:
    """URLs have a region and a profile, or neither."""
    assert parse_codecommit("codecommit::eu-west-1://profile@web") == ("eu-west-1", "web")
    assert parse_codecommit("codecommit://web") == ("", "web")
    assert parse_codecommit("codecommit::eu-west-1://a/b") is None


def test_a_url_is_shown_without_its_login() -> None:
    """URLs of any length are cut, too (I10)."""
    assert "s3cret" not in show_url("https://user:s3cret@h/x")
    assert len(show_url("https://h/" + "x" * 9_999)) < 300


@pytest.mark.parametrize(
    ("kind", "more", "url", "expected"),
    [
        ("github", {}, "https://github.example/o/r.git", "o/r"),
        ("github", {}, "git@github.example:o/r.git", "o/r"),
        ("github", {}, "ssh://git@github.example:22/o/r", "o/r"),
        ("github", {}, "https://github.example:8443/o/r", None),
        ("github", {}, "https://github.example.evil/o/r", None),
        ("github", {}, "https://github.example/r", None),
        ("github", {}, "file:///github.example/o/r", None),
        ("gitlab", {}, "https://github.example/g/s/r.git", "g/s/r"),
        ("gitlab", {}, "https://github.example/g..s/r.git", None),
        ("bitbucket-server", {}, "https://github.example/scm/P/r.git", "P/r"),
        ("bitbucket-server", {}, "ssh://git@github.example:7999/P/r.git", "P/r"),
        (
            "github",
            {"remote": "https://proxy.example/git/{owner}/{repository}"},
            "https://proxy.example/git/o/r",
            "o/r",
        ),
    ],
)
def test_repositories_of_hosts(
    kind: str, more: dict[str, str], url: str, expected: str | None
) -> None:
    """URLs as on the forge's pages, and those of `remote`."""
    host = HostSettings.model_validate(
        {"host": "github.example", "kind": kind, "signature": "off", **more}
    )
    address = parse_address(url)
    assert address
    owner, _, name = (expected or "").rpartition("/")
    wanted = Repository.of_host("github.example", owner, name) if expected else None
    assert wanted == repository_at(host, address)
