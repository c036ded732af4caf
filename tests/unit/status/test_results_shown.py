"""Results on the page, in the terminal view and in the status document."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support.status import HOSTILE, NOW, Clock, built, ended, handed_over, line, state, survey

from asyncbuild.config import Settings
from asyncbuild.domain.errors import Retry
from asyncbuild.domain.results.build_result import (
    BuildResult,
    BuildStatus,
    StartedId,
    StartedKind,
    newest,
)
from asyncbuild.status import links
from asyncbuild.status.collect import Sampled, Survey
from asyncbuild.status.exporters.prometheus import Metrics
from asyncbuild.status.history import Chronicle
from asyncbuild.status.page import Page
from asyncbuild.status.results.lookup import EVERY_SECONDS, MOST, ResultLookup
from asyncbuild.status.results.shown import replaces, shown_record, started_id
from asyncbuild.status.results.words import (
    length,
    result_place,
    result_sentence,
    result_sign,
    result_tone,
    result_word,
)
from asyncbuild.status.schema import Depth, ResultStatus, SettledPush
from asyncbuild.status.screen import draw

_SETTINGS = Settings(results={"url": "https://sqs.eu-west-1.amazonaws.com/123456789012/results"})
_ENDS = [status for status in BuildStatus if status.is_end]
_MOMENT = datetime.fromtimestamp(NOW, UTC)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still unless advanced."""
    return Clock()


@pytest.fixture
def chronicle(clock: Clock) -> Chronicle:
    """History of a service that has just started."""
    return Chronicle(clock)


_SUPERSEDED: Mapping[str, Any] = {"superseded_by_commit": "fedcba9876543210" + "0" * 24}


def _result(of: str = "web:1", **fields: object) -> BuildResult:
    name, _, number = of.partition(":")
    usual: dict[str, object] = {"status": BuildStatus.SUCCEEDED, "observed_at": _MOMENT}
    started = StartedId(StartedKind.BUILD, name, number)
    return BuildResult(started, **{**usual, **fields})  # type: ignore[arg-type] # of a dictionary


def _only(chronicle: Chronicle) -> SettledPush:
    (row,) = chronicle.settled
    return row


# --- history --------------------------------------------------------------------------------------


def test_a_result_completes_the_row_of_its_build(chronicle: Chronicle) -> None:
    """One row for start and end, of a build and of an execution; sums and series count it."""
    chronicle.hear(built())
    chronicle.hear(handed_over(event_id="event-2"))
    chronicle.hear(ended(BuildStatus.FAILED))
    execution = "11111111-2222-3333-4444-555555555555"
    chronicle.hear(ended(project=None, pipeline="deploy", build_id=execution))
    chronicle.hear(ended(BuildStatus.STOPPED, build_id="web:of long ago"))
    alone, run, build = chronicle.settled
    assert [each.result.status for each in (run, build) if each.result] == ["succeeded", "failed"]
    assert build.result
    assert (build.result.phase, build.result.exit_code) == ("BUILD", 2)
    assert (build.verdict, build.key, build.result_alone) == ("built", "web/main/1.zip", False)
    assert (alone.result_alone, alone.build_id) == (True, "web:of long ago")
    assert chronicle.totals().results == {"failed": 1, "succeeded": 1, "stopped": 1}
    assert chronicle.totals().pushes == {"built": 1, "handed-over": 1}
    bucket = chronicle.recorder.series(NOW, uptime_seconds=0).buckets[-1]
    assert (bucket.builds_passed, bucket.builds_failed) == (1, 1)


def test_a_build_may_end_before_its_start_is_told(chronicle: Chronicle) -> None:
    """One row, with the result; so, too, if another task started it and both are heard here."""
    chronicle.hear(ended(BuildStatus.TIMED_OUT))
    assert _only(chronicle).result_alone
    chronicle.hear(built())
    row = _only(chronicle)
    assert row.result
    assert (row.result.status, row.result_alone) == ("timed-out", False)


def test_what_runs_is_no_end(chronicle: Chronicle) -> None:
    """A beginning is shown in the row of its start, and counted nowhere."""
    chronicle.hear(built())
    chronicle.hear(ended(BuildStatus.IN_PROGRESS))
    chronicle.hear(ended(BuildStatus.IN_PROGRESS, build_id="web:of another task"))
    assert _only(chronicle).result
    assert chronicle.totals().results == {}


def test_an_execution_may_end_again(chronicle: Chronicle, clock: Clock) -> None:
    """After its failed stage was tried again: the page shows what `explain` tells then."""
    chronicle.hear(handed_over())
    row = _only(chronicle)
    assert row.execution_id
    told = {"build_id": row.execution_id, "project": None, "pipeline": row.pipeline}
    for status in (BuildStatus.FAILED, BuildStatus.SUCCEEDED):
        clock.now += 60
        chronicle.hear(ended(status, **told))
    assert result_word(_only(chronicle)) == "passed"


