"""Reader of a repository's objects: commits, archives, trees, ancestry."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio

from asyncbuild.git.formats.cat_file import HEAD_BYTES_MOST, Commit, parse_commits, split_blobs
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.formats.extent import AttributeFacts
from asyncbuild.git.formats.raw_tree import TreeSummary
from asyncbuild.git.object_runner import ObjectRunner
from asyncbuild.git.process.command import Git, ProcessKind
from asyncbuild.git.quick_answers import NoQuickAnswerError, QuickAnswers


class Reader(ObjectRunner):
    """Reads the objects of repositories, and nothing else in them.

    Short questions about mirrors may be answered without a git of their own (`asking`). Arguments
    are those of `ObjectRunner`.
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
        super().__init__(git, directory, suspect, exports=exports, forge=forge)
        self._quick = QuickAnswers()

    def without_exports(self) -> "Reader":
        """Return a reader of archives where `export-ignore` and `export-subst` have no effect."""
        return self._like(exports=False)

    def unsuspecting(self) -> "Reader":
        """Return a reader that does not mark a mirror as suspect when it fails."""
        return self._like(suspect=None)

    def of(self, forge: str) -> "Reader":
        """Return a reader for the repositories of a forge."""
        return self._like(forge=forge)

    def asking(self, quick: QuickAnswers) -> "Reader":
        """Return a reader of mirrors that has short questions answered without a git of its own."""
        reader = self._like()
        reader._quick = quick  # noqa: SLF001 - another of us
        return reader

    def alone(self) -> "Reader":
        """Return a reader that starts a git for each question."""
        return self.asking(QuickAnswers())

    def _like(self, **changes: Any) -> "Reader":  # noqa: ANN401 - our own arguments
        own = {"suspect": self._suspect, "exports": self._exports, "forge": self._forge}
        reader = Reader(self._git, self._directory, **{**own, **changes})
        reader._quick = self._quick
        return reader

    async def find(self, repository: Path, ids: Iterable[str], doing: str) -> dict[str, Commit]:
        """Return the commits that object ids name, tags peeled, without those that are not here.

        One git answers for all: presence, peeled id and contents. All ids must have one object
        format.

        Args:
            repository: Directory of the repository.
            ids: Ids of commits or annotated tags.
            doing: What it is for, for people.

        Raises:
            GitFailed: The repository cannot be read.
        """
        asked = list(dict.fromkeys(ids))
        if not asked:
            return {}
        with suppress(NoQuickAnswerError):
            return await self._quick.find(repository, asked)
        command = self._command(
            repository,
            ("cat-file", "--batch"),
            commit=asked[0],
            doing=doing,
            stdin="".join(f"{each}^{{commit}}\n" for each in asked).encode(),
        )
        return dict(parse_commits(await self._run(command), asked))

    async def kind(self, repository: Path, object_id: str, doing: str) -> str | None:
        """Return the type of an object: `blob`, `tree`, `commit`, `tag`; None if it is not here.

        Args:
            repository: Directory of the repository.
            object_id: Id of the object.
            doing: What it is for, for people.

        Raises:
            GitFailed: The repository cannot be read.
        """
        with suppress(NoQuickAnswerError):
            return await self._quick.kind(repository, object_id)
        command = self._command(
            repository,
            ("cat-file", "--batch-check=%(objecttype)"),
            commit=object_id,
            doing=doing,
            stdin=f"{object_id}\n".encode(),
        )
        answer = (await self._run(command)).decode().strip()
        return None if answer.endswith("missing") else answer

    async def read_blobs(
        self,
        repository: Path,
        ids: Sequence[str],
        *,
        most_bytes: int,
        doing: str,
    ) -> list[bytes] | None:
        """Return the contents of small blobs, or None if they exceed `most_bytes` together.

        Args:
            repository: Directory of the repository.
            ids: Ids of the blobs.
            most_bytes: Greatest length of all contents.
            doing: What it is for, for people.

        Raises:
            GitFailed: The repository cannot be read, or a blob is not in it.
        """
        if not ids:
            return []
        with suppress(NoQuickAnswerError):
            return await self._quick.read_blobs(repository, ids, most_bytes=most_bytes)
        stream = self.open_stream(
            repository,
            ("cat-file", "--batch"),
            commit=ids[0],
            doing=doing,
            work=ProcessKind.LOOK_UP,
            stdin="\n".join((*ids, "")).encode(),
        )
        answer = bytearray()
        async with stream as stdout:
            async for chunk in stdout:
                answer += chunk
                if len(answer) > most_bytes + len(ids) * HEAD_BYTES_MOST:
                    return None
            contents = split_blobs(bytes(answer))
            if len(contents) < len(ids):  # raised here, so that the repository is suspected
                raise GitFailed(f"{doing}: an object is missing", fault=GitFault.CORRUPT)
        return None if sum(map(len, contents)) > most_bytes else contents

    async def read_trees(
        self, repository: Path, ids: Sequence[str], *, most_bytes: int, doing: str
    ) -> list[bytes] | None:
        """Return tree objects, or None if they exceed `most_bytes` together; as `read_blobs`.

        Args:
            repository: Directory of the repository.
            ids: Ids of the trees.
            most_bytes: Greatest length of all trees.
            doing: What it is for, for people.

        Raises:
            GitFailed: The repository cannot be read, or a tree is not in it.
        """
        return await self.read_blobs(repository, ids, most_bytes=most_bytes, doing=doing)

    async def read_attributes(
        self, repository: Path, ids: Iterable[str], *, most_bytes: int, doing: str
    ) -> dict[str, AttributeFacts] | None:
        """Return facts about `.gitattributes` by id, or None if new ones exceed `most_bytes`.

        Args:
            repository: Directory of the repository.
            ids: Ids of their blobs.
            most_bytes: Greatest length of all that were not read before.
            doing: What it is for, for people.

        Raises:
            GitFailed: As `read_blobs`.
        """
        names = list(dict.fromkeys(ids))
        known = {each: self._quick.known_attributes(each) for each in names}
        new = [each for each, facts in known.items() if facts is None]
        contents = await self.read_blobs(repository, new, most_bytes=most_bytes, doing=doing)
        if contents is None:
            return None
        learned = {
            each: self._quick.learn_attributes(each, content)
            for each, content in zip(new, contents, strict=True)
        }
        return {each: facts for each, facts in known.items() if facts is not None} | learned

    async def summarise(self, repository: Path, tree: str) -> TreeSummary | None:
        """Return the summary of a small tree of a mirror; None if it has to be listed.

        Args:
            repository: Directory of the repository.
            tree: Id of the tree.

        Raises:
            GitFailed: git was silent.
        """
        return await self._quick.summarise(repository, tree)

    async def is_changed(
        self, repository: Path, trees: tuple[str, str], pathspecs: Sequence[str], doing: str
    ) -> bool:
        """Return whether anything that the pathspecs match differs between two trees.

        Args:
            repository: Directory of the repository.
            trees: Ids of the trees.
            pathspecs: Pathspecs of git.
            doing: What it is for, for people.

        Raises:
            GitFailed: The repository cannot be read.
        """
        command = self._command(
            repository,
            ("diff-tree", "-r", "--quiet", "--no-renames", *trees, "--", *pathspecs),
            commit=trees[0],
            doing=doing,
            work=ProcessKind.TREE,
            good=frozenset({0, 1}),
        )
        return await self._ask(command) == 1

    async def find_tree(
        self, repository: Path, commit: str, directory: str, doing: str
    ) -> str | None:
        """Return the id of a directory's tree; None if it is not here, or is not a directory.

        Args:
            repository: Directory of the repository.
            commit: Id of the commit.
            directory: Path in its tree.
            doing: What it is for, for people.

        Raises:
            GitFailed: The repository cannot be read.
        """
        with suppress(NoQuickAnswerError):
            return await self._quick.find_tree(repository, commit, directory)
        command = self._command(
            repository,
            ("cat-file", "--batch-check=%(objectname) %(objecttype)"),
            commit=commit,
            doing=doing,
            stdin=f"{commit}:{directory}\n".encode(),
        )
        object_id, _, kind = (await self._run(command)).decode("utf-8", "replace").partition(" ")
        return object_id if kind == "tree\n" else None

    async def is_ancestor(self, repository: Path, ancestor: str, descendant: str) -> bool | None:
        """Return whether one commit is in the history of another; None if that history is cut.

        A shallow mirror may hold more history than its shallow file tells, because commits of
        several fetches connect. That file is not used here. So True is certain; False only means
        that no connection was found (before git 2.45 even a missing commit in between reads as a
        plain no), unless the history is whole or the opposite is true.

        Args:
            repository: Directory of the repository.
            ancestor: Id of the older commit.
            descendant: Id of the newer commit.

        Raises:
            GitFailed: git failed for a reason other than missing history.
        """
        if await self._connects(repository, ancestor, descendant):
            return True
        if await self._connects(repository, descendant, ancestor):
            return False
        shallow = await anyio.Path(repository / "shallow").exists()
        here = await self.find(repository, (ancestor, descendant), "compare")
        return False if len(here) == len({ancestor, descendant}) and not shallow else None

    async def _connects(self, repository: Path, ancestor: str, descendant: str) -> bool:
        command = self._command(
            repository,
            ("merge-base", "--is-ancestor", "--end-of-options", ancestor, descendant),
            commit=ancestor,
            doing=f"compare {ancestor} and {descendant}",
            good=frozenset({0, 1, 128}),  # 128: one of them, or a commit between them, is missing
            patient=True,
        )
        return await self._ask(command) == 0
