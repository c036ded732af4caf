"""A forge that is down for an hour, and for days, of virtual time: nothing is lost, nothing twice.

The forge is a real server, the queue a model of SQS FIFO on a virtual clock, and all between them
the service's own code. Clocks move only when nothing is left to be done at a moment.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from support.listening import hearing
from support.records import Records
from support.report_site import started_build
from support.servers import REGION
from support.sqs_model import FifoModel, ModelClient

from asyncbuild.aws.session import Aws
from asyncbuild.builds.report_ledger import ReportLedger
from asyncbuild.config import AwsSettings, QueueSettings, ReportSettings, Settings
from asyncbuild.config.hosts import CommitStatusSettings, HostSettings
from asyncbuild.domain.reports.commit_status import StatusState
from asyncbuild.domain.results.build_result import BuildResult, BuildStatus
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.forges.statuses import status_http
from asyncbuild.forges.statuses.status_posters import open_status_posters
from asyncbuild.local.forge.forge_server import open_forge
from asyncbuild.local.forge.forge_standin import CommitContext, ForgeAnswer, ForgeStandin
from asyncbuild.local.servers.children import HOST
from asyncbuild.queue.sqs import Queue
from asyncbuild.reports.report_consumers import ReportConsumers
from asyncbuild.reports.report_sender import ReportSender
from asyncbuild.reports.reporter import Reporter
from asyncbuild.runtime import log as logs

MINUTE = 60.0
HOUR = 60 * MINUTE
PAUSE_SECONDS = 120
URL, DEAD_URL = "http://model/reports.fifo", "http://model/dead.fifo"
_MINUTES = 75
_COURSE = {3: "failing", 13: "pausing", 23: "away", 48: "silent", 63: "up"}
_ANSWERS = {
    "failing": ForgeAnswer(503),
    "pausing": ForgeAnswer(503, headers={"Retry-After": str(PAUSE_SECONDS)}),
}
_SILENT_SECONDS = 0.1  # of real time that a silent server is waited for
_ENDS = (BuildStatus.SUCCEEDED, BuildStatus.FAILED, BuildStatus.FAULT)
_STATES = (StatusState.SUCCESS, StatusState.FAILURE, StatusState.ERROR)


class Refusals(deque[ForgeAnswer]):
    """Answers of a forge that is down: one for each request, whose virtual time is kept."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self.answer: ForgeAnswer | None = None
        self.at: list[float] = []
        self._now = now

    def __bool__(self) -> bool:
        return self.answer is not None

    def popleft(self) -> ForgeAnswer:
        """Return the answer that all requests get now."""
        assert self.answer is not None
        self.at.append(self._now())
        return self.answer


