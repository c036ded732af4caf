"""Looks at a new mirror before it is one.

A first fetch is one pack, whole as soon as its index is there. git then looks whether all in it is
connected, which takes about as long as to find the commit, and the attributes that let its first
archive begin at once. So both are done at the same time. Nothing comes of it if git finds fault.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from asyncbuild.domain.errors import StageError
from asyncbuild.domain.git_names import object_format
from asyncbuild.git.formats.cat_file import Commit
from asyncbuild.git.mirrors.directory import MirrorDirectory, has_pack, read_object_format
from asyncbuild.git.mirrors.inotify import open_watch
from asyncbuild.git.mirrors.shared_fetch import CommitRequest
from asyncbuild.git.reader import Reader
from asyncbuild.git.tree.attribute_worktrees import CommitTree, Worktrees

_PAUSE_SECONDS: Final = 0.02
_LOOK_AGAIN_SECONDS: Final = 1.0  # a directory that is deleted and made again is another one


class EarlyLookup:
    """Finds what pushes wait for in mirrors that are being made.

    Args:
        reader: Looks commits up.
        worktrees: Learns the attributes of the first one.
    """

    def __init__(self, reader: Reader, worktrees: Worktrees) -> None:
        self._reader = reader
        self._worktrees = worktrees

    async def look(
        self, place: MirrorDirectory, staging: Path, wishes: Sequence[CommitRequest]
    ) -> Mapping[str, Commit]:
        """The commits that are wished and there, by id; waits for a pack until it is cancelled.

        Args:
            place: Where the mirror will be.
            staging: Where it is made.
            wishes: What to look for.
        """
        await _wait_pack(staging)
        try:
            format_ = await to_thread.run_sync(read_object_format, staging)
            fitting = [wish for wish in wishes if object_format(wish.commit) == format_]
            found = await self._reader.find(
                staging, (wish.commit for wish in fitting), f"look into {staging}"
            )
            for wish in fitting:
                if wish.commit in found:
                    tree = CommitTree(place.repository, found[wish.commit].tree, wish.ref)
                    await self._worktrees.learn_early(tree, staging)
                    break
        except (StageError, OSError):
            return {}  # who reads the mirror will meet the same, and say so
        return found


async def _wait_pack(staging: Path) -> None:
    """Looking every 10 ms took 5 % of a core from git."""
    while True:
        with open_watch(staging / "objects" / "pack") as watch:
            if await to_thread.run_sync(has_pack, staging):  # not before: it could be missed
                return
            if watch is None:
                await anyio.sleep(_PAUSE_SECONDS)
            else:
                with anyio.move_on_after(_LOOK_AGAIN_SECONDS):
                    await anyio.wait_readable(watch)
