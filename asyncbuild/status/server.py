"""Server of one HTTP port, for reading only: health, readiness, metrics, status document, page.

Nothing is counted or drawn unless a reader asks, except for samples of disk, credentials and queue
every few seconds.
"""

import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import anyio
from aiohttp import web
from aiohttp.typedefs import Middleware
from anyio import to_thread

from asyncbuild.aws.session import Aws
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import StageError
from asyncbuild.domain.events.service_events import StatusBug, StatusListening, StatusUnavailable
from asyncbuild.domain.foreign_text import to_json
from asyncbuild.forges.keyring import read_secret
from asyncbuild.queue.counters import ConsumerState
from asyncbuild.runtime.emit import emit, subscribed
from asyncbuild.status import access
from asyncbuild.status import phrases as wording
from asyncbuild.status.collect import Sampled, Survey
from asyncbuild.status.exporters.emf import EmbeddedMetrics, keep_writing
from asyncbuild.status.exporters.otel import open_traces
from asyncbuild.status.exporters.prometheus import Metrics
from asyncbuild.status.history import Chronicle
from asyncbuild.status.outages import AWAY
from asyncbuild.status.page import add_page
from asyncbuild.status.results.lookup import FindResult, ResultLookup
from asyncbuild.status.schema import Depth, Disk, Status

_SAMPLE_SECONDS = 5.0  # while a reader watches
_IDLE_SAMPLE_SECONDS = 60.0
_LOOK_SECONDS = 1.0
_WATCHED_SECONDS = 30.0  # since a reader asked
_SHUTDOWN_SECONDS = 2.0
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


AskDepth = Callable[[], Awaitable[tuple[int, int, int]]]


@dataclass(frozen=True, slots=True)
class Sources:
    """Sources of the status.

    `state` is cheap and may be called at any time; the others make a call. `depth` and
    `results_depth` return waiting, held and dead-lettered messages of the two queues. The last two
    are None if the service asks for no results.
    """

    state: Callable[[], ConsumerState]
    depth: AskDepth
    credentials: Callable[[], Awaitable[object]]
    results_depth: AskDepth | None = None
    find_result: FindResult | None = None


@asynccontextmanager
async def open_status(settings: Settings, sources: Sources) -> AsyncIterator[None]:
    """Subscribe to events and serve the status, as `[status]` says.

    Pushes matter more than their page: if the port is taken, that is logged as an error, and the
    service goes on without a page.

    Raises:
        Fatal: The secret that `status.token` names is missing.
        StageError: Secrets Manager refuses, or cannot be reached.
    """
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        if settings.status.embedded_metrics:
            queue_name = settings.queue.url.rpartition("/")[2]
            embedded = EmbeddedMetrics(queue_name, sources.state)
            stack.enter_context(subscribed(embedded.hear))
            tasks.start_soon(_contain, partial(keep_writing, embedded))
        if settings.status.traces:
            hear = await stack.enter_async_context(open_traces(queue_url=settings.queue.url))
            stack.enter_context(subscribed(hear))
        if settings.status.listen != "off":
            await stack.enter_async_context(_open_page(settings, sources))
        yield


@asynccontextmanager
async def _open_page(settings: Settings, sources: Sources) -> AsyncIterator[None]:
    chronicle, sampled = Chronicle(), Sampled()
    survey = Survey(settings, sources.state, chronicle, sampled, time.time)
    metrics = Metrics(survey)
    async with AsyncExitStack() as stack:
        stack.enter_context(subscribed(chronicle.hear, metrics.hear))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(_contain, partial(_keep_sampling, settings, sources, sampled))
        if sources.find_result is not None:
            lookup = ResultLookup(chronicle, sources.find_result)
            tasks.start_soon(_contain, partial(_keep_looking_up, lookup, sampled))
        app = _app(survey, metrics)
        app.middlewares.extend(await _access(settings))
        await stack.enter_async_context(_open_site(settings, app))
        yield


