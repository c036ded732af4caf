"""What the service tells of itself: remembered, counted, drawn and escaped."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from support.status import HOSTILE, NOW, Clock, built, handed_over, line, state, survey, work

from asyncbuild.config import Settings
from asyncbuild.errors import Reject
from asyncbuild.model import root_span_id, trace_id
from asyncbuild.state import Held
from asyncbuild.status import links, wording
from asyncbuild.status.chronicle import Chronicle
from asyncbuild.status.document import Depth, Status, json_schema, parse
from asyncbuild.status.emf import EmbeddedMetrics
from asyncbuild.status.metrics import Metrics
from asyncbuild.status.page import Page
from asyncbuild.status.screen import draw
from asyncbuild.status.series import WINDOWS, Recorder
from asyncbuild.status.survey import Sampled
from asyncbuild.status.traces import open_traces

_DOCUMENTATION = Path(__file__).parents[2] / "docs" / "observability.md"


@pytest.fixture
def clock() -> Clock:
    """Time stands still unless told to go on."""
    return Clock()


@pytest.fixture
def chronicle(clock: Clock) -> Chronicle:
    """Of a service that has just started, whose queue has answered."""
    chronicle = Chronicle(clock)
    chronicle.hear({"event": "service.started", "level": "info"})
    return chronicle


# --- chronicle and series -------------------------------------------------------------------------


def test_the_innermost_stage_is_told(chronicle: Chronicle, clock: Clock) -> None:
    """Prepare holds fetch; when both have ended nothing is under way."""
    chronicle.hear(line("push.prepare.started", "debug"))
    clock.now += 1
    chronicle.hear(line("push.fetch.started", "debug"))
    assert chronicle.stage_of("event-1") == ("fetch", NOW + 1)
    chronicle.hear(line("push.fetch.finished", duration_seconds=1))
    assert chronicle.stage_of("event-1") == ("prepare", NOW)
    chronicle.hear(line("push.prepare.cancelled", "debug", duration_seconds=1))
    assert chronicle.stage_of("event-1") == ("", None)


def test_a_failed_try_counts_once(chronicle: Chronicle) -> None:
    """A stage fails with those around it; the try failed once, and is one warning."""
    failed = {"kind": "retry", "reason": "cut", "duration_seconds": 1}
    chronicle.hear(line("push.fetch.failed", "debug", **failed))
    chronicle.hear(line("push.prepare.failed", "warning", **failed))
    assert chronicle.totals().failures == {"retry": 1}
    assert [each.event for each in chronicle.troubles] == ["push.prepare.failed"]


def test_memory_is_bounded(chronicle: Chronicle) -> None:
    """However many pushes come, so many are kept and no more."""
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
def test_every_window_counts_what_fell_into_it(moments: list[float]) -> None:
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


def test_ready_and_not(chronicle: Chronicle, clock: Clock) -> None:
    """Ready while polls are answered; not after a failed one, nor when none came for long."""
    look = survey(chronicle, clock)
    assert look.take().ready
    chronicle.hear(line("queue.receive-failed", "warning", kind="retry", reason="no way"))
    assert look.take().checks[0].says == "the last receive failed: no way"
    chronicle.hear({"event": "queue.polled", "level": "debug", "messages": 0})
    assert look.take().ready
    clock.now += 1_000
    assert not look.take().ready
    busy = replace(look, state=lambda: state(consumers_free=0))
    assert busy.take().ready  # nobody polls while there is nothing to do it with


def test_readiness_needs_disk_and_credentials(chronicle: Chronicle, clock: Clock) -> None:
    """Each fault makes it not ready, and is named."""
    look = survey(chronicle, clock)
    look.sampled.credentials_fault = "no credentials"
    look.sampled.disk = None
    assert [c.name for c in look.take().checks if not c.ok] == ["credentials", "disk"]


# --- the document ---------------------------------------------------------------------------------


def _status(chronicle: Chronicle, clock: Clock) -> Status:
    for index in range(3):
        chronicle.hear(built(event_id=str(index), ref=f"refs/heads/{HOSTILE}", project=HOSTILE))
    chronicle.hear(line("push.ignored", ref=HOSTILE, reason=HOSTILE, since_push_seconds=1.0))
    hostile = {"message_id": HOSTILE, "kind": HOSTILE, "reason": HOSTILE, "attempts": 2}
    chronicle.hear(line("push.dead-lettered", "error", **hostile))
    held = Held(work(group=HOSTILE), "paused", HOSTILE)
    return survey(chronicle, clock, shown=state({HOSTILE: (held,)})).take()


def test_the_document_can_be_read_back(chronicle: Chronicle, clock: Clock) -> None:
    """What orjson writes is what `parse` reads; anything else is refused."""
    status = _status(chronicle, clock)
    assert status == parse(orjson.dumps(status))
    with pytest.raises(Reject, match="no status document"):
        parse(b"{}")


def test_the_documentation_names_every_field() -> None:
    """docs/observability.md has a row for each field of each part of the document."""
    text = _DOCUMENTATION.read_text()
    schema: Any = json_schema()
    parts = {"Status": schema, **schema["$defs"]}
    for name, part in parts.items():
        section = text.split(f"#### {name}\n")[1].split("\n#")[0]
        documented = set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))
        assert set(part["properties"]) == documented, name


# --- metrics --------------------------------------------------------------------------------------


def _metrics(clock: Clock) -> Metrics:
    return Metrics(state, Sampled(), clock)


def test_metrics_are_what_prometheus_reads(clock: Clock) -> None:
    """The client's own parser reads them, and they say what was heard."""
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


