"""Look-up of commits in a clone while git still checks its connectivity.

A first fetch is one pack, complete as soon as its index is there. git then checks whether
everything in it is connected, which takes about as long as finding the commit, and the attributes
that let its first archive begin at once. So both are done at the same time. The result is discarded
if git rejects the clone.
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
_LOOK_AGAIN_SECONDS: Final = 1.0  # a directory that was deleted and made again needs a new watch


class EarlyLookup:
    """Finds commits that pushes wait for in mirrors that are being made.

    Args:
        reader: Looks commits up.
        worktrees: Learns the attributes of the first one.
    """

    def __init__(self, reader: Reader, worktrees: Worktrees) -> None:
        self._reader = reader.alone()  # the clone is moved, and may be deleted: no git stays for it
        self._worktrees = worktrees

    async def look(
        self, place: MirrorDirectory, staging: Path, wishes: Sequence[CommitRequest]
    ) -> Mapping[str, Commit]:
        """Return those commits of the requests that are there, by id.

        Waits for a pack until it is cancelled.

        Args:
            place: Where the mirror will be.
            staging: Where it is made.
            wishes: Commits to look for.
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
            return {}  # readers of the mirror will meet and report the same error
        return found


async def _wait_pack(staging: Path) -> None:
    """Wait until a pack is there. Polling every 10 ms took 5 % of a core from git."""
    while True:
        with open_watch(staging / "objects" / "pack") as watch:
            if await to_thread.run_sync(has_pack, staging):  # after the watch: misses none
                return
            if watch is None:
                await anyio.sleep(_PAUSE_SECONDS)
            else:
                with anyio.move_on_after(_LOOK_AGAIN_SECONDS):
                    await anyio.wait_readable(watch)
