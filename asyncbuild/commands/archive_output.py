"""Output of `asyncbuild archive`: a file or a pipe, and the progress on a terminal.

A file appears whole or not at all, like an object: it is written beside its place and renamed.
"""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiofiles
import aiofiles.os
import anyio
from anyio.abc import TaskGroup

from asyncbuild.domain.errors import Reject, Retry
from asyncbuild.domain.model import Account
from asyncbuild.zip.engine import ZipStream

if TYPE_CHECKING:
    from rich.progress import Progress

_UPDATE_SECONDS = 0.1
# With these rich takes for a terminal what is none, or the reverse (rich, Console.is_terminal).
_TERMINAL_VARIABLES: Final = ("FORCE_COLOR", "TTY_COMPATIBLE")
_ANOTHER = "name a file in a directory that exists, - or s3://BUCKET/KEY"


@dataclass(frozen=True, slots=True)
class Destination:
    """Place of an archive. Files are replaced whole; pipes and devices are written to."""

    name: str
    where: Path | int
    replaced: bool


def find_destination(output: str) -> Destination:
    """Return the destination; a device is recognised, because a rename would replace it by a file.

    Raises:
        Reject: `output` names no place that can be written to.
    """
    if output == "-":
        return Destination("standard output", sys.stdout.fileno(), replaced=False)
    path = Path(output)
    try:
        wrong = not output or path.is_dir()
        special = path.exists() and not path.is_file()
        where = path if special or wrong else path.resolve()  # a link stays, its target is replaced
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise Reject(f"{output} cannot be written: {error}", remedy=_ANOTHER) from error
    if wrong and not output.startswith("s3://"):
        raise Reject(f"{output or 'nothing'} cannot be written as a file", remedy=_ANOTHER)
    return Destination(output, where, replaced=not special)


async def write_out(place: Destination, chunks: AsyncIterator[bytes], account: Account) -> None:
    """Write chunks, and return their bytes to `account`.

    Args:
        place: The destination.
        chunks: The archive.
        account: Memory that the chunks are charged to.

    Raises:
        BrokenPipeError: The reader has closed its end; click ends quietly.
        Retry: The place cannot be written.
    """
    try:
        if isinstance(place.where, Path) and place.replaced:
            await _write_whole(place.where, chunks, account)
        else:
            await _write(place.where, chunks, account)
    except BrokenPipeError:
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
def open_progress(name: str, *, wanted: bool) -> "Iterator[Progress | None]":
    """Show a progress bar on standard error; yield None without a terminal, or if unwanted."""
    forced = any(name in os.environ for name in _TERMINAL_VARIABLES)
    if not wanted or not (forced or sys.stderr.isatty()):
        yield None
        return
    # Only a terminal needs it, and it takes longer to load than a small archive to make.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
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


@contextmanager
def watching(show: "Progress | None", tasks: TaskGroup, stream: ZipStream) -> Iterator[None]:
    """Show the progress of a stream that another task reads.

    Args:
        show: The progress bar; None shows nothing.
        tasks: Task group that owns the update.
        stream: The stream.
    """

    async def update() -> None:
        while show is not None:
            statistics = stream.statistics()
            entries = f"{statistics.entries:,} entries"
            show.update(show.task_ids[0], completed=statistics.zip_bytes, entries=entries)
            await anyio.sleep(_UPDATE_SECONDS)

    tasks.start_soon(update)
    yield


async def watched(zipped: ZipStream, show: "Progress | None") -> AsyncIterator[bytes]:
    """Yield the chunks of a stream, and show its progress."""
    async for chunk in zipped:
        if show is not None:
            entries = zipped.statistics().entries
            show.update(show.task_ids[0], advance=len(chunk), entries=f"{entries:,} entries")
        yield chunk
