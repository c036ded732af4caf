"""After killed processes, broken mirrors, bad networks and full disks the next push works."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from anyio.abc import Process
from support.crowded import Crowd
from support.mirrors import MAIN, Site, archive_of, is_quiet, read_archive, repository, zip_of
from support.repositories import SourceRepository
from support.wait import PATIENCE_SECONDS, wait_until

from asyncbuild.domain.archive_options import ArchiveOptions, Lfs, Submodules
from asyncbuild.domain.errors import Busy, Outage, Retry
from asyncbuild.git.mirrors.cache import MirrorCache

_MANY, _ROOM = 150, 30
_CHILD = Path(__file__).parents[2] / "support" / "mirror_child.py"


@asynccontextmanager
async def open_child(site: Site, commit: str) -> AsyncIterator[Process]:
    """Start another process on the same cache, killed at the end."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(_CHILD), site.server.template, str(site.cache), commit]
    async with await anyio.open_process(command, env=environment, stderr=None) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


async def wait_open(child: Process) -> None:
    """Wait until the child holds its commit."""
    assert child.stdout
    said = b""
    with anyio.fail_after(PATIENCE_SECONDS):
        while b"open\n" not in said:  # among its log lines
            said += await child.stdout.receive()


async def wait_stalled(site: Site) -> None:
    """Wait until a fetch hangs in the middle of a pack, half of which is on the disk."""
    with anyio.fail_after(PATIENCE_SECONDS):
        await site.server.stalled.wait()
    await wait_until(lambda: any(site.mirror.parent.glob("*/objects/pack/tmp_pack_*")))


