"""Gits that stay and answer questions about objects, one for each mirror in use.

Starting a git costs 1 to 3 ms of processor time, a question to one that runs a hundredth of that. A
push asks several: is the commit here, is it here now, which trees changed, what do attributes say.

Only short and ordinary answers come from here. For all else, and if anything goes wrong, `ask`
returns None: its caller starts a git of its own, which answers or fails as it would without this.
"""

import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup, TaskStatus

from asyncbuild.domain.errors import StageError
from asyncbuild.git.formats.batch_command import (
    BatchAnswers,
    NotUnderstoodError,
    ObjectAnswer,
    ObjectQuestion,
    TooLongError,
    is_askable,
    pack_rounds,
)
from asyncbuild.git.formats.process_kinds import ProcessKind
from asyncbuild.git.process.command import Command, Git
from asyncbuild.git.process.conversation import Conversation, ConversationEndedError
from asyncbuild.runtime.tasks import open_background

IDLE_SECONDS: Final = 5.0
_PATIENCE_SECONDS: Final = 1.0  # longest wait for a turn: starting another git takes much less
_SPENT_SECONDS: Final = 0.5  # of processor time: some ten thousand questions
ANSWER_BYTES_MOST: Final = 1024 * 1024
_UNKNOWN_OPTION: Final = 129  # git before 2.36 has no --batch-command
# Without --buffer git writes each answer in three pieces, and each wakes its reader.
_ARGUMENTS: Final = ("cat-file", "--batch-command", "--buffer")

Follow = Callable[[list[ObjectAnswer]], Sequence[ObjectQuestion]]


def _nothing_more(_: list[ObjectAnswer]) -> Sequence[ObjectQuestion]:
    return ()


@dataclass(frozen=True, slots=True)
class _Packs:
    """Packs of a repository at a moment."""

    place: tuple[int, int]  # device and inode of their directory
    changed_ns: int
    names: frozenset[str]


@dataclass(eq=False, slots=True)
class _Process:
    """A running git; its task ends it once `leave` is set."""

    conversation: Conversation
    packs: _Packs
    format_: str
    leave: anyio.Event = field(default_factory=anyio.Event)
    ended: anyio.Event = field(default_factory=anyio.Event)

    def fits(self, packs: _Packs, format_: str) -> bool:
        """Return whether it can answer for a repository as it is now.

        git finds new packs by itself. One that is gone it would keep open, and answer from.
        """
        here = packs.place == self.packs.place and packs.names >= self.packs.names
        return here and format_ == self.format_


@dataclass(eq=False, slots=True)
class _Place:
    """A repository that is asked, or was a moment ago."""

    repository: Path
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    process: _Process | None = None
    users: int = 0
    used_at: float = 0.0


