"""A control group that limits the memory of a program and its children, of either version."""

import errno
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_ENTER: Final = 'echo $$ >"$0/cgroup.procs" && exec "$@"'
_GONE_SECONDS: Final = 10.0


class NoControlGroup(Exception):
    """Error raised if a group cannot be made here, with the reason."""


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """One control group; its numbers leave out page cache that the kernel can reclaim.

    Attributes:
        path: Its directory.
        version: Of the interface: 1 or 2.
    """

    path: Path
    version: int

    def command(self, program: Sequence[str]) -> list[str]:
        """Return a command that runs a program in the group."""
        return ["/bin/sh", "-c", _ENTER, str(self.path), *program]

    def taken_bytes(self) -> int:
        """Return anonymous and shared memory of all processes in it, now."""
        names = {"total_rss", "total_shmem"} if self.version == 1 else {"anon", "shmem"}
        found = self._numbers("memory.stat")
        return sum(found[name] for name in names)

    def kills(self) -> int:
        """Return how many processes the kernel has ended because the group was full."""
        return self._numbers("memory.oom_control" if self.version == 1 else "memory.events")[
            "oom_kill"
        ]

    def _numbers(self, name: str) -> dict[str, int]:
        words = (line.split() for line in (self.path / name).read_text("ascii").splitlines())
        return {name: int(number) for name, number in words}


@contextmanager
def open_memory_group(limit_bytes: int) -> Iterator[MemoryGroup]:
    """Make a group of so much memory and no swap; remove it at the end.

    Raises:
        NoControlGroup: it cannot be made on this machine or by this user.
    """
    version, above = _find()
    path = above / f"asyncbuild-{os.getpid()}"
    try:
        path.mkdir()
    except OSError as error:
        raise NoControlGroup(f"{path} cannot be made: {error.strerror}") from error
    try:
        _limit(path, version, limit_bytes)
        yield MemoryGroup(path, version)
    finally:
        _remove(path)


def _find() -> tuple[int, Path]:
    if (_ROOT / "memory" / "memory.limit_in_bytes").exists():
        return 1, _ROOT / "memory"
    with suppress(OSError):
        if "memory" in (_ROOT / "cgroup.subtree_control").read_text("ascii").split():
            return 2, _ROOT
    raise NoControlGroup(f"no controller of memory is mounted at {_ROOT}")


def _limit(path: Path, version: int, limit_bytes: int) -> None:
    """Limit the memory without swap; version 1 limits memory and swap together, where counted."""
    names = {
        1: ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
        2: ("memory.max", "memory.swap.max"),
    }[version]
    swap_bytes = limit_bytes if version == 1 else 0
    try:
        (path / names[0]).write_text(str(limit_bytes))
        if (path / names[1]).exists():
            (path / names[1]).write_text(str(swap_bytes))
        elif version == 1:
            (path / "memory.swappiness").write_text("0")
    except OSError as error:
        raise NoControlGroup(f"{path} takes no limit: {error.strerror}") from error


def _remove(path: Path) -> None:
    """Wait until the kernel has no process of the group left, and remove the group."""
    end = time.monotonic() + _GONE_SECONDS
    while True:
        try:
            path.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
