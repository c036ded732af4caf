"""Memory limit of this process and its children: of the container, or of the machine."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")
_PAGES_OF_NO_LIMIT: Final = 2**60  # cgroup v1 expresses "no limit" by a number near 2**63


def memory_limit_bytes(root: Path = _ROOT, own: Path = _OWN) -> int:
    """Return the lowest memory limit of this process's cgroups and of the machine, in bytes.

    In a container its own cgroup is mounted at `root`; elsewhere it is below it.

    Args:
        root: Directory where cgroups are mounted.
        own: Path of /proc/self/cgroup.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([memory, *(each for each in _limits(root, own) if each < _PAGES_OF_NO_LIMIT)])


def _limits(root: Path, own: Path) -> Iterator[int]:
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    for line in ["::/", ":memory:/", *lines]:
        _, controllers, path = line.split(":", 2)
        names = ("memory.max", "memory.limit_in_bytes")
        top = root / "memory" if "memory" in controllers.split(",") else root
        place = top / path.lstrip("/")
        for each in (place, *place.parents):
            for name in names:
                yield from _read(each / name)
            if each == top:
                break


def _read(file: Path) -> Iterator[int]:
    try:
        text = file.read_text().strip()
    except OSError:
        return
    if text.isdecimal():  # "max": without a limit
        yield int(text)
