"""Refs that move, events that get lost, rounds and kills, in virtual time.

The service's own code decides: reconciler, dispatcher, staleness, ledger. Models stand for the git
server, the bucket, the queue of pushes (one FIFO group) and CodeBuild, which starts a build of an
event and project once.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import orjson
from support.events import ACCOUNT, REGION, envelope
from support.records import Records

from asyncbuild.builds.content_ledger import ContentLedger
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.reconcile_ledger import ReconcileLedger
from asyncbuild.config import Settings
from asyncbuild.domain.model import Action, Build, Message, Push, StoredArchive, Target
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.rules.rule import Rule
from asyncbuild.domain.tally import Tally
from asyncbuild.forges.webhooks.senders import MessageReader
from asyncbuild.pushes.ancestry import History
from asyncbuild.pushes.changed_content import ChangeFinder
from asyncbuild.pushes.dispatch import Dispatcher
from asyncbuild.pushes.pipeline import read_message
from asyncbuild.pushes.recorded_starts import RecordedStarts
from asyncbuild.pushes.staleness import Staleness
from asyncbuild.pushes.start_target import TargetStarter
from asyncbuild.pushes.work import Dispatch, PreparedMessage, PreparedPush, Work
from asyncbuild.reconcile.found_sender import FoundSender
from asyncbuild.reconcile.planning.wanted_refs import WantedRefs
from asyncbuild.reconcile.reconciler import Reconciler
from asyncbuild.reconcile.repository_groups import RepositoryGroups

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
GRACE: Final = timedelta(minutes=10)
REPOSITORY: Final = Repository.of_codecommit(ACCOUNT, REGION, "web")
PREFIX: Final = "ledger/"
RULES: Final = (Rule("all", ("*",), ("*",), Action.BUILD, projects=("web",)),)
_TARGET: Final = Target(Action.BUILD, "key", "web", rule="all")


class Killed(BaseException):
    """The process is killed here."""


@dataclass
class MortalRecords(Records):
    """Records that kill the process at the n-th call, before or after it."""

    kill_in: int | None = None

    def _count(self) -> None:
        if self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in < 0:
                self.kill_in = None
                raise Killed

    async def put_record(self, key: str, body: bytes) -> bool:
        """Write once."""
        self._count()
        return await super().put_record(key, body)

    async def get_record(self, key: str) -> bytes | None:
        """Read."""
        self._count()
        return await super().get_record(key)

    async def replace_stored(self, key: str, body: bytes, *, etag: str) -> str | None:
        """Write if the ETag is still that one."""
        self._count()
        written = await super().replace_stored(key, body, etag=etag)
        self._count()
        return written


@dataclass(frozen=True)
class Move:
    """A move of a ref: its number, where it went (empty: deleted), when, and from where."""

    number: int
    ref: str
    commit: str
    time: datetime
    old: str
    event_id: str = ""


@dataclass
class Server:
    """The git server: commits with their parents, refs, and their moves."""

    parents: dict[str, str] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)

    def commit(self, parent: str) -> str:
        """Make a commit."""
        made = f"{len(self.parents) + 1:040x}"
        self.parents[made] = parent
        return made

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Return whether a commit is contained in another."""
        at = descendant
        while at:
            if at == ancestor:
                return True
            at = self.parents.get(at, "")
        return False

    async def find_tip(self, _repository: Repository, ref: str) -> tuple[str, ...]:
        """Return the commit of a ref."""
        return (self.refs[ref],) if ref in self.refs else ()

    async def stream_refs(self, _repository: Repository, make: Callable[[], Any], **_: bool) -> Any:  # noqa: ANN401 - what `make` makes
        """List all refs."""
        taker = make()
        taker.feed("".join(f"{id_}\t{name}\n" for name, id_ in self.refs.items()).encode())
        return taker

    @asynccontextmanager
    async def open_snapshot(self, _work: Work, push: Push) -> "AsyncIterator[_Opened]":
        """Open a commit."""
        yield _Opened(self, push.commit)


