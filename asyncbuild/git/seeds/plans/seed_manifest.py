"""Manifest of a seed: the one object that names its packs, refs and boundaries. Pure.

It is JSON with a digest of itself. A task takes packs by their SHA-256 alone, so a manifest names
no file and no path: file names of packs come from the packs themselves.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from asyncbuild.domain.git_names import is_commit, object_format
from asyncbuild.domain.times import read_time

VERSION: Final = 1
MOST_BYTES: Final = 16 * 1024 * 1024
"""Bytes of the longest manifest that is read."""

PACKS_MOST: Final = 256
_KIND: Final = "seed"
_DIGEST: Final = "digest"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
# Those of `domain/git_names.py`, and no others: a ref is a path in the mirror.
_KEPT: Final = re.compile(
    r"refs/asyncbuild/(refs/[0-9a-f]{40}|commits/([0-9a-f]{40}|[0-9a-f]{64}))"
)
_BYTES_MOST: Final = 2**50


class SeedFault(Exception):
    """A seed is not what it should be; it is not used, and written again."""


class NewerManifest(SeedFault):
    """A newer version of the service wrote the manifest: it is neither used nor replaced."""


@dataclass(frozen=True, slots=True)
class SeedFile:
    """File of a seed: the SHA-256 of its contents in hexadecimal, and its size in bytes."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SeedPack:
    """A pack and its index."""

    pack: SeedFile
    index: SeedFile

    @property
    def files(self) -> tuple[SeedFile, SeedFile]:
        """Both files."""
        return self.pack, self.index


@dataclass(frozen=True, slots=True)
class SeedManifest:
    """State of a mirror at one moment.

    Attributes:
        repository: Path of the repository.
        object_format: `sha1` or `sha256`.
        written_at: The moment, in UTC.
        packs: All packs of the mirror.
        refs: Full names of the refs that a mirror keeps, and their objects.
        shallow: Commits whose parents are missing.
    """

    repository: str
    object_format: str
    written_at: datetime
    packs: tuple[SeedPack, ...]
    refs: Mapping[str, str]
    shallow: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.size_bytes for each in self.packs for file in each.files)


def is_kept_ref(name: str) -> bool:
    """Return whether a mirror of this service may have a ref of this name."""
    return bool(_KEPT.fullmatch(name))


def encode_manifest(manifest: SeedManifest) -> bytes:
    """Return a manifest as JSON."""
    told: dict[str, Any] = {
        "asyncbuild": _KIND,
        "version": VERSION,
        "repository": manifest.repository,
        "object_format": manifest.object_format,
        "written_at": manifest.written_at.isoformat(),
        "packs": [
            {"pack": _encode_file(each.pack), "index": _encode_file(each.index)}
            for each in manifest.packs
        ],
        "refs": dict(manifest.refs),
        "shallow": list(manifest.shallow),
    }
    return _dump({**told, _DIGEST: _digest(told)})


def decode_manifest(body: bytes, repository: str) -> SeedManifest:
    """Return the manifest in a body.

    Args:
        body: What the bucket has.
        repository: Path of the repository that is asked for.

    Raises:
        NewerManifest: A newer version wrote it.
        SeedFault: It cannot be read, is damaged, or is another repository's.
    """
    try:
        told = orjson.loads(body)
        digest = told.pop(_DIGEST)
        if digest != _digest(told) or told["asyncbuild"] != _KIND:
            raise SeedFault("the manifest is damaged")
        if told["version"] != VERSION:
            raise NewerManifest(f"the manifest has version {int(told['version'])}")
        manifest = _decode(told)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        text = f"the manifest cannot be read: {type(error).__name__}"
        raise SeedFault(text) from error
    if manifest.repository != repository:
        raise SeedFault("the manifest is another repository's")
    return manifest


def _decode(told: Mapping[str, Any]) -> SeedManifest:
    time = read_time(told["written_at"])
    format_ = told["object_format"]
    refs: dict[str, str] = told["refs"]
    shallow: list[str] = told["shallow"]
    packs = tuple(
        SeedPack(_decode_file(each["pack"]), _decode_file(each["index"])) for each in told["packs"]
    )
    ids = [*refs.values(), *shallow]
    sound = (
        time is not None
        and format_ in {"sha1", "sha256"}
        and 0 < len(packs) <= PACKS_MOST
        and all(map(is_kept_ref, refs))
        and all(is_commit(each) and object_format(each) == format_ for each in ids)
    )
    if not sound or time is None:
        raise SeedFault("the manifest has a value that no manifest has")
    return SeedManifest(str(told["repository"]), format_, time, packs, refs, tuple(shallow))


def _encode_file(file: SeedFile) -> dict[str, Any]:
    return {"sha256": file.sha256, "bytes": file.size_bytes}


def _decode_file(told: Mapping[str, Any]) -> SeedFile:
    sha256, size_bytes = told["sha256"], told["bytes"]
    if not _SHA256.fullmatch(sha256) or type(size_bytes) is not int:
        raise SeedFault("the manifest has a file without a SHA-256 or a size")
    if not 0 < size_bytes <= _BYTES_MOST:
        raise SeedFault("the manifest has a file of an impossible size")
    return SeedFile(sha256, size_bytes)


def _digest(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(_dump(told)).hexdigest()


def _dump(told: Mapping[str, Any]) -> bytes:
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
