"""Status of the service: history, counters, metrics, page and terminal."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import chain, product
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import Metric as Family
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from support.status import HOSTILE, NOW, Clock, built, handed_over, held, line, state, survey, work

from asyncbuild.archive.delta.fallback import REASONS
from asyncbuild.config import Settings
from asyncbuild.domain.errors import Kind, Reject
from asyncbuild.domain.events.catalogue import EVENTS
from asyncbuild.domain.events.event import Emitted
from asyncbuild.domain.model import root_span_id, trace_id
from asyncbuild.domain.outcomes.outcome_event import DetailType
from asyncbuild.domain.reports.commit_status import StatusState
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.domain.results.build_result import BuildStatus
from asyncbuild.queue.counters import InFlight
from asyncbuild.status import links
from asyncbuild.status import phrases as wording
from asyncbuild.status.document import json_schema, parse
from asyncbuild.status.exporters.emf import EmbeddedMetrics
from asyncbuild.status.exporters.otel import open_traces
from asyncbuild.status.exporters.prometheus import Metrics
from asyncbuild.status.history import Chronicle
from asyncbuild.status.page import Page
from asyncbuild.status.schema import Depth, Disk, Status
from asyncbuild.status.screen import draw
from asyncbuild.status.time_series import WINDOWS, Recorder

_ROOT = Path(__file__).parents[3]
_DOCUMENTATION = _ROOT / "docs" / "observability.md"


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still unless advanced."""
    return Clock()


@pytest.fixture
def chronicle(clock: Clock) -> Chronicle:
    """History of a service that has just started, whose queue has answered."""
    chronicle = Chronicle(clock)
    chronicle.hear(line("service.started"))
    return chronicle


# --- chronicle and series -------------------------------------------------------------------------


def test_the_innermost_stage_is_shown(chronicle: Chronicle, clock: Clock) -> None:
    """Prepare contains fetch; when both have ended no stage runs."""
    chronicle.hear(line("push.prepare.started", "debug"))
    clock.now += 1
    chronicle.hear(line("push.fetch.started", "debug"))
    assert chronicle.stage_of("event-1") == ("fetch", NOW + 1)
    chronicle.hear(line("push.fetch.finished", duration_seconds=1))
    assert chronicle.stage_of("event-1") == ("prepare", NOW)
    chronicle.hear(line("push.prepare.cancelled", "debug", duration_seconds=1))
    assert chronicle.stage_of("event-1") == ("", None)


def test_a_failed_attempt_counts_once(chronicle: Chronicle) -> None:
    """A stage fails with those around it; the attempt failed once, and is one warning."""
    failed = {"kind": "retry", "reason": "cut", "duration_seconds": 1}
    chronicle.hear(line("push.fetch.failed", "debug", **failed))
    chronicle.hear(line("push.prepare.failed", "warning", **failed))
    assert chronicle.totals().failures == {"retry": 1}
    assert [each.event for each in chronicle.troubles] == ["push.prepare.failed"]


def test_memory_is_bounded(chronicle: Chronicle) -> None:
    """A fixed number of pushes is kept, however many come."""
    for number in range(300):
        chronicle.hear(built(event_id=str(number)))
        chronicle.hear(line("lease.lost", "warning", reason="r" + "x" * number))
        chronicle.hear(
            line("push.dead-lettered", "error", message_id="m", kind="r", reason="", attempts=2)
        )
    assert (
        len(chronicle.settled),
        len(chronicle.dead_letters),
        len(chronicle.troubles),
    ) == (100, 50, 30)
    assert chronicle.settled[0].event_id == "299"
    assert chronicle.totals().pushes == {"built": 300, "rejected": 300}


@settings(deadline=None)
@given(st.lists(st.floats(0, 50_000), max_size=50))
def test_every_window_counts_its_builds(moments: list[float]) -> None:
    """The sum over a window's buckets is the number of builds younger than the window."""
    recorder, now = Recorder(), NOW + 50_000
    for moment in sorted(moments):
        recorder.count_settled(NOW + moment, built=True, since_push_seconds=1.0)
    for window in WINDOWS:
        series = recorder.series(now, uptime_seconds=0, window_seconds=window)
        assert len(series.buckets) == 60
        begin = series.buckets[0].begin
        expected = sum(NOW + moment >= begin for moment in moments)
        assert expected == sum(bucket.built for bucket in series.buckets)
        assert begin <= now - window + series.bucket_seconds


