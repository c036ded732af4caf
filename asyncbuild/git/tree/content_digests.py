"""Digests of what the `changes` of rules match in the tree of a commit.

Equal digests mean that nothing of it has changed, whatever lies between two commits. So no older
commit has to be in the mirror. Plain paths are looked up by the git that stays for each mirror;
for wildcards one git lists what they match, as it would to compare two commits.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from asyncbuild.git.formats.matched_content import ContentWalk, parse_literal
from asyncbuild.git.formats.raw_tree import UnsuitableError
from asyncbuild.git.process.command import ProcessKind
from asyncbuild.git.tree.stored_tree import StoredTree

_TREES_BYTES_MOST: Final = 16 * 1024 * 1024  # of one level: 300,000 entries with short names
# Ids of the tree without entries, which git knows although no repository has it.
_EMPTY: Final = {
    40: hashlib.sha1(b"tree 0\0", usedforsecurity=False).hexdigest(),
    64: hashlib.sha256(b"tree 0\0").hexdigest(),
}


async def digest_contents(
    stored: StoredTree, asked: Iterable[tuple[str, ...]]
) -> dict[tuple[str, ...], str]:
    """Return a digest of what each list of pathspecs matches in the whole tree of a commit.

    It depends on paths, modes and ids of what is matched, and on nothing else. Digests that were
    made in two ways differ for the same content, as if it had changed.

    Args:
        stored: Tree of the commit.
        asked: Lists of checked pathspecs, from the root of the tree.

    Raises:
        GitFailed: The repository cannot be read.
    """
    tree = stored.root or stored.tree
    lists = list(dict.fromkeys(asked))
    plain = {each: parse_literal(each) for each in lists}
    walks = {each: ContentWalk(tree, found) for each, found in plain.items() if found is not None}
    digests = await _walk(stored, walks)
    return {each: digests.get(each) or await _list(stored, tree, each) for each in lists}


async def _walk(
    stored: StoredTree, walks: dict[tuple[str, ...], ContentWalk]
) -> dict[tuple[str, ...], str]:
    """Return the digests of all walks, made side by side; none if a tree cannot be read so."""
    doing = f"look for what changed in {stored.name} {stored.commit}"
    while wanted := list(dict.fromkeys(tree for each in walks.values() for tree in each.wanted)):
        contents = await stored.reader.read_trees(
            stored.path, wanted, most_bytes=_TREES_BYTES_MOST, doing=doing
        )
        if contents is None:
            return {}
        found = dict(zip(wanted, contents, strict=True))
        try:
            for each in walks.values():
                each.feed(found)
        except UnsuitableError:
            return {}
    return {asked: f"tree-{each.digest()}" for asked, each in walks.items()}


async def _list(stored: StoredTree, tree: str, pathspecs: tuple[str, ...]) -> str:
    """Return the digest of git's own list of what it finds by pathspecs."""
    digest = hashlib.sha256()
    arguments = ("diff-tree", "-r", "-z", "--raw", "--no-renames", _EMPTY[len(tree)], tree)
    async with stored.reader.open_stream(
        stored.path,
        (*arguments, "--", *pathspecs),
        commit=stored.commit,
        doing=f"list what changes of {stored.name} {stored.commit} match",
        work=ProcessKind.TREE,
    ) as stdout:
        async for chunk in stdout:
            digest.update(chunk)
    return f"list-{digest.hexdigest()}"