def gits_in(directory: Path) -> list[int]:
    """Return processes of git that work for repositories below a directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = (process / "environ").read_bytes().split(b"\0")
            if any(each.startswith(b"GIT_DIR=" + os.fsencode(directory)) for each in variables):
                found.append(int(process.name))
    return found


@pytest.mark.parametrize("warm", [False, True])
async def test_a_service_killed_during_a_fetch_is_replaced(site: Site, *, warm: bool) -> None:
    """Kill -9 at a first and at a later fetch: a new process fetches as usual."""
    if warm:
        async with site.open_mirrors() as mirrors:
            await archive_of(mirrors, site.source.commit({"a": b"0"}))
    commit = site.source.commit({"a": os.urandom(300_000)})
    site.server.behaviour.stall_after_bytes = 100_000
    async with open_child(site, commit) as child:
        await wait_stalled(site)
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
    assert gits_in(site.cache)  # its git still runs, and holds the lock
    site.server.behaviour.stall_after_bytes = None
    site.server.resume.set()
    async with site.open_mirrors() as mirrors:
        assert await archive_of(mirrors, commit) == site.source.archive(commit)
    await wait_until(lambda: not gits_in(site.cache))
    left = {path.name for path in site.mirror.parent.iterdir()}
    assert left == {"repository.git", "fetch.lock", "use.lock", "stamp"}
    assert list(site.mirror.rglob("tmp_*")) == []


async def test_two_services_on_one_disk_fetch_once(site: Site) -> None:
    """While another process fetches a commit we wait for its lock, and then have the commit."""
    commit = site.source.commit({"a": os.urandom(300_000)})
    site.server.behaviour.stall_after_bytes = 100_000
    got: list[bytes] = []

    async def wait(mirrors: MirrorCache) -> None:
        got.append(await archive_of(mirrors, commit))

    async with open_child(site, commit) as child, site.open_mirrors() as mirrors:
        await wait_stalled(site)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, mirrors)
            await wait_until(lambda: mirrors.statistics().fetches == 1)
            site.server.resume.set()
        await wait_open(child)
    assert got == [site.source.archive(commit)]
    assert site.server.connections["web"] == 1


async def test_no_fetch_runs_beside_an_orphaned_git(site: Site) -> None:
    """The git of a killed service keeps the lock until it ends; the next one waits for that."""
    commit = site.source.commit({"a": os.urandom(300_000)})
    site.server.behaviour.stall_after_bytes = 100_000
    async with open_child(site, commit) as child:
        await wait_stalled(site)
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
    before = site.server.connections.total()
    async with site.open_mirrors(timeout_seconds=0.3) as mirrors:
        with pytest.raises(Busy, match=r"fetch\.lock is held by another process"):
            await archive_of(mirrors, commit)
    assert site.server.connections.total() == before
    site.server.resume.set()
    await wait_until(lambda: not gits_in(site.cache))


async def test_lock_files_of_a_killed_git_are_removed(site: Site) -> None:
    """Files left by a SIGKILL do not stop the next fetch."""
    async with site.open_mirrors() as mirrors:
        await archive_of(mirrors, site.source.commit({"a": b"1"}))
        for name in ("shallow.lock", "packed-refs.lock", "config.lock", "objects/pack/tmp_pack_1"):
            (site.mirror / name).write_bytes(b"x")
        (site.mirror.parent / "staging-1").mkdir()
        commit = site.source.commit({"a": b"2"})
        assert await archive_of(mirrors, commit) == site.source.archive(commit)
    assert list(site.mirror.rglob("*.lock")) == []
    assert list(site.mirror.rglob("tmp_*")) == []
    assert list(site.mirror.parent.glob("staging-*")) == []


def _truncate_packs(mirror: Path) -> None:
    for pack in mirror.rglob("*.pack"):
        pack.chmod(0o644)
        os.truncate(pack, pack.stat().st_size // 2)


def _empty_files(mirror: Path) -> None:
    """Empty all files of a mirror, as a power failure may without a sync."""
    for path in [path for path in mirror.rglob("*") if path.is_file()]:
        path.chmod(0o644)
        os.truncate(path, 0)


def _empty_refs(mirror: Path) -> None:
    for ref in (mirror / "refs" / "asyncbuild").rglob("*"):
        if ref.is_file():
            os.truncate(ref, 0)


def _zero_packs(mirror: Path) -> None:
    for path in (mirror / "objects" / "pack").iterdir():
        path.chmod(0o644)
        size = path.stat().st_size
        os.truncate(path, 0)
        os.truncate(path, size)


def _zero_pack_end(mirror: Path) -> None:
    for pack in mirror.rglob("*.pack"):
        pack.chmod(0o644)
        size = pack.stat().st_size
        os.truncate(pack, size // 2)
        os.truncate(pack, size)


def _zero_index_end(mirror: Path) -> None:
    for index in mirror.rglob("*.idx"):
        index.chmod(0o644)
        size = index.stat().st_size
        os.truncate(index, 1024 + 8)
        os.truncate(index, size)


def _delete_packs(mirror: Path) -> None:
    for pack in mirror.rglob("*.pack"):
        pack.unlink()


def _scribble_index(mirror: Path) -> None:
    for index in mirror.rglob("*.idx"):
        index.chmod(0o644)
        index.write_bytes(b"scribble" * 200)


def _empty_mirror(mirror: Path) -> None:
    subprocess.run(["rm", "-r", *mirror.iterdir()], check=True)


def _no_head(mirror: Path) -> None:
    (mirror / "HEAD").unlink()


def _bad_refs(mirror: Path) -> None:
    for ref in (mirror / "refs" / "asyncbuild").rglob("*"):
        if ref.is_file():
            ref.write_text("no id\n")


@pytest.mark.parametrize(
    "damage",
    [
        _truncate_packs,
        _zero_packs,
        _zero_pack_end,
        _zero_index_end,
        _delete_packs,
        _scribble_index,
        _empty_mirror,
        _empty_files,
        _no_head,
        _bad_refs,
        _empty_refs,
    ],
)
async def test_a_damaged_mirror_is_cloned_again(site: Site, damage: Callable[[Path], None]) -> None:
    """The mirror is complete again by the second attempt of a push at the latest."""
    old = site.source.commit({"a": os.urandom(10_000), "b": b"1"})
    async with site.open_mirrors() as mirrors:
        await archive_of(mirrors, old)
        await to_thread.run_sync(damage, site.mirror)
        new = site.source.commit({"b": b"2"})
        for _ in range(2):
            try:
                got = await archive_of(mirrors, new)
                break
            except Retry:
                continue
        else:
            pytest.fail("two tries were not enough")
        assert got == site.source.archive(new)
    site.source.git("--git-dir", str(site.mirror), "fsck", "--strict")


async def test_a_missing_file_is_never_an_archive(site: Site) -> None:
    """A truncated archive raises at its end; the next open has a complete mirror."""
    commit = site.source.commit({"a": b"1", "b": os.urandom(100_000), "c": b"3"})
    async with site.open_mirrors() as mirrors:
        async with mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot:
            _lose_object(site.mirror, site.source.git("rev-parse", f"{commit}:b"))
            with pytest.raises(Retry, match="archive"):
                await read_archive(snapshot)
        assert await archive_of(mirrors, commit) == site.source.archive(commit)
        assert mirrors.statistics().renewals == 1


@pytest.mark.parametrize(
    ("path", "options"),
    [
        (".gitattributes", ArchiveOptions()),
        (".gitmodules", ArchiveOptions(submodules=Submodules.INCLUDE)),
        (".lfsconfig", ArchiveOptions(lfs=Lfs.CONTENT)),
    ],
)
async def test_a_missing_special_file_is_not_taken_for_one_too_long(
    site: Site, path: str, options: ArchiveOptions
) -> None:
    """The push is retried instead of rejected, and has a complete mirror."""
    commit = site.source.commit(
        {
            ".gitattributes": b"*.bin filter=lfs\n",
            ".gitmodules": b"[submodule]\n",
            ".lfsconfig": b"[lfs]\n",
            "module": "1" * 40,
            "a.bin": site.server.lfs.add(b"content"),
        }
    )
    async with site.open_mirrors() as mirrors:
        await archive_of(mirrors, commit)
        lost = site.source.git("rev-parse", f"{commit}:{path}")
        await to_thread.run_sync(_lose_object, site.mirror, lost)
        with pytest.raises(Retry, match=r"an object is missing|invalid object"):
            await zip_of(mirrors, commit, options)
        assert await archive_of(mirrors, commit) == site.source.archive(commit)
        assert mirrors.statistics().renewals == 1


def _lose_object(mirror: Path, object_id: str) -> None:
    """Explode the pack into loose objects and delete one."""
    environment = {"PATH": os.environ["PATH"], "GIT_DIR": str(mirror)}
    for pack in list(mirror.rglob("*.pack")):
        content = pack.read_bytes()
        for part in pack.parent.glob(f"{pack.stem}.*"):
            part.unlink()
        subprocess.run(["git", "unpack-objects", "-q"], input=content, env=environment, check=True)
    (mirror / "objects" / object_id[:2] / object_id[2:]).unlink()


async def test_a_throttled_server_is_busy(site: Site) -> None:
    """429 and the text of CodeCommit count no attempt (I5)."""
    commit = site.source.commit({"a": b"1"})
    site.server.behaviour.status = 429
    site.server.behaviour.text = "Rate Exceeded"
    async with site.open_mirrors() as mirrors:
        with pytest.raises(Busy, match="429"):
            await archive_of(mirrors, commit)
        site.server.behaviour.status = None
        assert await archive_of(mirrors, commit) == site.source.archive(commit)


async def test_a_server_that_stalls_is_abandoned(site: Site) -> None:
    """Silent for too long: git and its children are ended, the push is retried."""
    commit = site.source.commit({"a": os.urandom(300_000)})
    site.server.behaviour.stall_after_bytes = 100_000
    async with site.open_mirrors(silence_timeout_seconds=0.5) as mirrors:
        with pytest.raises(Retry, match=r"silent for 0\.5 s"):
            await archive_of(mirrors, commit)
        await wait_until(lambda: not gits_in(site.cache))
    site.server.behaviour.stall_after_bytes = None
    async with site.open_mirrors() as mirrors:  # more patient: the machine may be slow
        assert await archive_of(mirrors, commit) == site.source.archive(commit)


async def test_a_fetch_that_keeps_talking_is_ended(site: Site) -> None:
    """The total time is bounded too."""
    commit = site.source.commit({"a": os.urandom(300_000)})
    site.server.behaviour.stall_after_bytes = 100_000
    async with site.open_mirrors(timeout_seconds=0.5) as mirrors:
        with pytest.raises(Retry, match=r"not done after 0\.5 s"):
            await archive_of(mirrors, commit)
    await wait_until(lambda: not gits_in(site.cache))


async def test_a_truncated_pack_is_an_outage(site: Site) -> None:
    """A cut connection leaves nothing incomplete."""
    commit = site.source.commit({"a": os.urandom(300_000)})
    site.server.behaviour.cut_after_bytes = 100_000
    async with site.open_mirrors() as mirrors:
        with pytest.raises(Outage):
            await archive_of(mirrors, commit)
        site.server.behaviour.cut_after_bytes = None
        assert await archive_of(mirrors, commit) == site.source.archive(commit)


async def test_a_cancelled_push_leaves_no_process(site: Site) -> None:
    """No other push waits: the fetch is ended, reaped, and the mirror is free."""
    commit = site.source.commit({"a": os.urandom(300_000)})
    site.server.behaviour.stall_after_bytes = 100_000
    async with site.open_mirrors() as mirrors:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(archive_of, mirrors, commit)
            await site.server.stalled.wait()
            tasks.cancel_scope.cancel()
        await wait_until(lambda: not gits_in(site.cache))
        site.server.behaviour.stall_after_bytes = None
        assert await archive_of(mirrors, commit) == site.source.archive(commit)


async def test_a_reader_that_stops_early_ends_git(site: Site) -> None:
    """Half an archive is read, then the consumer fails: its own error is raised, git has ended."""
    commit = site.source.commit({str(n): os.urandom(300_000) for n in range(20)})
    async with (
        site.open_mirrors() as mirrors,
        mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot,
    ):
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - it must be raised in there
            async with snapshot.open_archive() as chunks:
                await anext(chunks)
                raise ZeroDivisionError
        assert mirrors.statistics().processes["stream"] == 0
        # Another git looks through the tree, for the next archives.
        await wait_until(lambda: is_quiet(mirrors) and not gits_in(site.cache))


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[None]:
    """Mount a file system that is soon full."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("mounting a tmpfs needs privileges")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


