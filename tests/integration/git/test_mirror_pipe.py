"""The stream itself: complete, read only on demand, and never blocking the loop."""

import errno
import inspect
import os
import subprocess

import anyio
import pytest
from anyio import to_thread
from blockbuster import BlockBuster
from support.mirrors import MAIN, Site, archive_of, is_quiet, repository
from support.wait import PATIENCE_SECONDS, wait_until

from asyncbuild.config import GitSettings
from asyncbuild.domain.errors import Busy, Reject, Retry
from asyncbuild.git.process.command import Command, Git
from asyncbuild.git.process.pipe import PIPE_BYTES, PipeReader, make_pipe
from asyncbuild.runtime import child


async def test_git_waits_for_the_reader(site: Site) -> None:
    """Unread, git blocks in its write: memory holds one pipe, not the archive."""
    commit = site.source.commit({"a": os.urandom(20_000_000)})
    async with site.open_mirrors() as mirrors:
        await archive_of(mirrors, commit)
    async with (
        site.open_mirrors(silence_timeout_seconds=1.5) as mirrors,
        mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot,
        snapshot.open_archive() as chunks,
    ):
        first = await anext(chunks)
        await anyio.sleep(2)  # longer than git may be silent: the reader's pause does not count
        sizes = [len(first), *[len(chunk) async for chunk in chunks]]
    assert max(sizes) <= PIPE_BYTES
    assert sum(sizes) == len(site.source.archive(commit))


async def test_nothing_blocks_the_loop(site: Site) -> None:
    """A first fetch, a look-up, an archive and a listing, with every blocking call forbidden."""
    commit = site.source.commit({"a": os.urandom(2_000_000), "b": b"1"})
    detector = BlockBuster(scanned_modules=["asyncbuild"])
    # A started child reports by a pipe that it runs; asyncio reads it in the loop as well.
    detector.functions["os.read"].can_block_in("subprocess.py", {"_execute_child"})
    detector.activate()
    try:
        async with site.open_mirrors() as mirrors:
            for _ in range(2):
                async with mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot:
                    async with snapshot.open_archive() as chunks:
                        assert [chunk async for chunk in chunks]
                    assert [batch async for batch in snapshot.iter_tree()]
    finally:
        detector.deactivate()


async def test_a_pipe_is_read_to_its_end() -> None:
    """Bytes arrive complete and in order, whatever the sizes of the writes."""
    reading, writing = make_pipe()
    written = [os.urandom(size) for size in (1, 70_000, 3_000_000, 10)]

    def write() -> None:
        with os.fdopen(writing, "wb", buffering=0) as end:
            for block in written:
                rest = memoryview(block)
                while rest:
                    rest = rest[end.write(rest) :]

    got = bytearray()
    with os.fdopen(reading, "rb", buffering=0) as source:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(to_thread.run_sync, write)
            while chunk := await PipeReader(source.fileno()).receive():
                got += chunk
    assert bytes(got) == b"".join(written)


async def test_processes_are_bounded_by_kind(site: Site) -> None:
    """With one process allowed, a look-up still runs while an archive is open: no deadlock."""
    commit = site.source.commit({"a": os.urandom(3_000_000)})
    async with (
        site.open_mirrors(processes=1) as mirrors,
        mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot,
        snapshot.open_archive() as chunks,
    ):
        await anext(chunks)
        with anyio.fail_after(PATIENCE_SECONDS):
            newer = site.source.commit({"b": b"1"})
            async with mirrors.open(repository(), ref=MAIN, commit=newer) as other:
                assert other.commit == newer


async def test_no_descriptor_leaks(site: Site) -> None:
    """After fetches, archives, failures and cancelled streams as many files are open as before."""
    commit = site.source.commit({"a": os.urandom(3_000_000)})
    async with site.open_mirrors() as mirrors:
        await archive_of(mirrors, commit)
        await wait_until(lambda: is_quiet(mirrors))
        before = _descriptors()
        for _ in range(3):
            await archive_of(mirrors, commit)
            async with mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot:
                async with snapshot.open_archive() as chunks:
                    await anext(chunks)
                with pytest.raises(Reject, match="nowhere"):
                    async with snapshot.open_archive(paths=[b"nowhere"]) as chunks:
                        await anext(chunks)
        # A leak stays; work in the background ends.
        await wait_until(lambda: _descriptors() <= before)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count


async def test_a_git_that_cannot_be_started_is_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No more processes or files: a limit of the machine, not a fault of the push (I5)."""
    git = Git(GitSettings())

    def refuse(*_arguments: object, **_more: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(Busy, match="cannot be started"):
        await git.run(Command(("version",), "ask git for its version"))


async def test_a_kernel_without_process_descriptors_is_supported(
    monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    """Before Linux 5.3, or in a sandbox: everything works, ended early or not."""
    given = os.pidfd_open

    def refuse(pid: int) -> int:
        asking = inspect.stack()[1].frame.f_globals["__name__"]
        if asking == child.__name__:  # the test's own server is asyncio's child, which needs one
            raise OSError(errno.ENOSYS, "Function not implemented")
        return given(pid)

    monkeypatch.setattr(os, "pidfd_open", refuse)
    commit = site.source.commit({str(n): os.urandom(300_000) for n in range(9)})
    async with site.open_mirrors() as mirrors:
        assert await archive_of(mirrors, commit) == site.source.archive(commit)
        async with (
            mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot,
            snapshot.open_archive() as chunks,
        ):
            await anext(chunks)


@pytest.mark.parametrize(
    ("script", "silence_seconds", "most_seconds", "said"),
    [
        ("while :; do :; done", 1.5, 4, r"not done after 4 s"),
        ("sleep 600", 0.6, 120, r"silent for 0\.6 s"),
    ],
)
async def test_computing_in_silence_is_a_sign_of_life(
    script: str, silence_seconds: float, most_seconds: float, said: str
) -> None:
    """A git that only computes is limited by its total time; an idle one is ended."""
    git = Git(GitSettings(silence_timeout_seconds=silence_seconds, timeout_seconds=most_seconds))
    command = Command(("-c", f"alias.x=!{script}", "x"), "try it")
    with pytest.raises(Retry, match=said):
        await git.run(command)
