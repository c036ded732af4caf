"""Parser of `git cat-file --batch`: objects with their heads, and the fields of a commit. Pure.

git-cat-file(1), BATCH OUTPUT: `<id> <type> <size>`, a line feed, the content, a line feed; or
`<name> missing`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

HEAD_BYTES_MOST: Final = 128  # `<id> blob <size>` and two line feeds
_HEAD_WORDS: Final = 3
# As parse_commit_date() of git's commit.c reads it: the number after the line's last `>`, ignoring
# the rest. Zones of five digits, of three and none at all are in the history of public projects.
_COMMITTED: Final = re.compile(rb"^committer .*>[ \t\r\f\v]*(-?)(\d+)", re.MULTILINE)
_TIME_MOST: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Commit:
    """Fields of a commit object; `time` in seconds since 1970, below 2**64 as in git."""

    id: str
    tree: str
    time: int


class ObjectHead(NamedTuple):
    """Head of an object that was found; `size` is the length of its content in bytes."""

    id: str
    kind: str
    size: int


def parse_head(line: bytes) -> ObjectHead | None:
    """Parse the line before a content; return None if it reports a missing object."""
    words = line.split()
    if len(words) != _HEAD_WORDS:
        return None
    return ObjectHead(words[0].decode(), words[1].decode(), int(words[2]))


def split_batch(answer: bytes) -> Iterator[tuple[ObjectHead | None, bytes]]:
    """Yield head and content of each object in a whole answer, in the order of the questions."""
    at = 0
    while begin := answer.find(b"\n", at) + 1:
        head = parse_head(answer[at:begin])
        at = begin + (head.size + 1 if head else 0)
        yield head, answer[begin : at - 1]


def split_blobs(answer: bytes) -> list[bytes]:
    """Return the contents of the objects in a whole answer, without those that are missing."""
    return [content for head, content in split_batch(answer) if head is not None]


def parse_commits(answer: bytes, asked: Iterable[str]) -> Iterator[tuple[str, Commit]]:
    """Yield the commits in a whole answer, with the names that were asked for."""
    for name, (head, content) in zip(asked, split_batch(answer), strict=False):
        if head is not None and head.kind == "commit":
            yield name, parse_commit(head.id, content)


def parse_commit(commit: str, content: bytes) -> Commit:
    """Parse the headers of a commit object, of which `tree <id>` is always the first."""
    headers = content.split(b"\n\n", 1)[0]
    tree = headers.split(b"\n", 1)[0].removeprefix(b"tree ").decode()
    return Commit(commit, tree, _parse_time(headers))


def message_of(content: bytes) -> bytes:
    """Return the message of a commit object: all behind its headers, which end in an empty line.

    Lines of signatures among the headers begin with a space, so none of them is empty
    (gitformat-signature(5)).
    """
    return content.partition(b"\n\n")[2]


def _parse_time(headers: bytes) -> int:
    """Parse the committer's time. git has no negative ones: strtoumax(3) wraps them."""
    committed = _COMMITTED.search(headers)
    if committed is None:
        return 0
    sign, digits = committed.groups()
    if len(digits) > len(str(_TIME_MOST)) or int(digits) > _TIME_MOST:
        return _TIME_MOST
    return -int(digits) & _TIME_MOST if sign else int(digits)
