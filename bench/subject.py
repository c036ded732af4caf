"""Archives of a repository's commits, one after the other, on some S3: for measurements."""

import contextlib
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpu import cpu_seconds

from asyncbuild.archive.archive_order import Order
from asyncbuild.archive.archiver import Archiver
from asyncbuild.archive.delta.lineage import ArchiveLineage
from asyncbuild.aws.session import Aws
from asyncbuild.config import MIB, ArchiveSettings, AwsSettings, Settings, StorageSettings
from asyncbuild.domain.repository import Repository
from asyncbuild.git.process.command import Git
from asyncbuild.git.reader import Reader
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.storage.s3 import Store
from asyncbuild.zip.engine import Engine

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

REGION = "eu-west-1"
BUCKET = "bench"
_ORIGIN = ArchiveLineage(
    Repository.of_codecommit("123456789012", REGION, "bench"), "refs/heads/main"
)
_BUDGET_BYTES = 256 * MIB


@dataclass(frozen=True)
class Row:
    """One archive: its kind and its figures."""

    commit: str
    kind: str
    fallback: str
    size_bytes: int
    sent_bytes: int
    copied_bytes: int
    requests: int
    cpu_seconds: float
    wall_seconds: float
    files_read: int
    base_key: str = ""
    resent_bytes: int = 0
    headers_bytes: int = 0
    link_seconds: float = 0.0
    changed: int = 0

    def with_link(self, link: "Row", changed: int) -> "Row":
        """Return the row with the time over a slow link, too, and the number of changed files."""
        return replace(self, link_seconds=link.wall_seconds, changed=changed)

    def as_dict(self) -> dict[str, Any]:
        """Return the row for JSON."""
        return asdict(self)


class Subject:
    """Archives of one repository.

    Files kept between them are in `scratch`, not in the repository.
    """

    def __init__(self, repository: Path, scratch: Path) -> None:
        self._repository = repository.resolve()
        self._reader = Reader(Git(Settings().git), scratch / "reader")
        self._path = scratch / "mirror"
        self._requests = 0

    async def open(self) -> None:
        """Prepare the reader."""
        await self._reader.prepare()
        self._path.mkdir(exist_ok=True)
        objects = self._path / "objects"
        if not objects.is_symlink():
            objects.symlink_to(self._repository / "objects")

    def git(self, *arguments: str) -> bytes:
        """Run git in the repository."""
        command = ["git", "--git-dir", str(self._repository), *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout

    def commits(self, count: int) -> list[str]:
        """Return the last commits of the first-parent line, oldest first."""
        lines = self.git("rev-list", "--first-parent", f"-n{count}", "HEAD").decode().split()
        return lines[::-1]

    def count_changed(self, before: str, commit: str) -> int:
        """Return the number of files that differ."""
        return len(self.git("diff-tree", "-r", "--name-only", before, commit).splitlines())

    def count_requests(self, client: "S3Client") -> None:
        """Count requests from now on."""

        def count(**_: object) -> None:
            self._requests += 1

        client.meta.events.register("before-send.s3", count)

    async def put(self, archiver: Archiver, commit: str, key: str) -> Row:
        """Make one archive and measure it."""
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
        cpu, wall = cpu_seconds(), time.perf_counter()
        result = await archiver.put(Order(snapshot, key, lambda: None, origin=_ORIGIN))
        wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
        archive = result.made.archive
        return Row(
            commit=commit,
            kind=archive.kind,
            fallback=result.fallback,
            size_bytes=archive.size_bytes,
            sent_bytes=archive.sent_bytes,
            copied_bytes=archive.copied_bytes,
            requests=self._requests,
            cpu_seconds=cpu,
            wall_seconds=wall,
            files_read=result.made.files_read,
            base_key=result.base_key,
            resent_bytes=result.made.resent_bytes,
            headers_bytes=result.made.headers_bytes,
        )


@contextlib.asynccontextmanager
async def open_archivers(
    subject: Subject, endpoint: str, engine: Engine, prefix: str
) -> AsyncIterator[tuple["S3Client", Archiver, Archiver]]:
    """Yield a client, and two archivers on it: with deltas, and without."""
    settings = Settings(
        aws=AwsSettings(region=REGION, endpoint_url=endpoint),
        storage=StorageSettings(bucket=BUCKET, addressing_style="path", ledger_prefix=prefix),
        archive=ArchiveSettings(memory_budget_bytes=_BUDGET_BYTES),
    )
    async with Aws(settings).open_s3(pool=20) as client:
        subject.count_requests(client)
        ways = []
        for delta in ("auto", "off"):
            archive = settings.archive.model_copy(update={"delta": delta})
            ways.append(
                Archiver(
                    engine=engine,
                    budget=MemoryBudget(_BUDGET_BYTES),
                    store=Store(client, settings.storage),
                    settings=settings.model_copy(update={"archive": archive}),
                )
            )
        yield client, ways[0], ways[1]
