"""Directory of one mirror: its files, marks and locks. All of it blocks: call in a thread.

    <cache>/mirrors/<account>/<region>/<name>/
        repository.git   the bare mirror; appears by a rename, whole
        fetch.lock       held exclusively while the mirror changes
        lfs.lock         held exclusively while LFS objects are fetched
        use.lock         held shared while it is read, exclusively while it is taken away
        stamp            its size; the time of the last use is the file's own
        suspect          the mirror may be corrupt: ids of what was being read
        staging-*        a first fetch at work, or killed
        evicted-*        a mirror that is being deleted

The directory and its locks stay when the mirror goes: a lock file that is deleted while
a caller waits for it locks nothing.
"""

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from asyncbuild.git.mirrors.disk_space import delete, measure
from asyncbuild.runtime.locks import hold_nowait

_GONE_NAMES = ("staging-", "evicted-")
_PACK_OF_SHA256 = re.compile(r"pack-[0-9a-f]{64}\.")


@dataclass(frozen=True, slots=True)
class MirrorState:
    """State of a mirror at a moment; equal if no pack came or went in between.

    An empty object format means that it is damaged.
    """

    object_format: str
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Size:
    """Space of a mirror on the disk, in bytes: now, and when it was last compacted."""

    bytes: int = 0
    compact_bytes: int = 0


