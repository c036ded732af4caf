"""Projects and pipelines that the `changes` of rules left out."""

import pytest
from support.codebuild import make_push

from asyncbuild.domain.contents.known_changes import KnownChanges, LeftOut
from asyncbuild.domain.model import Action
from asyncbuild.domain.reports.skipped_target import SkippedTarget, skipped_targets
from asyncbuild.domain.rules.rule import Rule

_API, _WEB = ("api",), ("web", "libs")


def _rule(name: str, changes: tuple[str, ...], *projects: str, final: bool = True) -> Rule:
    """Return a rule that builds projects on any push."""
    refs = ("refs/heads/*",)
    return Rule(name, ("*",), refs, Action.BUILD, projects, changes=changes, final=final)


_DEPLOY = Rule(
    "deploy", ("*",), ("refs/heads/*",), Action.PIPELINE, pipelines=("deploy",), changes=_API
)
_UPLOAD = Rule("upload", ("*",), ("refs/heads/*",), Action.UPLOAD, changes=_API)
_A = _rule("a", _API, "shop-api", final=False)
_W = _rule("w", _WEB, "shop-web")
_REST = _rule("rest", (), "shop-api", "lint")


@pytest.mark.parametrize(
    ("rules", "unchanged", "skipped"),
    [
        ([_A, _W], (), []),
        ([_A, _W], (_API,), ["shop-api"]),
        ([_A, _W], (_API, _WEB), ["shop-api", "shop-web"]),
        ([_A, _REST], (_API,), []),  # another rule builds it
        ([_W, _REST], (_WEB,), ["shop-web"]),
        ([_W, _A], (_API,), []),  # the first one matches, and is final
        ([_DEPLOY, _UPLOAD], (_API,), ["deploy"]),  # an upload has no status
        ([_A, _A], (_API,), ["shop-api"]),
    ],
)
def test_what_rules_leave_out(
    rules: list[Rule], unchanged: tuple[tuple[str, ...], ...], skipped: list[str]
) -> None:
    """Each project and pipeline once, unless the push starts it by another rule."""
    found = skipped_targets(make_push(), rules, KnownChanges(unchanged))
    assert [each.project or each.pipeline for each in found] == skipped


def test_a_skipped_target_names_its_rule_and_pathspecs() -> None:
    """The status says them."""
    found = skipped_targets(make_push(), [_W], KnownChanges((_WEB,)))
    assert found == (SkippedTarget("w", LeftOut(_WEB), project="shop-web"),)
    assert not found[0].is_recorded
