"""`asyncbuild explain`.

The content of a record, where the time went, and the slowest repositories.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.status import NOW, Clock, held, state, survey

from asyncbuild.commands import explain
from asyncbuild.commands import explain_text as explained
from asyncbuild.commands.explain import ExplainRequest
from asyncbuild.commands.explain_results import dumped, has_failed, with_result
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.results.build_result import (
    BuildResult,
    BuildStatus,
    StartedId,
    StartedKind,
)
from asyncbuild.status.history import Chronicle

_DELTA = {
    "kind": "delta",
    "base": "web/0123456789abcdef.zip",
    "copied_bytes": 29_000_000,
    "files_read": 2,
}


@pytest.mark.parametrize(
    ("archive", "told"),
    [
        (None, ""),
        (
            {"kind": "full", "sent_bytes": 9_000, "files_read": 1_234},
            "full: 9.0 kB sent, 1,234 files read",
        ),
        (
            {**_DELTA, "sent_bytes": 2_000},
            "delta of 0123456789: 2.0 kB sent, 29.0 MB copied, 2 files read",
        ),
        (
            {"kind": "copy", "base": "a.zip", "sent_bytes": 0, "copied_bytes": 5},
            "copy of a: 0 bytes sent, 5 bytes copied",
        ),
        ({"kind": "full", "reused": True}, "was there"),
        ({"bucket": "b", "key": "k"}, "full: 0 bytes sent"),
    ],
)
def test_an_archive_is_explained(archive: dict[str, Any] | None, told: str) -> None:
    """Kind, base, bytes sent and copied, files read; records of older versions have less."""
    assert told == explained.how_it_was_made({"archive": archive})


_BEGIN = datetime(2026, 11, 23, 10, 0, 5, tzinfo=UTC)
_TIMINGS = {"fetch": 0.1, "archive": 0.02, "start": 0.25}


def _record(seconds: float, **more: Any) -> Mapping[str, Any]:  # noqa: ANN401 - JSON
    return {
        "pushed_at": _BEGIN.isoformat(),
        "recorded_at": (_BEGIN + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z"),
        "ref": "refs/heads/main",
        "commit": "0123456789abcdef",
        "verdict": "built",
        "repository": {"account": "1", "region": "eu-west-1", "name": "web"},
        "timings": _TIMINGS,
        **more,
    }


def test_a_record_is_printed_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """All of it at any width, a ref with markup as plain text; absent fields are left out."""
    record = _record(
        1.57,
        ref="refs/heads/[bold]" + "x" * 100,
        reason="rule: default",
        build={"id": "web:1"},
        archive={"bucket": "b", "key": "web/main.zip", "reused": True},
    )
    other = {"recorded_at": "2026-11-23T10:00:06", "verdict": "nothing-to-do"}
    explain._show([record, other], [], None, ExplainRequest("web", None, _BEGIN, 20))
    assert capsys.readouterr().out.splitlines() == [
        "2026-11-23 10:00:05 UTC  started      0123456789  refs/heads/[bold]" + "x" * 100,
        "    why      rule: default",
        "    started  web:1",
        "    archive  s3://b/web/main.zip",
        "    made     was there",
        "    took     1.57 s: waited 1.20 s, fetch 0.10 s, archive 0.02 s, start 0.25 s",
        "2026-11-23 10:00:06 UTC  nothing-to-do",
    ]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"timings": None, "attempts": 3}, "75.0 s"),
        ({"attempts": 3}, "; 3 attempts"),
        ({"pushed_at": None}, ""),
        ({"recorded_at": "2026-11-23T09:00:00Z"}, "0.00 s: waited 0.00 s"),
    ],
)
def test_records_of_any_age_have_durations_or_none(more: dict[str, Any], told: str) -> None:
    """Without timings only the total is known; a clock that lagged makes no negative duration."""
    said = explained.how_long_it_took(_record(75.0, **more))
    assert told.replace("75.0 s", "1 min 15 s") in said
    assert "-" not in said


@given(
    st.floats(0, 10_000),
    st.dictionaries(st.sampled_from(["fetch", "archive", "start"]), st.floats(0, 9_000)),
)
def test_waiting_time_is_what_no_stage_took(seconds: float, timings: dict[str, float]) -> None:
    """The parts add up to the total, unless stages of several attempts took longer."""
    found = explained.seconds_of(_record(seconds, timings=timings))
    total, parts = found.pop("total"), sum(found.values())
    assert all(value >= 0 for value in found.values())
    assert not timings or parts >= total - 1e-5


def test_a_waiting_push_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """The cause, the start and the reason of the wait are printed in the same form."""
    clock = Clock()
    one = held("e1", ref="refs/heads/fix", reason="CodeBuild is full", sent=NOW - 75)
    status = survey(Chronicle(clock), clock, shown=state({"g": (one,)})).take()
    for name in ("web", "123456789012/eu-west-1/web", ""):
        question = ExplainRequest(name, "fix", _BEGIN, 20)
        ((push, lane),) = explain._held(status, question)
        explain._show([], [(push, lane)], status, question)
        assert capsys.readouterr().out.splitlines() == [
            "  ".join(
                filter(
                    None,
                    (
                        "2027-01-15 07:58:45 UTC",
                        "waiting    ",
                        "web" if not name else "",
                        "0123456789",
                        "refs/heads/fix",
                    ),
                )
            ),
            "    now      waits to be tried again",
            "    why      CodeBuild is full",
            "    waits    1 min 15 s since it came to the queue",
        ]
    assert not list(explain._held(status, ExplainRequest("web", "main", _BEGIN, 20)))
    assert not list(explain._held(status, ExplainRequest("other", None, _BEGIN, 20)))


def test_the_slowest_repository_comes_first() -> None:
    """The median decides; each has one line of 80 columns; ignored pushes alone are left out."""
    records = [
        *(_record(seconds, repository={"name": "web"}) for seconds in (1, 2, 90)),
        *(_record(seconds, repository={"name": "a-very-long-name" * 9}) for seconds in (8, 9)),
        _record(500, verdict="ignored", repository={"name": "docs"}),
    ]
    rows = explained.slowness_of(records)
    assert [(row.repository[:8], row.pushes, row.median, row.slowest) for row in rows] == [
        ("a-very-l", 2, 8.5, 9.0),
        ("web", 3, 2.0, 90.0),
    ]
    lines = explained.table_of(rows, 80)
    assert {len(line) for line in lines} == {80}
    assert lines[2].split() == [
        "web",
        "3",
        "2.00",
        "s",
        "1",
        "min",
        "30.6",
        "s",
        "0.10",
        "s",
        "0.02",
        "s",
        "0.25",
        "s",
    ]


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ("10m", datetime(2026, 11, 23, 9, 50, 5, tzinfo=UTC)),
        ("2 days", datetime(2026, 11, 21, 10, 0, 5, tzinfo=UTC)),
        ("1.5h", datetime(2026, 11, 23, 8, 30, 5, tzinfo=UTC)),
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-23T05:00+01:00", datetime(2026, 11, 23, 4, tzinfo=UTC)),
    ],
)
def test_since_is_a_duration_or_a_time(text: str, begin: datetime) -> None:
    """Times without a zone are UTC."""
    question = explain.question_of("web", None, days=30, since=text, now=_BEGIN, most=20)
    assert question.since == begin


@pytest.mark.parametrize("text", ["yesterday", "10", "m", "-5m", "2026-13-01"])
def test_since_that_is_neither_duration_nor_time_is_refused(text: str) -> None:
    """The message shows examples of both."""
    with pytest.raises(Reject, match="write 10m"):
        explain.question_of("web", None, days=30, since=text, now=_BEGIN, most=20)


_STARTED = StartedId(StartedKind.BUILD, "web", "1")
_FAILED = BuildResult(
    _STARTED,
    BuildStatus.FAILED,
    _BEGIN,
    attempt=2,
    phase="BUILD",
    exit_code=2,
    reason="Error while executing command: make\x1b[2J",
    queued_seconds=4,
    provisioning_seconds=20,
    started_at=_BEGIN,
    ended_at=_BEGIN + timedelta(seconds=192),
    log_link="https://console.aws.amazon.com/cloudwatch/home#logsV2",
)


def _shown(record: Mapping[str, Any], capsys: pytest.CaptureFixture[str], now: datetime) -> str:
    question = ExplainRequest("web", None, _BEGIN, 20)
    explain._show([record], [], None, question, now=now)
    return capsys.readouterr().out


def test_a_result_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """Under what was started: how it ended, why, and where its log is."""
    record = with_result(_record(1.57, build={"id": "web:1"}), {_STARTED: _FAILED})
    after = "after 3 min 12 s (queued 4 s, provisioning 20 s), attempt 2"
    assert _shown(record, capsys, _BEGIN).splitlines()[1:5] == [
        "    started  web:1",
        f"    result   failed in BUILD, exit code 2, {after}",
        "    message  Error while executing command: make\N{REPLACEMENT CHARACTER}[2J",
        "    log      https://console.aws.amazon.com/cloudwatch/home#logsV2",
    ]
    assert has_failed(record)


_BUILD = {"build": {"id": "web:1"}}
_EXECUTION = {"execution": {"pipeline": "web", "id": "1"}}


@pytest.mark.parametrize(
    ("started", "days", "says"),
    [
        (_BUILD, 1, "none yet"),
        (_BUILD, 2, "none was recorded"),
        (_EXECUTION, 7, "none yet"),
        (_EXECUTION, 31, "none was recorded"),
    ],
)
def test_a_missing_result_is_explained(
    capsys: pytest.CaptureFixture[str], started: Mapping[str, Any], days: int, says: str
) -> None:
    """A build may run for two days; then its result was lost. Nothing if none was asked for.

    An execution may wait for an approval for weeks.
    """
    record = with_result(_record(1.57, **started), {})
    assert f"result   {says}" in _shown(record, capsys, _BEGIN + timedelta(days=days))
    explain._show([record], [], None, ExplainRequest("web", None, _BEGIN, 20))
    assert "result" not in capsys.readouterr().out
    assert not has_failed(record)


@pytest.mark.parametrize(
    ("started", "result"),
    [
        ({"build": {"id": "web:1"}}, _FAILED),
        ({"build": {"id": "web:1", "arn": "arn:aws:codebuild:x:1:build-batch/web:1"}}, None),
        ({"execution": {"pipeline": "web", "id": "1"}}, None),
        ({"build": {"id": "web:2"}}, None),
        ({"build": None, "execution": None}, "no field"),
        ({"build": "nonsense"}, "no field"),
        ({"execution": {"id": "1"}}, "no field"),
    ],
)
def test_a_record_has_the_result_of_what_it_started(
    started: Mapping[str, Any], result: object
) -> None:
    """Result of that and of nothing else; null without one; no field if nothing was started."""
    record = with_result(_record(1.0, **started), {_STARTED: _FAILED})
    assert record.get("result", "no field") == result
    told = dumped(record).get("result", "no field")
    if result is not _FAILED:
        assert told == result
        return
    assert isinstance(told, Mapping)
    assert (told["status"], told["phase"], told["exit_code"], told["attempt"]) == (
        *("failed", "BUILD"),
        *(2, 2),
    )
    assert "of" not in told


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (None, ""),
        ("odd", ""),
        ({"source": "schedule", "reason": "nightly"}, "schedule: nightly"),
        ({"source": "build", "requested_by": "mary", "again": True}, "build, again by mary"),
    ],
)
def test_a_request_tells_who_asked(request_: object, told: str) -> None:
    """A build that no push explains is explained by its request."""
    record = {**_record(1.0), "request": request_}
    lines = {each.label: each.text for each in explained.lines_of(record)}
    assert lines.get("asked", "") == told
