"""`asyncbuild archive`: the archive of any repository's commit, to a file, a pipe or S3.

An archive of a directory on this machine in a file needs no AWS: `archive_aws.py`, with everything
that calls it, is imported for URLs, submodules and objects alone.
"""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from anyio import to_thread

from asyncbuild.commands.archive_output import (
    Destination,
    find_destination,
    open_progress,
    watched,
    write_out,
)
from asyncbuild.config.sections import StorageSettings
from asyncbuild.config.settings import Settings
from asyncbuild.domain.archive_options import WHOLE, ArchiveOptions, Submodules, parse_options
from asyncbuild.domain.errors import Reject, StageError
from asyncbuild.forges.remotes import Remotes
from asyncbuild.git.mirrors.temporary_clone import CommitPlace, is_url, open_commit
from asyncbuild.git.process.version import require_git
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.git.tree.export_subst import find_placeholders
from asyncbuild.runtime.child_guard import open_guard
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.zip.engine import WORKING_BYTES, Engine, open_engine
from asyncbuild.zip.stream import ZipOptions

if TYPE_CHECKING:
    from rich.progress import Progress

_S3 = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<key>.+)")


@dataclass(frozen=True, slots=True)
class ArchiveRequest:
    """An archive to be made.

    Attributes:
        repository: A path or URL.
        commit: The commit, or a ref or tag that names one.
        output: A file, `-`, or `s3://BUCKET/KEY`.
        base: `s3://BUCKET/KEY` of an archive in the bucket of `output`, from which a delta is made;
            empty for none.
        progress: Whether to show progress on a terminal.
        options: Contents of the archive.
    """

    repository: str
    commit: str
    output: str
    base: str = ""
    progress: bool = False
    options: ArchiveOptions = WHOLE

    @property
    def to_s3(self) -> bool:
        """True if the archive becomes an object."""
        return self.output.startswith("s3://")


def request_of(
    *,
    repository: str,
    commit: str,
    output: str,
    base: str,
    quiet: bool,
    **chosen: Any,  # noqa: ANN401 - see `parse_options`
) -> ArchiveRequest:
    """Return the request of a command line.

    Args:
        repository: A path or URL.
        commit: The commit, or a ref or tag that names one.
        output: A file, `-`, or `s3://BUCKET/KEY`.
        base: URL of the older archive; empty for none.
        quiet: Whether to show no progress.
        chosen: Options of the contents, as `parse_options` takes them.

    Raises:
        ValueError: An option of the contents is not valid.
    """
    options = parse_options(**chosen)
    return ArchiveRequest(repository, commit, output, base, not quiet, options)


async def run(settings: Settings, request: ArchiveRequest) -> None:
    """Write the tree of a commit as a zip.

    Raises:
        Reject: The repository, the commit or the subtree does not exist, or the output or the base
            cannot be used.
        Retry: It could not be read or written this time.
    """
    await require_git()
    storage = _storage(settings, request.output)
    settings = settings.model_copy(update={"storage": storage})
    base_key = _base_key(request.base, request.output, storage)
    place = await to_thread.run_sync(find_destination, request.output)
    async with AsyncExitStack() as stack:
        stack.enter_context(open_guard())
        # First: its process starts while git looks for the commit.
        engine = await stack.enter_async_context(open_engine(settings.archive))
        snapshot = await stack.enter_async_context(_open_snapshot(settings, request))
        name = f"{snapshot.name} {snapshot.commit[:12]}"
        show = stack.enter_context(open_progress(name, wanted=request.progress))
        if request.to_s3:
            from asyncbuild.commands.archive_aws import ArchiveUpload, put, tell  # noqa: PLC0415 - see above

            upload = ArchiveUpload(snapshot, request.output, base_key, show)
            result = await put(settings, engine, upload)
            if request.progress and request.base:
                tell(result, request.base)
        else:
            await _write_zip(settings, engine, snapshot, place, show)


@asynccontextmanager
async def _open_snapshot(settings: Settings, request: ArchiveRequest) -> AsyncIterator[Snapshot]:
    async with _open_remotes(settings, request) as remotes:
        place = CommitPlace(request.repository, request.commit)
        options = request.options
        async with open_commit(
            place, settings=settings.git, remotes=remotes, options=options
        ) as snapshot:
            yield snapshot


@asynccontextmanager
async def _open_remotes(settings: Settings, request: ArchiveRequest) -> AsyncIterator[Remotes]:
    """Yield the remotes that may be fetched from; a directory is read in place, with no login."""
    everywhere = request.options.submodules is Submodules.INCLUDE
    if not everywhere and not is_url(request.repository):
        yield Remotes(settings.git)
        return
    from asyncbuild.commands.archive_aws import open_remotes  # noqa: PLC0415 - see above

    async with open_remotes(settings, None if everywhere else request.repository) as remotes:
        yield remotes


async def _write_zip(
    settings: Settings,
    engine: Engine,
    snapshot: Snapshot,
    place: Destination,
    show: "Progress | None",
) -> None:
    """Make the archive in a file or a pipe."""
    budget = MemoryBudget(settings.archive.memory_budget_bytes)
    cut = len(snapshot.above)
    async with (
        budget.open_account(WORKING_BYTES + settings.storage.part_bytes) as account,
        snapshot.open_archive() as tar,
        engine.open_zip(tar, account=account, options=ZipOptions(cut=cut)) as zipped,
    ):
        await write_out(place, watched(zipped, show), account)
        await _warn(snapshot)


async def _warn(snapshot: Snapshot) -> None:
    """Warn on standard error of placeholders that `git archive` may fill in differently."""
    try:
        found = await find_placeholders(snapshot)
    except StageError:
        return  # the archive is complete without the warning
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
            f"{base} is not an archive in the bucket that the new one goes to",
            remedy="give s3://BUCKET/KEY, and the same bucket to --output",
        )
    return named["key"]


def _storage(settings: Settings, output: str) -> StorageSettings:
    if not output.startswith("s3://"):
        return settings.storage
    named = _S3.fullmatch(output)
    if named is None:
        raise Reject(f"{output} names no object", remedy="give s3://BUCKET/KEY")
    return settings.storage.model_copy(update={"bucket": named["bucket"]})