async def test_a_full_disk_evicts_unused_mirrors(site: Site) -> None:
    """Unused mirrors are evicted; if that is not enough the push is Busy, not lost."""
    sources = {
        name: SourceRepository(site.directory / "remote" / name) for name in ("one", "two", "huge")
    }
    commits = {
        name: sources[name].commit({"a": os.urandom(size)})
        for name, size in (("one", 2_000_000), ("two", 2_000_000), ("huge", 8_000_000))
    }
    with small_disk(site.cache, 3):
        async with site.open_mirrors() as mirrors:
            for name in ("one", "two"):
                expected = sources[name].archive(commits[name])
                assert await archive_of(mirrors, commits[name], name=name) == expected
                await wait_until(lambda: is_quiet(mirrors))  # and it is unused
            assert mirrors.statistics().evictions == 1
            with pytest.raises(Busy, match=r"is full.*256 MiB must be free"):
                await archive_of(mirrors, commits["huge"], name="huge")
            await archive_of(mirrors, commits["one"], name="one")


async def test_the_budget_is_kept_and_used_mirrors_stay(site: Site) -> None:
    """The least recently used are evicted first; one that another process reads stays."""
    names = [f"r{number}" for number in range(6)]
    sources = {name: SourceRepository(site.directory / "remote" / name) for name in names}
    commits = {name: each.commit({"a": os.urandom(200_000)}) for name, each in sources.items()}
    web = site.source.commit({"a": os.urandom(200_000)})

    def present() -> set[str]:
        return {path.parent.name for path in site.cache.glob("mirrors/*/*/*/repository.git")}

    async with (
        open_child(site, web) as child,
        site.open_mirrors(cache_budget_bytes=850_000) as mirrors,
    ):
        await wait_open(child)
        for name in names:
            await archive_of(mirrors, commits[name], name=name)
            await wait_until(lambda: is_quiet(mirrors))  # the next one finds it unused
        await wait_until(lambda: mirrors.statistics().evictions == 4)
        assert present() == {"web", "r4", "r5"}


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_many_repositories_share_a_cache_for_a_fifth(tmp_path: Path) -> None:
    """All are served, the budget kept but for one mirror, and none in use is evicted."""
    crowd = Crowd(tmp_path, repositories=_MANY, room=_ROOM, at_once=8)
    crowd.prepare()
    figures = await crowd.run(_MANY + _ROOM)
    assert (figures.failures, figures.evicted_in_use) == ([], 0)
    assert figures.pushes == _MANY + _ROOM
    assert figures.overshoot_mirrors <= 1
    assert figures.left_bytes <= figures.budget_bytes
    assert figures.evictions >= _MANY - 2 * _ROOM
