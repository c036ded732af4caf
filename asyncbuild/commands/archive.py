"""`asyncbuild archive`: the engine alone, from any repository to a file, a pipe or S3.

A file appears whole or not at all, like an object: it is written beside its place and renamed.
"""

import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiofiles
import aiofiles.os
import anyio
import click
from anyio import to_thread
from anyio.abc import TaskGroup
from rich.console import Console
from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

from asyncbuild.archive.archiver import Archiver, Order, Result
from asyncbuild.aws.accounts import AccountCredentials
from asyncbuild.aws.session import Aws
from asyncbuild.config.sections import StorageSettings
from asyncbuild.config.settings import Settings
from asyncbuild.domain.archive_options import WHOLE, ArchiveOptions, Submodules
from asyncbuild.domain.errors import Reject, Retry, StageError
from asyncbuild.domain.model import Account
from asyncbuild.forges.registry import open_origins
from asyncbuild.forges.remotes import Remotes, signing
from asyncbuild.git.mirrors.temporary_clone import open_commit
from asyncbuild.git.process.version import require_git
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.git.tree.export_subst import find_placeholders
from asyncbuild.runtime.child_guard import open_guard
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.runtime.tasks import open_background
from asyncbuild.storage.s3 import Store
from asyncbuild.zip.engine import WORKING_BYTES, ZipStream, open_engine

_UPDATE_SECONDS = 0.1
_ANOTHER = "name a file in a directory that exists, - or s3://BUCKET/KEY"
_S3 = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<key>.+)")


async def run(
    settings: Settings,
    repository: str,
    commit: str,
    output: str,
    base: str,
    progress: bool,  # noqa: FBT001 - called by position
    options: ArchiveOptions = WHOLE,
) -> None:
    """Write the tree of `commit` as a zip to `output`: a file, `-`, or `s3://BUCKET/KEY`.

    With `base`, an archive in the same bucket, only what differs from it is made and sent.

    Raises:
        Reject: no such repository, commit or subtree, or the output or the base is no place.
        Retry: it could not be read or written this time.
    """
    await require_git()
    storage = _storage(settings, output)
    base_key = _base_key(base, output, storage)
    place = await to_thread.run_sync(_find_place, output)
    aws = Aws(settings)
    async with AsyncExitStack() as stack:
        stack.enter_context(open_guard())
        enter = stack.enter_async_context
        everywhere = options.submodules is Submodules.INCLUDE
        hosts = await enter(open_origins(settings, aws, None if everywhere else repository))
        credentials = signing(AccountCredentials(aws, settings))
        remotes = Remotes(settings.git, credentials, origins=hosts.origin, hosted=hosts.repository)
        opened = open_commit(
            repository, commit, settings=settings.git, remotes=remotes, options=options
        )
        snapshot = await enter(opened)
        engine = await enter(open_engine(settings.archive))
        budget = MemoryBudget(settings.archive.memory_budget_bytes)
        show = stack.enter_context(_progress(f"{snapshot.name} {snapshot.commit[:12]}", progress))
        if output.startswith("s3://"):
            client = await enter(aws.open_s3(pool=storage.parts_in_flight + 2))
            archiver = Archiver(
                engine=engine,
                budget=budget,
                store=Store(client, storage),
                settings=settings.model_copy(update={"storage": storage}),
            )
            tasks = await enter(open_background())
            key = output.removeprefix(f"s3://{storage.bucket}/")
            watch = partial(_watching, show, tasks)
            result = await archiver.put(
                Order(snapshot, key, lambda: None, base_key=base_key, watch=watch)
            )
            _say(result, base, quiet=not progress)
            return
        account = await enter(budget.open_account(WORKING_BYTES + storage.part_bytes))
        tar = await enter(snapshot.open_archive())
        zipped = await enter(engine.open_zip(tar, account=account, cut=len(snapshot.above)))
        await _write_out(place, _watched(zipped, show), account)
        await _warn(snapshot)


async def _warn(snapshot: Snapshot) -> None:
    """Say on standard error which placeholders `git archive` may have filled in otherwise."""
    try:
        found = await find_placeholders(snapshot)
    except StageError:
        return  # the archive is there
    for path, asking in found.items():
        click.echo(
            f"asyncbuild: {path!a} has {' '.join(asking)}, which a commit does not say: nothing "
            "stands there, or what is so now",
            err=True,
        )


