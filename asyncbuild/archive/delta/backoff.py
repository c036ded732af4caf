"""Which refs are not looked into for a while, because it did not pay of late."""

from dataclasses import dataclass
from typing import Final

from asyncbuild.archive.delta.lineage import ArchiveLineage
from asyncbuild.runtime.recent import Recent

_LONGEST: Final = 7
_REFS_MOST: Final = 10_000


@dataclass(slots=True)
class _Pause:
    length: int
    left: int


class Pauses:
    """After the second push in a row that did not pay 1 is left out, then 3, then 7 at a time.

    Whoever changes files all over at every push pays for looking once in eight; a single large
    change, a merge say, costs none of the pushes behind it anything.
    """

    def __init__(self) -> None:
        self._pauses: Recent[ArchiveLineage, _Pause] = Recent(_REFS_MOST)

    def take(self, origin: ArchiveLineage) -> int:
        """How long the pause is that this push is to be left out for; 0: it is not."""
        pause = self._pauses.get(origin)
        if pause is None or not pause.left:
            return 0
        pause.left -= 1
        return pause.length

    def lasts(self, origin: ArchiveLineage) -> bool:
        """Will the next push be left out, too? Then nobody asks for what is kept of this one."""
        pause = self._pauses.get(origin)
        return pause is not None and pause.left > 0

    def lengthen(self, origin: ArchiveLineage) -> None:
        """It did not pay."""
        before = self._pauses.get(origin)
        length = min(2 * before.length + 1, _LONGEST) if before else 0
        self._pauses[origin] = _Pause(length, length)

    def end(self, origin: ArchiveLineage) -> None:
        """It paid."""
        self._pauses.pop(origin, None)
