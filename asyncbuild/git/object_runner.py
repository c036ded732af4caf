"""Runner of git for reading objects: in an empty repository, so that nothing but objects counts."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio import to_thread

from asyncbuild.domain.events.git_events import ReaderMended
from asyncbuild.domain.git_names import object_format
from asyncbuild.git.empty_repositories import WITHOUT_EXPORTS, write_empties
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.formats.extent import ExtentLimits
from asyncbuild.git.process.command import Command, Git, ProcessKind
from asyncbuild.git.process.memory import GitMemory
from asyncbuild.runtime.emit import emit


class ObjectRunner:
    """Runs git on the objects of repositories, and on nothing else in them.

    git runs in an empty repository whose object directory is the one to read. So an archive does
    not depend on any configuration, attribute, ref, replacement or shallow file of a mirror, or of
    a user's own repository: the same commit gives the same bytes (I8).

    Args:
        git: Runs git.
        directory: Directory of the empty repositories: for each object format one, and one in which
            no attribute that begins with `export-` has an effect.
        suspect: Called when a repository may be corrupt, with the id of the object that was read.
        exports: Whether `export-ignore` and `export-subst` have an effect.
        forge: Forge of the repositories; empty if that does not matter.
    """

    def __init__(
        self,
        git: Git,
        directory: Path,
        suspect: Callable[[Path, str], Awaitable[None]] | None = None,
        *,
        exports: bool = True,
        forge: str = "",
    ) -> None:
        self._git = git
        self._directory = directory.absolute()
        self._suspect = suspect
        self._exports = exports
        self._forge = forge

    @property
    def most(self) -> ExtentLimits:
        """Limits of an archive's tree."""
        return self._git.settings

    @property
    def memory(self) -> GitMemory:
        """Memory that git may have."""
        return self._git.memory

    async def prepare(self) -> None:
        """Write the empty repositories, and mend damaged ones.

        Raises:
            OSError: The directory cannot be written to.
        """
        await to_thread.run_sync(write_empties, self._directory)

    @asynccontextmanager
    async def _own_faults(self) -> AsyncIterator[None]:
        """Mend damage of the empty repositories, instead of blaming the repository that is read."""
        try:
            yield
        except GitFailed as error:
            if error.fault is not GitFault.CORRUPT:
                raise
            mended = await to_thread.run_sync(write_empties, self._directory)
            if not mended:
                raise
            emit(ReaderMended(files=[str(each) for each in mended]))
            raise GitFailed(f"{error.reason} ({mended[0]} was damaged: mended)") from error

    @asynccontextmanager
    async def open_stream(
        self,
        repository: Path,
        arguments: Sequence[str | bytes],
        *,
        commit: str,
        doing: str,
        work: ProcessKind = ProcessKind.STREAM,
        **more: Any,  # noqa: ANN401 - Command's own
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Start a git command and yield its standard output.

        Args:
            repository: Directory of the repository.
            arguments: Arguments of git.
            commit: Id that tells the object format, and that is suspected on failure.
            doing: What it is for, for people.
            work: Purpose of the process.
            more: Further attributes of `Command`.

        Raises:
            GitFailed: git failed.
        """
        command = self._command(
            repository, arguments, commit=commit, doing=doing, work=work, **more
        )
        try:
            async with self._own_faults(), self._git.open_stdout(command) as stdout:
                yield stdout
        except GitFailed as error:
            if error.fault is GitFault.CORRUPT and self._suspect is not None:
                await self._suspect(repository, commit)
            raise

    async def run(
        self,
        repository: Path,
        arguments: Sequence[str],
        *,
        commit: str,
        doing: str,
        **more: Any,  # noqa: ANN401 - Command's own
    ) -> bytes:
        """Run one git command and return its output.

        Args:
            repository: Directory of the repository.
            arguments: Arguments of git.
            commit: Id that tells the object format.
            doing: What it is for, for people.
            more: Further attributes of `Command`.

        Raises:
            GitFailed: git failed.
        """
        command = self._command(repository, arguments, commit=commit, doing=doing, **more)
        return await self._run(command)

    async def _run(self, command: Command) -> bytes:
        async with self._own_faults():
            return await self._git.run(command)

    async def _ask(self, command: Command) -> int:
        async with self._own_faults():
            return await self._git.ask(command)

    @property
    def _variant(self) -> str:
        return "" if self._exports else WITHOUT_EXPORTS

    def _command(
        self,
        repository: Path,
        arguments: Sequence[str | bytes],
        *,
        commit: str,
        doing: str,
        environment: Mapping[str, str] | None = None,
        **more: Any,  # noqa: ANN401 - Command's own
    ) -> Command:
        return Command(
            arguments,
            doing,
            git_directory=self._directory / f"{object_format(commit)}{self._variant}.git",
            environment={
                "GIT_OBJECT_DIRECTORY": str(repository.absolute() / "objects"),
                **(environment or {}),
            },
            forge=self._forge,
            **more,
        )