@dataclass
class OutageSite:
    """Queue, ledger and forge of an outage, with one clock; its server may be up, away or silent.

    `port` is that of the forge, `servers` what listens there now.
    """

    forge: ForgeStandin
    model: FifoModel
    dead: FifoModel
    settings: Settings
    port: int
    servers: AsyncExitStack
    posting: AsyncExitStack
    records: Records = field(default_factory=Records)
    reporter: Reporter = field(init=False)
    sender: ReportSender = field(init=False)
    queue: Queue = field(init=False)
    silent: int = 0
    states: dict[str, StatusState] = field(default_factory=dict)

    @property
    def refusals(self) -> Refusals:
        """Answers while the forge is up, and fails."""
        return cast("Refusals", self.forge.ordered)

    def clock(self) -> datetime:
        """Return the virtual time."""
        return datetime.fromtimestamp(self.model.now, UTC)

    async def listen(self, how: str) -> None:
        """Let the forge serve, be `away` (connections are refused), or `silent` (no answer)."""
        await self.servers.aclose()
        if how == "up":
            await self.servers.enter_async_context(open_forge(self.forge, port=self.port))
        elif how == "silent":
            server = await asyncio.start_server(self._swallow, HOST, self.port)
            self.servers.push_async_callback(server.wait_closed)
            self.servers.callback(server.close)

    async def _swallow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.silent += 1
        await reader.read()  # until the client has had enough
        writer.close()

    async def turn(self, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the forge be `up`, `failing` or `pausing` with an answer, `away` or `silent`."""
        self.refusals.answer = _ANSWERS.get(how)
        if how in {"away", "silent", "up"}:
            await self.listen(how)
        # A silent server is waited for in real time; a new task begins with new connections.
        seconds = _SILENT_SECONDS if how == "silent" else 30
        monkeypatch.setattr(status_http, "_SECONDS", seconds)
        await self.restart()

    async def restart(self, *, requests_per_hour: int = 600) -> None:
        """Begin again as a new task does: with new connections, and nothing remembered."""
        await self.posting.aclose()
        wanted = CommitStatusSettings(
            token="env:STATUS_TOKEN",
            api_url=f"http://{HOST}:{self.port}/github",
            requests_per_hour=requests_per_hour,
        )
        host = HostSettings(
            host="git.example.org", kind="github", signature="off", commit_status=wanted
        )
        self.settings = self.settings.model_copy(update={"hosts": (host,)})
        posters = await self.posting.enter_async_context(
            open_status_posters(self.settings, Aws(self.settings))
        )
        client = cast("Any", ModelClient({URL: self.model, DEAD_URL: self.dead}, {}))
        self.queue = Queue(polls=client, control=client, url=URL, dead_letter_url=DEAD_URL)
        self.sender = ReportSender(client, URL, posters)
        ledger = ReportLedger(self.records, prefix="ledger/")
        self.reporter = Reporter(
            posters, ledger, monotonic=lambda: self.model.now, clock=self.clock
        )

    async def work(self) -> None:
        """Do all that can be done now, by consumers as a task has them."""
        consumers = ReportConsumers(
            queue=self.queue,
            reporter=self.reporter,
            settings=self.settings,
            clock=self.clock,
            monotonic=lambda: self.model.now,
        )
        consumers.polling.drain()
        await consumers.polling.run()

    async def run_until(self, at: float) -> None:
        """Let time go by, from one moment at which a message comes again to the next."""
        while self.model.now < at:
            await self.work()
            hidden = (each.visible_at for each in self.model.messages)
            later = (each for each in hidden if each > self.model.now)
            self.model.now = self.dead.now = min(at, min(later, default=at))

    def build(self, number: int) -> StartedBuild:
        """Return a build of the commit number `number`, pushed now."""
        now = self.clock()
        return replace(
            started_build(number), commit=f"{number:040x}", pushed_at=now, started_at=now
        )

    async def end(self, started: StartedBuild, number: int) -> None:
        """Report the end of a build."""
        result = BuildResult(
            started.of,
            _ENDS[number % len(_ENDS)],
            observed_at=self.clock(),
            started_at=started.started_at,
            ended_at=self.clock(),
        )
        await self.sender.send_end(started, result)
        self.states[started.commit] = _STATES[number % len(_STATES)]


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OutageSite]:
    """Yield a forge that serves, and all that posts to it."""
    logs.mute()
    monkeypatch.setenv("STATUS_TOKEN", "status-token")
    async with _open_site() as site:
        yield site


@asynccontextmanager
async def _open_site() -> AsyncIterator[OutageSite]:
    model, dead = FifoModel(), FifoModel()
    forge = ForgeStandin(ordered=Refusals(lambda: model.now))
    async with AsyncExitStack() as servers, AsyncExitStack() as posting:
        await servers.enter_async_context(open_forge(forge))
        settings = Settings(
            aws=AwsSettings(region=REGION),
            queue=QueueSettings(wait_seconds=0),
            reports=ReportSettings(url=URL),
        )
        port = int(urlsplit(forge.endpoint_url).port or 0)
        site = OutageSite(forge, model, dead, settings, port, servers, posting)
        await site.restart()
        yield site


async def test_an_hour_without_the_forge_loses_no_state_and_posts_none_twice(
    site: OutageSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails, asks for a pause, refuses connections and says nothing, one after the other.

    A build starts each minute all the time, and ends four minutes later: reporting that costs one
    message, whatever the forge does.
    """
    begin = site.model.now
    running: dict[int, StartedBuild] = {}
    with hearing() as lines:
        for minute in range(_MINUTES):
            if minute in _COURSE:
                await site.turn(_COURSE[minute], monkeypatch)
            running[minute] = site.build(minute + 1)
            sent = site.model.now
            await site.sender.send_start(running[minute])
            if minute >= 4:
                await site.end(running.pop(minute - 4), minute)
            assert site.model.now == sent  # no push and no result waits for a forge
            await site.run_until(begin + (minute + 1) * MINUTE)
        for number, started in running.items():
            await site.end(started, number)
        await site.run_until(begin + (max(_COURSE) + 20) * MINUTE)
    assert (site.model.messages, site.dead.messages) == ([], [])
    shown = {at.commit: status.state for at, status in site.forge.statuses.items()}
    assert (len(shown), shown) == (_MINUTES, site.states)
    posts = Counter((at, status.state) for at, status in site.forge.history)
    assert set(posts.values()) == {1}
    assert site.silent > 0
    assert _names(lines) >= {"report.delayed", "report.posted", "report.passed-over"}
    assert not _names(lines) & {"report.dead-lettered", "reports.off", "report.receive-failed"}
    # A pause that the forge asks for is kept: then come, at most, the messages of one receive each.
    (paused,) = [begin + at * MINUTE for at, how in _COURSE.items() if how == "pausing"]
    asked = Counter(at for at in site.refusals.at if at >= paused)
    gaps = [later - earlier for earlier, later in pairwise(sorted(asked))]
    assert gaps
    assert min(gaps) >= PAUSE_SECONDS
    assert max(asked.values()) <= 10 * site.settings.reports.consumers


async def test_when_the_forge_is_back_its_allowance_is_kept(site: OutageSite) -> None:
    """160 ends have gathered: 120 are posted at once, and the rest at the rate of 120 an hour.

    Those that wait are not received again and again: a queue gives up after so many receives.
    """
    await site.restart(requests_per_hour=120)
    site.refusals.answer = ForgeAnswer(503, headers={"Retry-After": "3600"})
    for number in range(1, 161):
        await site.end(site.build(number), number)
    await site.run_until(site.model.now + HOUR)
    site.refusals.answer = None
    begin, posted, receives = site.model.now, dict[float, int](), 0
    while site.model.messages and site.model.now < begin + 2 * HOUR:
        await site.run_until(site.model.now + MINUTE)
        posted[site.model.now - begin] = len(site.forge.history)
        receives = max([receives, *(each.receives for each in site.model.messages)])
    assert len(site.forge.statuses) == len(site.forge.history) == 160
    assert all(count <= 120 * (1 + at / HOUR) for at, count in posted.items())
    assert 100 < posted[10 * MINUTE] < 160
    assert receives < 20
    assert site.dead.messages == []


async def test_a_report_waits_for_two_days_and_is_then_a_dead_letter(site: OutageSite) -> None:
    """With fewer receives than `asyncbuild check` asks of the queue, and with the reason."""
    await site.listen("away")
    started = site.build(1)
    await site.end(started, 1)
    (message,) = site.model.messages
    begin = site.model.now
    await site.run_until(begin + timedelta(days=2).total_seconds())
    assert site.model.messages == [message]
    await site.run_until(begin + timedelta(days=2, minutes=11).total_seconds())
    assert site.model.messages == []
    (letter,) = site.dead.messages
    assert "cannot be reached" in str(letter.attributes)
    assert 250 < message.receives < 400  # judges of the queue of reports: least_receives
    # `asyncbuild report --again` sends it to the queue once more.
    await site.listen("up")
    site.model.send(letter.body, letter.group, deduplication="again")
    await site.work()
    at = CommitContext("acme/shop", started.commit, "asyncbuild/shop")
    assert site.forge.statuses[at].state is StatusState.FAILURE


def _names(lines: list[dict[str, Any]]) -> set[str]:
    return {str(each["event"]) for each in lines}
