"""`asyncbuild check --push` prints what `route` decides."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.checks.judges.decision import decide, make_push
from asyncbuild.checks.pushes import run
from asyncbuild.config import RuleSettings, fill_rules, load
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Action
from asyncbuild.domain.rules.rule import Rule

_RULES = """
[[rules]]
name = "docs"
changes = ["docs", "!docs/draft"]
final = false
action = "build"
project = "docs"

[[rules]]
name = "web"
repository = ["web", "!github.com/evil/*"]
ref = ["*", "!wip/*"]
action = "build"
project = "ci-{repository}"
variables = { STAGE = "{branch}" }

[[rules]]
name = "rest"
action = "upload"
"""


def _file(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(_RULES)
    return file


async def test_matching_rules_are_printed_with_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither AWS nor a repository is needed."""
    settings = load(_file(tmp_path))
    assert await run(settings, ("web", "main"), ("docs/a", "x"), False) == 0  # noqa: FBT003 - text
    text = capsys.readouterr().out
    assert "matches     docs: repository and ref match, and docs, :(exclude)docs/draft was" in text
    assert "matches     web: repository and ref match\n" in text
    assert "no          rest: not looked at: 'web' matched, and is final" in text
    assert "Build of project docs, by rule docs" in text
    assert "Build of project ci-web, by rule web\n  key: web/main/0123456789abcdef" in text
    assert "STAGE=main" in text


@pytest.mark.parametrize(
    ("asked", "changed", "expected"),
    [
        (("web", "wip/x"), (), {"docs": "taken to", "web": "excluded by !wip/*", "rest": "match"}),
        (("github.com/evil/web", "main"), (), {"web": "excluded by !github.com/evil/*"}),
        (("123456789012/eu-west-1/api", "x"), (), {"web": "eu-west-1/api is matched by none of"}),
        (("web", "x"), ("docs/draft/x",), {"docs": "nothing was changed in docs"}),
        (("web", "x"), ("docs/draft/x", "docs/y"), {"docs": "was changed"}),
        (("web", "refs/tags/v1"), (), {"rest": "refs/tags/v1 is matched by none of refs/heads/*"}),
    ],
)
async def test_a_rule_that_does_not_match_says_why(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    asked: tuple[str, str],
    changed: tuple[str, ...],
    expected: dict[str, str],
) -> None:
    """The deciding glob is named, or the paths that did not change."""
    code = await run(load(_file(tmp_path)), asked, changed, True)  # noqa: FBT003 - JSON
    document = orjson.loads(capsys.readouterr().out)
    told = {each["rule"]: each["why"] for each in document["rules"]}
    for rule, words in expected.items():
        assert words in told[rule]
    assert code == int(document["ignored"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--push", "web", "refs/tags/v1"), 1),
        (("--push", "web", "a..b"), 65),
        (("--push", "a/b", "main"), 65),
        (("--push", "web", "main", "--changed", "/etc/../x"), 65),
        (("--changed", "x"), 2),
        (("--push", "web", "main", "--probe"), 2),
    ],
)
def test_exit_codes(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    """1 if nothing would be done, 65 for an invalid ref, repository or path, 2 for usage."""
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "ASYNCBUILD_"))}
    done = subprocess.run(
        [sys.executable, "-m", "asyncbuild", "check", "--config", _file(tmp_path), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=clean,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


_globs = st.lists(st.sampled_from(["*", "web", "w*", "!web", "a/*", "!a"]), min_size=1, max_size=3)


def _included(globs: list[str]) -> list[str]:
    return ["*", *globs] if all(glob.startswith("!") for glob in globs) else globs


@st.composite
def _rule(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "repository": _included(draw(_globs)),
        "ref": _included(draw(_globs)),
        "action": draw(st.sampled_from(["build", "upload", "ignore"])),
        "changes": draw(st.sampled_from([(), ("docs",), ("src",)])),
        "final": draw(st.booleans()),
    }


@given(
    st.lists(_rule(), max_size=4),
    st.sampled_from(["web", "a", "github.com/a/web"]),
    st.sampled_from(["web", "main", "a/b", "refs/tags/web"]),
    st.sampled_from([[], [("docs",)], [("docs",), ("src",)]]),
)
def test_printed_rules_are_those_of_route(
    made: list[dict[str, Any]], repository: str, ref: str, unchanged: list[tuple[str, ...]]
) -> None:
    """A rule is printed as matching exactly if `route` takes a target from it."""
    settings = [RuleSettings(**{**rule, "name": f"{n}"}) for n, rule in enumerate(made)]
    rules = [_alone(each) for each in fill_rules(settings, key="{commit}", project="p")]
    decision = decide(make_push(repository, ref, region="r"), rules, unchanged, known=True)
    assert [each.rule for each in decision.rules] == [each.name for each in rules]
    said = {each.rule for each in decision.rules if each.matches}
    building = {rule.name for rule in rules if rule.action is not Action.IGNORE}
    done = {target.rule for target in decision.targets if target.action is not Action.IGNORE}
    assert said & building == done
    assert decision.is_ignored is not bool(done)
    if said and not done:
        assert {target.rule for target in decision.targets} <= said


def _alone(rule: Rule) -> Rule:
    """Return the rule with a project and a key of its own, so that targets and rules correspond."""
    return Rule(
        rule.name,
        rule.repository,
        rule.ref,
        rule.action,
        (f"p{rule.name}",),
        f"{rule.name}/{{commit}}",
        changes=rule.changes,
        final=rule.final,
    )


@pytest.mark.parametrize(
    ("since", "text"), [("started", " since it was started"), ("passed", " since it passed")]
)
def test_a_comparison_says_with_what(since: str, text: str) -> None:
    """The paths are those that changed since then."""
    made = RuleSettings(action="build", changes="api", changes_since=since, name="api")
    rules = fill_rules([made], key="{commit}", project="p")
    push = make_push("web", "main", region="r")
    (judged,) = decide(push, rules, [("api",)], known=True).rules
    assert (judged.matches, judged.why) == (False, f"nothing was changed in api{text}")
    (judged,) = decide(push, rules, [], known=True).rules
    assert judged.why == f"repository and ref match, and api was changed{text}"


def test_a_message_is_not_known() -> None:
    """It says so, and what would be built without a marker."""
    made = RuleSettings(action="build", skip="[skip ci]", name="all")
    rules = fill_rules([made], key="{commit}", project="p")
    decision = decide(make_push("web", "main", region="r"), rules, [], known=False)
    assert decision.rules[0].why == (
        'repository and ref match; a commit whose message has "[skip ci]" is skipped: the message '
        "is not known here, and taken to have none"
    )
    assert [target.project for target in decision.targets] == ["p"]


@pytest.mark.parametrize("repository", ["", "a/b", "a//b", "/a/b", "a/b/"])
def test_an_invalid_repository_is_refused(repository: str) -> None:
    """A repository has three parts, or one."""
    with pytest.raises(Reject, match="parts"):
        make_push(repository, "main", region="r")


def test_an_owner_may_have_several_parts() -> None:
    """Owners of webhook repositories may."""
    made = make_push("git.example.org:8443/group/sub/proj", "main", region="r").repository
    assert made.segments == ("git.example.org..8443", "group..sub", "proj")