class BatchReaders:
    """Asks the git of each repository; starts it when it is needed, and ends it soon after.

    A git is ended when it was idle for some seconds; when it was used least recently and another
    repository needs its room; when it has computed for half a second in all; when packs of its
    repository are gone, which it would keep on the disk and answer from; and after each question
    that was not answered well, or whose caller was cancelled.

    Args:
        git: Runs git.
        directory: Directory of the empty repositories (`git/empty_repositories.py`).
        tasks: Owns the gits.
        idle_seconds: How long a git stays without a question.
    """

    def __init__(
        self, git: Git, directory: Path, tasks: TaskGroup, *, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._git = git
        self._directory = directory
        self._tasks = tasks
        self._idle_seconds = idle_seconds
        self._most = git.most(ProcessKind.READER)
        self._spent_seconds = min(_SPENT_SECONDS, git.settings.cpu_seconds / 2)
        self._places: OrderedDict[Path, _Place] = OrderedDict()
        self._unsupported = False

    async def ask(
        self,
        repository: Path,
        questions: Sequence[ObjectQuestion],
        *,
        format_: str,
        follow: Follow = _nothing_more,
    ) -> list[ObjectAnswer] | None:
        """Return answers to questions in their order; None if the caller needs a git of its own.

        Args:
            repository: A bare repository.
            questions: About objects in it.
            format_: Its object format.
            follow: Takes the answers and returns the next questions; the last answers are returned.

        Raises:
            TooLongError: The contents that a round of questions asks for are longer than
                `ANSWER_BYTES_MOST` together. The git is ended: ask for sizes before.
            GitFailed: git was silent or slow for as long as the settings allow.
        """
        if self._unsupported or not questions or not all(map(is_askable, questions)):
            return None
        place = self._enter(repository)
        if place is None:
            return None
        place.users += 1
        try:
            async with _open_turn(place.lock) as turn:
                process = await self._find_process(place, format_) if turn else None
                return await self._ask(place, process, questions, follow) if process else None
        finally:
            place.users -= 1
            place.used_at = anyio.current_time()
            self._tidy(place)

    async def drop(self, repository: Path) -> None:
        """End the git of a repository that is deleted or repacked, and wait for its end."""
        place = self._places.get(repository)
        process = place.process if place else None
        if process is not None:
            process.leave.set()
            await process.ended.wait()

    def _enter(self, repository: Path) -> _Place | None:
        """Return the place of a repository; None if all are taken."""
        if repository not in self._places:
            if len(self._places) >= self._most and not self._make_room():
                return None
            self._places[repository] = _Place(repository)
        self._places.move_to_end(repository)
        return self._places[repository]

    def _make_room(self) -> bool:
        for repository, place in self._places.items():
            if not place.users:
                self._part(place)
                self._places.pop(repository, None)
                return True
        return False

    def _part(self, place: _Place) -> None:
        """Tell the git of a place to end; the next question starts another one."""
        if place.process is not None:
            place.process.leave.set()
            place.process = None

    def _tidy(self, place: _Place) -> None:
        if not place.users and not place.process and self._places.get(place.repository) is place:
            del self._places[place.repository]

    async def _ask(
        self, place: _Place, process: _Process, questions: Sequence[ObjectQuestion], follow: Follow
    ) -> list[ObjectAnswer] | None:
        well = False
        answers: list[ObjectAnswer] = []
        try:
            while questions:
                well = False
                answers = await _converse(process.conversation, questions)
                well = not process.conversation.has_complained
                questions = follow(answers)
        except TooLongError:
            raise
        except NotUnderstoodError:
            return None
        except ConversationEndedError as error:
            self._unsupported |= error.code == _UNKNOWN_OPTION
            return None
        finally:
            if not well:
                self._part(place)
        return answers

    async def _find_process(self, place: _Place, format_: str) -> _Process | None:
        """Return the git of a place, started if there is none; None if it cannot be started."""
        process = place.process
        try:
            packs, spent_seconds = await to_thread.run_sync(_survey, place.repository, process)
        except OSError:  # a caller's own git says what is wrong
            self._part(place)
            return None
        if process is not None:
            tired = process.leave.is_set() or spent_seconds >= self._spent_seconds
            if not tired and process.fits(packs, format_):
                process.packs = packs
                return process
            self._part(place)
        try:
            place.process = await self._tasks.start(self._live, place, packs, format_)
        except StageError:
            return None
        return place.process

    async def _live(
        self,
        place: _Place,
        packs: _Packs,
        format_: str,
        *,
        task_status: TaskStatus[_Process],
    ) -> None:
        """Own one git from its start to its end."""
        command = Command(
            _ARGUMENTS,
            f"look into {place.repository}",
            git_directory=self._directory / f"{format_}.git",
            environment={"GIT_OBJECT_DIRECTORY": str(place.repository.absolute() / "objects")},
            work=ProcessKind.READER,
        )
        process = None
        try:
            async with self._git.open_conversation(command) as conversation:
                process = _Process(conversation, packs, format_)
                place.used_at = anyio.current_time()
                task_status.started(process)
                await self._wait_idle(place, process)
        except StageError:
            if process is None:
                raise
        finally:
            if process is not None:
                process.ended.set()

    async def _wait_idle(self, place: _Place, process: _Process) -> None:
        """Wait until a git is to leave, or was idle for long enough."""
        while not process.leave.is_set():
            left = place.used_at + self._idle_seconds - anyio.current_time()
            if place.users:
                left = self._idle_seconds
            elif left <= 0:
                break
            with anyio.move_on_after(left):
                await process.leave.wait()
        process.leave.set()
        if place.process is process:
            place.process = None
            self._tidy(place)


async def _converse(talk: Conversation, questions: Sequence[ObjectQuestion]) -> list[ObjectAnswer]:
    answers: list[ObjectAnswer] = []
    left_bytes = ANSWER_BYTES_MOST
    for packed, asked in pack_rounds(questions):
        parser = BatchAnswers(asked, left_bytes)
        await talk.ask(packed, parser.feed)
        answers += parser.answers
        left_bytes = parser.left_bytes
    return answers


def _survey(repository: Path, process: _Process | None) -> tuple[_Packs, float]:
    """Return the present packs, and the processor time that a git has spent. It blocks.

    Raises:
        OSError: The repository does not exist.
    """
    if process is None:
        return _look(repository, None), 0.0
    return _look(repository, process.packs), process.conversation.spent_seconds()


def _look(repository: Path, before: _Packs | None) -> _Packs:
    """Return the present packs; they are listed only if their directory has changed. It blocks.

    Raises:
        OSError: The repository does not exist.
    """
    directory = repository / "objects" / "pack"
    status = directory.stat()
    place = status.st_dev, status.st_ino
    if before and (before.place, before.changed_ns) == (place, status.st_mtime_ns):
        return before
    names = os.listdir(directory)  # noqa: PTH208 - names alone
    return _Packs(place, status.st_mtime_ns, frozenset(each for each in names if _is_pack(each)))


def _is_pack(name: str) -> bool:
    return name.endswith(".pack")


@asynccontextmanager
async def _open_turn(lock: anyio.Lock) -> AsyncIterator[bool]:
    """Hold a lock and yield True; yield False if a slow question before this one keeps it."""
    try:
        lock.acquire_nowait()
    except anyio.WouldBlock:
        with anyio.move_on_after(_PATIENCE_SECONDS) as scope:
            await lock.acquire()
        if scope.cancelled_caught:
            yield False
            return
    try:
        yield True
    finally:
        lock.release()


@asynccontextmanager
async def open_batch_readers(
    git: Git, directory: Path, *, idle_seconds: float = IDLE_SECONDS
) -> AsyncIterator[BatchReaders]:
    """Own the gits that stay; all are ended at the end.

    Args:
        git: Runs git.
        directory: Directory of the empty repositories.
        idle_seconds: How long a git stays without a question.
    """
    async with open_background() as tasks:
        yield BatchReaders(git, directory, tasks, idle_seconds=idle_seconds)
