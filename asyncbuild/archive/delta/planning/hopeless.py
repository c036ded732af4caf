"""Quick test of an older archive: can any stretch of it be long enough to be copied? Pure."""

from collections.abc import Collection
from typing import Final

from asyncbuild.archive.delta.planning.entry_table import CentralDirectory
from asyncbuild.archive.delta.planning.plan import CopyLimits

_MISSED_MOST: Final = 8  # names that a short look does not find


def is_hopeless(
    directory: CentralDirectory, removed: Collection[bytes], *, limits: CopyLimits | None = None
) -> bool:
    """Return whether nothing can be long enough to be copied, from a few headers.

    The archive is divided into pieces of half a part's least length, so any stretch of a part's
    length contains a whole piece. Nothing can be copied if in each piece a removed member begins.
    Members are searched in the order of trees, which is the archive's; if it is not, the answer is
    False.

    Args:
        directory: Central directory of the archive.
        removed: Names of entries that the new tree does not have in the same form.
        limits: Limits; those of S3 by default.
    """
    half = (limits or CopyLimits()).least_part_bytes // 2
    halves = directory.offset // half
    if len(removed) < halves:
        return False
    position, met, missed = 0, 0, 0
    for name in sorted(removed):
        if met == halves:
            break
        found = directory.find(name, position)
        if found is None:
            missed += 1
            if missed > _MISSED_MOST:
                return False
            continue
        position, offset = found
        if offset // half > met:
            return False
        met = max(met, offset // half + 1)
    return met == halves
