"""Branches and tags that a git server shows, as a stream: some repositories have 100,000."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, Protocol, TypeVar

import anyio
from anyio import to_thread

from asyncbuild.domain.git_names import check_repository
from asyncbuild.domain.repository import Repository
from asyncbuild.forges.git_remote import Remote
from asyncbuild.forges.remotes import Places
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.mirrors.renamed_repository import follow
from asyncbuild.git.mirrors.transport import memory_of
from asyncbuild.git.process.command import Command, Git, ProcessKind
from asyncbuild.git.process.limits import OutOfMemory

_MOST_SECONDS: Final = 300.0  # git computes without end if a symbolic ref names itself
# git holds all refs: some tens of megabytes for 100,000. One that needs more is run again.
_FIRST_BYTES: Final = 96 * 1024 * 1024


class TakesOutput(Protocol):
    """Takes output piece by piece; `reconcile.planning.ref_lines.RefReader` does."""

    def feed(self, piece: bytes) -> None:
        """Take the next piece. Raises StageError."""


Taker = TypeVar("Taker", bound=TakesOutput)


class RemoteRefs:
    """Lists refs of repositories without a cache of mirrors.

    Args:
        git: Runs git.
        remotes: Remotes of repositories.
    """

    def __init__(self, git: Git, remotes: Places) -> None:
        self._git = git
        self._remotes = remotes

    async def stream_refs(
        self, repository: Repository, make: Callable[[], Taker], *, tags: bool
    ) -> Taker:
        """Return what took the list of a repository's branches; see `stream_refs`.

        Args:
            repository: The repository.
            make: Makes what takes the list.
            tags: Whether tags are listed, too.
        """
        check_repository(repository)
        remote = replace(self._remotes.remote(repository), forge=repository.forge)
        return await stream_refs(self._git, remote, make, tags=tags)


async def stream_refs(git: Git, remote: Remote, make: Callable[[], Taker], *, tags: bool) -> Taker:
    """Return what took the list of a remote's branches, piece by piece.

    Servers of protocol v0, such as CodeCommit, send all refs whatever is asked for. A git that runs
    out of memory is run again with the most that one git may have.

    Args:
        git: Runs git.
        remote: The remote.
        make: Makes what takes the output; called again if the list begins again. Its `feed` runs in
            a thread.
        tags: Whether tags are listed, too.

    Raises:
        StageError: The server could not be asked, or `feed` raised it.
    """
    return await follow(remote, partial(_list, git, make, tags))


async def _list(git: Git, make: Callable[[], Taker], tags: bool, remote: Remote) -> Taker:  # noqa: FBT001 - bound above
    # Without --refs an annotated tag has a second line, with the commit that it points at.
    kinds = ["--heads", "--tags"] if tags else ["--refs", "--heads"]
    command = Command(
        ["ls-remote", *kinds, "--end-of-options", remote.url],
        f"list the refs of {remote.name}",
        environment=await remote.environment(),
        work=ProcessKind.FETCH,
        memory_bytes=memory_of(remote) or min(_FIRST_BYTES, git.memory.most_bytes),
        forge=remote.forge,
    )
    try:
        return await _stream(git, command, make())
    except OutOfMemory:
        most = replace(command, memory_bytes=git.memory.most_bytes)
    try:
        return await _stream(git, most, make())
    except OutOfMemory as error:
        raise git.memory.reject(command.doing, most.memory_bytes) from error


async def _stream(git: Git, command: Command, taker: Taker) -> Taker:
    seconds = min(git.settings.timeout_seconds, _MOST_SECONDS)
    with anyio.move_on_after(seconds) as scope:
        async with git.open_stdout(command) as stdout:
            async for piece in stdout:
                await to_thread.run_sync(taker.feed, piece)
    if scope.cancelled_caught:
        raise GitFailed(
            f"{command.doing}: not done after {seconds:g} s",
            fault=GitFault.SILENT,
            remedy="see whether other clients get a list from its server",
        )
    return taker
