"""Delta archives of random trees, compared with the output of `git archive`.

`python -m support.differential 2000` looks for a difference for long; the suite has a short one.
"""

import io
import stat
import tarfile
import uuid
import zipfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random, SystemRandom
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
import click
from botocore.exceptions import ClientError
from support.random_trees import RandomTrees
from support.repositories import SourceRepository
from support.servers import REGION, open_s3_client

from asyncbuild.archive.archive_order import Order
from asyncbuild.archive.archiver import Archiver, Result
from asyncbuild.archive.delta.lineage import ArchiveLineage
from asyncbuild.config import MIB, ArchiveSettings, Settings, StorageSettings
from asyncbuild.domain.archive_options import WHOLE, ArchiveOptions
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.repository import Repository
from asyncbuild.git.process.command import Git
from asyncbuild.git.reader import Reader
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.local.servers.children import LocalServer, open_ministack
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.storage.s3 import Store
from asyncbuild.zip.engine import open_engine
from asyncbuild.zip.format.records import dos_time

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_BUCKET: Final = "random-trees"
_CHAIN: Final = 20  # archives, each made of the one before
_FAR: Final = 4  # one in so many is made without the older tree
# Long enough to be copied for certain, in one piece.
_BASE: Final = Random(1).randbytes(8 * MIB)  # noqa: S311 - the same in every run
_SUBTREE: Final = ArchiveOptions(subtree="a")


class Entry(NamedTuple):
    """Name, mode, content and time to compare; `time` as a zip has it."""

    name: bytes
    mode: int
    content: bytes
    time: int


class Difference(AssertionError):
    """An archive that differs from the output of `git archive`."""


class Differential:
    """Makes archives of random trees, and compares them."""

    def __init__(self, client: "S3Client", archiver: Archiver, reader: Reader) -> None:
        self._client = client
        self._archiver = archiver
        self._reader = reader
        self.ways: Counter[str] = Counter()

    @property
    def deltas(self) -> int:
        """Return the number of delta archives so far."""
        return self.ways["delta"]

    async def prepare(self) -> None:
        """Make the bucket, once before all chains."""
        await self._reader.prepare()
        with suppress(ClientError):  # made by another chain
            await self._client.create_bucket(
                Bucket=_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
            )

    async def run_chain(self, seed: int, directory: Path, *, archives: int = _CHAIN) -> None:
        """Archive a random tree and its successors.

        Raises:
            Difference: naming seed and step.
        """
        chance = Random(seed)  # noqa: S311 - the same for a seed
        source = SourceRepository(directory / "source")
        options = chance.choice((WHOLE, WHOLE, _SUBTREE))
        above = options.subtree.encode()
        trees = RandomTrees(source.path, chance, _BASE, above)
        trees.begin()
        repository = Repository.of_codecommit("1", "random", str(seed))
        origin = ArchiveLineage(repository, "refs/heads/main")
        times: dict[tuple[bytes, int, bytes], set[int]] = {}
        keys: list[str] = []
        for step in range(archives):
            commit = trees.commit()
            where = source.path
            if step and chance.randrange(_FAR) == 0:
                where = _copy(source, commit, directory / f"{step}")
            expected = read_tar(source.archive(commit))
            if above:
                expected = _below(expected, above + b"/")
            try:
                result, body = await self._put(where, commit, origin, options)
            except Reject:
                assert above, "nothing was to be left out"
                assert not expected
                self.ways["refused"] += 1
                trees.change()
                continue
            keys.append(result.made.archive.key)
            await self._delete(keys, left=1)  # the server has them in memory
            how = result.made.archive.kind + (f" ({result.fallback})" if result.fallback else "")
            self.ways[how] += 1
            try:
                _compare(read_zip(body), expected, times)
            except AssertionError as error:
                raise Difference(f"seed {seed}, step {step}, {commit} ({how}): {error}") from error
            trees.change()
        await self._delete(keys, left=0)

    async def _delete(self, keys: list[str], *, left: int) -> None:
        """Delete all archives but the last, so that none is a base any more."""
        while len(keys) > left:
            await self._client.delete_object(Bucket=_BUCKET, Key=keys.pop(0))

    async def _put(
        self, path: Path, commit: str, origin: ArchiveLineage, options: ArchiveOptions
    ) -> tuple[Result, bytes]:
        found = (await self._reader.find(path, [commit], "test"))[commit]
        snapshot = Snapshot(
            path=path,
            commit=commit,
            commit_time=found.time,
            tree=found.tree,
            name="test",
            reader=self._reader,
        )
        key = f"{uuid.uuid4()}.zip"
        snapshot = await snapshot.select(options)
        result = await self._archiver.put(Order(snapshot, key, lambda: None, origin=origin))
        answer = await self._client.get_object(Bucket=_BUCKET, Key=key)
        async with answer["Body"] as stream:
            return result, await stream.read()


