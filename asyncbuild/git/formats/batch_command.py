"""Questions to `git cat-file --batch-command --buffer`, and the parser of its answers. Pure.

git-cat-file(1), since git 2.36: `info <name>` is answered by `<id> <type> <size>`, `contents
<name>` by the same, the content and a line feed; both by `<name> missing` if there is no such
object. `flush` makes git write the answers to all questions since the last one.

A git that stays answers many callers, so an answer is taken for that of a question only if nothing
speaks against it. What is doubtful ends in `NotUnderstoodError`: its caller ends that git.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from asyncbuild.git.formats.cat_file import ObjectHead

QUESTION_BYTES_MOST: Final = 4_096  # PIPE_BUF of Linux: pipe(7) takes that much at once, or nothing
_FLUSH: Final = b"flush\n"
_HEAD: Final = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64}) (blob|tree|commit|tag) (\d{1,19})")
_ENDS_LINE: Final = re.compile(rb"[\n\r\0]")  # git cuts a carriage return off the end of a line
_HEAD_MOST: Final = 128  # longer than every head; a line `<name> missing` is as long as the name


class NotUnderstoodError(ValueError):
    """An answer is none to the question."""


class TooLongError(NotUnderstoodError):
    """A content is longer than its caller takes."""


class Asks(StrEnum):
    """Commands of `--batch-command`."""

    INFO = "info"
    CONTENTS = "contents"


class ObjectQuestion(NamedTuple):
    """A question about the object of a name: an id, `<id>^{commit}` or `<commit>:<path>`."""

    asks: Asks
    name: bytes


class ObjectAnswer(NamedTuple):
    """Answer to a question; without a head the object is missing. `info` gets no content."""

    head: ObjectHead | None
    content: bytes


def is_askable(question: ObjectQuestion) -> bool:
    """Return whether a question is one line for git, and short enough to be sent."""
    name = question.name
    return bool(name) and len(name) < QUESTION_BYTES_MOST // 2 and not _ENDS_LINE.search(name)


def pack_rounds(
    questions: Sequence[ObjectQuestion],
) -> list[tuple[bytes, Sequence[ObjectQuestion]]]:
    """Return the input for git in rounds that a pipe takes at once, each with its questions.

    All answers to a round are read before the next one is sent. So git never waits for its reader
    while its reader waits for git.

    Raises:
        ValueError: A question is not one that `is_askable`.
    """
    rounds: list[tuple[bytes, Sequence[ObjectQuestion]]] = []
    begin, packed = 0, b""
    for at, question in enumerate(questions):
        if not is_askable(question):
            msg = f"{question.name[:100]!r} cannot be asked for"
            raise ValueError(msg)
        line = b"%s %s\n" % (question.asks.encode(), question.name)
        if len(packed) + len(line) + len(_FLUSH) > QUESTION_BYTES_MOST:
            rounds.append((packed + _FLUSH, questions[begin:at]))
            begin, packed = at, b""
        packed += line
    if packed:
        rounds.append((packed + _FLUSH, questions[begin:]))
    return rounds


class BatchAnswers:
    """Parser of the answers to one round of questions, fed in pieces.

    Attributes:
        answers: The answers so far.
        left_bytes: What is left of the greatest length.

    Args:
        questions: The questions, in their order.
        most_bytes: Greatest length of all contents.
    """

    def __init__(self, questions: Sequence[ObjectQuestion], most_bytes: int) -> None:
        self._questions = questions
        self.left_bytes = most_bytes
        self._rest = bytearray()
        self._head: ObjectHead | None = None  # its content is awaited
        self.answers: list[ObjectAnswer] = []

    def feed(self, piece: bytes) -> bool:
        """Parse the next piece of git's output; return whether every question is answered.

        Raises:
            NotUnderstoodError: It answers no question.
            TooLongError: Contents are too long.
        """
        self._rest += piece
        while not self._is_complete() and self._take():
            pass
        if self._is_complete() and self._rest:
            raise NotUnderstoodError(_shown("output without a question", self._rest))
        return self._is_complete()

    def _is_complete(self) -> bool:
        return len(self.answers) == len(self._questions)

    def _take(self) -> bool:
        """Take one head or one content; return False if it is not all here yet."""
        question = self._questions[len(self.answers)]
        if self._head is not None:
            return self._take_content(self._head)
        end = self._rest.find(b"\n")
        if end < 0:
            if len(self._rest) > _HEAD_MOST + len(question.name):
                raise NotUnderstoodError(_shown("a line without an end", self._rest))
            return False
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        if line == question.name + b" missing":
            self.answers.append(ObjectAnswer(None, b""))
            return True
        head = _parse_head(line, question)
        if question.asks is Asks.INFO:
            self.answers.append(ObjectAnswer(head, b""))
            return True
        self.left_bytes -= head.size
        if self.left_bytes < 0:
            raise TooLongError(f"{head.id} has {head.size} bytes, more than are wanted")
        self._head = head
        return True

    def _take_content(self, head: ObjectHead) -> bool:
        if len(self._rest) <= head.size:
            return False
        if self._rest[head.size] != ord("\n"):
            raise NotUnderstoodError(f"{head.id} is longer than its head says")
        self.answers.append(ObjectAnswer(head, bytes(self._rest[: head.size])))
        del self._rest[: head.size + 1]
        self._head = None
        return True


def _parse_head(line: bytes, question: ObjectQuestion) -> ObjectHead:
    found = _HEAD.fullmatch(line)
    if found is None:
        raise NotUnderstoodError(_shown("no head of an object", line))
    object_id, kind, size = found.groups()
    asked, peeled, _ = question.name.partition(b"^{commit}")
    by_id = peeled or b":" not in asked
    if len(object_id) != len(asked.partition(b":")[0]) or (
        by_id and not peeled and object_id != asked
    ):
        raise NotUnderstoodError(_shown(f"not {asked[:100]!r}", line))
    if peeled and kind != b"commit":
        raise NotUnderstoodError(_shown("no commit", line))
    return ObjectHead(object_id.decode(), kind.decode(), int(size))


def _shown(what: str, text: bytes | bytearray) -> str:
    return f"{what}: {bytes(text[:100])!r}"