@dataclass
class _Opened:
    server: Server
    commit: str

    async def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        return self.server.is_ancestor(ancestor, descendant)


@dataclass
class Started:
    """A build: the id of its event, its ref and commit, and when the event says it happened."""

    event_id: str
    ref: str
    commit: str
    time: datetime


class LostWorld:
    """One repository, its queue, and a service that is killed at times.

    Args:
        stale: `lanes.stale`.
        timed: Whether events have times of their own.
    """

    def __init__(self, *, stale: str, timed: bool) -> None:
        self.timed = timed
        self.now = START
        self.server = Server()
        self.records = MortalRecords()
        self.queue: list[Message] = []
        self.sent: dict[str, int] = {}
        self.builds: list[Started] = []
        self.events: dict[str, bytes] = {}
        self.lost: set[str] = set()
        self.before_send: Callable[[], None] | None = None
        self._sequence = 0
        ledger = Ledger(self.records, prefix=PREFIX)
        mirrors: Any = self.server
        history = History(mirrors, mirrors)
        targets = TargetStarter(
            starters=cast("Any", self), archives=cast("Any", self), history=history, traced=False
        )
        staleness = Staleness(ledger, history, skip_stale=stale == "skip")
        self._ledger = ledger
        contents = ContentLedger(self.records, prefix=PREFIX)
        self._dispatcher = Dispatcher(
            ledger=ledger,
            pushes=cast("Any", self),
            changes=ChangeFinder(mirrors, ledger, contents, Settings()),
            staleness=staleness,
            targets=targets,
            starts=RecordedStarts(contents, None),
        )
        rounds = ReconcileLedger(self.records, prefix=PREFIX)
        self.rounds = rounds
        self._reconciler = Reconciler(
            mirrors=mirrors,
            ledger=rounds,
            groups=RepositoryGroups(rounds, cast("Any", self)),
            sender=FoundSender(cast("Any", self), "https://queue/pushes.fifo"),
            wanted=WantedRefs(RULES),
            grace=GRACE,
            clock=lambda: self.now,
        )

    # --- the world moves --------------------------------------------------------------------------

    def move(self, ref: str, commit: str) -> str:
        """Move a ref, a second later; an empty commit deletes it. Return the id of the event."""
        self.now += timedelta(seconds=1)
        old = self.server.refs.pop(ref, "")
        if commit:
            self.server.refs[ref] = commit
        event = envelope(
            repositoryName="web",
            event="referenceDeleted"
            if not commit
            else "referenceUpdated"
            if old
            else "referenceCreated",
            referenceFullName=ref,
            commitId=commit or None,
            oldCommitId=old or None,
        )
        number = len(self.server.moves)
        event["id"] = f"event-{number}"
        event["time"] = f"{self.now:%Y-%m-%dT%H:%M:%SZ}"
        self.server.moves.append(Move(number, ref, commit, self.now, old, event["id"]))
        self.events[event["id"]] = orjson.dumps(event)
        return str(event["id"])

    def deliver(self, event_id: str) -> None:
        """Put an event into the queue, for the first time or again."""
        self.lost.discard(event_id)
        self._put(self.events[event_id].decode(), f"{event_id}-{len(self.sent)}")

    def _put(self, body: str, deduplication_id: str) -> None:
        if self._sequence - self.sent.get(deduplication_id, -1_000_000) < 5:
            return  # SQS remembers an id for five minutes
        self._sequence += 1
        self.sent[deduplication_id] = self._sequence
        self.queue.append(
            Message(f"message-{self._sequence}", body, "", "group", self._sequence, sent=self.now)
        )

    # --- the service works ------------------------------------------------------------------------

    async def work(self, *, kill_in: int | None = None) -> None:
        """Settle the oldest message; a kill leaves it in the queue."""
        if not self.queue:
            return
        message = self.queue[0]
        self.records.kill_in = kill_in
        try:
            await self._settle(message)
            del self.queue[0]
        except Killed:
            self.queue[0] = replace(message, receive_count=message.receive_count + 1)
        finally:
            self.records.kill_in = None

    async def _settle(self, message: Message) -> None:
        work = read_message(MessageReader(), message)
        if not self.timed and work.push is not None and work.push.terms is None:
            work = replace(
                work, event=replace(work.push, timed=False, time=message.sent or self.now)
            )
        prepared: list[PreparedPush] = []
        for push in work.pushes:
            undone = await self._ledger.find_undone(push, (_TARGET,))
            prepared.append(PreparedPush(push, undone))
        order = Dispatch(PreparedMessage(work, tuple(prepared)))
        await self._dispatcher.dispatch(
            order, guard=lambda: None, tally=Tally(max_attempts=3, pause_seconds=1)
        )

    async def look(
        self, *, kill_in: int | None = None, before_send: Callable[[], None] | None = None
    ) -> None:
        """Look at the repository, as a round does.

        Args:
            kill_in: Number of calls of the bucket after which the process is killed.
            before_send: Happens after the refs were listed, before found pushes are sent.
        """
        self.records.kill_in, self.before_send = kill_in, before_send
        try:
            await self._reconciler.look(REPOSITORY)
        except Killed:
            pass
        finally:
            self.records.kill_in = None

    # --- what stands for AWS ----------------------------------------------------------------------

    async def build(self, _target: Target, _archive: StoredArchive, start: Any) -> Build:  # noqa: ANN401 - StartContext
        """Start a build, once for an event."""
        push: Push = start.push
        if all(each.event_id != push.id for each in self.builds):
            self.builds.append(Started(push.id, push.ref, push.commit, push.time))
        return Build(f"web:{push.id}")

    async def ensure(self, *_: object) -> StoredArchive:
        """Make an archive."""
        return StoredArchive("bucket", "key", 1, '"etag"')

    async def find_id(self, _repository: Repository) -> str:
        """Return the message group."""
        return "group"

    async def send_message_batch(self, **call: Any) -> dict[str, Any]:  # noqa: ANN401 - boto's
        """Take found pushes."""
        if self.before_send is not None:
            self.before_send()
        for each in call["Entries"]:
            self._put(each["MessageBody"], each["MessageDeduplicationId"])
            self.records._count()  # the process may die between send and snapshot
        return {}

    # --- what must hold ---------------------------------------------------------------------------

    def movement_of(self, build: Started) -> Move:
        """Return the move that a build is of."""
        if build.event_id.startswith("event-"):
            return self.server.moves[int(build.event_id.removeprefix("event-"))]
        before = [m for m in self.server.moves if m.ref == build.ref and m.time <= build.time]
        return before[-1]

    def doubled(self) -> list[Move]:
        """Return moves that were built more than once."""
        moves = [self.movement_of(each) for each in self.builds]
        return [each for each in set(moves) if moves.count(each) > 1]

    def disordered(self) -> list[Started]:
        """Return builds of found pushes that follow the build of a later move of their ref."""
        wrong = []
        for place, build in enumerate(self.builds):
            mine = self.movement_of(build)
            earlier = [
                self.movement_of(each) for each in self.builds[:place] if each.ref == build.ref
            ]
            if build.event_id.startswith("found-") and any(e.number > mine.number for e in earlier):
                wrong.append(build)
        return wrong

    def unbuilt(self, known: dict[str, str]) -> list[Move]:
        """Return the last moves of refs that were neither built themselves nor as the last build.

        Args:
            known: Commits of the snapshot before the last rounds: a ref that is there again was
                away in between, and no round can tell.
        """
        missing = []
        for ref, tip in self.server.refs.items():
            last = [each for each in self.server.moves if each.ref == ref][-1]
            builds = [each for each in self.builds if each.ref == ref]
            if any(self.movement_of(each) == last for each in builds):
                continue
            if builds and builds[-1].commit == tip:
                continue
            if known.get(ref) == tip:
                continue
            missing.append(last)
        return missing