async def _access(settings: Settings) -> list[Middleware]:
    host, _ = settings.status.address
    local = access.is_loopback(host)
    checks = [access.refuse_foreign_names(settings.status.hosts, loopback_only=local)]
    if settings.status.token:
        token = await read_secret(settings.status.token, Aws(settings))
        checks.append(access.require_token(token.strip()))
    return checks


@asynccontextmanager
async def _open_site(settings: Settings, app: web.Application) -> AsyncIterator[None]:
    host, port = settings.status.address
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            emit(
                StatusUnavailable(
                    reason=f"cannot listen at {settings.status.listen}: {error.strerror}",
                    remedy="name another port as status.listen, or off",
                )
            )
        else:
            host, port = runner.addresses[0][:2]
            shown = f"[{host}]" if ":" in host else host
            emit(StatusListening(address=f"http://{shown}:{port}/"))
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


def _app(survey: Survey, metrics: Metrics) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def readyz(_: web.Request) -> web.Response:
        status = survey.take()
        return web.Response(text=_readiness(status), status=200 if status.ready else 503)

    async def expose(request: web.Request) -> web.Response:
        body, content_type = metrics.expose(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def document(_: web.Request) -> web.Response:
        body = to_json(survey.show(), indent=True)
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.on_response_prepare.append(_add_headers)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", expose)
    app.router.add_get("/status.json", document)
    add_page(app, survey)
    return app


def _readiness(status: Status) -> str:
    """Return a line for the state, for each check, and for each other side that is away or full."""
    checks = [f"{'ok  ' if c.ok else 'FAIL'} {c.name}: {c.says}" for c in status.checks]
    others = [
        f"{'AWAY' if each.kind == AWAY else 'FULL'} {wording.peer(each)}: "
        f"for {wording.age(status.time - each.since)}, "
        + ": ".join(filter(None, (wording.waits(each), each.reason)))
        for each in status.outages
    ]
    return "\n".join([wording.state(status), *checks, *others, ""])


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
    response.headers.pop("Server", None)


async def _contain(call: Callable[[], Awaitable[None]]) -> None:
    """Contain failures of the status, so that pushes go on."""
    try:
        await call()
    except Exception as error:  # noqa: BLE001 - a bug must not stop the pushes: it is reported
        emit(StatusBug(), error=error)


async def _keep_sampling(settings: Settings, sources: Sources, sampled: Sampled) -> None:
    sampled_at = 0.0
    while True:
        now = time.time()
        watched = now - sampled.asked_at < _WATCHED_SECONDS
        if not watched and now - sampled_at < _IDLE_SAMPLE_SECONDS:
            await anyio.sleep(_SAMPLE_SECONDS)
            continue
        sampled_at = now
        sampled.disk = await to_thread.run_sync(_look_at_disk, settings)
        sampled.credentials_fault = await _fault_of(sources.credentials)
        sampled.depth = await _depth_of(sources.depth)
        if sources.results_depth is not None:
            sampled.results_depth = await _depth_of(sources.results_depth)
        await anyio.sleep(_SAMPLE_SECONDS)


async def _keep_looking_up(lookup: ResultLookup, sampled: Sampled) -> None:
    """Look up results while a reader is there."""
    while True:
        if time.time() - sampled.shown_at < _WATCHED_SECONDS:
            await lookup.refresh()
        await anyio.sleep(_LOOK_SECONDS)


async def _depth_of(call: AskDepth) -> Depth | None:
    try:
        waiting, held, dead_letters = await call()
    except StageError:
        return None  # not every role has the right, and nothing depends on it
    return Depth(waiting, held, dead_letters, time.time())


async def _fault_of(call: Callable[[], Awaitable[object]]) -> str:
    try:
        await call()
    except StageError as error:
        return str(error)
    return ""


def _look_at_disk(settings: Settings) -> Disk | None:
    try:
        usage = shutil.disk_usage(settings.git.cache_directory)
    except OSError:
        return None
    return Disk(usage.total, usage.free)
