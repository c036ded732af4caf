"""Hints about unusual rules, and a table of globs as other CI systems read them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stacks import ROOT

from asyncbuild.config import RuleSettings, default_rules, fill_rules
from asyncbuild.config.globs import includes_all_repositories
from asyncbuild.config.hints import Hint, iter_hints
from asyncbuild.domain.refs import is_ref_name
from asyncbuild.domain.rules.rule_globs import full_refs, matches

HOSTS = ("github.com", "git.acme.example:8443")


def _hints(*rules: Mapping[str, Any], hosts: Sequence[str] = HOSTS) -> list[Hint]:
    settings = [RuleSettings(**{"action": "build", **rule}) for rule in rules]
    return list(iter_hints(fill_rules(settings, key="{commit}.zip", project="p"), hosts=hosts))


def test_the_default_rules_and_those_of_the_docs_raise_no_hint() -> None:
    """Settings that the documents recommend are not warned about."""
    assert not list(iter_hints(fill_rules(default_rules(), key="k", project="p")))
    page = (ROOT / "README.md").read_text() + (ROOT / "docs" / "rules.md").read_text()
    tables = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    import tomllib  # noqa: PLC0415 - here alone

    for table in tables:
        rules = tomllib.loads(table)["rules"]
        assert not _hints(*rules), table


# Setting, value, and a word of the hint.
_ODD: tuple[tuple[dict[str, Any], str], ...] = (
    ({"ref": "release/{1.0,2.0}"}, "braces"),
    ({"ref": "v[0-9]+.[0-9]+"}, "repeats nothing"),
    ({"ref": "/^release-.*$/"}, "regular expression"),
    ({"ref": "^main$"}, "regular expression"),
    ({"ref": "main|develop"}, "regular expression"),
    ({"ref": "**/hotfix"}, "does not match 'hotfix'"),
    ({"ref": "*/main"}, "does not match 'main'"),
    ({"ref": "a/**/b"}, "does not match 'a/b'"),
    ({"ref": "refs/remotes/origin/main"}, "no branch and no tag"),
    ({"ref": "tags"}, "a branch tags"),
    ({"ref": "[^a]*"}, "negated"),
    ({"ref": "main stable/*"}, "no branch and no tag"),
    ({"ref": "/main"}, "no branch and no tag"),
    ({"ref": "release/.*"}, "no branch and no tag"),
    ({"ref": "refs/pull/*"}, "no branch and no tag"),
    ({"ref": "refs/merge-requests/*/head"}, "no branch and no tag"),
    ({"ref": "feature/"}, "no branch and no tag"),
    ({"ref": "a..b"}, "no branch and no tag"),
    ({"ref": "x[a"}, "no branch and no tag"),
    ({"ref": ["*", "!wip/{a,b}"]}, "braces"),
    ({"ref": ["!main", "*"]}, "excludes nothing"),
    ({"ref": ["!main", "feature/*"]}, "excludes nothing"),
    ({"ref": ["main", "!*"]}, "includes nothing"),
    ({"repository": "{web,api}"}, "braces"),
    ({"repository": "web api"}, "no repository"),
    ({"repository": "-*"}, "no repository"),
    ({"repository": "gitlab.com/acme/*"}, "no [[hosts]] entry"),
    ({"repository": "git.acme.example/acme/*"}, "no [[hosts]] entry"),
    ({"repository": "123456789012/web"}, "ACCOUNT/REGION/NAME"),
    ({"repository": "github.com/acme/**/web"}, "does not match 'github.com/acme/web'"),
    ({"repository": ["web", "!w*"]}, "includes nothing"),
    ({"changes": "**/*.md"}, "does not match '*.md' in the root"),
    ({"changes": "docs/**/*.md"}, "does not match 'docs/*.md'"),
    ({"changes": "src/*.{js,ts}"}, "braces"),
    ({"changes": "!**/*.md"}, "does not match '*.md' in the root"),
    ({"paths": "src/*.{js,ts}"}, "braces"),
    ({"variables": {"X": "x" * 4097}}, "CodeBuild takes 4096"),
    ({"variables": {"X": "x" * 1001}, "action": "pipeline", "pipeline": "p"}, "takes 1000"),
)


@pytest.mark.parametrize(("rule", "word"), _ODD, ids=[f"{rule}"[:60] for rule, _ in _ODD])
def test_an_unusual_setting_is_reported_once(rule: dict[str, Any], word: str) -> None:
    """The hint names the rule, the setting and a remedy."""
    (hint,) = _hints(rule)
    assert word in hint.what
    assert hint.remedy
    assert hint.rule == 0
    assert hint.setting in rule


_FINE: tuple[dict[str, Any], ...] = (
    {"ref": ["hotfix", "**/hotfix", "*/hotfix"]},
    {"ref": ["*", "!wip/*", "wip/keep"]},
    {"ref": ["**", "feature/**", "c++/*", "v1.*", "r[!a-c]", "refs/*", "refs/tags/v?"]},
    {"ref": ["refs/heads/rel-[2-8]*"]},
    {"repository": ["*", "!sandbox-*", "*.js", "acme/*", "github.com/acme/*", "*/web"]},
    {"repository": ["git.acme.example:8443/a/*", "git.acme.example..8443/a/*", "1234*/eu-*/x"]},
    {"repository": ["123456789012/*", "123456789012/eu-west-1/web"]},
    {"changes": ["docs", "docs/**", "*.md", ":(glob)**/*.md", ":(literal)a{b}", "!docs", ":!x"]},
    {"variables": {"X": "x" * 4096, "Y": "{branch}" * 600}},
)


@pytest.mark.parametrize("rule", _FINE, ids=[f"{rule}"[:60] for rule in _FINE])
def test_usual_settings_raise_no_hint(rule: dict[str, Any]) -> None:
    """Wrong warnings teach readers to ignore all warnings."""
    assert _hints(rule) == []


def test_an_owner_without_a_configured_host_is_reported() -> None:
    """CodeCommit's repositories have no owner."""
    (hint,) = _hints({"repository": "acme/*"}, hosts=())
    assert "no [[hosts]] entry" in hint.what


_ref = st.from_regex(r"[a-z0-9._/{}+-]{1,12}", fullmatch=True).filter(
    lambda name: is_ref_name(f"refs/heads/{name}")
)


@given(_ref, st.data())
def test_no_glob_that_matches_a_ref_is_reported_as_matching_none(
    name: str, data: st.DataObject
) -> None:
    """Names are drawn, with parts of them replaced by wildcards."""
    signs = st.sampled_from(["", "*", "?", "[]"])
    chosen = [(each, data.draw(signs)) for each in name]
    glob = "".join({"": each, "*": "*", "?": "?", "[]": f"[{each}]"}[sign] for each, sign in chosen)
    if glob.startswith(("!", "refs/")) or not matches(f"refs/heads/{name}", full_refs([glob])):
        return
    assert not any("no branch and no tag" in each.what for each in _hints({"ref": glob}))


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        (["*"], ["web", "acme/*", "!x"], True),
        (["w*"], ["web"], True),
        (["acme/*"], ["acme/web"], True),
        (["123456789012*"], ["123456789012/eu-west-1/*"], False),  # a name, and a path
        (["*", "!web"], ["web"], False),
    ],
)
def test_a_glob_of_names_includes_no_path(
    wide: list[str],
    narrow: list[str],
    expected: bool,  # noqa: FBT001 - a table
) -> None:
    """The glob `*` is an exception: it includes every repository."""
    assert expected is includes_all_repositories(wide, narrow)