_observations = st.builds(
    _result,
    status=st.sampled_from(BuildStatus),
    attempt=st.integers(1, 3),
    number=st.integers(1, 9),  # tells observations of one moment apart
    observed_at=st.integers(0, 5).map(lambda seconds: _MOMENT + timedelta(seconds=seconds)),
)


@given(st.lists(_observations, min_size=1, max_size=8), st.sampled_from(StartedKind))
def test_the_page_shows_what_the_ledger_keeps(
    observations: list[BuildResult], kind: StartedKind
) -> None:
    """In whatever order observations come, both decide for the same one."""
    kept: BuildResult | None = None
    shown: ResultStatus | None = None
    ends_again = kind is StartedKind.EXECUTION
    of = StartedId(kind, "web", "1")
    for each in (replace(one, of=of) for one in observations):
        kept = newest(kept, each)
        if replaces(shown_record(each), shown, ends_again=ends_again):
            shown = shown_record(each)
        assert shown == shown_record(kept)


# --- lookup ---------------------------------------------------------------------------------------


def _ledger(
    known: dict[StartedId, BuildResult], asked: list[StartedId]
) -> Callable[[StartedId], Awaitable[BuildResult | None]]:
    async def find(of: StartedId) -> BuildResult | None:
        asked.append(of)
        if "unreadable" in of.number:
            raise Retry("S3 is away")
        return known.get(of)

    return find


async def test_results_of_other_tasks_are_looked_up(chronicle: Chronicle, clock: Clock) -> None:
    """Results of builds without an end, at most every ten seconds; failures change nothing."""
    for number in ("1", "2", "unreadable"):
        chronicle.hear(built(event_id=number, build_id=f"web:{number}"))
    chronicle.hear(line("push.ignored", event_id="4", since_push_seconds=1.0))
    chronicle.hear(ended(build_id="web:1"))
    two = _result("web:2", status=BuildStatus.FAULT)
    asked: list[StartedId] = []
    lookup = ResultLookup(chronicle, _ledger({two.of: two}, asked), clock)
    await lookup.refresh()
    clock.now += EVERY_SECONDS - 1
    await lookup.refresh()
    assert [of.number for of in asked] == ["unreadable", "2"]
    results = {row.build_id: row.result.status for row in chronicle.settled if row.result}
    assert results == {"web:1": "succeeded", "web:2": "fault"}
    assert chronicle.totals().results == {"succeeded": 1}  # another task counts the other one
    clock.now += 1
    await lookup.refresh()
    assert [of.number for of in asked[2:]] == ["unreadable"]


async def test_every_unended_build_has_its_turn(chronicle: Chronicle, clock: Clock) -> None:
    """A limited number at a time, each as often as the others."""
    for number in range(2 * MOST + 1):
        chronicle.hear(built(event_id=str(number), build_id=f"web:{number}"))
    asked: list[StartedId] = []
    lookup = ResultLookup(chronicle, _ledger({}, asked), clock)
    for turn in range(1, 4):
        await lookup.refresh()
        assert len(asked) == turn * MOST
        clock.now += EVERY_SECONDS
    counts = [asked.count(of) for of in set(asked)]
    assert len(counts) == 2 * MOST + 1
    assert max(counts) - min(counts) <= 1


def test_a_row_names_what_it_started(chronicle: Chronicle) -> None:
    """A build, a batch by its ARN, an execution; nothing if nothing was started."""
    batch = "arn:aws:codebuild:eu-west-1:123456789012:build-batch/web:3"
    chronicle.hear(built())
    chronicle.hear(built(build_id="web:3", build_arn=batch))
    chronicle.hear(handed_over(execution_id="4"))
    chronicle.hear(line("push.ignored", since_push_seconds=1.0))
    assert [started_id(row) for row in reversed(chronicle.settled)] == [
        StartedId(StartedKind.BUILD, "web", "1"),
        StartedId(StartedKind.BATCH, "web", "3"),
        StartedId(StartedKind.EXECUTION, "deploy", "4"),
        None,
    ]


# --- words ----------------------------------------------------------------------------------------


