"""Ends of `asyncbuild build`: exit code and lines, from records and results."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any, Final

import pytest

from asyncbuild.commands.build.build_outcome import (
    WaitEnd,
    describe_end,
    describe_record,
    wait_end_of,
)
from asyncbuild.commands.build.build_watch import PAUSE_MOST_SECONDS, iter_pauses
from asyncbuild.domain.results.build_result import (
    BuildResult,
    BuildStatus,
    StartedId,
    StartedKind,
)

NOON: Final = datetime(2026, 11, 30, 12, tzinfo=UTC)
BUILT: Final[Mapping[str, Any]] = {
    "verdict": "built",
    "project": "web",
    "build": {"id": "web:1", "arn": "arn:aws:codebuild:eu-west-1:123456789012:build/web:1"},
}
LIVE: Final[Mapping[str, Any]] = {
    "verdict": "handed-over",
    "pipeline": "live",
    "execution": {"id": "2", "pipeline": "live", "arn": "arn:aws:codepipeline:eu-west-1:1:live"},
}
IGNORED: Final = {"verdict": "ignored", "reason": "rule: none"}
UPLOADED: Final = {"verdict": "uploaded", "archive": {"bucket": "b", "key": "k"}}
REJECTED: Final = {"verdict": "rejected", "reason": "no such project"}
OF_WEB: Final = StartedId(StartedKind.BUILD, "web", "1")
OF_LIVE: Final = StartedId(StartedKind.EXECUTION, "live", "2")


def results(**statuses: BuildStatus) -> dict[StartedId, BuildResult]:
    """Return results of the build `web` and the execution `live`."""
    of = {"web": OF_WEB, "live": OF_LIVE}
    end = NOON + timedelta(seconds=72)
    return {
        of[name]: BuildResult(of[name], status, end, started_at=NOON, ended_at=end)
        for name, status in statuses.items()
    }


PASSED, FAILED = BuildStatus.SUCCEEDED, BuildStatus.FAILED


@pytest.mark.parametrize(
    ("records", "statuses", "end"),
    [
        ([], {}, WaitEnd.UNFINISHED),
        ([BUILT], {}, WaitEnd.UNFINISHED),
        ([BUILT], {"web": BuildStatus.IN_PROGRESS}, WaitEnd.UNFINISHED),
        ([BUILT], {"web": PASSED}, WaitEnd.PASSED),
        *(([BUILT], {"web": each}, WaitEnd.FAILED) for each in BuildStatus if each.is_failed),
        ([BUILT], {"web": BuildStatus.STOPPED}, WaitEnd.FAILED),
        ([BUILT, LIVE], {"web": PASSED}, WaitEnd.UNFINISHED),
        ([BUILT, LIVE], {"web": PASSED, "live": PASSED}, WaitEnd.PASSED),
        ([BUILT, LIVE], {"web": FAILED}, WaitEnd.FAILED),
        ([BUILT, REJECTED], {"web": PASSED}, WaitEnd.REJECTED),
        ([BUILT, REJECTED], {"web": FAILED}, WaitEnd.FAILED),
        ([{"verdict": "unreadable", "reason": "x"}], {}, WaitEnd.REJECTED),
        ([UPLOADED], {}, WaitEnd.PASSED),
        ([IGNORED], {}, WaitEnd.NOT_BUILT),
        ([IGNORED, UPLOADED], {}, WaitEnd.PASSED),
        ([{"verdict": "superseded", "reason": "by x"}], {}, WaitEnd.NOT_BUILT),
        ([{"verdict": "stale", "reason": "gone"}], {}, WaitEnd.NOT_BUILT),
    ],
)
def test_end_is_the_worst_of_all_targets(
    records: Sequence[Mapping[str, Any]], statuses: Mapping[str, BuildStatus], end: WaitEnd
) -> None:
    """A script that goes on after a failure would deploy what did not pass."""
    assert wait_end_of(records, results(**statuses)) is end


def test_exit_codes_differ_by_what_to_do() -> None:
    """The documentation promises these."""
    assert {end.value: end.exit_code for end in WaitEnd} == {
        "failed": 1,
        "rejected": 65,
        "unfinished": 75,
        "sent": 0,
        "passed": 0,
        "not-built": 3,
    }


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (BUILT, "started web: web:1\nhttps://eu-west-1.console.aws.amazon.com/codesuite/codebuild"),
        (LIVE, "started live: 2\nhttps://eu-west-1.console.aws.amazon.com/codesuite/codepipeline"),
        (UPLOADED, "uploaded s3://b/k"),
        (REJECTED, "rejected: no such project"),
        (IGNORED, "not built: rule: none"),
        ({"verdict": "stale", "reason": "old", "project": "web"}, "not built, web: old"),
    ],
)
def test_a_record_is_one_line(record: Mapping[str, Any], line: str) -> None:
    """With a link where something was started."""
    assert describe_record(record).startswith(line)


def test_an_end_is_one_line() -> None:
    """With the time that it took."""
    told = results(web=FAILED)[OF_WEB]
    assert describe_end(OF_WEB, told) == "web failed after 1 min 12 s"
    running = results(web=BuildStatus.IN_PROGRESS)[OF_WEB]
    assert describe_end(OF_WEB, running) == "web is running"


def test_pauses_grow_to_a_bound() -> None:
    """A wait of hours makes four requests a minute for each thing that it waits for."""
    pauses = list(islice(iter_pauses(), 1_000))
    assert all(after >= before for before, after in pairwise(pauses))
    assert pauses[0] < 1
    assert pauses[20] == pauses[-1] == PAUSE_MOST_SECONDS == 15
