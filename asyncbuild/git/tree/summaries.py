"""Summaries of trees for their archives: entries and attributes, from what is known of subtrees.

`git archive` of a commit is preceded by a count of its entries and attributes. Of a commit that
follows another one only the changed directories are read for that, from a git that runs already.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from asyncbuild.domain.git_names import object_format
from asyncbuild.git.batch_readers import BatchReaders
from asyncbuild.git.formats.batch_command import Asks, ObjectAnswer, ObjectQuestion, TooLongError
from asyncbuild.git.formats.raw_tree import TreeSummary, TreeWalk, UnsuitableError
from asyncbuild.runtime.recent import Recent

_KNOWN_MOST: Final = 20_000  # trees, of about 300 bytes each
_ENTRIES_MOST: Final = 4_000  # a larger tree is listed faster by git than read here
_LARGE_MOST: Final = 10_000
_NOT_AGAIN: Final = 100  # trees of a repository to skip after one that was unsuitable


class TreeSummaries:
    """Summaries of small trees, by id.

    Args:
        readers: Read tree objects.
    """

    def __init__(self, readers: BatchReaders) -> None:
        self._readers = readers
        self._known: Recent[str, TreeSummary] = Recent(_KNOWN_MOST)
        self._skipping: Recent[Path, int] = Recent(_LARGE_MOST)

    async def find(self, repository: Path, tree: str) -> TreeSummary | None:
        """Return the summary of a tree; None if it is large, or cannot be read this way.

        Args:
            repository: Directory of the repository.
            tree: Id of the tree.

        Raises:
            GitFailed: As `BatchReaders.ask`.
        """
        if tree in self._known:
            return self._known[tree]
        if left := self._skipping.get(repository, 0):
            self._skipping[repository] = left - 1
            return None
        walk = TreeWalk(tree, self._known, entries_most=_ENTRIES_MOST)

        def follow(answers: list[ObjectAnswer]) -> list[ObjectQuestion]:
            walk.feed([_content(each) for each in answers])
            return _ask_for(walk.wanted)

        try:
            answers = await self._readers.ask(
                repository,
                _ask_for(walk.wanted),
                format_=object_format(tree),
                follow=follow,
            )
            return None if answers is None else walk.finish()
        except (UnsuitableError, TooLongError):
            self._skipping[repository] = _NOT_AGAIN
            return None


def _ask_for(trees: Sequence[str]) -> list[ObjectQuestion]:
    return [ObjectQuestion(Asks.CONTENTS, tree.encode()) for tree in trees]


def _content(answer: ObjectAnswer) -> bytes:
    if answer.head is None or answer.head.kind != "tree":
        raise UnsuitableError
    return answer.content
