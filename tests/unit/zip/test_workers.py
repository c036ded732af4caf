"""Compression workers: their output, their end, and the state after one is killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from array import array
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tars import File, make_header, make_tar
from support.wait import PATIENCE_SECONDS, wait_until
from support.zips import iterate, make_zip

from asyncbuild.config import ArchiveSettings
from asyncbuild.domain.errors import Busy, Reject, Retry
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.zip.engine import WORKING_BYTES, open_engine
from asyncbuild.zip.format.central_directory import CentralHeaders
from asyncbuild.zip.format.pack import PackedRun, pack_run
from asyncbuild.zip.format.tar_headers import (
    BLOCK_BYTES,
    LARGEST_EXTENSION_BYTES,
    RECORD_BYTES,
    BrokenTar,
)
from asyncbuild.zip.format.tar_members import Run
from asyncbuild.zip.format.tar_reader import TarReader
from asyncbuild.zip.future import PendingPiece
from asyncbuild.zip.shared_memory import (
    LONGEST_RUN_BYTES,
    SLOT_BYTES,
    WHOLE_BYTES,
    SlotMessage,
    SlotMessageKind,
    Slots,
    pack_columns,
    unpack_columns,
)
from asyncbuild.zip.workers import Workers, open_workers

_MIB = 1024 * 1024


def _run_of(files: list[File]) -> Run:
    """Return one run with all the files."""
    tar = make_tar(files)
    (run,) = TarReader(whole_bytes=WHOLE_BYTES, block_bytes=BLOCK_BYTES).feed(tar)
    assert isinstance(run, Run)
    return run


def _broken_program(directory: Path) -> str:
    """Return a program that may be executed but cannot be loaded."""
    program = directory / "python"
    program.write_bytes(b"\0")
    program.chmod(0o755)
    return str(program)


def _is_there(pid: int) -> bool:
    """Return whether the process exists; ended ones are reaped before their owner goes on."""
    return Path(f"/proc/{pid}").exists()


async def test_a_worker_has_the_output_of_this_process() -> None:
    """Members, central headers and the offset of each."""
    run = _run_of([File(b"d/", mode=0o775), *(File(b"d/%d" % n, b"x" * n) for n in range(300))])
    async with open_workers(1, 1) as workers:
        packed = await (await workers.pack_run(run)).wait()
    expected = pack_run(run, 1)
    assert expected.data == packed.data
    assert expected.central.packed == packed.central.packed
    assert expected.central.positions == list(packed.central.positions)


async def test_only_needed_processes_are_started() -> None:
    """One for little work, all of them for more than it can queue; then none."""
    run = _run_of([File(b"a", os.urandom(WHOLE_BYTES))])
    async with open_workers(3, 9) as workers:
        assert len(workers.pids) == 1
        await (await workers.pack_run(run)).wait()
        assert len(workers.pids) == 1
        work = [await workers.pack_run(run) for _ in range(workers.slots)]
        pids = workers.pids
        assert len(pids) == 3
        assert len({(await each.wait()).data for each in work}) == 1
    assert not [pid for pid in pids if _is_there(pid)]


async def test_abandoned_work_frees_its_slot() -> None:
    """Slots are all free for the next caller."""
    run = _run_of([File(b"a", b"text " * 10_000)])
    async with open_workers(1, 9) as workers:
        for _ in range(3):
            for each in [await workers.pack_run(run) for _ in range(workers.slots)]:
                each.abandon()
        with anyio.fail_after(PATIENCE_SECONDS):
            work = [await workers.pack_run(run) for _ in range(workers.slots)]
            assert all([(await each.wait()).data for each in work])


async def test_a_wait_for_a_slot_can_be_cancelled() -> None:
    """The wait takes no slot."""
    run = _run_of([File(b"a", os.urandom(WHOLE_BYTES))])
    async with open_workers(1, 9) as workers:
        _stop(workers)
        work = [await workers.pack_run(run) for _ in range(workers.slots)]
        with anyio.move_on_after(0.01) as scope:
            await workers.pack_run(run)
        assert scope.cancelled_caught
        _stop(workers, signal.SIGCONT)
        with anyio.fail_after(PATIENCE_SECONDS):
            for each in work:
                await each.wait()
            await (await workers.pack_run(run)).wait()


def _stop(workers: Workers, number: signal.Signals = signal.SIGSTOP) -> None:
    for pid in workers.pids:
        os.kill(pid, number)


async def test_work_that_a_killed_worker_had_not_begun_goes_to_another() -> None:
    """No work was begun, so no archive fails or counts an attempt (I5)."""
    run = _run_of([File(b"a", b"text " * 10_000)])
    async with open_workers(1, 1) as workers:
        _stop(workers)
        work = [await workers.pack_run(run) for _ in range(3)]
        (killed,) = workers.pids
        os.kill(killed, signal.SIGKILL)
        for each in work:
            assert (await each.wait()).data == pack_run(run, 1).data
        assert killed not in workers.pids


async def test_a_killed_worker_fails_the_work_it_had_begun() -> None:
    """The error is a retry with a reason. Its answers are read, though questions were left."""
    small, large = _run_of([File(b"a", b"b")]), _run_of([File(b"a", os.urandom(WHOLE_BYTES))])
    async with open_workers(1, 9) as workers:
        runs = [small, small, *[large] * 5]
        work = [await workers.pack_run(run) for run in runs]
        slots = _slots_in_flight(workers)
        while not workers._memory.has_begun(slots[2]):  # the event loop reads nothing meanwhile
            time.sleep(0.001)  # noqa: ASYNC251 - see above
        os.kill(workers.pids[0], signal.SIGKILL)
        results = [await _result(each) for each in work]
    (failed,) = [result for result in results if isinstance(result, Retry)]
    assert "was killed by signal 9 in the middle of its work" in str(failed)
    assert results.index(failed) >= 2
    expected = [pack_run(small, 9).data, pack_run(large, 9).data]
    for run, result in zip(runs, results, strict=True):
        assert result is failed or result == expected[run is large]


def _slots_in_flight(workers: Workers) -> list[int]:
    return [slot for worker in workers._workers for slot in worker.in_flight]


async def _result(work: PendingPiece[PackedRun]) -> bytes | Retry:
    try:
        return (await work.wait()).data
    except Retry as error:
        return error


async def test_a_worker_killed_while_idle_fails_no_archive() -> None:
    """No archive learns of it."""
    run = _run_of([File(b"a", b"text " * 10_000)])
    async with open_workers(1, 1) as workers:
        os.kill(workers.pids[0], signal.SIGKILL)
        await wait_until(lambda: not workers.pids)
        assert (await (await workers.pack_run(run)).wait()).data == pack_run(run, 1).data


async def test_a_dead_worker_that_was_not_reaped_gets_no_work() -> None:
    """Work goes to another one, though the loop has not seen the end of the first."""
    run = _run_of([File(b"a", b"text " * 10_000)])
    async with open_workers(1, 1) as workers:
        await (await workers.pack_run(run)).wait()
        (killed,) = workers.pids
        os.kill(killed, signal.SIGKILL)
        os.waitid(os.P_PID, killed, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - the loop sees nothing
        assert (await (await workers.pack_run(run)).wait()).data == pack_run(run, 1).data
        assert killed not in workers.pids


async def test_a_worker_that_exits_by_itself_has_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More memory would not help it."""
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    async with open_workers(1, 1) as workers:
        work = await workers.pack_run(_run_of([File(b"a", b"b")]))
        with pytest.raises(Retry, match=r"exited with 1 .*read why on standard error"):
            await work.wait()


