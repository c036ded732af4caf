"""One mirror's directory, and what is done with its files. All of it blocks: call in a thread.

    <cache>/mirrors/<account>/<region>/<name>/
        repository.git   the bare mirror; appears by a rename, whole
        fetch.lock       held exclusively by whoever changes the mirror
        use.lock         held shared by whoever reads it, exclusively by whoever takes it away
        stamp            its size; the time of the last use is the file's own
        suspect          the mirror turned out to be corrupt
        staging-*        a first fetch at work, or killed
        evicted-*        a mirror on its way out

The directory and its two locks stay when the mirror goes: a lock file that is deleted while
somebody waits for it locks nothing.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

_GONE_NAMES = ("staging-", "evicted-")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one mirror lives. Two of one path are one mirror."""

    root: Path

    @property
    def repository(self) -> Path:
        """The bare repository."""
        return self.root / "repository.git"

    @property
    def fetch_lock(self) -> Path:
        """Held while the mirror changes."""
        return self.root / "fetch.lock"

    @property
    def use_lock(self) -> Path:
        """Held while the mirror is read."""
        return self.root / "use.lock"

    @property
    def stamp(self) -> Path:
        """Size in bytes, and the time of the last use."""
        return self.root / "stamp"

    def make(self) -> None:
        """Make the directory, for the locks."""
        self.root.mkdir(parents=True, exist_ok=True)

    def is_whole(self) -> bool:
        """Is there a mirror?"""
        return self.repository.is_dir()

    def touch(self) -> None:
        """Note that the mirror is used now."""
        self.stamp.touch()

    def size_bytes(self) -> int:
        """Measure what the mirror takes on the disk."""
        return sum(_allocated(self.repository))

    def remembered_bytes(self) -> int:
        """The size at the last measurement; measured now if there was none."""
        with suppress(OSError, orjson.JSONDecodeError, KeyError, TypeError):
            return int(orjson.loads(self.stamp.read_bytes())["size_bytes"])
        return self.size_bytes()

    def packs(self) -> int:
        """How many packs there are: each one slows every look-up a little."""
        with suppress(FileNotFoundError):
            return sum(name.endswith(".pack") for name in os.listdir(self._objects / "pack"))  # noqa: PTH208 - names alone
        return 0

    # Marks

    def mark_suspect(self) -> None:
        """Remember that the mirror is corrupt, for whoever opens it next."""
        with suppress(FileNotFoundError):
            (self.root / "suspect").touch()

    def is_suspect(self) -> bool:
        """Did a reader find the mirror corrupt?"""
        return (self.root / "suspect").exists()

    # Coming and going

    def stage(self) -> Path:
        """A directory to build a new mirror in."""
        staging = self.root / f"staging-{uuid.uuid4().hex}"
        staging.mkdir()
        return staging

    def publish(self, staging: Path) -> None:
        """Make a whole new mirror the mirror."""
        staging.rename(self.repository)

    def take_away(self) -> Path | None:
        """Make the mirror disappear at once; the caller deletes what is returned at leisure.

        Call with the use lock held exclusively.
        """
        gone = self.root / f"evicted-{uuid.uuid4().hex}"
        try:
            self.repository.rename(gone)
        except FileNotFoundError:
            return None
        finally:
            self.stamp.unlink(missing_ok=True)
            (self.root / "suspect").unlink(missing_ok=True)
        return gone

    def reclaim(self) -> None:
        """Delete what killed processes left behind: half-made mirrors, lock files, half packs.

        Call with the fetch lock held: no git can be at work here then.
        """
        with os.scandir(self.root) as entries:
            gone = [entry.path for entry in entries if entry.name.startswith(_GONE_NAMES)]
        for path in gone:
            delete(Path(path))
        for leftover in _leftovers(self.repository):
            leftover.unlink(missing_ok=True)

    @property
    def _objects(self) -> Path:
        return self.repository / "objects"


def find_places(mirrors: Path) -> list[Place]:
    """Every mirror below a cache's `mirrors` directory."""
    return [Place(stamp.parent) for stamp in mirrors.glob("*/*/*/stamp")]


def delete(directory: Path) -> None:
    """Delete a directory tree, whatever is left of it."""
    shutil.rmtree(directory, ignore_errors=True)


def _allocated(directory: Path) -> Iterator[int]:
    for parent, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                yield os.lstat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH118 - hot


def _leftovers(repository: Path) -> Iterator[Path]:
    """Lock files, temporary packs, and marks that keep a pack from being joined with others."""
    yield from repository.glob("*.lock")
    yield from (repository / "refs").rglob("*.lock")
    for pattern in ("tmp_*", "*.lock", "*.keep"):
        yield from (repository / "objects" / "pack").glob(pattern)
