"""Pauses for refs whose last deltas did not pay: their next pushes are archived in full."""

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
    """Pauses by ref: after the second push in a row that did not pay 1 is skipped, then 3, then 7.

    A ref whose pushes all change many files costs one comparison in eight pushes; a single large
    change, such as a merge, costs the pushes after it nothing.
    """

    def __init__(self) -> None:
        self._pauses: Recent[ArchiveLineage, _Pause] = Recent(_REFS_MOST)

    def take(self, origin: ArchiveLineage) -> int:
        """Count this push; return the length of the pause that skips it, 0 if it is not skipped."""
        pause = self._pauses.get(origin)
        if pause is None or not pause.left:
            return 0
        pause.left -= 1
        return pause.length

    def lasts(self, origin: ArchiveLineage) -> bool:
        """Return whether the next push will be skipped, too, and so needs nothing of this one."""
        pause = self._pauses.get(origin)
        return pause is not None and pause.left > 0

    def lengthen(self, origin: ArchiveLineage) -> None:
        """Record that a delta did not pay."""
        before = self._pauses.get(origin)
        length = min(2 * before.length + 1, _LONGEST) if before else 0
        self._pauses[origin] = _Pause(length, length)

    def end(self, origin: ArchiveLineage) -> None:
        """Record that a delta paid."""
        self._pauses.pop(origin, None)
