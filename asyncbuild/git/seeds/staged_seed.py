"""A seed that was downloaded, in the directory where it becomes a mirror. All of it blocks."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asyncbuild.git.seeds.plans.pack_pair import (
    INDEX_HEAD_BYTES,
    PACK_HEAD_BYTES,
    FileEnds,
    hash_bytes,
    name_of_pair,
)
from asyncbuild.git.seeds.plans.seed_manifest import SeedManifest


@dataclass(frozen=True, slots=True)
class DownloadedPack:
    """Files of one pack under names of this service: their hashes are checked, nothing else."""

    pack: Path
    index: Path


def install(staging: Path, manifest: SeedManifest, packs: Sequence[DownloadedPack]) -> None:
    """Make a new repository a mirror in the state of the manifest.

    Args:
        staging: A bare repository without objects, as `git init` makes it.
        manifest: The seed.
        packs: Its packs, beside it on the same disk.

    Raises:
        SeedFault: A file is not what it should be.
    """
    # As old as the seed: what is younger was fetched since, and counts for the next one.
    taken_at = manifest.written_at.timestamp() - 1
    directory = staging / "objects" / "pack"
    for each in packs:
        name = name_of_pair(
            _ends(each.pack, PACK_HEAD_BYTES, hash_bytes(manifest.object_format)),
            _ends(each.index, INDEX_HEAD_BYTES, 2 * hash_bytes(manifest.object_format)),
            manifest.object_format,
        )
        os.utime(each.pack, (taken_at, taken_at))
        each.pack.rename(directory / f"{name}.pack")
        each.index.rename(directory / f"{name}.idx")  # last: it makes git see the pack
    if manifest.shallow:
        lines = "".join(f"{each}\n" for each in manifest.shallow)
        (staging / "shallow").write_text(lines, "ascii")
    refs = "".join(f"{tip} {name}\n" for name, tip in sorted(manifest.refs.items()))
    (staging / "packed-refs").write_text(refs, "ascii")


def _ends(path: Path, head_bytes: int, tail_bytes: int) -> FileEnds:
    with path.open("rb") as file:
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(head_bytes)
        file.seek(max(0, size_bytes - tail_bytes))
        return FileEnds(head, file.read(), size_bytes)
