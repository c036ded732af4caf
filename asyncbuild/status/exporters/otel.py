"""OpenTelemetry spans from events: one for each stage and build, below one for the whole push.

The span of the push processes a message of the queue (kind CONSUMER); stages that call another side
are CLIENT, `push.prepare`, which contains two of them, INTERNAL. A build is a run of a pipeline
(SERVER); the task that records its end makes its span.
`status/exporters/semantic_conventions.py` has the names.

An optional extra (`asyncbuild[otel]`). OpenTelemetry's own variables say where spans go
(`OTEL_EXPORTER_OTLP_ENDPOINT`); they are sent by a thread of its own. All tries of a push, in
whatever process, share the trace that follows from its event id (`domain.model.trace_id`).
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import to_thread

from asyncbuild import __version__
from asyncbuild.domain.errors import ConfigError
from asyncbuild.domain.events.event import Emitted
from asyncbuild.domain.events.push_events import PushDeadLettered, PushOutcome
from asyncbuild.domain.events.result_events import ResultRecorded
from asyncbuild.domain.events.stage_events import StageEnded, StageFailed, StageStarted
from asyncbuild.domain.model import root_span_id, run_span_id, trace_id
from asyncbuild.runtime.emit import Subscriber
from asyncbuild.status.exporters import semantic_conventions as conventions

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

_LAST_SECONDS: Final = 5.0
_OPEN_MOST: Final = 10_000
_NANOSECONDS: Final = 1_000_000_000


def require_opentelemetry() -> None:
    """Check that the optional extra is installed.

    Raises:
        ConfigError: It is not.
    """
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: PLC0415 - an optional extra
        import opentelemetry.sdk.trace.export  # noqa: F401, PLC0415 - the same
    except ImportError as error:
        raise ConfigError(
            "status.traces is on, but OpenTelemetry is not installed",
            remedy="pip install 'asyncbuild[otel]', or turn status.traces off",
        ) from error


@asynccontextmanager
async def open_traces(
    exporter: "SpanExporter | None" = None, *, queue_url: str = ""
) -> AsyncIterator[Subscriber]:
    """Open a subscriber that makes spans; the last ones are sent at the end.

    Args:
        exporter: Target of the spans; by default OTLP over HTTP, as the environment says.
        queue_url: The queue whose messages are processed.

    Raises:
        ConfigError: The extra is not installed.
    """
    require_opentelemetry()
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an optional extra
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - the same
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - the same

    ids = _ids()
    resource = Resource.create({"service.name": "asyncbuild", "service.version": __version__})
    provider = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter or _otlp_exporter()))
    try:
        yield Traces(provider.get_tracer("asyncbuild", __version__), ids.use, queue_url).hear
    finally:
        # Sends the remaining spans, from a thread: the collector may be slow or gone.
        with anyio.move_on_after(_LAST_SECONDS, shield=True):
            await to_thread.run_sync(provider.shutdown, abandon_on_cancel=True)


class Traces:
    """Opener and closer of spans as stages begin and end.

    Args:
        tracer: Maker of spans.
        use_ids: Sets trace id and span id of the next span, both as hex digits.
        queue_url: The queue whose messages are processed.
    """

    def __init__(
        self, tracer: "Tracer", use_ids: Callable[[str, str], None], queue_url: str
    ) -> None:
        self._tracer = tracer
        self._use_ids = use_ids
        self._of_queue = conventions.of_queue(queue_url)
        self._name = conventions.name_of_process(queue_url)
        self._begun: dict[str, float] = {}
        self._open: dict[str, list[tuple[str, Span]]] = {}

    def hear(self, told: Emitted) -> None:
        """Open or close the spans of one event."""
        match told.event:
            case StageStarted() as started:
                self._begin(told, started)
            case StageEnded() as ended:
                self._end(told, ended)
            case PushOutcome() as outcome:
                begun = time.time() - outcome.since_push_seconds
                self._tell_push(told, begun, verdict=outcome.verdict.value)
            case PushDeadLettered(event_id=str(event_id), reason=reason) if event_id:
                begun = self._begun.get(event_id, time.time())
                self._tell_push(told, begun, verdict="rejected", failure=reason)
            case ResultRecorded() as result if result.status.is_end and told.event_id:
                self._tell_run(told, result)
            case _:
                pass

    def _begin(self, told: Emitted, started: StageStarted) -> None:
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - an optional extra

        event_id = told.event_id
        stack = self._open.setdefault(event_id, [])
        self._begun.setdefault(event_id, time.time())
        parent = _context_of(stack[-1][1]) if stack else _root_of(event_id)
        peer = conventions.peer_of(started)
        span = self._tracer.start_span(
            started.stage_name,
            parent,
            kind=SpanKind.CLIENT if peer else SpanKind.INTERNAL,
            attributes={**conventions.of_event(told), **({"peer.service": peer} if peer else {})},
        )
        stack.append((started.stage_name, span))
        for known in (self._open, self._begun):
            if len(known) > _OPEN_MOST:
                known.pop(next(iter(known)))

    def _end(self, told: Emitted, ended: StageEnded) -> None:
        stack = self._open.get(told.event_id, [])
        while stack:  # spans that were left open inside end with it
            name, span = stack.pop()
            if name == ended.stage_name:
                span.set_attributes(conventions.of_event(told))
                if isinstance(ended, StageFailed):
                    _mark_failed(span, ended.reason)
            span.end()
            if name == ended.stage_name:
                break
        if not stack:
            self._open.pop(told.event_id, None)

    def _tell_push(
        self, told: Emitted, begun: float, *, verdict: str, failure: str | None = None
    ) -> None:
        """Emit the span of a whole push, from its event, or its first try here, to its outcome."""
        from opentelemetry.context import Context  # noqa: PLC0415 - an optional extra
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - the same

        now, event_id = time.time(), told.event_id
        self._begun.pop(event_id, None)
        self._use_ids(trace_id(event_id), root_span_id(event_id))
        span = self._tracer.start_span(
            self._name,
            Context(),
            kind=SpanKind.CONSUMER,
            attributes={
                **self._of_queue,
                **conventions.of_event(told),
                "asyncbuild.verdict": verdict,
            },
            start_time=int(begun * _NANOSECONDS),
        )
        if failure is not None:
            _mark_failed(span, failure)
        span.end(int(now * _NANOSECONDS))

    def _tell_run(self, told: Emitted, result: ResultRecorded) -> None:
        """Make the span of an ended build. If two tasks tell it, both spans have one id."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - an optional extra

        ended = result.ended_at.timestamp() if result.ended_at else time.time()
        begun = result.started_at.timestamp() if result.started_at else ended
        event_id = told.event_id
        self._use_ids("0", run_span_id(event_id, result.build_id, result.attempt))
        span = self._tracer.start_span(
            conventions.name_of_run(result),
            _root_of(event_id),
            kind=SpanKind.SERVER,
            attributes={**conventions.of_event(told), **conventions.of_run(result)},
            start_time=int(begun * _NANOSECONDS),
        )
        if result.status.is_failed:
            where = f" in {result.phase}" if result.phase else ""
            _mark_failed(span, f"{result.status}{where}")
        span.end(int(ended * _NANOSECONDS))


