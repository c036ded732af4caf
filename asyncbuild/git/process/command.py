"""Execution of git: arguments, environment, deadline, process group, error.

Every git of the service starts here. It gets an environment made from nothing, a session of its
own, pipes that do not block the loop, and a certain end: however the caller ends, the whole process
group is gone and reaped when the `async with` is left.
"""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import anyio

from asyncbuild.config.sections import GitSettings
from asyncbuild.domain.errors import Unsupported
from asyncbuild.git.formats.error_classes import machine_error
from asyncbuild.git.formats.process_kinds import ProcessKind
from asyncbuild.git.process.conversation import Conversation, open_questions
from asyncbuild.git.process.environment import scrub
from asyncbuild.git.process.limits import OutOfMemory, ProcessLimits, launcher
from asyncbuild.git.process.memory import UNLIMITED, GitMemory
from asyncbuild.git.process.pipe import PipeReader, open_file, open_pipe
from asyncbuild.git.process.priority import Priority
from asyncbuild.git.process.started import Stdout, end
from asyncbuild.git.process.stderr import StderrTail
from asyncbuild.git.process.version import OLDEST_GIT_TEXT
from asyncbuild.git.process.watchdog import Watchdog, too_slow
from asyncbuild.runtime.child import Child, ChildFiles

__all__ = ["Command", "Git", "ProcessKind", "Stdout"]


@dataclass(frozen=True, slots=True)
class Command:
    """One call of git.

    Attributes:
        arguments: Arguments of `git`. Values from events go after `--end-of-options` or, better,
            into `stdin` (I11); secrets go nowhere here (I10).
        doing: What the call is for, for people: `fetch 123456789012/eu-west-1/web`.
        git_directory: The repository, or None if the command needs none.
        environment: Further variables; the place of secrets.
        stdin: Standard input of git.
        descriptors: File descriptors that git and its children keep open: locks that are to last as
            long as they do, even if this process is killed.
        good: Exit codes that are not failures.
        work: Purpose of the process.
        program: Program in place of git: ssh, which git uses, too.
        patient: True if it reads, and may still compute for long without output, as when it walks a
            history: `git.cpu_seconds` does not apply.
        memory_bytes: Its memory, if that is known; 0: the share of its kind
            (`git/process/memory.py`); `UNLIMITED`: no limit.
        forge: Forge of the repository; empty if that does not matter.
    """

    arguments: Sequence[str | bytes]
    doing: str
    git_directory: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    stdin: bytes = b""
    descriptors: tuple[int, ...] = ()
    good: frozenset[int] = frozenset({0})
    work: ProcessKind = ProcessKind.LOOK_UP
    program: str = "git"
    patient: bool = False
    memory_bytes: int = 0
    forge: str = ""


# Writing processes are limited by `timeout_seconds` alone: output does not measure their work.
_WRITES = frozenset({ProcessKind.FETCH, ProcessKind.UPKEEP})