def test_the_window_grows_with_the_service() -> None:
    """The shortest window that holds everything since the start, unless one is asked for."""
    recorder = Recorder()
    assert [
        recorder.series(NOW, uptime_seconds=uptime).window_seconds
        for uptime in (10, 301, 1_000_000)
    ] == [300, 1_800, 43_200]


# --- readiness ------------------------------------------------------------------------------------


def test_readiness_follows_polls(chronicle: Chronicle, clock: Clock) -> None:
    """Ready while polls are answered; not after a failed one, nor when none came for long."""
    look = survey(chronicle, clock)
    assert look.take().ready
    chronicle.hear(line("queue.receive-failed", "warning", kind="retry", reason="no way"))
    assert look.take().checks[0].says == "the last receive failed: no way"
    chronicle.hear(line("queue.polled", messages=0))
    assert look.take().ready
    clock.now += 1_000
    assert not look.take().ready
    busy = replace(look, state=lambda: state(consumers_free=0))
    assert busy.take().ready  # no polls are made while no consumer is free


def test_readiness_needs_disk_and_credentials(chronicle: Chronicle, clock: Clock) -> None:
    """Each fault makes it not ready, and is named."""
    look = survey(chronicle, clock)
    look.sampled.credentials_fault = "no credentials"
    look.sampled.disk = None
    assert [c.name for c in look.take().checks if not c.ok] == ["credentials", "disk"]


@pytest.mark.parametrize("free_mib", [0, 100, 255, 256, 10_000])
def test_a_full_disk_has_a_remedy(chronicle: Chronicle, clock: Clock, free_mib: int) -> None:
    """Free space, needed space and what to do; none of that while there is enough."""
    look = survey(chronicle, clock)
    look.sampled.disk = Disk(2**40, free_mib * 2**20)
    (check,) = [each for each in look.take().checks if each.name == "disk"]
    assert check.ok == (free_mib >= 256)
    told = f"{free_mib} MiB free at" in check.says and "256 MiB are needed" in check.says
    assert told != check.ok
    assert ("git.cache_budget_bytes" in check.says) != check.ok


# --- the document ---------------------------------------------------------------------------------


def _status(chronicle: Chronicle, clock: Clock) -> Status:
    for index in range(3):
        chronicle.hear(built(event_id=str(index), ref=f"refs/heads/{HOSTILE}", project=HOSTILE))
    chronicle.hear(line("push.ignored", ref=HOSTILE, reason=HOSTILE, since_push_seconds=1.0))
    hostile = {"message_id": HOSTILE, "kind": HOSTILE, "reason": HOSTILE, "attempts": 2}
    chronicle.hear(line("push.dead-lettered", "error", **hostile))
    waiting = InFlight(work(group=HOSTILE), "paused", HOSTILE)
    return survey(chronicle, clock, shown=state({HOSTILE: (waiting,)})).take()


def test_the_document_can_be_parsed(chronicle: Chronicle, clock: Clock) -> None:
    """Output of orjson is read by `parse`; anything else is refused."""
    status = _status(chronicle, clock)
    assert status == parse(orjson.dumps(status))
    with pytest.raises(Reject, match="not a status document"):
        parse(b"{}")


def test_the_documentation_names_every_field() -> None:
    """docs/observability.md has a row for each field of each part of the document."""
    text = _DOCUMENTATION.read_text()
    schema: Any = json_schema()
    parts = {"Status": schema, **schema["$defs"]}
    for name, part in parts.items():
        section = text.split(f"### {name}\n")[1].split("\n#")[0]
        documented = set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))
        assert set(part["properties"]) == documented, name


# --- metrics --------------------------------------------------------------------------------------