def test_a_result_as_a_sentence() -> None:
    """Place, exit code, durations and attempt, each only where it is known."""
    failed = ResultStatus(
        NOW,
        "failed",
        phase="BUILD",
        exit_code=2,
        attempt=2,
        total_seconds=192.0,
        queued_seconds=4.0,
        provisioning_seconds=20.0,
    )
    assert result_sentence(failed) == (
        "failed in BUILD, exit code 2, after 3 min 12 s (queued 4 s, provisioning 20 s), attempt 2"
    )
    assert [
        result_sentence(each)
        for each in (
            ResultStatus(NOW, "succeeded", total_seconds=59.6),
            ResultStatus(NOW, "fault", phase="PROVISIONING"),
            ResultStatus(NOW, "timed-out", total_seconds=3_600.0),
            ResultStatus(NOW, "failed", exit_code=137, total_seconds=0.25),
            ResultStatus(NOW, "stopped"),
            ResultStatus(NOW, "in-progress"),
            ResultStatus(NOW, "of a later version"),
            ResultStatus(NOW, "stopped", phase="BUILD", **_SUPERSEDED, total_seconds=12.0),
            ResultStatus(NOW, "stopped", **_SUPERSEDED, attempt=2),
        )
    ] == [
        "passed after 59.6 s",
        "ended by a fault of CodeBuild in PROVISIONING",
        "timed out after 1 h 00 min",
        "failed with exit code 137, after 0.25 s",
        "stopped",
        "not seen to end yet",
        "of a later version",
        "superseded by fedcba987654, after 12 s",
        "superseded by fedcba987654, attempt 2",
    ]


@pytest.mark.parametrize(
    ("seconds", "says", "coarse"),
    [
        (0.4, "0.40 s", "0.40 s"),
        (4, "4 s", "4 s"),
        (125, "2 min 05 s", "2 min"),
        (7_300, "2 h 01 min", "2 h 01 min"),
    ],
)
def test_durations_of_builds(seconds: float, says: str, coarse: str) -> None:
    """Whole seconds, as CodeBuild tells them."""
    assert (length(seconds), length(seconds, coarse=True)) == (says, coarse)


@pytest.mark.parametrize("status", [*BuildStatus, "of a later version"])
def test_every_state_has_a_word(chronicle: Chronicle, status: str) -> None:
    """Records of a version that knows more states, too; a place only if something failed."""
    chronicle.hear(built())
    chronicle.show_result("web:1", ResultStatus(NOW, status, phase="BUILD"))
    row = _only(chronicle)
    assert result_word(row)
    assert bool(result_place(row.result)) == (status not in {"succeeded", "in-progress"})


def test_a_superseded_build_is_told_from_a_stopped_one(chronicle: Chronicle) -> None:
    """Its word names no failure, its place is the newer commit, its colour that of a stop."""
    chronicle.hear(built())
    chronicle.hear(ended(BuildStatus.STOPPED, phase="BUILD", **_SUPERSEDED))
    row = _only(chronicle)
    assert (result_word(row), result_place(row.result)) == ("superseded", "by fedcba987654")
    assert (result_sign(row), result_tone(row)) == ("■", "stopped")
    record = _result(status=BuildStatus.STOPPED, **_SUPERSEDED)
    assert shown_record(record).superseded_by_commit == _SUPERSEDED["superseded_by_commit"]
    assert shown_record(_result()).superseded_by_commit is None


# --- page and terminal ----------------------------------------------------------------------------


def _survey(chronicle: Chronicle, clock: Clock) -> Survey:
    sampled = Sampled(depth=Depth(1, 2, 0, NOW), results_depth=Depth(3, 0, 1, NOW))
    return Survey(_SETTINGS, state, chronicle, sampled, clock)


def _crowd(chronicle: Chronicle, clock: Clock) -> None:
    """Let a hundred builds start, of which each tenth still runs."""
    statuses = list(BuildStatus)
    for number in range(100):
        name = f"{'w' * (number % 100)}eb"
        about = {"event_id": str(number), "repository": name, "build_id": f"{name}:{number}"}
        chronicle.hear(built(ref=f"refs/heads/{HOSTILE}\x1b[2J{number}", project=HOSTILE, **about))
        clock.now += 7
        if number % 10:
            more = {"total_seconds": 10.0 ** (number % 6), "attempt": 1 + number % 3}
            phase = f"{HOSTILE}\x1b]0;x\x07/{'x' * number}"
            status = statuses[number % len(statuses)]
            chronicle.hear(ended(status, **about, **more, phase=phase, exit_code=number))


async def _html(look: Survey) -> str:
    response = await Page(look).serve_page(make_mocked_request("GET", "/"))
    assert isinstance(response, web.Response)
    return response.text or ""


async def test_the_page_shows_results_as_text(chronicle: Chronicle, clock: Clock) -> None:
    """Words beside colours; phases are foreign text, and no markup; sums, chart and queue."""
    _crowd(chronicle, clock)
    html = await _html(_survey(chronicle, clock))
    for word in ("passed", "failed", "fault", "timed out", "stopped", "building"):
        assert f">{word}</" in html, word
    assert "<img" not in html
    assert "\x1b" not in html
    assert "exit code 99" in html
    assert 'aria-label="Builds ended: up: ' in html
    assert "1 dead-lettered" in html


