"""Answers to short questions about a repository, without a git of their own.

They come from gits that stay (`batch_readers.py`), or from what is remembered: ids of objects are
hashes of their contents, so what was learned of an object holds in every repository.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from asyncbuild.domain.git_names import object_format
from asyncbuild.git.batch_readers import ANSWER_BYTES_MOST, BatchReaders
from asyncbuild.git.formats.batch_command import Asks, ObjectAnswer, ObjectQuestion, TooLongError
from asyncbuild.git.formats.cat_file import Commit, parse_commit
from asyncbuild.git.formats.extent import AttributeFacts, facts_of
from asyncbuild.git.formats.raw_tree import TreeSummary
from asyncbuild.git.tree.summaries import TreeSummaries
from asyncbuild.runtime.recent import Recent

_ATTRIBUTES_MOST: Final = 10_000
_BLOBS_MOST: Final = 100


class NoQuickAnswerError(Exception):
    """The question is one for a git of its own."""


class QuickAnswers:
    """Answers questions; what it cannot answer raises `NoQuickAnswerError`.

    Args:
        readers: Gits that stay; None for none.
    """

    def __init__(self, readers: BatchReaders | None = None) -> None:
        self._readers = readers
        self._summaries = TreeSummaries(readers) if readers is not None else None
        self._attributes: Recent[str, AttributeFacts] = Recent(_ATTRIBUTES_MOST)

    async def find(self, repository: Path, asked: Sequence[str]) -> dict[str, Commit]:
        """Return the commits that object ids name, as `Reader.find`."""
        names = [f"{each}^{{commit}}".encode() for each in asked]
        answers = await self._ask(repository, asked[0], Asks.CONTENTS, names)
        return {
            each: parse_commit(head.id, content)
            for each, (head, content) in zip(asked, answers, strict=True)
            if head is not None
        }

    async def kind(self, repository: Path, object_id: str) -> str | None:
        """Return the type of an object, as `Reader.kind`."""
        (answer,) = await self._ask(repository, object_id, Asks.INFO, [object_id.encode()])
        return answer.head.kind if answer.head else None

    async def find_tree(self, repository: Path, commit: str, directory: str) -> str | None:
        """Return the id of a directory's tree, as `Reader.find_tree`."""
        name = f"{commit}:{directory}".encode("utf-8", "surrogateescape")
        (answer,) = await self._ask(repository, commit, Asks.INFO, [name])
        return answer.head.id if answer.head and answer.head.kind == "tree" else None

    async def read_blobs(
        self, repository: Path, ids: Sequence[str], *, most_bytes: int
    ) -> list[bytes] | None:
        """Return the contents of a few small blobs, as `Reader.read_blobs`."""
        if len(ids) > _BLOBS_MOST:
            raise NoQuickAnswerError
        names = [each.encode() for each in ids]
        infos = await self._ask(repository, ids[0], Asks.INFO, names)
        size = sum(answer.head.size for answer in infos if answer.head)
        if size > most_bytes:
            return None
        if size > ANSWER_BYTES_MOST or not all(answer.head for answer in infos):
            raise NoQuickAnswerError
        answers = await self._ask(repository, ids[0], Asks.CONTENTS, names)
        if not all(answer.head for answer in answers):
            raise NoQuickAnswerError
        return [answer.content for answer in answers]

    def known_attributes(self, blob: str) -> AttributeFacts | None:
        """Return the facts about a `.gitattributes` by the id of its blob, if it was read."""
        return self._attributes.get(blob)

    def learn_attributes(self, blob: str, content: bytes) -> AttributeFacts:
        """Return the facts about a `.gitattributes` of this content, and remember them."""
        self._attributes[blob] = facts = facts_of(content)
        return facts

    async def summarise(self, repository: Path, tree: str) -> TreeSummary | None:
        """Return the summary of a tree; None if it is large, or no git stays."""
        return await self._summaries.find(repository, tree) if self._summaries else None

    async def _ask(
        self, repository: Path, id_: str, asks: Asks, names: Iterable[bytes]
    ) -> list[ObjectAnswer]:
        if self._readers is not None:
            questions = [ObjectQuestion(asks, name) for name in names]
            with suppress(TooLongError):
                found = await self._readers.ask(repository, questions, format_=object_format(id_))
                if found is not None:
                    return found
        raise NoQuickAnswerError