def _metrics(clock: Clock) -> Metrics:
    look = survey(Chronicle(clock), clock)
    look.sampled.depth = Depth(1, 2, 3, NOW)
    return Metrics(look)


def test_metrics_are_valid_for_prometheus(clock: Clock) -> None:
    """The client's own parser reads them, and their values are those of the events."""
    metrics = _metrics(clock)
    for heard in (
        built(),
        built(since_push_seconds=100.0),
        line("push.stale"),
        line(
            "push.upload.finished",
            duration_seconds=1,
            bytes=9,
            sent_bytes=5,
            copied_bytes=4,
            entries=3,
            files_read=2,
            archive_kind="delta",
        ),
        line("push.fetch.failed", "warning", duration_seconds=1, kind="retry", reason=HOSTILE),
        line("queue.polled", "debug", messages=3, groups=2),
        line("lease.lost", "warning"),
    ):
        metrics.hear(heard)
    body, content_type = metrics.expose("text/plain")
    assert content_type.startswith("text/plain")
    samples = {
        (s.name, *sorted(s.labels.values())): s.value
        for family in text_string_to_metric_families(body.decode())
        for s in family.samples
    }
    assert samples["asyncbuild_pushes_total", "built"] == 2
    assert samples["asyncbuild_pushes_total", "stale"] == 1
    assert samples["asyncbuild_push_to_build_seconds_sum",] == 102
    assert samples["asyncbuild_stage_failures_total", "fetch", "retry"] == 1
    assert tuple(
        samples[f"asyncbuild_{name}_total",]
        for name in (
            *("archive_bytes", "sent_bytes", "copied_bytes"),
            *("archive_entries", "archive_files_read"),
        )
    ) == (9, 5, 4, 3, 2)
    assert samples["asyncbuild_messages_received_total",] == 3
    assert samples["asyncbuild_leases_total", "lost"] == 1
    assert samples["asyncbuild_consumers_free",] == 8


def _families(metrics: Metrics) -> dict[str, Family]:
    body, _ = metrics.expose("")
    return {
        family.name: family
        for family in text_string_to_metric_families(body.decode())
        if not family.name.startswith("process_") and not family.name.endswith("_created")
    }


def test_every_metric_is_documented(clock: Clock) -> None:
    """docs/observability.md has each metric with its type, labels and HELP, and no others."""
    rows = re.findall(
        r"^\| `(asyncbuild\w*?)(?:_total|_info)?` \| (\w+) \| (.*?) ?\| (.*) \|$",
        _DOCUMENTATION.read_text(),
        re.MULTILINE,
    )
    documented = {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels)), says)
        for name, kind, labels, says in rows
    }
    exposed = {
        name.removesuffix("_info"): (
            "info" if name.endswith("_info") else family.type,
            frozenset(chain.from_iterable(s.labels for s in family.samples)) - {"le"},
            family.documentation,
        )
        for name, family in _families(_metrics(clock)).items()
    }
    assert documented == exposed


def test_help_describes_a_metric(clock: Clock) -> None:
    """Each text is read without its neighbours: a noun first, and not empty."""
    told = [family.documentation for family in _families(_metrics(clock)).values()]
    assert len(set(told)) == len(told)
    for each in told:
        assert each.endswith(".")
        assert len(each.split()) >= 3, each
        assert each.split()[0] not in {"Their", "They", "Those", "Of", "By", "In", "At", "From"}
        assert not {"them", "likewise", "that"} & set(each.removesuffix(".").split()[-1:]), each


def _every_line() -> Iterator[Emitted]:
    """Lines of every event, with every value of the fields that become labels."""
    values = {"kind": (*Kind,), "archive_kind": ("full", "delta", "copy"), "reason": REASONS}
    for event, about in EVENTS.items():
        for level, kind, reason in product(about.levels, values["kind"], REASONS):
            more = dict.fromkeys(about.field_names, 1) | {
                "kind": kind,
                "reason": reason,
                "messages": 0,
            }
            more |= {"archive_kind": "delta", "peer": "git", "mirror": "a/b/c", "source": "seed"}
            if event == "result.recorded":
                more |= {"status": BuildStatus.FAILED, "project": reason, "by_sweep": level}
            if event == "report.posted":
                more |= {"state": StatusState.PENDING, "forge": ForgeKind.GITHUB}
            if event == "outcome.sent":
                more |= {"detail_type": DetailType.BROKE}
            yield line(event, level, **more)


