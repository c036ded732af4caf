"""Seeds of the mirrors of one cache: taken by first fetches, written in the background.

A seed only makes a first fetch faster. So whatever is odd about one (a file that is missing or has
other contents, another object format, a right that is missing, an outage of S3, a full disk) means
that the mirror is cloned, and an event says why.
"""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
from anyio import to_thread

from asyncbuild.config.sections import DISK_FREE_LEAST_BYTES, GitSettings, StorageSettings
from asyncbuild.domain.errors import Busy, StageError
from asyncbuild.domain.events.seed_events import SeedRefused, SeedTaken
from asyncbuild.git.mirrors.directory import MirrorDirectory
from asyncbuild.git.seeds.plans.seed_manifest import NewerManifest, SeedFault, SeedManifest
from asyncbuild.git.seeds.seed_bucket import SeedBucket, StoredSeed
from asyncbuild.git.seeds.seed_taker import SeedTaker
from asyncbuild.git.seeds.seed_upkeep import SeedUpkeep
from asyncbuild.git.seeds.seed_writer import SeedWriter
from asyncbuild.runtime.emit import emit
from asyncbuild.runtime.tasks import open_background
from asyncbuild.storage.file_download import FileDownloads, OtherSize
from asyncbuild.storage.file_upload import FileUploads, SendingPace
from asyncbuild.storage.ranges import MISSING
from asyncbuild.storage.s3 import Store

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_READS: Final = 16
CONNECTIONS: Final = _READS + 4
"""Connections to S3 that seeds use at once: reads of ranges, an upload, manifests."""

_GONE: Final = MISSING | {"InvalidRange", "416"}  # the object does not exist, or is shorter
_FINISH_SECONDS: Final = 60.0
_MANIFEST_SECONDS: Final = 10.0  # an outage of S3 must hardly delay a clone


@asynccontextmanager
async def open_seeds(
    git: GitSettings, storage: StorageSettings, client: "S3Client"
) -> AsyncIterator["MirrorSeeds | None"]:
    """Open the seeds; None if they are switched off. At the end a running upload is cut off.

    Args:
        git: `[git]`.
        storage: `[storage]`.
        client: Client for S3 with `CONNECTIONS` connections.
    """
    if not git.seeds:
        yield None
        return
    bucket = SeedBucket(Store(client, storage), storage.seed_prefix)
    pace = SendingPace(git.seed_bytes_per_second)
    writer = SeedWriter(bucket, FileUploads(client, storage, pace))
    taker = SeedTaker(bucket, FileDownloads(client, storage, reads=_READS))
    async with open_background() as tasks:
        yield MirrorSeeds(git, bucket, taker, SeedUpkeep(git, bucket, writer, tasks))