async def test_a_worker_that_is_interrupted_prints_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A user who interrupts an archive sees no traceback."""
    run = _run_of([File(b"a", os.urandom(WHOLE_BYTES))])
    async with open_workers(1, 9) as workers:
        work = [await workers.pack_run(run) for _ in range(workers.slots)]
        await work[0].wait()
    assert capfd.readouterr().err == ""


async def test_a_process_limit_is_not_an_error_while_one_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A limit met later does not fail archives: the existing workers do all the work."""
    run = _run_of([File(b"a", os.urandom(WHOLE_BYTES))])
    async with open_workers(3, 1) as workers:
        monkeypatch.setattr(sys, "executable", _broken_program(tmp_path))
        work = [await workers.pack_run(run) for _ in range(3 * workers.slots)]
        assert len(workers.pids) == 1
        assert len({(await each.wait()).data for each in work}) == 1


async def test_a_worker_gets_no_more_than_its_socket_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A message is never lost: its caller would wait forever."""
    run = _run_of([File(b"a", b"b")])
    async with open_workers(600, 1) as workers:
        _stop(workers)
        monkeypatch.setattr(sys, "executable", _broken_program(tmp_path))
        work: list[PendingPiece[PackedRun]] = []

        async def overfill() -> None:
            while True:
                work.append(await workers.pack_run(run))

        with pytest.raises(Busy, match=r"has \d+ pieces of work in flight already"):
            await overfill()
        _stop(workers, signal.SIGCONT)
        for each in work:
            await each.wait()
        await (await workers.pack_run(run)).wait()


async def test_a_result_that_cannot_be_read_fails_alone() -> None:
    """The caller gets the error; its slot and all other streams go on."""

    def too_much(*_: object) -> PackedRun:
        raise MemoryError

    pending = PendingPiece(too_much)
    with closing(Slots.make(1)) as slots:
        pending.finish(SlotMessage(SlotMessageKind.DONE, 0, 1), slots)
    with pytest.raises(MemoryError):
        await pending.wait()


async def test_an_archive_fails_with_its_killed_worker_and_the_next_succeeds() -> None:
    """The budget is free, and nothing of the failed archive is in the next one."""
    tar = make_tar([File(b"%04d" % number, os.urandom(9000)) for number in range(2000)])
    expected, _ = await make_zip([tar])
    budget = MemoryBudget(8 * WORKING_BYTES)
    async with open_engine(ArchiveSettings(threads=1)) as engine:
        for kill in (True, False):
            archive = bytearray()
            async with budget.open_account(2 * WORKING_BYTES) as account:
                try:
                    async with engine.open_zip(iterate([tar]), account=account) as stream:
                        async for chunk in stream:
                            archive += chunk
                            account.give_back(len(chunk))
                            if kill:
                                for pid in engine.pids:
                                    os.kill(pid, signal.SIGKILL)
                except Retry:
                    assert kill
                assert account.held_bytes == 0
            assert (bytes(archive) == expected) == (not kill)


_OWNER = """
import anyio, sys
from asyncbuild.zip.workers import open_workers

