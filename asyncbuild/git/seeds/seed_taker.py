"""Taking of a seed: its packs are downloaded, checked and laid out as a mirror."""

from contextlib import suppress
from pathlib import Path

from anyio import to_thread

from asyncbuild.domain.errors import StageError
from asyncbuild.git.seeds.plans.seed_manifest import SeedFault, SeedFile, SeedManifest
from asyncbuild.git.seeds.seed_bucket import SeedBucket
from asyncbuild.git.seeds.staged_seed import DownloadedPack, install
from asyncbuild.runtime.tasks import for_each
from asyncbuild.storage.file_download import FileDownloads


class SeedTaker:
    """Downloads seeds.

    Args:
        bucket: Seeds in the bucket.
        downloads: Downloads objects into files.
    """

    def __init__(self, bucket: SeedBucket, downloads: FileDownloads) -> None:
        self._bucket = bucket
        self._downloads = downloads

    async def fill(self, staging: Path, manifest: SeedManifest) -> None:
        """Fill a new repository with a seed.

        Args:
            staging: A bare repository without objects.
            manifest: The seed.

        Raises:
            SeedFault: A file of the seed is not what its name says.
            StageError: S3 refused, cannot be reached, or lacks a file.
            OSError: The disk is full, or cannot be written.
        """
        directory = staging / "seed"
        await to_thread.run_sync(directory.mkdir)
        keys = self._bucket.keys(manifest.repository)
        packs = [
            DownloadedPack(directory / f"{number}.pack", directory / f"{number}.idx")
            for number in range(len(manifest.packs))
        ]
        wanted = [
            each
            for pack, local in zip(manifest.packs, packs, strict=True)
            for each in (
                (keys.pack(pack), pack.pack, local.pack),
                (keys.index(pack), pack.index, local.index),
            )
        ]
        await for_each(self._download, wanted)
        await to_thread.run_sync(install, staging, manifest, packs)
        await to_thread.run_sync(directory.rmdir)

    async def _download(self, wanted: tuple[str, SeedFile, Path]) -> None:
        key, file, path = wanted
        found = await self._downloads.download(key, path, size_bytes=file.size_bytes)
        if found != file.sha256:
            # An object whose contents are not what its name says is of no use, and would keep
            # the next writer, who finds it there, from uploading the right one.
            with suppress(StageError):  # a right that is missing
                await self._bucket.delete(key)
            raise SeedFault(f"{key} has other contents than its name says")
