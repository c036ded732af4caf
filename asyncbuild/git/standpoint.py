"""Where `git archive` is called from: that decides what it archives, and whose attributes count."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple


class Standpoint(NamedTuple):
    """Arguments before and after `archive`, and environment, that put git into a place."""

    place: tuple[str, ...]
    switches: tuple[str, ...]
    environment: Mapping[str, str]

    @classmethod
    def at(cls, worktree: Path, subtree: str, switches: tuple[str, ...] = ()) -> "Standpoint":
        """A directory of a working tree.

        `git archive <commit>:<directory>` would forget the commit: its time, its id for
        `export-subst`. Called in a directory of a working tree, git archives just that; at the
        working tree itself it does not look, so that one of empty directories will do. With
        `--worktree-attributes` it looks there for `.gitattributes`, as if the directory were the
        top. It must be called there: called elsewhere, it looks there.
        """
        environment = {"GIT_WORK_TREE": str(worktree)}
        return cls(("-C", str(worktree / subtree)), switches, environment)


BARE = Standpoint((), (), {})  # in the bare repository: the whole tree, with its own attributes


@contextmanager
def open_empty_worktree(directory: str) -> Iterator[Path]:
    """A working tree that has nothing but an empty directory of that name."""
    with TemporaryDirectory(prefix="asyncbuild-") as top:
        worktree = Path(top).resolve()
        (worktree / directory).mkdir(parents=True)
        yield worktree