def test_every_series_exists_from_the_start(clock: Clock) -> None:
    """No event adds a series to those of a service that has just started."""
    metrics = _metrics(clock)

    def series() -> set[tuple[str, frozenset[tuple[str, str]]]]:
        return {
            (sample.name, frozenset(sample.labels.items()))
            for family in _families(metrics).values()
            for sample in family.samples
        }

    before = series()
    for each in _every_line():
        metrics.hear(each)
    assert series() == before


def test_every_reason_for_a_full_archive_is_a_series() -> None:
    """Reasons in the code are those of the list."""
    text = "".join(path.read_text() for path in (_ROOT / "asyncbuild" / "archive").rglob("*.py"))
    used = set(re.findall(r'FallBack\(\s*"([a-z-]+)"', text)) | {"off", "failed", "other-format"}
    assert used == set(REASONS)


def test_an_unreachable_peer_is_a_series(clock: Clock) -> None:
    """0 while all is well; seconds while it lasts; readiness beside it."""
    chronicle = Chronicle(clock)
    look = survey(chronicle, clock, shown=state({"web": (held("event-1"),)}))
    metrics = Metrics(look)

    def value(name: str, peer: str) -> float:
        samples = _families(metrics)[name].samples
        return next(s.value for s in samples if s.labels.get("peer", peer) == peer)

    assert (value("asyncbuild_outage_seconds", "git"), value("asyncbuild_ready", "")) == (0, 0)
    chronicle.hear(line("queue.polled", "debug", messages=0, groups=0))
    failed = {"kind": "outage", "peer": "git", "reason": "refused"}
    chronicle.hear(line("push.prepare.failed", "warning", **failed))
    clock.now += 55
    assert (value("asyncbuild_outage_seconds", "git"), value("asyncbuild_ready", "")) == (55, 1)
    assert value("asyncbuild_outage_seconds", "s3") == 0
    assert value("asyncbuild_limit_seconds", "git") == 0


def test_embedded_metrics_follow_the_specification(clock: Clock) -> None:
    """Every line names its namespace, dimensions and metrics, and has a value for each."""
    embedded = EmbeddedMetrics("pushes.fifo", state, clock)
    for _ in range(150):
        embedded.hear(built())
    embedded.hear(line("push.fetch.failed", "debug", kind="busy"))
    embedded.hear(line("push.prepare.failed", "warning", kind="busy"))
    lines = [orjson.loads(each) for each in embedded.take()]
    seen: dict[str, Any] = {}
    for each in lines:
        about = each.pop("_aws")
        assert int(NOW * 1000) == about["Timestamp"]
        (directive,) = about["CloudWatchMetrics"]
        assert directive["Namespace"] == "asyncbuild"
        names = [metric["Name"] for metric in directive["Metrics"]]
        (dimensions,) = directive["Dimensions"]
        assert dimensions[0] == "queue"
        assert {*names, *dimensions} == set(each)
        assert all(not isinstance(each[n], list) or len(each[n]) <= 100 for n in names)
        seen |= {name: each[name] for name in names}
    assert {
        "GroupsWaiting",
        "GroupsInWork",
        "ConsumersFree",
        "OldestWaitingSeconds",
        "SecondsFromPushToBuild",
        "Failures",
    } == set(seen)
    assert (
        seen["ConsumersFree"],
        seen["Failures"],
        len(seen["SecondsFromPushToBuild"]),
    ) == (8, 1, 50)
    assert len(embedded.take()) == 1  # each event is reported once


# --- the page and the terminal --------------------------------------------------------------------


