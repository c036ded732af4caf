"""Effects of attributes on the archive of a tree, read from the contents of `.gitattributes`."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from asyncbuild.archive.delta.planning.attributes import Effect, digest_of, effect_of
from asyncbuild.runtime.recent import Recent

_ATTRIBUTES_BYTES_MOST: Final = 1024 * 1024
_ATTRIBUTES_MOST: Final = 2_000
_EFFECTS_MOST: Final = 10_000


class BlobSource(Protocol):
    """Source of blob contents; `git.snapshot.Snapshot` is one."""

    async def read_blobs(self, ids: Sequence[str], *, most_bytes: int) -> Sequence[bytes] | None:
        """Return the contents of blobs; None if together they are longer than `most_bytes`."""


async def read_effect(
    snapshot: BlobSource, files: Mapping[bytes, tuple[int, str]]
) -> tuple[str, Effect]:
    """Return digest and effect of the `.gitattributes` of a snapshot.

    Raises:
        GitFailed: They cannot be read.
    """
    digest = digest_of(files)
    modes = [mode for mode, _ in files.values()]
    if len(files) > _ATTRIBUTES_MOST or effect_of(modes, ()) is Effect.UNKNOWN:
        return digest, Effect.UNKNOWN
    ids = list({name for _, name in files.values()})
    contents = await snapshot.read_blobs(ids, most_bytes=_ATTRIBUTES_BYTES_MOST)
    return digest, Effect.UNKNOWN if contents is None else effect_of(modes, contents)


class Effects:
    """Cache of the effects of attributes, by digest: git is asked once for equal ones."""

    def __init__(self) -> None:
        self._known: Recent[str, Effect] = Recent(_EFFECTS_MOST)

    async def read(
        self, snapshot: BlobSource, files: Mapping[bytes, tuple[int, str]]
    ) -> tuple[str, Effect]:
        """Return digest and effect, as `read_effect`."""
        digest = digest_of(files)
        if digest not in self._known:
            _, self._known[digest] = await read_effect(snapshot, files)
        return digest, self._known[digest]