async def test_page_and_terminal_name_the_newer_commit(chronicle: Chronicle, clock: Clock) -> None:
    """Of a superseded build; one that a person has stopped stays stopped."""
    chronicle.hear(built())
    chronicle.hear(ended(BuildStatus.STOPPED, total_seconds=12.0, **_SUPERSEDED))
    chronicle.hear(built(event_id="event-2", build_id="web:2"))
    chronicle.hear(ended(BuildStatus.STOPPED, event_id="event-2", build_id="web:2"))
    look = _survey(chronicle, clock)
    html = await _html(look)
    assert (html.count(">superseded</"), html.count(">stopped</")) == (1, 1)
    assert html.count("by fedcba987654") == 1
    console = Console(width=200, height=24, force_terminal=False, record=True)
    console.print(draw(look.take(), lines=24, width=200))
    text = console.export_text()
    assert text.count("■ superseded 12 s by fedcba987654") == 1
    assert text.count("■ stopped") == 1


async def test_only_readers_cause_lookups(chronicle: Chronicle, clock: Clock) -> None:
    """Probes and scrapes look at the status, too, and no ledger is asked for them."""
    look = _survey(chronicle, clock)
    page = Page(look)
    look.take()
    Metrics(look).expose("")
    assert look.sampled.shown_at == 0
    page.draw(0)
    assert look.sampled.shown_at == NOW


async def test_without_results_the_page_says_started(chronicle: Chronicle, clock: Clock) -> None:
    """Then nothing is building for ever; and "built" is nowhere: it was started, no more."""
    chronicle.hear(built())
    html = await _html(survey(chronicle, clock))
    assert ">started</a>" in html
    assert "building" not in html
    assert ">built" not in html
    assert "Builds ended" not in html
    assert survey(chronicle, clock).take().results is None


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_terminal_shows_results(chronicle: Chronicle, clock: Clock, width: int) -> None:
    """Whole lines within the width, with sign, word, time and place."""
    _crowd(chronicle, clock)
    chronicle.hear(built(event_id="x", build_id="web:x"))
    chronicle.hear(ended(BuildStatus.FAILED, build_id="web:x"))
    console = Console(width=width, height=24, force_terminal=False, record=True)
    console.print(draw(_survey(chronicle, clock).take(), lines=24, width=width))
    lines = console.export_text().splitlines()
    assert all(len(each) <= width for each in lines)
    text = "\n".join(lines)
    assert "started  passed  failed" in text
    assert "✗ failed 3 min 12 s BUILD, exit 2" in text
    assert "○ building" in text
    assert "\x1b" not in text


def test_the_round_is_in_the_document(chronicle: Chronicle, clock: Clock) -> None:
    """Null until this task has made one."""
    look = _survey(chronicle, clock)
    told = look.take().results
    assert told
    assert (told.round_at, told.unfinished) == (None, None)
    found = {"unfinished": 3, "asked": 5, "found": 2, "oldest_seconds": 700.0, "seconds": 1.0}
    chronicle.hear(line("results.swept", None, **found))
    told = look.take().results
    assert told
    assert (told.round_at, told.unfinished, told.oldest_unfinished_seconds) == (NOW, 3, 700.0)


_LOG = "https://console.aws.amazon.com/cloudwatch/home?region=eu-west-1#logsV2:log-groups"


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        (_LOG, True),
        ("https://eu-west-1.console.aws.amazon.com/cloudwatch/home", True),
        ("https://console.amazonaws.cn/cloudwatch/home", True),
        ("http://console.aws.amazon.com/cloudwatch/home", False),
        ("https://console.aws.amazon.com.example.org/", False),
        ("https://notconsole.aws.amazon.com/", False),
        ("javascript:alert(1)//console.aws.amazon.com", False),
        ("https://[console.aws.amazon.com", False),
        ("https://example.org\\@console.aws.amazon.com/", False),  # a browser goes to example.org
        ("https://example.org\\.console.aws.amazon.com/", False),
        ("https://example.org:443@console.aws.amazon.com/", False),
        ("", False),
        (None, False),
    ],
)
def test_a_log_link_leads_to_a_console(
    chronicle: Chronicle, link: str | None, *, shown: bool
) -> None:
    """No other address that an event names becomes a link."""
    chronicle.hear(built())
    assert links.log_link(_only(chronicle)) == ""
    chronicle.hear(ended(log_link=link))
    assert links.log_link(_only(chronicle)) == (link if shown else "")