@dataclass(frozen=True, slots=True)
class MirrorDirectory:
    """Directory of one mirror; equal for equal paths."""

    root: Path

    @property
    def name(self) -> str:
        """Path of the repository that it mirrors: account, region and name."""
        return "/".join(self.root.parts[-3:])

    @property
    def repository(self) -> Path:
        """The bare repository."""
        return self.root / "repository.git"

    @property
    def fetch_lock(self) -> Path:
        """Lock that is held while the mirror changes."""
        return self.root / "fetch.lock"

    @property
    def lfs_lock(self) -> Path:
        """Lock that is held while LFS objects are fetched; the mirror may be used meanwhile."""
        return self.root / "lfs.lock"

    @property
    def lfs(self) -> Path:
        """Directory of LFS objects, measured and deleted with the mirror."""
        return self.repository / "lfs"

    @property
    def use_lock(self) -> Path:
        """Lock that is held while the mirror is read."""
        return self.root / "use.lock"

    @property
    def stamp(self) -> Path:
        """File with the size in bytes; its own time is that of the last use."""
        return self.root / "stamp"

    def arrive(self) -> bool:
        """Make the directory, for the locks; return whether the mirror is suspected."""
        self.root.mkdir(parents=True, exist_ok=True)
        return self.is_suspect()

    def is_whole(self) -> bool:
        """Return whether there is a mirror."""
        return self.repository.is_dir()

    def is_shallow(self) -> bool:
        """Return whether its history is cut somewhere."""
        return (self.repository / "shallow").exists()

    def touch(self) -> MirrorState | None:
        """Record that the mirror is used now; return its state, None if there is none."""
        self.stamp.touch()
        return self.look()

    def look(self) -> MirrorState | None:
        """Return the state of the mirror. Call it before looking for a commit, never after."""
        try:
            object_format = read_object_format(self.repository)
            changed = (self._objects / "pack").stat().st_mtime_ns
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return MirrorState("", 0) if self.is_whole() else None
        return MirrorState(object_format, changed)

    def size_bytes(self) -> int:
        """Return the space of the mirror on the disk, in bytes."""
        return measure(self.repository)

    def remembered(self) -> Size:
        """Return the sizes at the last fetch; zeros if there was none."""
        with suppress(OSError, orjson.JSONDecodeError, TypeError):
            return Size(**orjson.loads(self.stamp.read_bytes()))
        return Size()

    def remember(self, size: Size) -> None:
        """Write the sizes atomically; readers of a partial file would take them for zeros."""
        beside = self.stamp.with_suffix(".new")
        beside.write_bytes(orjson.dumps(size))
        with suppress(FileNotFoundError):  # another process just did
            beside.replace(self.stamp)

    def measure(self, *, compact: bool, waste: bool = True) -> Size | None:
        """Measure the mirror and remember its sizes; return them, None without a mirror.

        Args:
            compact: Whether nothing of it is waste.
            waste: Whether a repack may shrink what it has grown by.
        """
        if not self.is_whole():
            return None
        now_bytes, before = self.size_bytes(), self.remembered()
        grown_bytes = 0 if waste else now_bytes - before.bytes
        compact_bytes = (before.compact_bytes or now_bytes) + grown_bytes
        size = Size(now_bytes, now_bytes if compact else compact_bytes)
        self.remember(size)
        return size

    def packs(self) -> int:
        """Return the number of packs: each one slows every look-up a little."""
        with suppress(FileNotFoundError):
            return sum(name.endswith(".pack") for name in os.listdir(self._objects / "pack"))  # noqa: PTH208 - names alone
        return 0

    # Marks

    def mark_suspect(self, object_id: str = "") -> None:
        """Mark the mirror as possibly corrupt, for the next task that opens it.

        Args:
            object_id: Id of the object that was being read.
        """
        with suppress(FileNotFoundError), (self.root / "suspect").open("a") as mark:
            mark.write(f"{object_id}\n")

    def is_suspect(self) -> bool:
        """Return whether a reader found that the mirror may be corrupt."""
        return (self.root / "suspect").exists()

    def suspects(self) -> list[str]:
        """Return the ids of the objects that were being read when the mirror was suspected."""
        with suppress(FileNotFoundError):
            return sorted(set((self.root / "suspect").read_text().split()))
        return []

    def trust(self) -> None:
        """Remove the mark of a suspicion."""
        (self.root / "suspect").unlink(missing_ok=True)

    # Coming and going

    def stage(self) -> Path:
        """Make a directory to build a new mirror in."""
        staging = self.root / f"staging-{uuid.uuid4().hex}"
        staging.mkdir()
        return staging

    def publish(self, staging: Path) -> None:
        """Rename a complete new mirror to its place."""
        staging.rename(self.repository)

    def delete_if_unused(self) -> bool:
        """Delete the mirror unless it is being read, in this process or another."""
        with hold_nowait(self.use_lock) as alone:
            gone = self.take_away() if alone else None
        if gone is not None:
            delete(gone)
        return alone

    def reclaim_if_free(self) -> None:
        """Reclaim space, unless a fetch is running."""
        with hold_nowait(self.fetch_lock) as alone:
            if alone:
                self.reclaim()

    def trim_shallow(self, reachable: frozenset[bytes]) -> None:
        """Keep only lines of `shallow` whose commits are reachable; the fetch lock must be held."""
        shallow = self.repository / "shallow"
        lines = shallow.read_bytes().split()
        kept = [line for line in lines if line in reachable]
        if 0 < len(kept) < len(lines):
            new = self.repository / "shallow.lock"  # git's own name: no git writes it meanwhile
            new.write_bytes(b"".join(line + b"\n" for line in kept))
            new.rename(shallow)

    def take_away(self) -> Path | None:
        """Rename the mirror away at once, and return its new path, which the caller deletes.

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
        """Delete leftovers of killed processes: incomplete mirrors, lock files, partial packs.

        Call with the fetch lock held: then no git is at work here.
        """
        with os.scandir(self.root) as entries:
            gone = [entry.path for entry in entries if entry.name.startswith(_GONE_NAMES)]
        for path in gone:
            delete(Path(path))
        with suppress(FileNotFoundError):  # the mirror was renamed away meanwhile
            for leftover in _leftovers(self.repository):
                leftover.unlink(missing_ok=True)

    @property
    def _objects(self) -> Path:
        return self.repository / "objects"


def read_object_format(repository: Path) -> str:
    """Return the configured object format; empty if packs contradict it, a sign of damage."""
    config = (repository / "config").read_bytes().lower()
    if b"objectformat = sha256" in config:
        return "sha256"
    packs = os.listdir(repository / "objects" / "pack")  # noqa: PTH208 - names alone
    return "" if any(map(_PACK_OF_SHA256.match, packs)) else "sha1"


def keep_branch(repository: Path, ref: str, kept: str) -> bool:
    """Store the branch of `git clone --bare --single-branch` under a ref of this service.

    Args:
        repository: The clone.
        ref: Full name of the branch.
        kept: Name of the new ref.

    Returns:
        False if the branch does not exist: then git has taken a tag of that name.
    """
    packed = repository / "packed-refs"  # git clone writes refs there
    tips = {name: tip for tip, _, name in (line.partition(b" ") for line in _lines(packed))}
    tip = tips.get(ref.encode())
    if tip is None:
        return False
    (repository / kept).parent.mkdir(parents=True, exist_ok=True)
    (repository / kept).write_bytes(tip + b"\n")
    packed.unlink()
    return True


def has_pack(repository: Path) -> bool:
    """Return whether there is a whole pack: its index comes last."""
    with suppress(FileNotFoundError):  # not yet; or git clone failed, and clears up
        return any(name.endswith(".idx") for name in os.listdir(repository / "objects" / "pack"))  # noqa: PTH208 - names alone
    return False


def find_places(mirrors: Path) -> Iterator[tuple[MirrorDirectory, float]]:
    """Yield every mirror below a cache's `mirrors` directory, and when it was last used."""
    for stamp in mirrors.glob("*/*/*/stamp"):
        place = MirrorDirectory(stamp.parent)
        with suppress(FileNotFoundError):  # evicted by another process just now
            used_at = stamp.stat().st_mtime
            if place.is_whole():
                yield place, used_at


def find_leavings(mirrors: Path) -> set[MirrorDirectory]:
    """Return the mirrors with incomplete or half-deleted leftovers of killed processes."""
    return {
        MirrorDirectory(path.parent)
        for name in _GONE_NAMES
        for path in mirrors.glob(f"*/*/*/{name}*")
    }


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n") if path.exists() else []


def _leftovers(repository: Path) -> Iterator[Path]:
    """Yield lock files, temporary packs, and `.keep` files: git repacks no pack that has one."""
    yield from repository.glob("*.lock")
    yield from (repository / "refs").rglob("*.lock")
    for pattern in ("tmp_*", "*.lock", "*.keep"):
        yield from (repository / "objects" / "pack").glob(pattern)
