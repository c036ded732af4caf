"""Base that the caller names: nothing is known of it but what the archive itself tells."""

from typing import Final

from asyncbuild.archive.delta.effects import read_effect
from asyncbuild.archive.delta.fallback import FallBack
from asyncbuild.archive.delta.planning.attributes import is_attributes
from asyncbuild.archive.delta.planning.base import Base
from asyncbuild.archive.delta.planning.entry_table import END_BYTES, parse_end
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import ByteRange
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.storage.compose import CopySource
from asyncbuild.storage.s3 import Store

COMMIT_KEY: Final = "asyncbuild-commit"  # metadata: the commit that an archive was made from
FORMAT_KEY: Final = "asyncbuild-format"  # metadata: see `Archiver.format_of`


async def read_base(store: Store, snapshot: Snapshot, key: str, *, format_: str) -> Base:
    """Return the base that the archive at `key` describes.

    Its commit must be in the snapshot's repository: then the two trees can be compared, so that
    their attributes are known to be equal.

    Args:
        store: Store that holds the archive.
        snapshot: The commit to archive.
        key: Key of the archive.
        format_: Format that it must have (`Archiver.format_of`).

    Raises:
        Reject: The object does not exist.
        FallBack: It was not made by asyncbuild, has another format, or its commit is not here.
        StageError: S3 refused.
    """
    found = await store.describe(key)
    if found is None:
        raise Reject(f"object {key} does not exist", remedy="name an archive that exists")
    commit = found.metadata.get(COMMIT_KEY, "")
    if not commit or found.metadata.get(FORMAT_KEY) != format_:
        raise FallBack("other-format", f"{key} was not made by asyncbuild with these settings")
    here = await snapshot.find_commit(commit)
    if here is None:
        raise FallBack("no-base", f"commit {commit} of {key} is not in {snapshot.name}")
    tail = ByteRange(max(0, found.size_bytes - END_BYTES), found.size_bytes)
    source = CopySource(key, found.etag)
    async with MemoryBudget(2 * 1024 * 1024).open_account(1024 * 1024) as account:
        end = parse_end(
            b"".join([each async for each in store.iter_ranges(source, [[tail]], account=account)])
        )
    own = {
        entry.path: (entry.mode, entry.object_id)
        async for entries in snapshot.iter_tree()
        for entry in entries
        if is_attributes(entry.path)
    }
    above = await snapshot.read_attributes_above(commit) if snapshot.options.subtree else {}
    files = {**above, **{snapshot.above + path: each for path, each in own.items()}}
    digest, effect = await read_effect(snapshot, files)
    return Base(
        key=key,
        etag=found.etag,
        size_bytes=found.size_bytes,
        format=format_,
        commit=commit,
        tree=here.tree,
        directory_offset=end.offset,
        directory_bytes=end.nbytes,
        attributes=digest,
        effect=effect,
        files={path: name for path, (_, name) in files.items()},
    )