class Git:
    """Starter of all git processes, at most `git.processes` of each kind at a time, or twice that.

    Args:
        settings: `[git]`.
        environment: Environment of this process.
        forges: Number of forges.
    """

    def __init__(
        self,
        settings: GitSettings,
        environment: Mapping[str, str] = os.environ,
        *,
        forges: int = 1,
    ) -> None:
        self._settings = settings
        self._environment = scrub(environment)
        self.memory = GitMemory(settings.memory_budget_bytes, forges)
        self._limits = {work: anyio.Semaphore(self.most(work)) for work in ProcessKind}
        self._running = dict.fromkeys(ProcessKind, 0)

    @property
    def settings(self) -> GitSettings:
        """Return the settings that it was made with."""
        return self._settings

    def most(self, work: ProcessKind) -> int:
        """Return how many processes of a kind may run at a time."""
        # Those that stay wait most of the time: more repositories than are read at once have one.
        return self._settings.processes * (2 if work is ProcessKind.READER else 1)

    @property
    def running(self) -> Mapping[str, int]:
        """Return the number of running processes of each kind."""
        return {work.value: count for work, count in self._running.items()}

    async def run(self, command: Command) -> bytes:
        """Run to the end and return git's standard output; see `ask` for errors."""
        return (await self._finish(command))[1]

    async def ask(self, command: Command) -> int:
        """Run to the end and return the exit code, one of `command.good`.

        Raises:
            GitFailed, Busy, Reject: git exited with an error, see `git/formats/error_classes.py`.
            GitFailed: git was silent or took longer than the settings allow, and was killed.
        """
        return (await self._finish(command))[0]

    async def _finish(self, command: Command) -> tuple[int, bytes]:
        """Run a command to its end; if it writes and runs out of memory, run it again with more.

        The second run gets the most memory that one git may have, instead of a share.
        A failed fetch leaves a mirror unchanged, so it can be repeated at once.
        """
        try:
            return await self._finish_within(command)
        except OutOfMemory:
            if command.work not in _WRITES:
                raise
        most_bytes = self.memory.most_bytes
        try:
            return await self._finish_within(replace(command, memory_bytes=most_bytes))
        except OutOfMemory as error:
            if command.work is not ProcessKind.FETCH:
                raise
            raise self.memory.reject(command.doing, most_bytes) from error

    async def _finish_within(self, command: Command) -> tuple[int, bytes]:
        chunks: list[bytes] = []
        code = 0
        with anyio.move_on_after(self._settings.timeout_seconds) as scope:
            async with self.open_stdout(command) as stdout:
                chunks.extend([chunk async for chunk in stdout])
                code = await stdout.wait()
        if scope.cancelled_caught:
            raise too_slow(command.doing, self._settings.timeout_seconds)
        return code, b"".join(chunks)

    @asynccontextmanager
    async def open_stdout(self, command: Command) -> AsyncIterator[Stdout]:
        """Start git and yield its standard output as chunks of at most 1 MiB.

        The iterator raises after the last chunk if git failed. Leaving early ends git.

        Raises:
            Busy: No process could be started.
        """
        share_bytes = self.memory.shares(command.work)
        memory_bytes = command.memory_bytes or share_bytes
        unlimited = memory_bytes == UNLIMITED
        reserved_bytes = share_bytes if unlimited else memory_bytes
        async with (
            self.memory.reserve(command.work, reserved_bytes, command.forge),
            self._limits[command.work],  # not before: waiting for memory needs no process
        ):
            self._running[command.work] += 1
            try:
                async with self._open(command, 0 if unlimited else memory_bytes) as stdout:
                    yield stdout
            except OutOfMemory as error:
                if command.work in _WRITES or (
                    command.work is ProcessKind.STREAM and not command.memory_bytes
                ):
                    raise  # the caller can give it more
                raise self.memory.reject(command.doing, memory_bytes) from error
            finally:
                self._running[command.work] -= 1

    @asynccontextmanager
    async def open_conversation(self, command: Command) -> AsyncIterator[Conversation]:
        """Start a git that answers one question after the other, of the kind `READER`.

        It waits for questions without a share of memory or a place that other kinds wait for. At
        the end of the block a question in progress ends with the git.

        Raises:
            Busy: No process could be started.
        """
        memory_bytes = self.memory.shares(command.work)
        with open_questions(command.doing) as (stdin, questions):
            async with self._limits[command.work]:
                self._running[command.work] += 1
                try:
                    async with self._open(command, memory_bytes, stdin) as stdout:
                        conversation = Conversation(stdout, questions, self._settings)
                        try:
                            yield conversation
                        finally:
                            with anyio.CancelScope(shield=True):
                                await conversation.interrupt()
                finally:
                    self._running[command.work] -= 1

    @asynccontextmanager
    async def _open(
        self, command: Command, memory_bytes: int, stdin: IO[bytes] | None = None
    ) -> AsyncIterator[Stdout]:
        doing = command.doing
        wide = stdin is None  # a git that stays writes little, and all pipes have a limit together
        with (
            open_pipe(doing, wide=wide) as (stdout, stdout_end),
            open_pipe(doing, wide=wide) as (stderr, stderr_end),
        ):
            with stdout_end, stderr_end, stdin or open_file(command.stdin, doing) as source:
                files = ChildFiles(
                    source.fileno(),
                    stdout_end.fileno(),
                    stderr_end.fileno(),
                    others=command.descriptors,
                )
                process = self._start(command, files, memory_bytes)
            tail = StderrTail(stderr.fileno())
            try:
                reads = command.work not in _WRITES and not command.patient
                cpu_seconds = self._settings.cpu_seconds if reads else 0
                limits = ProcessLimits(process, cpu_seconds, memory_bytes)
                watchdog = Watchdog(
                    doing,
                    self._settings.silence_timeout_seconds,
                    self._settings.timeout_seconds,
                    Priority(process.pid),
                )
                pipe = PipeReader(stdout.fileno())
                yield Stdout(
                    process, pipe, tail, doing, command.work, command.good, limits, watchdog
                )
            finally:
                with anyio.CancelScope(shield=True):
                    await end(process, tail)
                    tail.close()
                    process.close()

    def _start(self, command: Command, files: ChildFiles, memory_bytes: int) -> Child:
        environment = {**self._environment, **command.environment}
        if command.git_directory is not None:
            environment["GIT_DIR"] = str(command.git_directory)
        arguments = [
            part if isinstance(part, bytes) else os.fsencode(part) for part in command.arguments
        ]
        try:
            return Child(
                [*launcher(command.work, memory_bytes), os.fsencode(command.program), *arguments],
                environment,
                files,
            )
        except FileNotFoundError as error:
            raise _not_installed(command.program) from error
        except OSError as error:
            raise machine_error(error, f"{command.doing}: git cannot be started") from error


def _not_installed(program: str) -> Unsupported:
    wanted = f"git {OLDEST_GIT_TEXT} or newer" if program == "git" else program
    return Unsupported(f"{program} is not installed", remedy=f"install {wanted}")