class _Seen(HTMLParser):
    """Collects the tags and what a reader sees."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_names_are_shown_as_text(chronicle: Chronicle, clock: Clock) -> None:
    """A ref with markup is shown as it is written, in each place."""
    _status(chronicle, clock)
    waiting = InFlight(work(group=HOSTILE), "paused", HOSTILE)
    page = Page(survey(chronicle, clock, shown=state({HOSTILE: (waiting,)})))
    response = await page.serve_page(make_mocked_request("GET", "/"))
    assert isinstance(response, web.Response)
    seen = _Seen()
    seen.feed(response.text or "")
    assert "img" not in seen.tags
    assert (
        not {name for name in seen.attributes if name.startswith("on")}
        | {"style"} & seen.attributes
    )
    assert seen.text.count(HOSTILE) >= 8


def test_a_terminal_receives_no_escape_sequences(chronicle: Chronicle, clock: Clock) -> None:
    """Names and reasons are stripped of them; markup is text."""
    chronicle.hear(built(ref="refs/heads/\x1b[2J[bold]x[/bold]", repository="\x1b]0;x\x07"))
    console = Console(width=120, force_terminal=False, record=True)
    console.print(draw(survey(chronicle, clock).take(), lines=40))
    text = console.export_text()
    assert "\x1b" not in text
    assert "[bold]x[/bold]" in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.481, "0.48 s"),
        (12.34, "12.3 s"),
        (125, "2 min 05 s"),
        (11_520, "3 h 12 min"),
        (97_200, "1 d 3 h"),
    ],
)
def test_seconds_are_shown_in_few_digits(value: float, expected: str) -> None:
    """No more digits than matter."""
    assert expected == wording.seconds(value)


def test_links_lead_to_the_consoles(chronicle: Chronicle) -> None:
    """Names are quoted; other partitions have their own hosts; without a build no link is made."""
    chronicle.hear(built(build_id="we b:1/2", key="a&b/ü.zip"))
    settled = chronicle.settled[0]
    assert links.build_link(settled) == (
        "https://eu-west-1.console.aws.amazon.com/codesuite/codebuild/123456789012/projects/"
        "we%20b/build/we%20b%3A1%2F2/?region=eu-west-1"
    )
    assert links.archive_link(settled, None) == (
        "https://eu-west-1.console.aws.amazon.com/s3/object/sources"
        "?region=eu-west-1&prefix=a%26b%2F%C3%BC.zip"
    )
    china = replace(settled, build_arn="arn:aws-cn:codebuild:cn-north-1:1:build/web:1")
    assert links.build_link(china).startswith("https://cn-north-1.console.amazonaws.cn/")
    assert links.build_link(replace(settled, build_arn="nonsense")) == ""


def test_a_started_pipeline_links_to_its_execution(chronicle: Chronicle) -> None:
    """The push counts as started, and its link is CodePipeline's."""
    chronicle.hear(handed_over())
    settled = chronicle.settled[0]
    assert settled.started
    assert chronicle.totals().pushes == {"handed-over": 1}
    assert links.build_link(settled) == (
        "https://eu-west-1.console.aws.amazon.com/codesuite/codepipeline/pipelines/deploy/"
        "executions/11111111-2222-3333-4444-555555555555/visualization?region=eu-west-1"
    )
    assert links.archive_link(settled, None).startswith("https://eu-west-1.console")
    assert links.build_link(replace(settled, pipeline_arn=None)) == ""