def _copy(source: SourceRepository, commit: str, path: Path) -> Path:
    """Return a repository that has this commit alone."""
    source.git("update-ref", "refs/heads/main", commit)
    copy = SourceRepository(path)
    copy.git("fetch", "--quiet", "--depth=1", f"file://{source.path.absolute()}", "main")
    return copy.path


def _below(entries: list[Entry], above: bytes) -> list[Entry]:
    """Return the entries in a directory, named as if it were the root."""
    begins = len(above)
    return [
        each._replace(name=each.name[begins:])
        for each in entries
        if each.name.startswith(above) and each.name != above
    ]


def _compare(
    ours: list[Entry], theirs: list[Entry], times: dict[tuple[bytes, int, bytes], set[int]]
) -> None:
    """Compare two lists of entries; an unchanged entry may have the time of an older commit."""
    mine, others = ({each[:3] for each in entries} for entries in (ours, theirs))
    assert len(ours) == len(mine), "a name is there twice"
    assert mine == others, (
        f"too much {sorted(mine - others)!r:.400}, lacks {sorted(others - mine)!r:.400}"
    )
    for each in theirs:
        times.setdefault(each[:3], set()).add(each.time)
    for each in ours:
        assert each.time in times[each[:3]], f"{each.name!r} has the time {each.time}"


def read_zip(body: bytes) -> list[Entry]:
    """Return the entries of a zip, as an independent reader finds them."""
    found = []
    with zipfile.ZipFile(io.BytesIO(body)) as opened:
        for each in opened.infolist():
            name = each.orig_filename.encode("utf-8" if each.flag_bits & 0x800 else "cp437")
            year, month, day, hour, minute, second = each.date_time
            date = (year - 1980) << 9 | month << 5 | day
            time = date << 16 | hour << 11 | minute << 5 | second // 2
            found.append(Entry(name, each.external_attr >> 16, opened.read(each), time))
    return found


def read_tar(tar: bytes) -> list[Entry]:
    """Return the entries of a tar, as an independent reader finds them."""
    found = []
    with tarfile.open(
        fileobj=io.BytesIO(tar), encoding="utf-8", errors="surrogateescape", ignore_zeros=True
    ) as opened:
        for each in opened:
            name = each.name.encode("utf-8", "surrogateescape")
            time = dos_time(int(each.mtime))
            if each.isdir():
                found.append(Entry(name + b"/", stat.S_IFDIR | each.mode, b"", time))
            elif each.issym():
                target = each.linkname.encode("utf-8", "surrogateescape")
                found.append(Entry(name, stat.S_IFLNK | each.mode, target, time))
            else:
                read: Any = opened.extractfile(each)
                found.append(Entry(name, stat.S_IFREG | each.mode, read.read(), time))
    return found


@asynccontextmanager
async def open_differential(server: LocalServer) -> AsyncIterator[Differential]:
    """Open the comparison on an S3 server."""
    settings = Settings(
        archive=ArchiveSettings(memory_budget_bytes=128 * MIB),
        storage=StorageSettings(bucket=_BUCKET),
    )
    with TemporaryDirectory(prefix="asyncbuild-") as directory:
        reader = Reader(Git(settings.git), Path(directory))
        async with open_s3_client(server) as client, open_engine(settings.archive) as engine:
            archiver = Archiver(
                engine=engine,
                budget=MemoryBudget(settings.archive.memory_budget_bytes),
                store=Store(client, settings.storage),
                settings=settings,
            )
            differential = Differential(client, archiver, reader)
            await differential.prepare()
            yield differential


async def _search(count: int, seed: int) -> None:
    async with open_ministack() as server, open_differential(server) as differential:
        while differential.deltas < count:
            with TemporaryDirectory(prefix="asyncbuild-") as directory:
                await differential.run_chain(seed, Path(directory))
            click.echo(f"{differential.deltas} deltas, seed {seed}", err=True)
            seed += 1
        click.echo(f"{differential.deltas} deltas without a difference: {dict(differential.ways)}")


@click.command()
@click.argument("count", type=int)
@click.option("--seed", type=int, default=None, help="Of the first chain; at random without.")
def main(count: int, seed: int | None) -> None:
    """Make COUNT delta archives of random trees, or end with the first that differs."""
    anyio.run(_search, count, SystemRandom().randrange(10**6) if seed is None else seed)


if __name__ == "__main__":
    main()
