"""What a push costs when its archive is made of the one before, next to one made anew.

    make bench-delta                                       the generated monorepo
    python bench/delta.py --repository /path/to.git        and any repository

For each of the last commits both ways run, one after the other, on the same S3: a stand-in in
memory, in a process of its own, that does what S3 does with parts and ranges and nothing else, so
that times are ours. The link of 40 MB/s is a proxy of our own. CPU is ours and git's, not the
server's. Everything is read back by Python's zipfile with --verify.
"""

import argparse
import contextlib
import io
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import monorepo
from anyio.abc import SocketStream

from asyncbuild.archive.writer import Engine, open_engine
from asyncbuild.archiving.archiver import Archiver, Order, Origin
from asyncbuild.aws import Aws
from asyncbuild.budget import MemoryBudget
from asyncbuild.config import MIB, ArchiveSettings, AwsSettings, Settings, StorageSettings
from asyncbuild.git.process import Git
from asyncbuild.git.reader import Reader
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.local.servers import ACCESS_KEY, SECRET_KEY
from asyncbuild.logs import mute
from asyncbuild.model import Repository
from asyncbuild.storage.s3 import Store

_HERE = Path(__file__).parent
_CACHE = _HERE.parent / ".cache" / "bench"
_REGION = "eu-west-1"
_BUCKET = "bench"
_ORIGIN = Origin(Repository("123456789012", _REGION, "bench"), "refs/heads/main")


@dataclass(frozen=True)
class Row:
    """One archive: how it was made, and what that took."""

    kind: str
    fallback: str
    size_bytes: int
    sent_bytes: int
    requests: int
    cpu_seconds: float
    wall_seconds: float
    link_seconds: float
    files_read: int
    changed: int


