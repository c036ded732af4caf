"""Poison messages: deaths of processes are counted through marks in the ledger."""

import anyio
import pytest
from support.records import Records
from support.wait import PATIENCE_SECONDS

from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.poison import Tries
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Message


def _message(id_: str) -> Message:
    return Message(id_, "", "handle", "group", 1, receive_count=2)


def _tries(records: Records) -> Tries:
    """Return attempts as a new process counts them."""
    return Tries(Ledger(records, prefix="l/"), max_attempts=2)


async def _die(records: Records, message: Message) -> None:
    """Leave the mark of a process that was killed while preparing the message."""
    ledger = Ledger(records, prefix="l/")
    await ledger.mark_try(message, len(await ledger.find_tries(message)))


async def test_an_attempt_that_ends_leaves_no_mark() -> None:
    """Success and failure both remove it, since the process lives."""
    records = Records()
    async with _tries(records).open_try(_message("a"), suspect=True):
        assert list(records.kept) == ["l/try/a/0"]
    with pytest.raises(ValueError, match="failed"):
        async with _tries(records).open_try(_message("a"), suspect=True):
            raise ValueError("failed")
    assert records.kept == {}


async def test_a_mark_that_cannot_be_removed_is_not_counted_as_a_death() -> None:
    """The bucket was unreachable at the end of each attempt.

    The push is prepared all the same (I5).
    """
    records = Records(away=True)
    tries = _tries(records)
    prepared = 0
    for _ in range(4):
        async with tries.open_try(_message("a"), suspect=True):
            prepared += 1
    assert prepared == 4
    assert list(records.kept) == ["l/try/a/0"]
    records.away = False
    async with tries.open_try(_message("a"), suspect=True):
        pass
    assert records.kept == {}


async def test_a_death_is_counted_beside_marks_of_ended_attempts() -> None:
    """Attempt 0 ended in a process that had lost its lease; attempt 1, made meanwhile, died."""
    records, message = Records(), _message("a")
    ledger = Ledger(records, prefix="l/")
    await ledger.mark_try(message, 1)
    async with _tries(records).open_try(message, suspect=True):
        assert await ledger.find_tries(message) == {0, 1}
    assert await ledger.find_tries(message) == {1}


async def test_a_message_is_rejected_after_two_deaths() -> None:
    """The third process rejects it, and says why."""
    records = Records()
    for _ in range(2):
        await _die(records, _message("a"))
    with pytest.raises(Reject, match="2 processes died"):
        async with _tries(records).open_try(_message("a"), suspect=True):
            pytest.fail("was prepared a third time")


async def test_the_last_attempt_runs_alone() -> None:
    """The attempt waits until no other runs; no other begins before it ends (I5)."""
    records = Records()
    await _die(records, _message("a"))
    tries = _tries(records)
    order: list[str] = []
    leave = anyio.Event()

    async def other(name: str) -> None:
        async with tries.open_try(_message(name), suspect=False):
            order.append(f"{name} in")
            await leave.wait()
            order.append(f"{name} out")

    async def suspect() -> None:
        async with tries.open_try(_message("a"), suspect=True):
            order.append("alone in")
            await anyio.wait_all_tasks_blocked()
            order.append("alone out")

    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other, "b")
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(suspect)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(other, "c")
            await anyio.wait_all_tasks_blocked()
            assert order == ["b in"]
            leave.set()
    assert order == ["b in", "b out", "alone in", "alone out", "c in", "c out"]


async def test_a_cancelled_wait_to_run_alone_blocks_no_other_message() -> None:
    """Cancelling the wait lets other messages begin."""
    records = Records()
    await _die(records, _message("a"))
    tries = _tries(records)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with tries.open_try(_message("b"), suspect=False):
            with anyio.move_on_after(0.01):
                async with tries.open_try(_message("a"), suspect=True):
                    pytest.fail("was not alone")
            async with tries.open_try(_message("c"), suspect=False):
                pass