def test_every_metric_is_documented(clock: Clock) -> None:
    """docs/observability.md has each metric, and none that there is not."""
    sampled = Sampled()
    look = survey(Chronicle(clock), clock)
    sampled.disk = look.sampled.disk
    sampled.depth = Depth(1, 2, 3, NOW)
    body, _ = Metrics(state, sampled, clock).expose("")
    exposed = {
        family.name
        for family in text_string_to_metric_families(body.decode())
        if not family.name.startswith("process_") and not family.name.endswith("_created")
    }
    documented = set(
        re.findall(r"^\| `(asyncbuild_?\w*)`", _DOCUMENTATION.read_text(), re.MULTILINE)
    )
    assert {name.removesuffix("_info") for name in exposed} == {
        name.removesuffix("_total").removesuffix("_info") for name in documented
    }


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
    assert len(embedded.take()) == 1  # what happened is told once


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


async def test_names_are_text(chronicle: Chronicle, clock: Clock) -> None:
    """A ref that would be an element is read as it is written, wherever it stands."""
    _status(chronicle, clock)
    held = Held(work(group=HOSTILE), "paused", HOSTILE)
    page = Page(survey(chronicle, clock, shown=state({HOSTILE: (held,)})))
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


def test_a_terminal_is_given_no_orders(chronicle: Chronicle, clock: Clock) -> None:
    """Escape sequences in names and reasons do not reach the terminal; markup is text."""
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
def test_seconds_as_people_say_them(value: float, expected: str) -> None:
    """No more digits than matter."""
    assert expected == wording.seconds(value)


def test_links_lead_to_the_consoles(chronicle: Chronicle) -> None:
    """Names are quoted; other partitions have hosts of their own; no build, no link."""
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


def test_a_hand_over_leads_to_its_execution(chronicle: Chronicle) -> None:
    """It counts as something started, and its link is CodePipeline's."""
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


def test_a_listening_address_is_checked() -> None:
    """A host and a port, or off."""
    assert Settings(status={"listen": "[::1]:0"}).status.address == ("::1", 0)
    for wrong in ("8080", "localhost:http", "localhost:70000", ":80"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            Settings(status={"listen": wrong})


def test_times_are_utc() -> None:
    """The page's clock is UTC until the reader's browser knows better."""
    moment = datetime(2026, 11, 23, 4, 49, 5, tzinfo=UTC).timestamp()
    assert (wording.clock(moment), wording.iso(moment)) == ("04:49:05", "2026-11-23T04:49:05Z")


async def test_a_push_is_one_trace() -> None:
    """Stages are spans inside one another, below the span of the push; a failure is an error."""
    exporter = InMemorySpanExporter()
    async with open_traces(exporter) as hear:
        hear(line("push.prepare.started", "debug"))
        hear(line("push.fetch.started", "debug"))
        failed = {"duration_seconds": 1, "kind": "retry", "reason": "cut"}
        hear(line("push.fetch.failed", "warning", **failed))
        hear(line("push.prepare.failed", "warning", **failed))
        hear(line("push.start.started", "debug"))
        hear(line("push.start.finished", duration_seconds=1))
        hear(built())
    spans = {span.name: span for span in exporter.get_finished_spans()}
    root = spans["push.built"].context
    assert {trace_id("event-1")} == {f"{span.context.trace_id:032x}" for span in spans.values()}
    assert root_span_id("event-1") == f"{root.span_id:016x}"
    parents = {name: span.parent.span_id for name, span in spans.items() if span.parent}
    assert parents == {
        "push.prepare": root.span_id,
        "push.start": root.span_id,
        "push.fetch": spans["push.prepare"].context.span_id,
    }
    assert spans["push.fetch"].status.description == "cut"
    assert spans["push.start"].status.is_ok
