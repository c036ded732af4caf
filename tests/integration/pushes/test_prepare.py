"""Preparation of new pushes: the ledger is asked while the commit is fetched; either may fail."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import anyio
import pytest
from support.codebuild import make_push
from support.records import Records
from support.wait import PATIENCE_SECONDS

from asyncbuild.builds.content_ledger import ContentLedger
from asyncbuild.builds.ledger import Ledger
from asyncbuild.config import Settings
from asyncbuild.domain.errors import Busy, Outage, Reject, StageError, Unreachable
from asyncbuild.domain.model import (
    Action,
    Guard,
    Message,
    Outcome,
    Push,
    StoredArchive,
    StoredRecord,
    Target,
    Verdict,
)
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.pushes.changed_content import ChangeFinder
from asyncbuild.pushes.prepare import PushPreparer
from asyncbuild.pushes.work import PreparedPush, Work

_COMMIT: Final = "1" * 40


@dataclass
class _Gate:
    """One side of a preparation: it ends when it is opened, well or with an error."""

    error: StageError | None = None
    opened: anyio.Event = field(default_factory=anyio.Event)
    reached: anyio.Event = field(default_factory=anyio.Event)
    cancelled: bool = False

    async def wait(self) -> None:
        self.reached.set()
        try:
            await self.opened.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled = True
            raise
        if self.error is not None:
            raise self.error


class _Records(Records):
    """Records that are read when the gate is open."""

    gate: _Gate

    async def get_record(self, key: str) -> bytes | None:
        await self.gate.wait()
        return await super().get_record(key)

    async def read_stored(self, key: str) -> StoredRecord | None:
        await self.gate.wait()
        return await super().read_stored(key)


class _Archives:
    """A repository whose commit is fetched when the gate is open, and a bucket."""

    def __init__(self, gate: _Gate) -> None:
        self._gate = gate
        self.there: set[str] = set()
        self.asked: list[str] = []
        self.made: list[str] = []

    @asynccontextmanager
    async def open_snapshot(self, work: Work, push: Push) -> AsyncIterator[Snapshot]:  # noqa: ARG002 - as there
        await self._gate.wait()
        yield None  # type: ignore[misc] # not looked at here

    async def find(self, push: Push, targets: Mapping[str, Target]) -> dict[str, StoredArchive]:  # noqa: ARG002 - as there
        self.asked += targets
        return {key: _archive(key) for key in targets if key in self.there}

    async def upload(
        self,
        push: Push,  # noqa: ARG002 - as there
        target: Target,
        snapshot: Snapshot,  # noqa: ARG002 - as there
        guard: Guard,  # noqa: ARG002 - as there
    ) -> StoredArchive:
        self.made.append(target.key)
        return _archive(target.key)


def _archive(key: str) -> StoredArchive:
    return StoredArchive("archives", key, 1, "e")


class _Site:
    """A preparer with gates before its ledger and its repository."""

    def __init__(self, **storage: Any) -> None:  # noqa: ANN401 - any setting
        self.records, self.ledger_gate, self.fetch_gate = _Records(), _Gate(), _Gate()
        self.records.gate = self.ledger_gate
        self.archives = _Archives(self.fetch_gate)
        rules = [{"action": "build", "project": ["web", "lint"]}]
        settings = Settings.model_validate({"storage": storage, "rules": rules})
        self.ledger = Ledger(self.records, prefix="l/")
        contents = ContentLedger(self.records, prefix="l/")
        changes = ChangeFinder(self.archives, self.ledger, contents, settings)
        self.preparer = PushPreparer(self.archives, self.ledger, changes)
        self.push = replace(make_push(), commit=_COMMIT)

    async def do_all(self) -> None:
        """Record both targets as built."""
        for project in ("web", "lint"):
            target = Target(Action.BUILD, "key", project)
            await self.ledger.record(self.push, Outcome(Verdict.BUILT, "", target))

    async def prepare(self, *, receive_count: int = 1) -> PreparedPush:
        """Prepare the push."""
        message = Message("m", "", "h", "g", 1, receive_count=receive_count, sent=self.push.time)
        return await self.preparer.prepare(Work(message, self.push), self.push, lambda: None)

    async def prepare_with(self, *gates: _Gate) -> PreparedPush:
        """Prepare the push, and open these gates, one after the other."""
        result: list[PreparedPush] = []

        async def run() -> None:
            result.append(await self.prepare())

        with anyio.fail_after(PATIENCE_SECONDS):
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run)
                    await self.ledger_gate.reached.wait()
                    await self.fetch_gate.reached.wait()
                    for gate in gates:
                        gate.opened.set()
                        await anyio.wait_all_tasks_blocked()
            except* StageError as group:
                (error,) = group.exceptions
                assert isinstance(error, StageError)  # not a group in a group
                raise error from None
        return result[0]


@pytest.mark.parametrize("first", ["ledger", "fetch"])
async def test_ledger_and_fetch_run_side_by_side(first: str) -> None:
    """Both have begun before either has ended; no archive is looked for."""
    site = _Site()
    gates = [site.ledger_gate, site.fetch_gate]
    prepared = await site.prepare_with(*(gates if first == "ledger" else gates[::-1]))
    assert [each.project for each in prepared.targets] == ["web", "lint"]
    assert site.archives.made == list(prepared.archives)
    assert len(prepared.archives) == 1
    assert site.archives.asked == []


@pytest.mark.parametrize("error", [Busy("late"), Outage("away"), Unreachable("gone"), None])
@pytest.mark.parametrize("first", ["ledger", "fetch"])
async def test_a_push_that_was_done_needs_no_commit(error: StageError | None, first: str) -> None:
    """Its repository may be gone since; a fetch on its way is cancelled."""
    site = _Site()
    await site.do_all()
    site.fetch_gate.error = error
    if first == "ledger":
        prepared = await site.prepare_with(site.ledger_gate)
        assert site.fetch_gate.cancelled
    else:
        prepared = await site.prepare_with(site.fetch_gate, site.ledger_gate)
    assert (prepared.targets, prepared.stale, prepared.failed) == ((), "", None)
    assert site.archives.made == []


@pytest.mark.parametrize("first", ["ledger", "fetch"])
async def test_the_error_of_the_ledger_is_raised_itself(first: str) -> None:
    """The lane classifies it, as when one was asked after the other; the fetch is cancelled."""
    site = _Site()
    site.ledger_gate.error = Reject("unreadable")
    site.fetch_gate.error = Busy("late")
    gates = [site.ledger_gate] if first == "ledger" else [site.fetch_gate, site.ledger_gate]
    with pytest.raises(Reject, match="unreadable"):
        await site.prepare_with(*gates)
    assert site.fetch_gate.cancelled is (first == "ledger")


@pytest.mark.parametrize("first", ["ledger", "fetch"])
async def test_the_error_of_the_fetch_is_raised_once_the_ledger_has_answered(first: str) -> None:
    """The commit that is gone makes a push stale, other errors fail it; the next try asks S3."""
    for error in (Busy("late"), Unreachable("gone")):
        site = _Site()
        site.fetch_gate.error = error
        gates = [site.ledger_gate, site.fetch_gate]
        gates = gates if first == "ledger" else gates[::-1]
        if isinstance(error, Busy):
            with pytest.raises(Busy, match="late"):
                await site.prepare_with(*gates)
            site.fetch_gate.error = None
            await site.prepare()
            assert len(site.archives.asked) == 1
        else:
            prepared = await site.prepare_with(*gates)
            assert prepared.stale == "gone"
            assert len(prepared.targets) == 2


async def test_a_push_received_again_fetches_nothing_before_it_has_to() -> None:
    """Targets are likely done then, and the archive is there already."""
    site = _Site()
    site.ledger_gate.opened.set()
    await site.do_all()
    assert (await site.prepare(receive_count=2)).targets == ()
    site.records.kept.clear()
    (key,) = {each.key for each in (await _targets(site))}
    site.archives.there.add(key)
    prepared = await site.prepare(receive_count=2)
    assert list(prepared.archives) == [key]
    assert not site.fetch_gate.reached.is_set()


async def _targets(site: _Site) -> tuple[Target, ...]:
    site.fetch_gate.opened.set()
    prepared = await site.prepare()
    site.fetch_gate.reached = anyio.Event()
    site.fetch_gate.opened = anyio.Event()
    return prepared.targets


@pytest.mark.parametrize("first", ["ledger", "fetch"])
async def test_an_archive_of_another_ref_spares_the_fetch(first: str) -> None:
    """Keys that do not name the ref are looked for, beside both."""
    site = _Site(key="{repository}/{commit}.zip")
    key = f"shop/{_COMMIT}.zip"
    site.archives.there.add(key)
    gates = [site.ledger_gate] if first == "ledger" else [site.fetch_gate, site.ledger_gate]
    prepared = await site.prepare_with(*gates)
    assert list(prepared.archives) == [key]
    assert site.archives.asked == [key]
    assert site.archives.made == []
    assert site.fetch_gate.cancelled is (first == "ledger")