def _base_key(base: str, output: str, storage: StorageSettings) -> str:
    if not base:
        return ""
    named = _S3.fullmatch(base)
    if named is None or not output.startswith("s3://") or named["bucket"] != storage.bucket:
        raise Reject(
            f"{base} is no archive in the bucket that the new one goes to",
            remedy="give s3://BUCKET/KEY, and the same bucket to --output",
        )
    return named["key"]


def _say(result: Result, base: str, *, quiet: bool) -> None:
    if quiet or not base:
        return
    archive = result.made.archive
    how = f"a {archive.kind} of {base}" if result.base_key else f"full, not of {base}"
    why = f" ({result.fallback})" if result.fallback else ""
    Console(stderr=True, highlight=False).print(
        f"{how}{why}: {archive.sent_bytes:,} bytes sent, {archive.copied_bytes:,} copied in S3, "
        f"{result.made.files_read:,} files read",
        markup=False,
        soft_wrap=True,
    )


def _storage(settings: Settings, output: str) -> StorageSettings:
    if not output.startswith("s3://"):
        return settings.storage
    named = _S3.fullmatch(output)
    if named is None:
        raise Reject(f"{output} names no object", remedy="give s3://BUCKET/KEY")
    return settings.storage.model_copy(update={"bucket": named["bucket"]})


@contextmanager
def _watching(show: Progress | None, tasks: TaskGroup, stream: ZipStream) -> Iterator[None]:
    """Show how far a stream is that another consumer reads."""

    async def update() -> None:
        while show is not None:
            statistics = stream.statistics()
            entries = f"{statistics.entries:,} entries"
            show.update(show.task_ids[0], completed=statistics.zip_bytes, entries=entries)
            await anyio.sleep(_UPDATE_SECONDS)

    tasks.start_soon(update)
    yield


async def _watched(zipped: ZipStream, show: Progress | None) -> AsyncIterator[bytes]:
    async for chunk in zipped:
        if show is not None:
            entries = zipped.statistics().entries
            show.update(show.task_ids[0], advance=len(chunk), entries=f"{entries:,} entries")
        yield chunk


@dataclass(frozen=True, slots=True)
class _Destination:
    """Where an archive goes. Files are replaced whole; pipes and devices are written to."""

    name: str
    where: Path | int
    replaced: bool


def _find_place(output: str) -> _Destination:
    """Look what is there: a rename onto a device would put a file in its place, for everybody."""
    if output == "-":
        return _Destination("standard output", sys.stdout.fileno(), replaced=False)
    path = Path(output)
    try:
        wrong = not output or path.is_dir()
        special = path.exists() and not path.is_file()
        where = path if special or wrong else path.resolve()  # a link stays, its file is replaced
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise Reject(f"{output} cannot be written: {error}", remedy=_ANOTHER) from error
    if wrong and not output.startswith("s3://"):
        raise Reject(f"{output or 'nothing'} is no place for a file", remedy=_ANOTHER)
    return _Destination(output, where, replaced=not special)


async def _write_out(place: _Destination, chunks: AsyncIterator[bytes], account: Account) -> None:
    try:
        if isinstance(place.where, Path) and place.replaced:
            await _write_whole(place.where, chunks, account)
        else:
            await _write(place.where, chunks, account)
    except BrokenPipeError:  # the reader has enough; click ends quietly
        raise
    except OSError as error:
        reason = f"{place.name} cannot be written: {error.strerror}"
        raise Retry(reason, remedy=_ANOTHER) from error


async def _write_whole(path: Path, chunks: AsyncIterator[bytes], account: Account) -> None:
    beside = path.with_name(f".asyncbuild-{os.getpid()}.part")
    try:
        await _write(beside, chunks, account)
        await aiofiles.os.replace(beside, path)
    finally:
        with anyio.CancelScope(shield=True):
            if await aiofiles.os.path.exists(beside):
                await aiofiles.os.remove(beside)


async def _write(where: Path | int, chunks: AsyncIterator[bytes], account: Account) -> None:
    async with aiofiles.open(where, "wb", buffering=0, closefd=not isinstance(where, int)) as file:
        async for chunk in chunks:
            rest = memoryview(chunk)
            while rest:  # a pipe takes what fits
                rest = rest[await file.write(rest) :]
            account.give_back(len(chunk))


@contextmanager
def _progress(name: str, wanted: bool) -> Iterator[Progress | None]:  # noqa: FBT001 - a switch
    console = Console(stderr=True)
    if not wanted or not console.is_terminal:
        yield None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[entries]}"),
    )
    with Progress(*columns, console=console) as progress:
        progress.add_task(name, total=None, entries="")
        yield progress
