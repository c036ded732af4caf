"""Memory of git's processes: shares of each, and the total of all of them (I6).

A git that reads streams or fetches gets a share before it is started, in order, as far as its forge
leaves room for others (`admission.py`). The kernel enforces it (RLIMIT_DATA: heap and other memory
of its own; mapped packs do not count, they belong to the page cache). Look-ups, listings and gits
that stay for questions are small and wait for nothing, since some of them are part of a stream that
already has its share: the kernel keeps each within one share.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from asyncbuild.domain.errors import Reject
from asyncbuild.git.formats.process_kinds import SMALL, ProcessKind
from asyncbuild.git.process.admission import Admission
from asyncbuild.runtime.cgroup import memory_limit_bytes

_SHARES: Final = 6
_LARGE_SHARES: Final = 5  # the most of one git: one share is left for the others
_FETCH_SHARES: Final = 2.0
_FETCH_SHARES_OF_MANY: Final = 1.5  # of three forges or more: of four fetches one is for each
_OTHERS_MOST: Final = 2  # forges that room is left for
_OF_THE_TASK: Final = 1 / 2
_TASK_BYTES: Final = memory_limit_bytes()  # read once, before a loop runs: reading files blocks
# With these arguments git handles a larger blob that is stored whole in pieces of some kilobytes:
# archive, cat-file, and index-pack of a fetch. By default it holds a blob of up to 512 MiB in
# memory.
STREAMED_BYTES: Final = 1024 * 1024
STREAMED: Final = ("-c", f"core.bigFileThreshold={STREAMED_BYTES}")
UNLIMITED: Final = -1  # in place of the setting, for a command that a user runs on a machine


class GitMemory:
    """Shares of `git.memory_budget_bytes`; with `UNLIMITED` nothing is limited.

    Args:
        budget_bytes: The setting; 0: half of the task's memory.
        forges: Number of forges.
    """

    def __init__(self, budget_bytes: int, forges: int = 1) -> None:
        self.total_bytes = budget_bytes or int(_TASK_BYTES * _OF_THE_TASK)
        self.limited = budget_bytes != UNLIMITED
        self.share_bytes = self.total_bytes // _SHARES
        self.most_bytes = self.share_bytes * _LARGE_SHARES
        others = min(_OTHERS_MOST, forges - 1)
        shares = _FETCH_SHARES_OF_MANY if others == _OTHERS_MOST else _FETCH_SHARES
        self._fetch_bytes = int(self.share_bytes * shares)
        self._admission = Admission(self.total_bytes, kept_bytes=self._fetch_bytes, others=others)

    def shares(self, work: ProcessKind) -> int:
        """Return how many bytes one git of a kind may take, if nothing more is known of it."""
        writes = work in {ProcessKind.FETCH, ProcessKind.UPKEEP}
        return (self._fetch_bytes if writes else self.share_bytes) * self.limited

    @asynccontextmanager
    async def reserve(self, work: ProcessKind, nbytes: int, forge: str = "") -> AsyncIterator[None]:
        """Wait in turn until a git of a kind may take `nbytes`, at most `most_bytes`.

        Args:
            work: What the git is for.
            nbytes: Bytes of memory.
            forge: Forge of the repository; empty if that does not matter.
        """
        if not self.limited or work in SMALL:
            yield
            return
        async with self._admission.open(forge, nbytes):
            yield

    def reject(self, doing: str, nbytes: int, what: str = "") -> Reject:
        """Return the error for a git that needs more memory than it can have.

        Args:
            doing: What the git was to do, for people.
            nbytes: Memory that it needs, at least.
            what: Reason for the need, with a comma before it; empty for none.
        """
        return Reject(
            f"{doing}: git needs more than {nbytes} bytes of memory{what}; "
            f"git.memory_budget_bytes is {self.total_bytes}, of which one git gets at most "
            f"{self.most_bytes}",
            remedy="keep so large a file elsewhere, as in Git LFS, or give the task more memory "
            "and raise git.memory_budget_bytes",
        )
