"""Objects of seeds in the bucket: manifests are read and replaced, waste is deleted."""

from collections.abc import Collection
from dataclasses import dataclass

from asyncbuild.git.seeds.plans.seed_due import RENEWAL_AGE, find_waste
from asyncbuild.git.seeds.plans.seed_keys import SeedKeys
from asyncbuild.git.seeds.plans.seed_manifest import (
    MOST_BYTES,
    SeedFault,
    SeedManifest,
    decode_manifest,
    encode_manifest,
)
from asyncbuild.runtime.clock import utc_now
from asyncbuild.storage.s3 import Store

_LISTED_MOST = 10_000


@dataclass(frozen=True, slots=True)
class StoredSeed:
    """A manifest as it was read.

    Attributes:
        etag: Its ETag, quoted; empty: there is none.
        manifest: Its contents; None if there is none, or if it cannot be used.
        fault: Why it cannot be used; None if it can, or if there is none.
    """

    etag: str = ""
    manifest: SeedManifest | None = None
    fault: SeedFault | None = None


class SeedBucket:
    """Objects of the seeds of all repositories.

    Args:
        store: Objects in the bucket.
        prefix: `storage.seed_prefix`.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    def keys(self, repository: str) -> SeedKeys:
        """Return the keys of a repository's seed."""
        return SeedKeys(self._prefix, repository)

    async def read(self, repository: str) -> StoredSeed:
        """Return the manifest of a repository's seed.

        Raises:
            StageError: S3 refused, or cannot be reached.
        """
        stored = await self._store.read_stored(
            self.keys(repository).manifest, most_bytes=MOST_BYTES
        )
        if stored is None:
            return StoredSeed()
        try:
            return StoredSeed(stored.etag, decode_manifest(stored.body, repository))
        except SeedFault as fault:
            return StoredSeed(stored.etag, fault=fault)

    async def replace(self, manifest: SeedManifest, *, etag: str) -> str | None:
        """Write a manifest if the one there still has this ETag; return the new one.

        None if it was not written: another task was first.

        Raises:
            StageError: S3 refused, or cannot be reached.
        """
        key = self.keys(manifest.repository).manifest
        return await self._store.replace_stored(key, encode_manifest(manifest), etag=etag)

    async def has(self, key: str, size_bytes: int) -> bool:
        """Return whether there is an object of this size that will stay for a while.

        A lifecycle rule deletes objects by their age: those in use are written again before.

        Raises:
            StageError: S3 refused, or cannot be reached.
        """
        found = await self._store.describe(key)
        if found is None or found.size_bytes != size_bytes:
            return False
        return utc_now() - found.modified_at < RENEWAL_AGE

    async def delete(self, key: str) -> None:
        """Delete an object whose contents are not what its name says.

        Raises:
            StageError: S3 refused, or cannot be reached.
        """
        await self._store.delete_record(key)

    async def sweep(self, repository: str, named: Collection[str]) -> int:
        """Delete packs and indexes that no manifest names; return how many.

        Args:
            repository: Path of the repository.
            named: Keys that the newest manifest and the one before name.

        Raises:
            StageError: S3 refused, or cannot be reached.
        """
        objects = []
        async for each in self._store.iter_records(self.keys(repository).packs):
            objects.append((each.key, each.last_modified))
            if len(objects) == _LISTED_MOST:
                break
        waste = find_waste(objects, named, utc_now())
        for key in waste:
            await self._store.delete_record(key)
        return len(waste)
