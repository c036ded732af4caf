"""Archive that a new one may be made from, as described by a small record in the bucket."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from asyncbuild.archive.delta.planning.attributes import Effect

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Base:
    """An archive of a tree, pinned by its ETag.

    Attributes:
        key: Its key in the bucket.
        etag: ETag of the object when it was made.
        size_bytes: Length of the object.
        format: Version and settings that its bytes depend on.
        commit: The commit that it was made from.
        tree: That commit's tree.
        directory_offset: Where its central directory begins.
        directory_bytes: The directory's length, without the records that end it.
        attributes: Digest of all `.gitattributes` in the tree, see `attributes.py`.
        effect: Their effect on the archive.
        files: Their object ids by path.
    """

    key: str
    etag: str
    size_bytes: int
    format: str
    commit: str
    tree: str
    directory_offset: int
    directory_bytes: int
    attributes: str
    effect: Effect
    files: Mapping[bytes, str]


def pack_base(base: Base) -> bytes:
    """Return the record as JSON; paths, which may be any bytes, are decoded as Latin-1."""
    files = {path.decode("latin-1"): name for path, name in base.files.items()}
    return orjson.dumps(
        {
            "version": VERSION,
            "key": base.key,
            "etag": base.etag,
            "size_bytes": base.size_bytes,
            "format": base.format,
            "commit": base.commit,
            "tree": base.tree,
            "directory_offset": base.directory_offset,
            "directory_bytes": base.directory_bytes,
            "attributes": base.attributes,
            "effect": base.effect,
            "files": files,
        }
    )


def parse_base(body: bytes) -> Base | None:
    """Return the base in a record of `pack_base`; None for anything else, also other versions."""
    try:
        document = orjson.loads(body)
        if document.pop("version") != VERSION:
            return None
        files = {path.encode("latin-1"): str(name) for path, name in document.pop("files").items()}
        effect = Effect(document.pop("effect"))
        base = Base(**document, effect=effect, files=files)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return base if _is_whole(base) else None


def _is_whole(base: Any) -> bool:  # noqa: ANN401 - its values come from outside
    texts = (base.key, base.etag, base.format, base.commit, base.tree, base.attributes)
    numbers = (base.size_bytes, base.directory_offset, base.directory_bytes)
    return (
        all(isinstance(each, str) and each for each in texts)
        and all(isinstance(each, int) and each >= 0 for each in numbers)
        and base.directory_offset + base.directory_bytes < base.size_bytes
    )
