"""Results of builds in Prometheus, in CloudWatch and in traces."""

from typing import Any

import orjson
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from support.status import NOW, Clock, built, ended, line, state, survey

from asyncbuild.domain.events.event import Emitted
from asyncbuild.domain.model import root_span_id, trace_id
from asyncbuild.domain.outcomes.outcome_event import DetailType
from asyncbuild.domain.reports.commit_status import StatusState
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.domain.results.build_result import BuildStatus
from asyncbuild.status.exporters.emf import EmbeddedMetrics
from asyncbuild.status.exporters.otel import open_traces
from asyncbuild.status.exporters.prometheus import Metrics
from asyncbuild.status.history import Chronicle

_UNKNOWN: dict[str, Any] = dict.fromkeys(
    (
        *("queued_seconds", "provisioning_seconds", "building_seconds", "total_seconds"),
        *("since_end_seconds", "since_push_seconds", "started_at", "ended_at", "log_link"),
    )
)
_ENDS = [status for status in BuildStatus if status.is_end]


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still unless advanced."""
    return Clock()


class _Scraped:
    """Prometheus metrics of a service that hears events, as a scrape reads them."""

    def __init__(self, clock: Clock) -> None:
        self._chronicle = Chronicle(clock)
        self._metrics = Metrics(survey(self._chronicle, clock))

    def hear(self, *told: Emitted) -> None:
        for each in told:
            self._chronicle.hear(each)
            self._metrics.hear(each)

    def values(self) -> dict[tuple[str, ...], float]:
        body, _ = self._metrics.expose("")
        return {
            (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }


def test_prometheus_counts_ends(clock: Clock) -> None:
    """Ends by status and by what told them, durations by phase, delays; a beginning is none."""
    scraped = _Scraped(clock)
    scraped.hear(
        ended(),
        ended(BuildStatus.FAILED, by_sweep=True, since_end_seconds=700.0),
        ended(BuildStatus.FAULT, **_UNKNOWN),
        ended(BuildStatus.IN_PROGRESS),
        line("result.not-ours", build_id="other:1", status="FAILED", waited_seconds=600.0),
        line("result.delayed", kind="retry", reason="cut"),
        line("result.dead-lettered", reason="no JSON"),
    )
    values = scraped.values()
    counted = {key[1:]: value for key, value in values.items() if key[0] == _RESULTS and value}
    assert counted == {
        ("event", "succeeded"): 1,
        ("round", "failed"): 1,
        ("event", "fault"): 1,
    }
    assert [
        values["asyncbuild_build_phase_seconds_sum", phase]
        for phase in ("queued", "provisioning", "building")
    ] == [8, 40, 336]
    assert values["asyncbuild_build_phase_seconds_count", "building"] == 2
    assert values["asyncbuild_push_to_result_seconds_sum",] == 388
    assert values["asyncbuild_end_to_record_seconds_sum",] == 701.5
    ends = ("not-ours", "delayed", "dead-lettered")
    unrecorded = "asyncbuild_result_messages_unrecorded_total"
    assert [values[unrecorded, end] for end in ends] == [1, 1, 1]


_RESULTS = "asyncbuild_results_total"


def _reports() -> list[Emitted]:
    posted: dict[str, Any] = {
        "context": "c",
        "description": "d",
        "attempt": 1,
        "since_sent_seconds": 0.5,
    }
    return [
        line("report.posted", **posted, state=StatusState.PENDING, forge=ForgeKind.GITHUB),
        line("report.posted", **posted, state=StatusState.FAILURE, forge=ForgeKind.GITHUB),
        line("report.posted", **posted, state=StatusState.FAILURE, forge=ForgeKind.GITLAB),
        line("report.not-sent", context="c", kind="retry", reason="r"),
        line("report.passed-over", context="c", state=StatusState.PENDING, reason="r"),
        line("report.delayed", message_id="m", kind="outage", reason="r", retry_in_seconds=5.0),
        line("report.delayed", message_id="m", kind="outage", reason="r", retry_in_seconds=5.0),
        line("report.dead-lettered", message_id="m", repository="a/b", kind="reject", reason="r"),
    ]


def test_prometheus_counts_statuses_by_state_and_forge(clock: Clock) -> None:
    """And reports that led to none, by what became of them."""
    scraped = _Scraped(clock)
    scraped.hear(*_reports())
    values = {key: value for key, value in scraped.values().items() if value}
    assert {key[1:]: value for key, value in values.items() if key[0] == _STATUSES} == {
        ("github", "pending"): 1,
        ("github", "failure"): 1,
        ("gitlab", "failure"): 1,
    }
    unposted = "asyncbuild_reports_unposted_total"
    assert {key[1]: value for key, value in values.items() if key[0] == unposted} == {
        "not-sent": 1,
        "passed-over": 1,
        "delayed": 2,
        "dead-lettered": 1,
    }


_STATUSES = "asyncbuild_statuses_posted_total"


def test_cloudwatch_reads_statuses_from_the_log(clock: Clock) -> None:
    """Each in the minute of it, and none in a minute without."""
    embedded = EmbeddedMetrics("pushes.fifo", state, clock)
    before = _taken(embedded).keys()
    for each in _reports():
        embedded.hear(each)
    taken = _taken(embedded)
    assert {key: sum(values) for key, values in taken.items() if key not in before} == {
        ("StatusesPosted", "pending", "github"): 1,
        ("StatusesPosted", "failure", "github"): 1,
        ("StatusesPosted", "failure", "gitlab"): 1,
        ("ReportsDelayed",): 2,
        ("ReportsDeadLettered",): 1,
    }
    assert _taken(embedded).keys() == before


def test_outcome_events_are_counted(clock: Clock) -> None:
    """Those that were sent by detail type; a refusal counts as a delay, in both ways to read it."""
    waits = {"kind": "outage", "reason": "no", "events": 2}
    lines = [
        *[
            line("outcome.sent", detail_type=each, outcome_id="1", since_end_seconds=1)
            for each in _SENT
        ],
        line("outcome.delayed", "warning", **waits),
        line("outcomes.off", "warning", bus="default", reason="no", seconds=3_600),
        line("outcome.given-up", "error", detail_type="x", outcome_id="1", kind="retry", reason=""),
    ]
    scraped, embedded = _Scraped(clock), EmbeddedMetrics("pushes.fifo", state, clock)
    scraped.hear(*lines)
    for each in lines:
        embedded.hear(each)
    values, taken = scraped.values(), _taken(embedded)
    sent, unsent = "asyncbuild_outcome_events_sent_total", "asyncbuild_outcome_events_unsent_total"
    assert [values[sent, str(each)] for each in DetailType] == [2, 0, 0, 1]
    assert (values[unsent, "delayed"], values[unsent, "given-up"]) == (2, 1)
    assert sum(taken["OutcomeEventsDelayed",]) == 2
    assert sum(taken["OutcomeEventsGivenUp",]) == 1


_SENT = (DetailType.PASSED, DetailType.PASSED, DetailType.FIXED)


def test_gauges_show_the_newest_round(clock: Clock) -> None:
    """Its findings for half an hour: then another task makes the rounds."""
    scraped = _Scraped(clock)
    names = ("asyncbuild_unfinished_builds", "asyncbuild_oldest_unfinished_seconds")
    assert [scraped.values()[name,] for name in names] == [0, 0]
    scraped.hear(_swept(5), _swept(3))
    clock.now += 1_800
    assert [scraped.values()[name,] for name in names] == [3, 900]
    clock.now += 1
    assert [scraped.values()[name,] for name in names] == [0, 0]


def _swept(unfinished: int) -> Emitted:
    return line(
        "results.swept", unfinished=unfinished, asked=9, found=2, oldest_seconds=900.0, seconds=1.0
    )


def _taken(embedded: EmbeddedMetrics) -> dict[tuple[str, ...], Any]:
    """Return the values of the results' metrics by name and further dimension."""
    found: dict[tuple[str, ...], Any] = {}
    for each in map(orjson.loads, embedded.take()):
        (directive,) = each["_aws"]["CloudWatchMetrics"]
        (dimensions,) = directive["Dimensions"]
        for metric in directive["Metrics"]:
            key = (metric["Name"], *(each[name] for name in dimensions[1:]))
            value = each[metric["Name"]]
            assert not isinstance(value, list) or 0 < len(value) <= 100
            found.setdefault(key, []).extend(value if isinstance(value, list) else [value])
    return found


