"""Check that a pack and an index belong together, by their beginnings and ends. Pure.

Source: gitformat-pack(5). A pack begins with `PACK`, its version and the number of its objects, and
ends with the hash of all bytes before. An index of version 2 begins with its magic number, counts
its objects in the last entry of its fan-out table, and ends with the pack's hash and its own.
"""

from dataclasses import dataclass
from typing import Final

from asyncbuild.git.seeds.plans.seed_manifest import SeedFault

PACK_HEAD_BYTES: Final = 12
INDEX_HEAD_BYTES: Final = 8 + 4 * 256
_HASH_BYTES: Final = {"sha1": 20, "sha256": 32}
_PACK: Final = b"PACK\0\0\0\2"
_INDEX: Final = b"\xfftOc\0\0\0\2"
_NUMBER: Final = 4


def hash_bytes(object_format: str) -> int:
    """Return the length of a hash of an object format in bytes."""
    return _HASH_BYTES[object_format]


@dataclass(frozen=True, slots=True)
class FileEnds:
    """Beginning and end of a file, and its size in bytes."""

    head: bytes
    tail: bytes
    size_bytes: int


def name_of_pair(pack: FileEnds, index: FileEnds, object_format: str) -> str:
    """Return git's name for a pack and its index, without an extension: `pack-` and its hash.

    Args:
        pack: The first `PACK_HEAD_BYTES` and the last hash.
        index: The first `INDEX_HEAD_BYTES` and the last two hashes.
        object_format: Format of the repository.

    Raises:
        SeedFault: They are not a pack and an index, or not of the same objects.
    """
    size = hash_bytes(object_format)
    if not pack.head.startswith(_PACK) or not index.head.startswith(_INDEX):
        raise SeedFault("a file is not a pack, or not an index")
    count = int.from_bytes(pack.head[-_NUMBER:], "big")
    if count != int.from_bytes(index.head[-_NUMBER:], "big"):
        raise SeedFault("an index has another number of objects than its pack")
    least_bytes = INDEX_HEAD_BYTES + count * (size + 8) + 2 * size
    if not least_bytes <= index.size_bytes <= least_bytes + 8 * count:  # 8: of a far object
        raise SeedFault("an index has another size than its objects take")
    if pack.tail[-size:] != index.tail[-2 * size : -size]:
        raise SeedFault("an index is another pack's")
    return f"pack-{pack.tail[-size:].hex()}"
