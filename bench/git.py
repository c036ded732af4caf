"""Time from a push to archive bytes, compared with git by hand.

    make bench-git REPOSITORY=/path/to/a/large/repository

The repository is served over smart HTTP (protocol v0, as CodeCommit speaks it) on loopback by a
process of its own. Ways alternate within a round. The table gives medians, wall time and its ratio
to the first way, and processor time (ours and our children's, not the server's) and its ratio.

With `--whole` a mirror with all history is fetched into by hand, too; to clone it takes minutes.
"""

import argparse
import asyncio
import logging
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import anyio
import structlog
from cpu import cpu_seconds
from support.git_http import open_git_server
from support.repositories import SourceRepository

from asyncbuild.config import GitSettings
from asyncbuild.domain.repository import Repository
from asyncbuild.forges.remotes import Remotes
from asyncbuild.git.mirrors.cache import MirrorCache, open_mirrors
from asyncbuild.git.process.command import Git
from asyncbuild.git.reader import Reader

_WEB = Repository.of_codecommit("123456789012", "eu-west-1", "web")
BRANCHES = [f"b{number}" for number in range(8)]
_DEPTH = "--depth=1"
_ARCHIVE = ("archive", "--format=tar")
Way = Callable[[], Awaitable[float | None]]


class Table:
    """Seconds by way; the first way of each group is the reference of the others."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds

    async def compare(self, title: str, ways: dict[str, Way]) -> None:
        """Run all ways in turn, as often as there are rounds; print medians and ratios.

        A way that returns a number has timed itself; of others the whole call is timed.
        """
        walls, cpus = defaultdict(list), defaultdict(list)
        for _ in range(self._rounds):
            for name, way in ways.items():
                begun, computed = time.perf_counter(), cpu_seconds()
                own = await way()
                walls[name].append(time.perf_counter() - begun if own is None else own)
                cpus[name].append(cpu_seconds() - computed)
        first = next(iter(ways))
        wall_unit, cpu_unit = statistics.median(walls[first]), statistics.median(cpus[first])
        print(f"\n{title}\n   wall      seconds (from, to)       cpu")
        for name in ways:
            wall, cpu = statistics.median(walls[name]), statistics.median(cpus[name])
            spread = f"({min(walls[name]):.3f}, {max(walls[name]):.3f})"
            print(
                f"{wall / wall_unit:7.2f} {wall:8.3f} {spread:>17} {cpu / cpu_unit:8.2f}  {name}",
                flush=True,
            )


class Bench:
    """The source, its server, and directories for our mirrors and those made by hand."""

    def __init__(self, directory: Path, source: SourceRepository, url: str) -> None:
        self.directory = directory
        self.source = source
        self.url = url
        self._numbers = count()

    def settings(self, cache: str) -> GitSettings:
        """Return `[git]` with a cache of its own."""
        return GitSettings(
            remote=f"{self.url}/v1/repos/{{repository}}",
            cache_directory=self.directory / cache,
        )

    @property
    def remote(self) -> str:
        """Return the URL of the repository."""
        return f"{self.url}/v1/repos/web"

    def push(self, branch: str = "main") -> str:
        """Make a new commit that changes one small file; return its id."""
        return self.source.commit({"bench.txt": b"%d" % next(self._numbers)}, branch=branch)

    def scratch(self) -> Path:
        """Return a fresh directory."""
        path = self.directory / f"scratch-{next(self._numbers)}"
        path.mkdir()
        return path


async def first_byte(mirrors: MirrorCache, commit: str, branch: str = "main") -> None:
    """Open a push, and read up to the first archive byte, like the pipeline."""
    ref = f"refs/heads/{branch}"
    async with (
        mirrors.open(_WEB, ref=ref, commit=commit) as snapshot,
        snapshot.open_archive() as chunks,
    ):
        await anext(chunks)


async def run(*command: str | Path) -> None:
    """Run one command to its end."""
    await anyio.run_process([str(part) for part in command], stdout=subprocess.DEVNULL)


async def first_byte_by_hand(mirror: Path, commit: str) -> None:
    """Run `git archive` until it writes."""
    command = ["git", "-C", str(mirror), *_ARCHIVE, commit]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout
        await process.stdout.receive()
        process.kill()


async def warm(bench: Bench, table: Table, *, whole: bool) -> None:
    """Measure filled mirrors: one new commit, and eight at once."""
    settings = bench.settings("warm")
    hand = await ByHand.make(bench, _DEPTH)
    async with open_mirrors(settings, Remotes(settings)) as mirrors:
        for branch in ("main", *BRANCHES):
            await first_byte(mirrors, bench.push(branch), branch)

        async def ours() -> float:
            commit = bench.push()
            begun = time.perf_counter()
            await first_byte(mirrors, commit)
            return time.perf_counter() - begun

        async def known() -> float:
            commit = bench.push()
            await first_byte(mirrors, commit)
            begun = time.perf_counter()
            await first_byte(mirrors, commit)
            return time.perf_counter() - begun

        async def eight() -> float:
            commits = {branch: bench.push(branch) for branch in BRANCHES}
            begun = time.perf_counter()
            async with anyio.create_task_group() as tasks:
                for branch, commit in commits.items():
                    tasks.start_soon(first_byte, mirrors, commit, branch)
            return time.perf_counter() - begun

        async def eight_in_turn() -> float:
            commits = {branch: bench.push(branch) for branch in BRANCHES}
            begun = time.perf_counter()
            for branch, commit in commits.items():
                await first_byte(mirrors, commit, branch)
            return time.perf_counter() - begun

        more: dict[str, Way] = {}
        if whole:
            all_of_it = await ByHand.make(bench)
            more["git fetch && git archive in a whole mirror, by hand"] = all_of_it.first_byte
        await ours()
        await table.compare(
            "one new commit, warm mirror: push to first archive byte",
            {
                "git fetch --depth=1, by hand": hand.fetch,
                "asyncbuild": ours,
                "git fetch --depth=1 && git archive, by hand": hand.first_byte,
                **more,
                "asyncbuild, commit already fetched": known,
                "git clone --depth 10, as the old script did for each push": old_script(bench),
            },
        )
        await table.compare(
            "eight pushes of eight branches: until all have their first archive byte",
            {
                "one push of one branch": ours,
                "eight at once": eight,
                "eight one after the other": eight_in_turn,
                "one git fetch of all, then eight git archive at once, by hand": hand.eight,
            },
        )


class ByHand:
    """Git by hand in a bare mirror of its own."""

    def __init__(self, bench: Bench, mirror: Path, *more: str) -> None:
        self._bench = bench
        self._mirror = mirror
        self._more = more

    @classmethod
    async def make(cls, bench: Bench, *more: str) -> "ByHand":
        """Clone the mirror."""
        mirror = bench.scratch()
        await run("git", "clone", "--quiet", "--bare", *more, bench.remote, mirror)
        return cls(bench, mirror, *more)

    async def fetch(self) -> float:
        """Fetch one new commit."""
        return await self._run(["main"], archive=False)

    async def first_byte(self) -> float:
        """Fetch one new commit and archive it."""
        return await self._run(["main"], archive=True)

    async def eight(self) -> float:
        """Fetch eight new commits together, then archive them at once."""
        return await self._run(BRANCHES, archive=True)

    async def _run(self, branches: Sequence[str], *, archive: bool) -> float:
        commits = [self._bench.push(branch) for branch in branches]
        refspecs = [f"+refs/heads/{branch}:refs/heads/{branch}" for branch in branches]
        fetch = ("git", "-C", self._mirror, "fetch", "--quiet", *self._more)
        begun = time.perf_counter()
        await run(*fetch, self._bench.remote, *refspecs)
        async with anyio.create_task_group() as tasks:
            for commit in commits if archive else ():
                tasks.start_soon(first_byte_by_hand, self._mirror, commit)
        return time.perf_counter() - begun


def old_script(bench: Bench) -> Way:
    """Return the way of the old script: a clone for each push."""

    async def clone() -> float:
        bench.push()
        tree = bench.scratch()
        begun = time.perf_counter()
        await run("git", "clone", "--quiet", "--depth=10", bench.remote, tree)
        seconds = time.perf_counter() - begun
        shutil.rmtree(tree)
        return seconds

    return clone


async def cold(bench: Bench, table: Table) -> None:
    """Measure the first push, without a mirror."""

    async def clone(*, archive: bool = False) -> float:
        commit, mirror = bench.push(), bench.scratch()
        begun = time.perf_counter()
        await run("git", "clone", "--quiet", "--bare", _DEPTH, bench.remote, mirror)
        if archive:
            await first_byte_by_hand(mirror, commit)
        seconds = time.perf_counter() - begun
        shutil.rmtree(mirror)
        return seconds

    async def ours() -> float:
        commit, cache = bench.push(), bench.scratch()
        settings = bench.settings(cache.name)
        async with open_mirrors(settings, Remotes(settings)) as mirrors:
            begun = time.perf_counter()
            await first_byte(mirrors, commit)
            seconds = time.perf_counter() - begun
        shutil.rmtree(cache)
        return seconds

    await table.compare(
        "cold: push to first archive byte",
        {
            "git clone --bare --depth 1": clone,
            "asyncbuild": ours,
            "git clone --bare --depth 1 && git archive": partial(clone, archive=True),
        },
    )


async def reading(bench: Bench, table: Table) -> None:
    """Measure the same archive through several readers."""
    settings = bench.settings("reading")
    repository, commit = bench.source.path, bench.push()
    git = ["git", "-C", str(repository), *_ARCHIVE, commit]
    reader = Reader(Git(settings), settings.cache_directory)
    await reader.prepare()

    async def to_nothing() -> None:
        await run(*git)

    async def to_cat() -> None:
        await run("sh", "-c", '"$@" | cat > /dev/null', "sh", *git)

    async def ours() -> None:
        stream = reader.open_stream(repository, (*_ARCHIVE, commit), commit=commit, doing="read")
        async with stream as chunks:
            async for _ in chunks:
                pass

    async def asyncio_streams() -> None:
        process = await asyncio.create_subprocess_exec(*git, stdout=subprocess.PIPE, limit=2**20)
        assert process.stdout
        while await process.stdout.read(2**20):
            pass
        await process.wait()

    async def anyio_process() -> None:
        async with await anyio.open_process(git) as process:
            assert process.stdout
            async for _ in process.stdout:
                pass

    await table.compare(
        "reading one whole archive",
        {
            "git archive | cat > /dev/null": to_cat,
            "git archive > /dev/null": to_nothing,
            "asyncbuild": ours,
            "asyncio streams, limit 1 MiB": asyncio_streams,
            "anyio.open_process": anyio_process,
        },
    )


@asynccontextmanager
async def open_server(root: Path) -> AsyncIterator[str]:
    """Open the server, in a process of its own so that it does not share our loop."""
    command = [sys.executable, __file__, "--serve", str(root)]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout
        yield (await process.stdout.receive()).decode().strip()
        process.terminate()


async def serve(root: Path) -> None:
    """Serve in that process until it is killed."""
    async with open_git_server(root) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        await anyio.sleep_forever()


async def main(repository: Path, rounds: int, *, whole: bool) -> None:
    """Run all comparisons."""
    with tempfile.TemporaryDirectory(prefix="bench-git-") as name:
        directory = Path(name)
        source = SourceRepository(directory / "remote" / "web")
        command = ["git", "-C", str(repository), "rev-parse", "--path-format=absolute"]
        found = subprocess.check_output([*command, "HEAD", "--git-path", "objects"], text=True)  # noqa: ASYNC221 - a script
        head, objects = found.split()
        (source.path / "objects" / "info").mkdir(exist_ok=True)
        (source.path / "objects" / "info" / "alternates").write_text(f"{objects}\n")
        for branch in ("main", *BRANCHES):
            source.git("update-ref", f"refs/heads/{branch}", head)
        async with open_server(directory / "remote") as url:
            bench, table = Bench(directory, source, url), Table(rounds)
            await reading(bench, table)
            await warm(bench, table, whole=whole)
            await cold(bench, table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repository", type=Path, help="a repository to serve")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--whole", action="store_true", help="fetch into a whole mirror, too")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        anyio.run(serve, arguments.serve)
    elif arguments.repository:
        quiet = structlog.make_filtering_bound_logger(logging.WARNING)
        structlog.configure(wrapper_class=quiet)  # keeps the tables readable
        anyio.run(partial(main, arguments.repository, arguments.rounds, whole=arguments.whole))
    else:
        parser.error("name a repository with --repository")