def test_cloudwatch_reads_results_from_the_log(clock: Clock) -> None:
    """Each value of a minute once; those of a round only in the minute of one."""
    embedded = EmbeddedMetrics("pushes.fifo", state, clock)
    before = _taken(embedded).keys()
    for _ in range(150):
        embedded.hear(ended())
    embedded.hear(ended(BuildStatus.TIMED_OUT, **_UNKNOWN))
    embedded.hear(ended(BuildStatus.IN_PROGRESS))
    embedded.hear(_swept(5))
    taken = _taken(embedded)
    assert {key: sum(values) for key, values in taken.items() if key not in before} == {
        ("Results", "succeeded"): 150,
        ("Results", "timed-out"): 1,
        ("BuildSeconds", "queued"): 150 * 4.0,
        ("BuildSeconds", "provisioning"): 150 * 20.0,
        ("BuildSeconds", "building"): 150 * 168.0,
        ("SecondsFromPushToResult",): 150 * 194.0,
        ("SecondsFromEndToRecord",): 150 * 1.5,
        ("UnfinishedBuilds",): 5,
        ("OldestUnfinishedSeconds",): 900.0,
        ("ResultsFoundByRound",): 2,
    }
    assert len(taken["BuildSeconds", "building"]) == 150
    assert _taken(embedded).keys() == before


