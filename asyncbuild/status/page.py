"""Page at `/`: drawn here, whole, for every reader; sent again in parts to readers that stay.

Without JavaScript it is a page that loads itself again every five seconds. With it, the same parts
come as server-sent events, each when it has changed. No part is drawn by the browser, so there is
one place that escapes.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from typing import Final

import anyio
import orjson
from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from asyncbuild.config.settings import Settings
from asyncbuild.domain.foreign_text import plain
from asyncbuild.status import charts as plots
from asyncbuild.status import links
from asyncbuild.status import phrases as wording
from asyncbuild.status.collect import Survey
from asyncbuild.status.results import words as ending
from asyncbuild.status.schema import SettledPush, Status
from asyncbuild.status.time_series import WINDOWS

# The parts in their order, and the values each is drawn from: equal values are not drawn again.
_PARTS: Final[Mapping[str, Callable[[Status], object]]] = {
    "top": lambda s: s.time,
    "figures": lambda s: s.time,
    "plots": lambda s: (s.series, s.results is None),
    "lanes": lambda s: s.time if s.lanes else None,
    "dead_letters": lambda s: s.dead_letters,
    # What runs shows for how many minutes it has.
    "recent": lambda s: (s.recent, s.results is None, s.results and s.time // 60),
    "troubles": lambda s: (s.troubles, s.past_outages),
    "stores": lambda s: (s.mirrors, s.memory, s.disk, s.totals, s.results),
}
_RECENT_MOST: Final = 50
_FILES: Final = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "favicon.svg": "image/svg+xml",
}
_FRESH_SECONDS: Final = 1.0
_SHARE: Final = 50  # drawing takes at most one part in so many of the time
_READERS_MOST: Final = 32


@dataclass(slots=True)
class _Drawn:
    """The parts as last drawn, with the status they show, and the time that drawing took."""

    status: Status
    parts: Mapping[str, str]
    at: float
    took_seconds: float


@dataclass(slots=True)
class Page:
    """Drawer of the page, once for all readers of a window."""

    survey: Survey
    _environment: Environment = field(init=False)
    _drawn: dict[int, _Drawn] = field(default_factory=dict)
    _readers: int = 0
    _closing: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self._environment = _environment(self.survey.settings)
        self.draw(0)  # the first time takes fifty times as long: templates are compiled
        self._drawn.clear()
        self.survey.sampled.shown_at = 0.0  # to no reader

    def draw(self, window_seconds: int) -> _Drawn:
        """Return the parts, not older than a second."""
        begun = time.perf_counter()
        drawn = self._drawn.get(window_seconds)
        if drawn is None or begun - drawn.at >= _FRESH_SECONDS:
            status = self.survey.show(window_seconds=window_seconds)
            parts = self._draw(status, drawn)
            drawn = _Drawn(status, parts, begun, time.perf_counter() - begun)
            self._drawn[window_seconds] = drawn
        return drawn

    async def serve_page(self, request: web.Request) -> web.Response:
        """Answer with the whole page."""
        window = _window_of(request)
        parts = dict(self.draw(window).parts)
        html = self._environment.get_template("page.html").render(
            title=parts.pop("title"),
            window=window,
            fragments={name: Markup(part) for name, part in parts.items()},  # noqa: S704 - drawn and escaped above
        )
        return web.Response(text=html, content_type="text/html")

    async def serve_events(self, request: web.Request) -> web.StreamResponse:
        """Send the parts that changed, for as long as the reader stays."""
        if self._readers >= _READERS_MOST:
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "30"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self._readers += 1
        try:
            await response.prepare(request)
            async for event in self._iter_events(_window_of(request)):
                await response.write(event)
        except ConnectionError:
            pass  # the reader has gone
        finally:
            self._readers -= 1
        return response

    async def close(self, _: web.Application) -> None:
        """Tell the readers that nothing more will come."""
        self._closing.set()

    async def _iter_events(self, window: int) -> AsyncIterator[bytes]:
        last: Mapping[str, str] = {}
        while not self._closing.is_set():
            drawn = self.draw(window)
            changed = {name: part for name, part in drawn.parts.items() if last.get(name) != part}
            last = drawn.parts
            yield b"event: status\ndata: " + orjson.dumps(changed) + b"\n\n"
            with anyio.move_on_after(max(_FRESH_SECONDS, _SHARE * drawn.took_seconds)):
                await self._closing.wait()
        yield b"event: end\ndata: {}\n\n"

    def _draw(self, status: Status, last: _Drawn | None) -> dict[str, str]:
        held = sum(len(lane.pushes) for lane in status.lanes)
        dead = status.queue.dead_letters if status.queue else len(status.dead_letters)
        recent = status.recent[:_RECENT_MOST]
        longest = max((each.since_push_seconds or 0.0 for each in recent), default=0.0)
        shown = {
            "s": status,
            "recent": recent,
            "held": held,
            "dead": dead,
            "plots": plots.plots_of(status.series, results=status.results is not None),
            "windows": WINDOWS,
            "strip": partial(plots.strip_of, longest_seconds=longest),
        }
        title = f"{held} in flight · asyncbuild" if held else "asyncbuild"
        parts = {"title": title}
        for name, made_of in _PARTS.items():
            if last is not None and made_of(status) == made_of(last.status):
                parts[name] = last.parts[name]
            else:
                template = self._environment.get_template(f"parts/{name}.html")
                parts[name] = template.render(shown)
        return parts


def add_page(app: web.Application, survey: Survey) -> None:
    """Serve the page and its files."""
    page = Page(survey)
    app.router.add_get("/", page.serve_page)
    app.router.add_get("/events", page.serve_events)
    app.on_shutdown.append(page.close)
    for name, content_type in _FILES.items():
        body = resources.files("asyncbuild.status").joinpath("assets", name).read_bytes()
        app.router.add_get(f"/{name}", partial(_serve_file, body, content_type))


async def _serve_file(body: bytes, content_type: str, _: web.Request) -> web.Response:
    return web.Response(body=body, content_type=content_type, charset="utf-8")


def _window_of(request: web.Request) -> int:
    """Return the requested window; 0, which lets the page choose, for anything else."""
    asked = request.query.get("window", "")
    return int(asked) if asked in {str(window) for window in WINDOWS} else 0


def _environment(settings: Settings) -> Environment:
    environment = Environment(
        loader=PackageLoader("asyncbuild.status", "assets"),
        autoescape=True,
        finalize=_plain_text,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = (wording.again, wording.age, wording.branch, wording.clock, wording.doing, wording.iso)
    more = (wording.name_of, wording.seconds, wording.size, wording.tone, wording.window)
    others = (wording.gist, wording.peer, wording.state, wording.waits, wording.was)
    ends = (ending.result_length, ending.result_place, ending.result_sign, ending.result_tone)
    texts = (*words, *more, *others, *ends, wording.outcome, ending.result_word)
    environment.filters.update({word.__name__: word for word in texts})
    environment.globals["meter"] = plots.meter_of
    # Consoles show builds and objects of AWS, not those of a stand-in.
    ours = not (settings.aws.endpoint_url or settings.builds.endpoint_url)
    stored = not (settings.aws.endpoint_url or settings.storage.endpoint_url)
    region = settings.aws.region
    environment.globals["build_link"] = links.build_link if ours else _no_link
    environment.globals["log_link"] = links.log_link if ours else _no_link
    environment.globals["archive_link"] = (
        partial(links.archive_link, region=region) if stored else _no_link
    )
    return environment


def _plain_text(value: object) -> object:
    """Return text of events without controls, and bounded; markup drawn for the page unchanged."""
    return plain(value) if type(value) is str else value


def _no_link(_: SettledPush) -> str:
    return ""