def _mark_failed(span: "Span", reason: str) -> None:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - an optional extra

    span.set_status(Status(StatusCode.ERROR, reason))


def _context_of(span: "Span") -> "Context":
    from opentelemetry.trace import set_span_in_context  # noqa: PLC0415 - an optional extra

    return set_span_in_context(span)


def _root_of(event_id: str) -> "Context":
    from opentelemetry import trace  # noqa: PLC0415 - an optional extra

    root = trace.SpanContext(
        int(trace_id(event_id), 16),
        int(root_span_id(event_id), 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(root))


def _otlp_exporter() -> "SpanExporter":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - an optional extra
        OTLPSpanExporter,
    )

    return OTLPSpanExporter()


def _ids() -> Any:  # noqa: ANN401 - a class that is made below
    """Return a generator of random ids, except right after `use`."""
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415 - an optional extra

    class Ids(RandomIdGenerator):
        next_trace = 0
        next_span = 0

        def use(self, trace: str, span: str) -> None:
            self.next_trace, self.next_span = int(trace, 16), int(span, 16)

        def generate_trace_id(self) -> int:
            told, self.next_trace = self.next_trace, 0
            return told or super().generate_trace_id()

        def generate_span_id(self) -> int:
            told, self.next_span = self.next_span, 0
            return told or super().generate_span_id()

    return Ids()