async def _spans(*told: Emitted) -> list[ReadableSpan]:
    exporter = InMemorySpanExporter()
    async with open_traces(exporter, queue_url="https://sqs.example/1/pushes.fifo") as hear:
        for each in told:
            hear(each)
    return list(exporter.get_finished_spans())


async def test_a_build_is_a_span_of_its_push() -> None:
    """Below the push's own, from begin to end; the next push has its own trace."""
    run, root = await _spans(
        ended(BuildStatus.IN_PROGRESS), ended(BuildStatus.FAILED), built(event_id="event-2")
    )
    context = run.get_span_context()
    assert context
    assert run.parent
    assert f"{context.trace_id:032x}" == trace_id("event-1")
    assert f"{run.parent.span_id:016x}" == root_span_id("event-1")
    assert (run.name, run.kind.name) == ("BUILD web", "SERVER")
    assert (run.start_time, run.end_time) == (NOW * 1e9, (NOW + 192) * 1e9)
    assert (run.status.is_ok, run.status.description) == (False, "failed in BUILD")
    expected = {
        "cicd.pipeline.action.name": "BUILD",
        "cicd.pipeline.name": "web",
        "cicd.pipeline.run.id": "web:1",
        "cicd.pipeline.result": "failure",
        "error.type": "failed",
        "vcs.repository.name": "web",
        "asyncbuild.exit_code": 2,
        "asyncbuild.building_seconds": 168.0,
    }
    assert dict(run.attributes or {}).items() >= expected.items()
    other = root.get_span_context()
    assert other
    assert f"{other.trace_id:032x}" == trace_id("event-2")
    assert f"{other.span_id:016x}" == root_span_id("event-2")


async def test_the_spans_of_two_tasks_are_one() -> None:
    """One id if a result is told twice, another for another attempt; no times, no duration."""
    once, again, later = [
        span.get_span_context()
        for span in await _spans(
            ended(), ended(), ended(BuildStatus.SUCCEEDED, attempt=2, **_UNKNOWN)
        )
    ]
    assert once
    assert again
    assert later
    assert once.span_id == again.span_id != later.span_id


@pytest.mark.parametrize("status", _ENDS)
async def test_a_span_tells_every_end(status: BuildStatus) -> None:
    """Each has a value of the conventions; an error is what is no success and was not stopped."""
    (run,) = await _spans(ended(status, project=None, pipeline="deploy", **_UNKNOWN))
    attributes = dict(run.attributes or {})
    assert attributes["cicd.pipeline.result"] in {
        *("success", "failure", "error", "timeout", "cancellation")
    }
    assert run.name == "RUN deploy"
    assert ("error.type" in attributes) == (run.status.description is not None) == status.is_failed
