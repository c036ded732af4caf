"""Writing of one seed: packs under the names of their contents, then the manifest."""

from dataclasses import dataclass

from anyio import to_thread

from asyncbuild.git.mirrors.directory import MirrorDirectory
from asyncbuild.git.seeds.plans.seed_manifest import (
    PACKS_MOST,
    SeedFault,
    SeedFile,
    SeedManifest,
    SeedPack,
)
from asyncbuild.git.seeds.seed_bucket import SeedBucket, StoredSeed
from asyncbuild.git.seeds.seed_capture import (
    HeldFile,
    MirrorCapture,
    digest_file,
    open_capture,
)
from asyncbuild.storage.file_upload import FileGone, FileUploads


@dataclass(frozen=True, slots=True)
class WrittenSeed:
    """A seed that was written, and the bytes that were sent for it."""

    etag: str
    manifest: SeedManifest
    sent_bytes: int


class SeedWriter:
    """Writes mirrors as seeds.

    Args:
        bucket: Seeds in the bucket.
        uploads: Uploads files.
    """

    def __init__(self, bucket: SeedBucket, uploads: FileUploads) -> None:
        self._bucket = bucket
        self._uploads = uploads

    async def write(
        self, place: MirrorDirectory, repository: str, stored: StoredSeed
    ) -> WrittenSeed | None:
        """Write a mirror as the seed of its repository; None if another task was first.

        None, too, if the mirror went away or was repacked meanwhile.

        Args:
            place: The mirror.
            repository: Path of the repository.
            stored: The manifest that is replaced.

        Raises:
            SeedFault: The mirror is damaged, or has too many packs.
            StageError: S3 refused, or the mirror could not be locked.
            OSError: The mirror cannot be read.
        """
        async with open_capture(place) as capture:
            if capture is None:
                return None
            if not 0 < len(capture.packs) <= PACKS_MOST:
                raise SeedFault(f"the mirror has {len(capture.packs)} packs")
            packs, sent_bytes = [], 0
            for pair in capture.packs:
                try:
                    pack, nbytes = await self._send_pair(repository, pair, capture.object_format)
                except FileGone:
                    return None
                packs.append(pack)
                sent_bytes += nbytes
            manifest = _manifest(repository, capture, packs)
        etag = await self._bucket.replace(manifest, etag=stored.etag)
        if etag is None:
            return None
        return WrittenSeed(etag, manifest, sent_bytes)

    async def _send_pair(
        self, repository: str, pair: tuple[HeldFile, HeldFile], object_format: str
    ) -> tuple[SeedPack, int]:
        """Return a pack that is in the bucket now, and the bytes that were sent for it."""
        keys = self._bucket.keys(repository)
        sent_bytes = 0
        files: list[SeedFile] = []
        for held, ending in zip(pair, ("pack", "idx"), strict=True):
            file, opened = await to_thread.run_sync(digest_file, held, object_format)
            files.append(file)
            if opened.is_deleted:
                raise FileGone("the mirror was repacked or evicted")
            key = f"{keys.packs}{file.sha256}.{ending}"
            if not await self._bucket.has(key, file.size_bytes):
                await self._uploads.upload(key, opened)
                sent_bytes += file.size_bytes
        return SeedPack(files[0], files[1]), sent_bytes

    async def sweep(self, written: WrittenSeed, before: StoredSeed) -> None:
        """Delete what no manifest names; a task may still be taking the seed before this one.

        Args:
            written: The seed that was written.
            before: The manifest that it has replaced.

        Raises:
            StageError: S3 refused, or cannot be reached.
        """
        repository = written.manifest.repository
        keys = self._bucket.keys(repository)
        named = keys.named_by(written.manifest)
        if before.manifest is not None:
            named |= keys.named_by(before.manifest)
        await self._bucket.sweep(repository, named)


def _manifest(repository: str, capture: MirrorCapture, packs: list[SeedPack]) -> SeedManifest:
    return SeedManifest(
        repository,
        capture.object_format,
        capture.at,
        tuple(packs),
        capture.refs,
        capture.shallow,
    )
