"""A git that stays and answers one question after the other."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

import anyio

from asyncbuild.config.sections import GitSettings
from asyncbuild.git.formats.error_classes import machine_error
from asyncbuild.git.process.priority import Priority
from asyncbuild.git.process.started import Stdout, kill
from asyncbuild.git.process.watchdog import Watchdog

_END_SECONDS = 0.5  # between the end of its output and its own


class ConversationEndedError(Exception):
    """The git ended before it had answered, or cannot be asked any more.

    Attributes:
        code: Its exit code; None if it closed its output and lives on.
    """

    def __init__(self, code: int | None) -> None:
        super().__init__(f"git ended with {code}")
        self.code = code


class Conversation:
    """Questions to one git and its answers. One task asks at a time.

    After any error, or a cancelled question, a later answer may be that of an earlier question: end
    the git then.

    Args:
        stdout: The started git.
        questions: Write end of its standard input, which does not block.
        settings: `[git]`: a question has the time that a whole git has otherwise.
    """

    def __init__(self, stdout: Stdout, questions: IO[bytes], settings: GitSettings) -> None:
        self._git = stdout
        self._questions = questions
        self._settings = settings
        self._asked: anyio.Event | None = None  # set when the question in progress has ended

    @property
    def has_complained(self) -> bool:
        """Return whether git has written to its standard error."""
        self._git.tail.drain()
        return self._git.tail.received_bytes > 0

    def spent_seconds(self) -> float:
        """Return the processor time of the git so far. It blocks."""
        return self._git.process.spent_seconds()

    async def ask(self, packed: bytes, feed: Callable[[bytes], bool]) -> None:
        """Send one question and read output until `feed` returns True.

        Args:
            packed: Input of git, at most PIPE_BUF: an empty pipe takes all of it at once.
            feed: Takes the next piece of output; returns whether the question is answered.

        Raises:
            GitFailed: git was silent, or took longer than the settings allow.
            ConversationEndedError: git has ended, or is out of step: there is output already, or
                it has not read the last question.
        """
        self._asked = anyio.Event()
        try:
            await self._ask(packed, feed)
        finally:
            self._asked.set()

    async def interrupt(self) -> None:
        """End a question in progress, and the git with it.

        Its asker must be through before the pipes are closed and the end of the git is waited for:
        another file may get their numbers, and one task at a time may wait for a process.
        """
        if self._asked is not None and not self._asked.is_set():
            kill(self._git.process)
            await self._asked.wait()

    async def _ask(self, packed: bytes, feed: Callable[[bytes], bool]) -> None:
        try:
            in_step = not self._git.pipe.is_readable()
            in_step = in_step and os.write(self._questions.fileno(), packed) == len(packed)
        except (BrokenPipeError, BlockingIOError):
            in_step = False
        if not in_step:
            raise await self._ended()
        git, settings = self._git, self._settings
        watchdog = Watchdog(
            git.doing,
            settings.silence_timeout_seconds,
            settings.timeout_seconds,
            Priority(git.process.pid),
        )
        while True:
            piece = await watchdog.wait(
                git.pipe.receive_now,
                earned_seconds=git.limits.earned_seconds,
                received_bytes=lambda: git.tail.received_bytes,
            )
            if not piece:
                raise await self._ended()
            git.limits.note_output(len(piece))
            if feed(piece):
                return

    async def _ended(self) -> ConversationEndedError:
        code = None
        with anyio.move_on_after(_END_SECONDS):
            code = await self._git.process.wait()
        return ConversationEndedError(code)


@contextmanager
def open_questions(doing: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Open a pipe for the standard input of a git: read end, then write end, which does not block.

    Args:
        doing: What the git does, for people.

    Raises:
        StageError: The machine refuses one.
    """
    try:
        reading, writing = os.pipe()
    except OSError as error:
        raise machine_error(error, f"{doing}: no pipe for git") from error
    os.set_blocking(writing, False)
    with (
        os.fdopen(reading, "rb", buffering=0) as source,
        os.fdopen(writing, "wb", buffering=0) as questions,
    ):
        yield source, questions