def test_a_listening_address_is_a_host_and_a_port_or_off() -> None:
    """A host and a port, or off."""
    assert Settings(status={"listen": "[::1]:0"}).status.address == ("::1", 0)
    for wrong in ("8080", "localhost:http", "localhost:70000", ":80"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            Settings(status={"listen": wrong})


def test_times_are_utc() -> None:
    """The page's clock is UTC until the reader's browser knows better."""
    moment = datetime(2026, 11, 23, 4, 49, 5, tzinfo=UTC).timestamp()
    assert (wording.clock(moment), wording.iso(moment)) == ("04:49:05", "2026-11-23T04:49:05Z")


_QUEUE_URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/pushes.fifo"


async def _spans(*lines: Emitted) -> dict[str, ReadableSpan]:
    exporter = InMemorySpanExporter()
    async with open_traces(exporter, queue_url=_QUEUE_URL) as hear:
        for each in lines:
            hear(each)
    return {span.name: span for span in exporter.get_finished_spans()}


async def test_a_push_is_one_trace() -> None:
    """Stages are nested spans below the span of the push; a failure is an error."""
    failed = {"duration_seconds": 1, "kind": "retry", "reason": "cut", "peer": "git"}
    spans = await _spans(
        line("push.prepare.started", "debug"),
        line("push.fetch.started", "debug"),
        line("push.fetch.failed", "debug", **failed),
        line("push.prepare.failed", "warning", **failed),
        line("push.start.started", "debug"),
        line("push.start.finished", duration_seconds=1),
        built(),
    )
    contexts = {name: span.get_span_context() for name, span in spans.items()}
    assert None not in contexts.values()
    ids = {name: context.span_id for name, context in contexts.items() if context}
    traces = {f"{context.trace_id:032x}" for context in contexts.values() if context}
    root = ids["process pushes.fifo"]
    assert traces == {trace_id("event-1")}
    assert root_span_id("event-1") == f"{root:016x}"
    parents = {name: span.parent.span_id for name, span in spans.items() if span.parent}
    assert parents == {
        "push.prepare": root,
        "push.start": root,
        "push.fetch": ids["push.prepare"],
    }
    assert spans["push.fetch"].status.description == "cut"
    assert spans["push.start"].status.is_ok


async def test_spans_follow_the_conventions() -> None:
    """OpenTelemetry's names and kinds; other names begin with `asyncbuild.`."""
    failed = {"duration_seconds": 1, "kind": "outage", "reason": "cut", "peer": "git"}
    spans = await _spans(
        line("push.prepare.started", "debug"),
        line("push.fetch.started", "debug"),
        line("push.fetch.failed", "debug", **failed),
        line("push.prepare.failed", "warning", **failed),
        line("push.start.started", "debug", pipeline="deploy"),
        line("push.start.finished", duration_seconds=1),
        built(),
    )
    assert {name: span.kind.name for name, span in spans.items()} == {
        "process pushes.fifo": "CONSUMER",
        "push.prepare": "INTERNAL",
        "push.fetch": "CLIENT",
        "push.start": "CLIENT",
    }
    root = dict(spans["process pushes.fifo"].attributes or {})
    expected = {
        "messaging.system": "aws_sqs",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "pushes.fifo",
        "messaging.message.conversation_id": "event-1",
        "aws.sqs.queue.url": _QUEUE_URL,
        "server.address": "sqs.eu-west-1.amazonaws.com",
        "vcs.repository.name": "web",
        "asyncbuild.verdict": "built",
        "asyncbuild.bytes": 1_000,
    }
    assert root.items() >= expected.items()
    fetch = dict(spans["push.fetch"].attributes or {})
    assert (fetch["error.type"], fetch["peer.service"]) == ("outage", "git")
    assert dict(spans["push.start"].attributes or {})["peer.service"] == "codepipeline"
    for span in spans.values():
        for name in span.attributes or {}:
            spaces = ("asyncbuild.", "messaging.", "vcs.", "aws.", "server.", "error.", "peer.")
            assert name.startswith(spaces), name


async def test_a_dead_lettered_push_has_its_span() -> None:
    """An error, with its kind, from the first attempt to the last."""
    letter = {"message_id": "m-1", "kind": "reject", "reason": "no project", "attempts": 1}
    spans = await _spans(
        line("push.start.started", "debug"),
        line(
            "push.start.failed", "warning", duration_seconds=1, kind="reject", reason="no project"
        ),
        line("push.dead-lettered", "error", **letter),
    )
    root = spans["process pushes.fifo"]
    attributes = dict(root.attributes or {})
    assert (root.status.description, attributes["error.type"]) == ("no project", "reject")
    assert attributes["messaging.message.id"] == "m-1"
    assert (root.start_time or 0) <= (spans["push.start"].start_time or 0) + 1_000_000
