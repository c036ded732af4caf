"""Targets of requests: those of the rules, restricted and with variables as they ask."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest
from support.codebuild import make_push

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Action, Push, Target
from asyncbuild.domain.requests.request_targets import requested_targets
from asyncbuild.domain.requests.request_terms import RequestTerms

WEB: Final = Target(Action.BUILD, "k", "web", {"STAGE": "test", "X": "1"})
LINT: Final = Target(Action.BUILD, "k", "lint")
LIVE: Final = Target(Action.PIPELINE, "k", pipeline="live")
UPLOAD: Final = Target(Action.UPLOAD, "k")
IGNORE: Final = Target(Action.IGNORE)


def targets(
    terms: RequestTerms | None, *routed: Target, names: Sequence[str] = ("*",)
) -> list[Target]:
    """Return the targets of a push with these terms."""
    push: Push = replace(make_push(), terms=terms)
    return list(requested_targets(push, routed, variables=names))


@pytest.mark.parametrize("terms", [None, RequestTerms("build"), RequestTerms("x", again=True)])
def test_all_targets_without_a_restriction(terms: RequestTerms | None) -> None:
    """The rules decide, as for an event."""
    assert targets(terms, WEB, LIVE, UPLOAD) == [WEB, LIVE, UPLOAD]
    assert targets(terms, IGNORE) == [IGNORE]


def test_projects_and_pipelines_by_name() -> None:
    """Nothing else is started, nor uploaded for its own sake."""
    assert targets(RequestTerms("x", projects=("lint", "live")), WEB, LINT, LIVE, UPLOAD) == [
        LINT,
        LIVE,
    ]


def test_variables_override_those_of_rules() -> None:
    """Only of what is started: an uploaded object has none."""
    web, upload = targets(RequestTerms("x", variables={"X": "2", "Y": "3"}), WEB, UPLOAD)
    assert web.variables == {"STAGE": "test", "X": "2", "Y": "3"}
    assert upload == UPLOAD


@pytest.mark.parametrize(
    ("routed", "told"), [((WEB, LIVE), "possible are live, web"), ((IGNORE,), "they start nothing")]
)
def test_an_unknown_project_is_refused_with_the_possible_ones(
    routed: tuple[Target, ...], told: str
) -> None:
    """The sender need not look at the rules."""
    with pytest.raises(Reject, match="names project other, which") as caught:
        targets(RequestTerms("x", projects=("web", "other")[routed == (IGNORE,) :]), *routed)
    assert told in caught.value.remedy


@pytest.mark.parametrize("names", [(), ("STAGE",), ("*", "!LD_*")])
def test_variables_that_the_setting_does_not_allow_are_refused(names: tuple[str, ...]) -> None:
    """An operator can take the right away from all senders."""
    terms = RequestTerms("x", variables={"LD_PRELOAD": "x"})
    with pytest.raises(Reject, match=r"variable LD_PRELOAD, which builds\.request_variables"):
        targets(terms, WEB, names=names)
    allowed = targets(RequestTerms("x", variables={"STAGE": "x"}), WEB, names=("*", "!LD_*"))
    assert allowed[0].variables["STAGE"] == "x"