class MirrorSeeds:
    """Takes seeds, and notes which are to be written; a `SeedSource`.

    Args:
        settings: `[git]`.
        bucket: Seeds in the bucket.
        taker: Downloads seeds.
        upkeep: Writes seeds.
    """

    def __init__(
        self, settings: GitSettings, bucket: SeedBucket, taker: SeedTaker, upkeep: SeedUpkeep
    ) -> None:
        self._settings = settings
        self._bucket = bucket
        self._taker = taker
        self._upkeep = upkeep
        self._stopped = anyio.Event()

    async def find(self, place: MirrorDirectory, formats: Collection[str]) -> SeedManifest | None:
        """Return the seed of a mirror, if there is one that may be used.

        Args:
            place: The mirror.
            formats: Object formats of the commits that are asked for.
        """
        stored = None if self._is_excluded(place.name) else await self._read(place.name)
        if stored is None or stored.manifest is None:
            return None
        manifest = stored.manifest
        self._upkeep.learn(place.name, stored, manifest.written_at)
        if set(formats) != {manifest.object_format}:
            reason = f"the seed has {manifest.object_format} objects"
            emit(SeedRefused(mirror=place.name, reason=reason))
            return None
        return manifest

    async def _read(self, name: str) -> StoredSeed | None:
        """Return the manifest of a repository; None if its seed is not to be taken."""
        try:
            with anyio.fail_after(_MANIFEST_SECONDS):
                stored = await self._bucket.read(name)
        except (StageError, TimeoutError) as error:
            emit(SeedRefused(mirror=name, reason=_reason(error)))
            return None
        if stored.fault is not None and not isinstance(stored.fault, NewerManifest):
            self._refuse(name, stored.etag, str(stored.fault))
        return None if self._upkeep.is_bad(name, stored.etag) else stored

    async def fill(
        self,
        place: MirrorDirectory,
        staging: Path,
        manifest: SeedManifest,
        *,
        make_way: Callable[[int], Awaitable[None]],
    ) -> bool:
        """Fill a new repository with a seed; return whether that was done.

        Args:
            place: Where the mirror will be.
            staging: A bare repository without objects.
            manifest: The seed.
            make_way: Makes room for so many bytes in the cache.
        """
        started = anyio.current_time()
        name, size_bytes = place.name, manifest.size_bytes
        try:
            await self._make_room(staging, size_bytes, make_way)
            with anyio.fail_after(self._settings.timeout_seconds):
                await self._taker.fill(staging, manifest)
        except SeedFault as fault:
            self.refuse(place, str(fault))
            return False
        except StageError as error:
            if isinstance(error, OtherSize) or error.code in _GONE:
                self.refuse(place, _reason(error))
            else:
                emit(SeedRefused(mirror=name, reason=_reason(error)))
            return False
        except (OSError, TimeoutError) as error:
            emit(SeedRefused(mirror=name, reason=_reason(error)))
            return False
        seconds = round(anyio.current_time() - started, 4)
        emit(
            SeedTaken(
                mirror=name,
                packs=len(manifest.packs),
                size_bytes=size_bytes,
                written_at=manifest.written_at.isoformat(),
                duration_seconds=seconds,
            )
        )
        return True

    def refuse(self, place: MirrorDirectory, reason: str) -> None:
        """Record that the seed that was found last cannot be used: it is written again."""
        self._refuse(place.name, self._upkeep.etag(place.name), reason)

    def distrust(self, place: MirrorDirectory) -> None:
        """Record that a mirror was damaged, and with it maybe its seed."""
        if not self._is_excluded(place.name):
            self._refuse(place.name, "", "the mirror was damaged")

    def note(self, place: MirrorDirectory) -> None:
        """Note that a mirror has changed; it is written later if that is due."""
        if not self._is_excluded(place.name):
            self._upkeep.note(place)

    async def finish(self) -> None:
        """Wait for seeds that are being written, for a minute, or until `stop`.

        A task that ends when its queue is empty begins with an empty disk each time.
        """
        with anyio.move_on_after(_FINISH_SECONDS):
            async with open_background() as tasks:
                tasks.start_soon(self._cancel_when_stopped, tasks.cancel_scope)
                await self._upkeep.wait_idle()

    async def _cancel_when_stopped(self, scope: anyio.CancelScope) -> None:
        await self._stopped.wait()
        scope.cancel()

    def stop(self) -> None:
        """Wait for no seed."""
        self._stopped.set()

    def expire(self) -> None:
        """Wait for no seed."""
        self._stopped.set()

    def _refuse(self, name: str, etag: str, reason: str) -> None:
        self._upkeep.mark_bad(name, etag)
        emit(SeedRefused(mirror=name, reason=reason))

    async def _make_room(
        self, staging: Path, size_bytes: int, make_way: Callable[[int], Awaitable[None]]
    ) -> None:
        if size_bytes > self._settings.cache_budget_bytes:
            raise Busy(f"the seed has {size_bytes:,} bytes, more than git.cache_budget_bytes")
        await make_way(size_bytes)
        usage = await to_thread.run_sync(shutil.disk_usage, staging)
        if usage.free < size_bytes + DISK_FREE_LEAST_BYTES:
            raise Busy(f"no room for a seed of {size_bytes:,} bytes: {usage.free:,} are free")

    def _is_excluded(self, name: str) -> bool:
        return any(fnmatchcase(name, glob) for glob in self._settings.seed_exclude)


def _reason(error: BaseException) -> str:
    return str(error) or "S3 took too long"