class Bench:
    """Both ways on one repository."""

    def __init__(self, repository: Path, scratch: Path) -> None:
        self._repository = repository
        self._reader = Reader(Git(Settings().git), scratch / "reader")
        self._path = scratch / "mirror"  # where tables are kept, not in somebody's repository
        self._requests = 0

    async def open(self) -> None:
        """Make what the reader needs."""
        await self._reader.prepare()
        self._path.mkdir()
        (self._path / "objects").symlink_to((self._repository / "objects").resolve())

    def git(self, *arguments: str) -> bytes:
        """Run git in the repository."""
        command = ["git", "--git-dir", str(self._repository), *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout

    def commits(self, count: int) -> list[str]:
        """The last ones of the first-parent line, oldest first."""
        lines = self.git("rev-list", "--first-parent", f"-n{count}", "HEAD").decode().split()
        return lines[::-1]

    def count_requests(self, client: Any) -> None:  # noqa: ANN401 - the client's event system has no type
        """From now on."""

        def count(**_: object) -> None:
            self._requests += 1

        client.meta.events.register("before-send.s3", count)

    async def put(self, archiver: Archiver, commit: str, key: str) -> Row:
        """Make one archive and measure it; `link_seconds` is for the caller to fill in."""
        found = (await self._reader.find(self._path, [commit], "bench"))[commit]
        snapshot = Snapshot(
            path=self._path,
            commit=commit,
            commit_time=found.time,
            tree=found.tree,
            name="bench",
            reader=self._reader,
        )
        self._requests = 0
        cpu, wall = _cpu_seconds(), time.perf_counter()
        result = await archiver.put(Order(snapshot, key, lambda: None, origin=_ORIGIN))
        archive = result.made.archive
        return Row(
            kind=archive.kind,
            fallback=result.fallback,
            size_bytes=archive.size_bytes,
            sent_bytes=archive.sent_bytes,
            requests=self._requests,
            cpu_seconds=_cpu_seconds() - cpu,
            wall_seconds=time.perf_counter() - wall,
            link_seconds=0.0,
            files_read=result.made.files_read,
            changed=0,
        )

    def verify(self, commit: str, archive: bytes) -> None:
        """Compare with `git archive`, and look for dead bytes."""
        expected: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(self.git("archive", commit))) as tar:
            for each in tar:
                file = tar.extractfile(each) if each.isfile() else None
                name = f"{each.name}/" if each.isdir() else each.name
                expected[name] = file.read() if file else each.linkname.encode()
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            infos = sorted(opened.infolist(), key=lambda info: info.header_offset)
            found = {each.filename: opened.read(each) for each in infos}
        if len(found) != len(infos) or found != expected:
            raise SystemExit(f"the archive of {commit} is not what git archives")


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@contextlib.contextmanager
def _server() -> Iterator[str]:
    """The stand-in for S3, as a child."""
    command = [sys.executable, str(_HERE / "memory_s3.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            if child.stdout is None:
                raise AssertionError
            yield child.stdout.readline().strip()
        finally:
            child.terminate()


@contextlib.asynccontextmanager
async def _slow_link(endpoint: str, bytes_per_second: float) -> AsyncIterator[str]:
    """A proxy whose connections together carry so many bytes a second to the server."""
    host, port = endpoint.removeprefix("http://").split(":")
    free_at = 0.0

    async def pump(source: SocketStream, target: SocketStream, *, slow: bool) -> None:
        nonlocal free_at
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                data = await source.receive(65_536)
                if slow:
                    now = anyio.current_time()
                    free_at = max(now, free_at) + len(data) / bytes_per_second
                    if free_at - now > 0.005:
                        await anyio.sleep(free_at - now)
                await target.send(data)
        with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            await target.send_eof()

    async def serve(client: SocketStream) -> None:
        async with (
            client,
            await anyio.connect_tcp(host, int(port)) as server,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(partial(pump, client, server, slow=True))
            tasks.start_soon(partial(pump, server, client, slow=False))

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        attribute = anyio.abc.SocketAttribute.local_port
        yield f"http://127.0.0.1:{listener.extra(attribute)}"  # noqa: S610 - no Django here
        tasks.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def _archivers(
    bench: Bench, endpoint: str, engine: Engine, prefix: str
) -> AsyncIterator[tuple[Any, Archiver, Archiver]]:
    """A client, and the two ways on it."""
    settings = Settings(
        aws=AwsSettings(region=_REGION, endpoint_url=endpoint),
        storage=StorageSettings(bucket=_BUCKET, addressing_style="path", ledger_prefix=prefix),
        archive=ArchiveSettings(memory_budget_bytes=256 * MIB),
    )
    async with Aws(settings).open_s3(pool=20) as client:
        bench.count_requests(client)
        ways = []
        for delta in ("auto", "off"):
            archive = settings.archive.model_copy(update={"delta": delta})
            ways.append(
                Archiver(
                    engine=engine,
                    budget=MemoryBudget(256 * MIB),
                    store=Store(client, settings.storage),
                    settings=settings.model_copy(update={"archive": archive}),
                )
            )
        yield client, ways[0], ways[1]


async def _measure(
    repository: Path, count: int, *, link: float, verify: bool
) -> list[tuple[Row, Row]]:
    """Pairs of delta and full for each commit but the first."""
    pairs: list[tuple[Row, Row]] = []
    with tempfile.TemporaryDirectory() as scratch, _server() as endpoint:
        bench = Bench(repository, Path(scratch))
        await bench.open()
        async with (
            open_engine(ArchiveSettings()) as engine,
            _slow_link(endpoint, link) as slow,
            _archivers(bench, endpoint, engine, "fast/") as (client, auto, off),
            _archivers(bench, slow, engine, "slow/") as (_, auto_slow, off_slow),
        ):
            commits = bench.commits(count + 1)
            for number, commit in enumerate(commits):
                delta = await bench.put(auto, commit, f"auto/{commit}")
                if verify:
                    answer = await client.get_object(Bucket=_BUCKET, Key=f"auto/{commit}")
                    async with answer["Body"] as body:
                        bench.verify(commit, await body.read())
                delta_link = await bench.put(auto_slow, commit, f"auto-slow/{commit}")
                if number:
                    full = await bench.put(off, commit, "full")
                    full_link = await bench.put(off_slow, commit, "full")
                    changed = len(
                        bench.git(
                            "diff-tree", "-r", "--name-only", commits[number - 1], commit
                        ).splitlines()
                    )
                    pairs.append(
                        (
                            _with(delta, delta_link, changed),
                            _with(full, full_link, changed),
                        )
                    )
                    _show(*pairs[-1])
                    before = commits[number - 1]
                    for key in (f"auto/{before}", f"auto-slow/{before}"):
                        await client.delete_object(Bucket=_BUCKET, Key=key)
    return pairs


def _with(row: Row, link: Row, changed: int) -> Row:
    return Row(**{**vars(row), "link_seconds": link.wall_seconds, "changed": changed})


def _show(delta: Row, full: Row) -> None:
    print(
        f"{delta.changed:>6} changed  {delta.kind:<5} {delta.fallback:<18}"
        f" sent {delta.sent_bytes / 1e6:7.2f} of {full.sent_bytes / 1e6:7.2f} MB"
        f"  requests {delta.requests:3}/{full.requests:3}"
        f"  cpu {delta.cpu_seconds:5.2f}/{full.cpu_seconds:5.2f}"
        f"  wall {delta.wall_seconds:5.2f}/{full.wall_seconds:5.2f}"
        f"  link {delta.link_seconds:5.2f}/{full.link_seconds:5.2f}",
        flush=True,
    )


def _table(name: str, pairs: list[tuple[Row, Row]]) -> str:
    """Medians, and how many times less."""
    lines = [f"\n{name}: {len(pairs)} commits, kinds {_kinds(pairs)}, medians", ""]
    lines += ["| | full | delta | times less |", "| --- | --- | --- | --- |"]
    for title, field, unit in (
        ("archive, MB", "size_bytes", 1e6),
        ("sent, MB", "sent_bytes", 1e6),
        ("requests", "requests", 1),
        ("CPU, s", "cpu_seconds", 1),
        ("wall on loopback, s", "wall_seconds", 1),
        ("wall at 40 MB/s, s", "link_seconds", 1),
    ):
        delta, full = (
            statistics.median(getattr(pair[side], field) / unit for pair in pairs)
            for side in (0, 1)
        )
        ratio = statistics.median(
            getattr(pair[1], field) / max(getattr(pair[0], field), 1e-9) for pair in pairs
        )
        lines.append(f"| {title} | {full:.2f} | {delta:.2f} | {ratio:.1f} |")
    return "\n".join(lines)


def _kinds(pairs: list[tuple[Row, Row]]) -> str:
    kinds = [pair[0].kind for pair in pairs]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))


def _growth(pairs: list[tuple[Row, Row]]) -> str:
    """The table of changes of growing size."""
    lines = ["\n| files changed | way | sent, MB | CPU, s | wall, s |", "| --- " * 5 + "|"]
    lines += [
        f"| {delta.changed} | {delta.kind} | {delta.sent_bytes / 1e6:.2f} "
        f"| {delta.cpu_seconds:.2f} | {delta.wall_seconds:.2f} |"
        for delta, _ in pairs
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repository", type=Path, action="append", default=[])
    parser.add_argument("--commits", type=int, default=20)
    parser.add_argument("--files", type=int, default=104_000, help="of the generated monorepo")
    parser.add_argument("--link", type=float, default=40, help="MB/s")
    parser.add_argument("--verify", action="store_true")
    parser.add_argument("--growth", action="store_true", help="1 to 10,000 changed files instead")
    options = parser.parse_args()
    os.environ.update(AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)
    mute()
    repositories = options.repository
    if options.growth or not repositories:
        sizes = (1, 1, 10, 100, 1_000, 10_000) if options.growth else ()
        name = "growth" if options.growth else "monorepo"
        generated = _CACHE / f"{name}-{options.files}.git"
        generated.parent.mkdir(parents=True, exist_ok=True)
        monorepo.make(generated, files=options.files, commits=40, seed=1, sizes=sizes)
        repositories = [*repositories, generated]
    for repository in repositories:
        count = 5 if options.growth else options.commits
        pairs = anyio.run(
            lambda path=repository, count=count: _measure(
                path, count, link=options.link * 1e6, verify=options.verify
            )
        )
        print(_growth(pairs) if options.growth else _table(repository.name, pairs))


if __name__ == "__main__":
    main()
