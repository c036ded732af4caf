"""AWS side of `asyncbuild archive`: logins for repositories with a URL, and archives as objects."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from rich.console import Console
from rich.progress import Progress

from asyncbuild.archive.archive_order import Order
from asyncbuild.archive.archiver import Archiver, Result
from asyncbuild.aws.accounts import AccountCredentials
from asyncbuild.aws.session import Aws
from asyncbuild.commands.archive_output import watching
from asyncbuild.config.settings import Settings
from asyncbuild.forges.registry import open_origins
from asyncbuild.forges.remotes import Remotes, signing
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.runtime.tasks import open_background
from asyncbuild.storage.s3 import Store
from asyncbuild.zip.engine import Engine


@asynccontextmanager
async def open_remotes(settings: Settings, url: str | None) -> AsyncIterator[Remotes]:
    """Yield the remotes of a configuration, with what their servers ask for.

    Args:
        settings: The configuration.
        url: URL to fetch from; None for all hosts.

    Raises:
        ConfigError: A secret is missing.
        StageError: Secrets Manager refuses, or cannot be reached.
    """
    aws = Aws(settings)
    async with open_origins(settings, aws, url) as hosts:
        credentials = signing(AccountCredentials(aws, settings))
        yield Remotes(settings.git, credentials, origins=hosts.origin, hosted=hosts.repository)


@dataclass(frozen=True, slots=True)
class ArchiveUpload:
    """An archive that becomes an object.

    Attributes:
        snapshot: Its commit.
        url: `s3://BUCKET/KEY` of the object.
        base_key: Key of the archive that a delta is made of; empty for none.
        show: Progress bar, if there is one.
    """

    snapshot: Snapshot
    url: str
    base_key: str
    show: Progress | None


async def put(settings: Settings, engine: Engine, upload: ArchiveUpload) -> Result:
    """Make the archive in S3.

    Args:
        settings: The configuration, with the bucket of the object.
        engine: Makes the zip.
        upload: The archive.

    Raises:
        StageError: It could not be read or written.
    """
    storage = settings.storage
    async with (
        Aws(settings).open_s3(pool=storage.parts_in_flight + 2) as client,
        open_background() as tasks,
    ):
        archiver = Archiver(
            engine=engine,
            budget=MemoryBudget(settings.archive.memory_budget_bytes),
            store=Store(client, storage),
            settings=settings,
        )
        order = Order(
            upload.snapshot,
            upload.url.removeprefix(f"s3://{storage.bucket}/"),
            lambda: None,
            base_key=upload.base_key,
            watch=partial(watching, upload.show, tasks),
        )
        return await archiver.put(order)


def tell(result: Result, base: str) -> None:
    """Print on standard error whether the archive was made of `base`, and what that saved."""
    archive = result.made.archive
    how = f"a {archive.kind} of {base}" if result.base_key else f"full, not of {base}"
    why = f" ({result.fallback})" if result.fallback else ""
    Console(stderr=True, highlight=False).print(
        f"{how}{why}: {archive.sent_bytes:,} bytes sent, {archive.copied_bytes:,} copied in S3, "
        f"{result.made.files_read:,} files read",
        markup=False,
        soft_wrap=True,
    )