async def main():
    async with open_workers(1, 1) as workers:
        print(*workers.pids, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


async def test_no_worker_outlives_its_owner() -> None:
    """An owner that is killed cannot end them; they end by themselves."""
    command = [sys.executable, "-c", _OWNER]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:  # noqa: ASYNC220 - at once
        assert owner.stdout is not None
        pid = int(await anyio.to_thread.run_sync(owner.stdout.readline))
        assert _is_there(pid)
        owner.kill()
        await wait_until(lambda: not _is_there(pid) or _is_zombie(pid))


def _is_zombie(pid: int) -> bool:
    """Return whether the process is a zombie, where no parent reaps it."""
    return ") Z " in Path(f"/proc/{pid}/stat").read_text()


async def test_a_worker_has_no_secret_and_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment is what Python needs, and Ctrl-C does not reach it."""
    for name in ("AWS_SECRET_ACCESS_KEY", "LD_SDK_KEY", "PYTHON_REGISTRY_TOKEN"):
        monkeypatch.setenv(name, "secret")
    async with open_workers(1, 1) as workers:
        (pid,) = workers.pids
        assert not [name for name, _, value in _environment_of(pid) if value == b"secret"]
        assert os.getsid(pid) != os.getsid(0)


def _environment_of(pid: int) -> list[tuple[bytes, bytes, bytes]]:
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return [variable.partition(b"=") for variable in variables if variable]


async def test_no_worker_can_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A reached limit is Busy, and has a remedy."""
    monkeypatch.setattr(sys, "executable", _broken_program(tmp_path))
    with pytest.raises(Busy, match=r"cannot be started: Exec format error.*allow more processes"):
        async with open_workers(1, 1):
            pytest.fail("it was not started")


async def test_an_interpreter_whose_file_was_removed_still_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A newer one replaced it, or only root may read it: the same one runs again."""
    run = _run_of([File(b"a", b"text " * 10_000)])
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    async with open_workers(1, 1) as workers:
        assert (await (await workers.pack_run(run)).wait()).data == pack_run(run, 1).data


async def test_errors_of_a_worker_are_raised_here() -> None:
    """A damaged header with its offset in the stream, a name that is too long."""
    run = _run_of([File(b"first", b"x" * 600), File(b"second", b"text")])
    data = bytearray(run.data)
    data[run.headers[1] + 3] ^= 1
    damaged = Run(bytes(data), 10 * RECORD_BYTES, run.headers, run.sizes, run.nbytes)
    long = _run_of([File(b"n" * 70_000, b"x")])
    async with open_workers(1, 1) as workers:
        with pytest.raises(BrokenTar, match="checksum of a header") as broken:
            await (await workers.pack_run(damaged)).wait()
        assert broken.value.offset == 10 * RECORD_BYTES + run.headers[1]
        with pytest.raises(Reject, match=r"b'nnn.* has 70000 bytes"):
            await (await workers.pack_run(long)).wait()
        good = _run_of([File(b"a", b"b")])
        assert (await (await workers.pack_run(good)).wait()).data == pack_run(good, 1).data


@given(
    st.sampled_from(SlotMessageKind),
    *[st.integers(0, 2**32 - 1)] * 3,
    st.integers(0, 2**64 - 1),
)
def test_a_message_is_read_as_it_was_written(
    kind: SlotMessageKind, slot: int, nbytes: int, more_bytes: int, number: int
) -> None:
    """Every field, to its limits."""
    message = SlotMessage(kind, slot, nbytes, more_bytes, number)
    assert SlotMessage.unpack(message.pack()) == message


@given(st.lists(st.tuples(*[st.integers(0, 2**32 - 1)] * 3)))
def test_columns_are_read_as_they_were_written(rows: list[tuple[int, int, int]]) -> None:
    """Any length, zero included."""
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    assert [list(column) for column in unpack_columns(pack_columns(*columns), 3)] == columns


@pytest.mark.parametrize("name_bytes", [1, 90, 250, 5000, 65_000])
def test_the_longest_run_fits_into_a_slot(name_bytes: int) -> None:
    """Input and output fit, whatever the lengths of names."""
    whole = _run_of([File(b"%0*d" % (name_bytes, 1))])
    count = LONGEST_RUN_BYTES // whole.nbytes
    run = _run_of([File(b"%0*d" % (name_bytes, number)) for number in range(count)])
    packed = pack_run(run, 1)
    assert run.nbytes + len(pack_columns(run.headers, run.sizes)) <= SLOT_BYTES
    headers = packed.central.packed + pack_columns(packed.central.positions)
    assert len(packed.data) + len(headers) <= SLOT_BYTES


def test_endless_extended_headers_are_refused() -> None:
    """The data of one member has a limit, or a stream could fill the memory."""
    size = LARGEST_EXTENSION_BYTES
    long_name = make_header(b"././@LongLink", size=size, kind=b"L") + b"n" * size
    reader = TarReader(whole_bytes=WHOLE_BYTES, block_bytes=BLOCK_BYTES)
    with pytest.raises(BrokenTar, match="too many extended headers"):
        list(reader.feed(5 * long_name))
    assert reader.held_bytes < _MIB


def test_members_are_left_out_by_path() -> None:
    """The rest equals an archive made of the other members alone."""
    files = [File(b"a/", mode=0o775), File(b"a/b", b"text " * 99), File(b"c/", mode=0o775)]
    files += [File(b"c/d", b"more " * 70), File(b"c/e", b"last"), File(b"f/", mode=0o775)]
    whole = pack_run(_run_of(files), 1)
    # As a worker sends it
    positions = array("I", whole.central.positions)
    whole = PackedRun(whole.data, CentralHeaders(whole.central.packed, positions))
    left = whole.leave_out({b"a/", b"c/", b"f/", b"not there"})
    assert left == pack_run(_run_of([files[1], *files[3:5]]), 1)
    assert whole.leave_out(set()) == whole == whole.leave_out({b"b"})
    nothing = whole.leave_out({file.name for file in files})
    assert nothing == PackedRun(b"", CentralHeaders(b"", [0]))
