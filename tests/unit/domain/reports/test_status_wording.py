"""Words of commit statuses."""

from datetime import UTC, datetime, timedelta

import pytest

from asyncbuild.domain.contents.compared_content import ChangesSince
from asyncbuild.domain.contents.known_changes import HasMarker, LeftOut
from asyncbuild.domain.reports.commit_status import STATE_OF
from asyncbuild.domain.reports.status_wording import (
    DESCRIPTION_MOST,
    check_context,
    describe_result,
    describe_skip,
    duration,
)
from asyncbuild.domain.results.build_result import (
    BuildResult,
    BuildStatus,
    StartedId,
    StartedKind,
)

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
BUILD = StartedId(StartedKind.BUILD, "shop", "1234")


def result_of(status: BuildStatus, seconds: float = 192, **more: object) -> BuildResult:
    """Return a result that took `seconds`."""
    end = NOON + timedelta(seconds=seconds)
    return BuildResult(BUILD, status, NOON, started_at=NOON, ended_at=end, **more)  # type: ignore[arg-type]  # the test's own fields


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (BuildResult(BUILD, BuildStatus.IN_PROGRESS, NOON), "started"),
        (
            BuildResult(BUILD, BuildStatus.IN_PROGRESS, NOON, attempt=2),
            "started again, attempt 2",
        ),
        (result_of(BuildStatus.SUCCEEDED), "passed in 3 min 12 s"),
        (result_of(BuildStatus.SUCCEEDED, attempt=3), "passed in 3 min 12 s, attempt 3"),
        (
            result_of(BuildStatus.FAILED, phase="BUILD", exit_code=2),
            "failed in BUILD, exit code 2, after 3 min 12 s",
        ),
        (
            result_of(BuildStatus.FAULT, phase="PROVISIONING"),
            "no result: a fault of CodeBuild in PROVISIONING, after 3 min 12 s",
        ),
        (
            result_of(BuildStatus.TIMED_OUT, 7_500, phase="BUILD"),
            "timed out in BUILD, after 2 h 5 min",
        ),
        (BuildResult(BUILD, BuildStatus.STOPPED, NOON), "stopped"),
        (
            result_of(BuildStatus.STOPPED, superseded_by_commit="0123456789abcdef" + "0" * 24),
            "superseded by 0123456789ab, after 3 min 12 s",
        ),
    ],
)
def test_a_description_says_how_a_build_ended(result: BuildResult, words: str) -> None:
    """One line for each way."""
    assert describe_result(result) == words


def test_the_message_of_a_phase_is_told_by_request_alone_and_made_fit_to_be_shown() -> None:
    """A message may be long, and hostile."""
    failed = result_of(BuildStatus.FAILED, reason="curl -H 'token: s3cret'\x1b[31m" + "x" * 200)
    assert "s3cret" not in describe_result(failed)
    told = describe_result(failed, with_reason=True)
    assert "curl" in told
    assert "\x1b" not in told
    assert len(told) == DESCRIPTION_MOST


def test_a_skip_names_what_did_not_change() -> None:
    """The globs of the rule."""
    assert describe_skip(LeftOut(("services/api/**", "lib/**"))) == (
        "skipped: nothing changed in services/api/**, lib/**"
    )
    assert len(describe_skip(LeftOut(("x" * 500,)))) == DESCRIPTION_MOST


def test_a_skip_names_the_text_of_the_message() -> None:
    """As the rule has it."""
    said = "skipped: the commit's message has [skip ci]"
    assert describe_skip(HasMarker("[skip ci]")) == said


@pytest.mark.parametrize(
    ("since", "ending"),
    [
        (ChangesSince.STARTED, " since it was started at 0123456789ab"),
        (ChangesSince.PASSED, " since it passed at 0123456789ab"),
    ],
)
def test_a_skip_names_the_commit_that_it_was_compared_with(
    since: ChangesSince, ending: str
) -> None:
    """Long pathspecs are cut, and not the commit."""
    commit = "0123456789abcdef" * 2 + "01234567"
    assert describe_skip(LeftOut(("api",), since, commit)) == (
        f"skipped: nothing changed in api{ending}"
    )
    long = describe_skip(LeftOut(("x" * 500,), since, commit))
    assert long.endswith(f"…{ending}")
    assert len(long) == DESCRIPTION_MOST


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (3_600, "1 h"),
        (3_660, "1 h 1 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """The two largest units."""
    assert duration(seconds) == text


def test_every_state_of_a_build_has_a_state_of_a_commit_status() -> None:
    """Ends are ends in both."""
    assert set(STATE_OF) == set(BuildStatus)
    assert all(STATE_OF[each].is_end == each.is_end for each in BuildStatus)


@pytest.mark.parametrize(
    "template", ["", " ", "ci/{commit}", "ci/{project!r}", "ci/{project:>9}", "{"]
)
def test_a_wrong_context_is_refused(template: str) -> None:
    """Only fields of a build are known."""
    with pytest.raises(ValueError, match=r"context|Single"):
        check_context(template)
    check_context("asyncbuild/{project}")
