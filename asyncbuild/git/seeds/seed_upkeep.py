"""Writing of seeds in the background: one at a time, for mirrors that were fetched into."""

from contextlib import suppress
from datetime import datetime
from typing import Final

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from asyncbuild.config.sections import GitSettings
from asyncbuild.domain.errors import StageError
from asyncbuild.domain.events.seed_events import SeedNotWritten, SeedWritten
from asyncbuild.git.mirrors.directory import MirrorDirectory, read_object_format
from asyncbuild.git.seeds.plans.seed_due import KnownSeed, PackOnDisk, is_due
from asyncbuild.git.seeds.plans.seed_manifest import NewerManifest, SeedFault
from asyncbuild.git.seeds.seed_bucket import SeedBucket, StoredSeed
from asyncbuild.git.seeds.seed_capture import list_packs
from asyncbuild.git.seeds.seed_writer import SeedWriter
from asyncbuild.runtime.bell import Bell
from asyncbuild.runtime.clock import utc_now
from asyncbuild.runtime.emit import emit
from asyncbuild.runtime.recent import Recent

_PAUSE_SECONDS: Final = 60.0  # after a failure, which the next mirror would meet, too
_KNOWN_MOST: Final = 10_000  # repositories
_ANY: Final = ""


class SeedUpkeep:
    """Knows the seeds of the mirrors of this task, and writes those that are due.

    Args:
        settings: `[git]`.
        bucket: Seeds in the bucket.
        writer: Writes seeds.
        tasks: Owns the writing task, which is started when a mirror changes: so those who listen
            to the task that fetched hear it, too.
    """

    def __init__(
        self, settings: GitSettings, bucket: SeedBucket, writer: SeedWriter, tasks: TaskGroup
    ) -> None:
        self._tasks = tasks
        self._settings = settings
        self._bucket = bucket
        self._writer = writer
        self._known: Recent[str, KnownSeed] = Recent(_KNOWN_MOST)
        self._bad: Recent[str, str] = Recent(
            _KNOWN_MOST
        )  # ETags of manifests that are not taken; `_ANY`: whichever
        self._changed: dict[str, MirrorDirectory] = {}
        self._running = False
        self._ended = Bell()
        self._hurried = anyio.Event()

    def note(self, place: MirrorDirectory) -> None:
        """Look at a mirror later, in turn."""
        self._changed.setdefault(place.name, place)
        if not self._running:
            self._running = True
            self._tasks.start_soon(self._run)

    def etag(self, name: str) -> str:
        """Return the ETag of the manifest that was read last; empty if none was."""
        return self._known[name].etag if name in self._known else _ANY

    def mark_bad(self, name: str, etag: str) -> None:
        """Take a seed no more, and replace it; with an empty ETag whichever there is."""
        self._bad[name] = etag

    def is_bad(self, name: str, etag: str) -> bool:
        """Return whether a manifest is not to be taken."""
        return self._bad.get(name) in {etag, _ANY}

    def learn(self, name: str, stored: StoredSeed, since: datetime) -> KnownSeed:
        """Keep what a manifest says, and return it.

        Args:
            name: Path of the repository.
            stored: The manifest.
            since: From when on fetches count for the next one; not used if it is known already.
        """
        known = self._known.get(name)
        if known is None or known.etag != stored.etag:
            known = self._known[name] = _known(stored, since)
        return known

    async def _run(self) -> None:
        """Write what is due, one mirror after the other, until none is left."""
        try:
            while self._changed:
                name = next(iter(self._changed))
                place = self._changed.pop(name)
                try:
                    await self._look(name, place)
                except (StageError, OSError, ValueError, SeedFault) as error:
                    emit(SeedNotWritten(mirror=name, reason=str(error)))
                    with anyio.move_on_after(_PAUSE_SECONDS):
                        await self._hurried.wait()
        finally:
            self._running = False
            self._ended.ring()

    async def wait_idle(self) -> None:
        """Wait until nothing is being written; from now on without a pause after a failure."""
        self._hurried.set()
        while self._running:
            await self._ended.wait()

    async def _look(self, name: str, place: MirrorDirectory) -> None:
        found = await to_thread.run_sync(_look_over, place)
        if (
            found is None
            or sum(each.size_bytes for each in found[1]) < self._settings.seed_min_bytes
        ):
            return
        object_format, packs = found
        known = self._known.get(name)
        if known and not self._is_due(packs, known, object_format) and name not in self._bad:
            return
        stored = await self._bucket.read(name)
        known = self.learn(name, stored, utc_now())
        if known.newer:
            return
        if self._is_due(packs, known, object_format) or self.is_bad(name, stored.etag):
            await self._write(name, place, stored)
        else:
            self._bad.pop(name, None)  # another task has replaced it

    async def _write(self, name: str, place: MirrorDirectory, stored: StoredSeed) -> None:
        started = anyio.current_time()
        try:
            written = await self._writer.write(place, name, stored)
        except SeedFault:
            await to_thread.run_sync(place.mark_suspect)
            raise
        if written is None:
            self._known.pop(name, None)  # read again what the other task has written
            return
        self._bad.pop(name, None)
        new = StoredSeed(written.etag, written.manifest)
        self._known[name] = _known(new, written.manifest.written_at)
        seconds = round(anyio.current_time() - started, 4)
        emit(
            SeedWritten(
                mirror=name,
                packs=len(written.manifest.packs),
                size_bytes=written.manifest.size_bytes,
                sent_bytes=written.sent_bytes,
                duration_seconds=seconds,
            )
        )
        with suppress(StageError):  # the next writer deletes it
            await self._writer.sweep(written, stored)

    def _is_due(self, packs: list[PackOnDisk], known: KnownSeed, object_format: str) -> bool:
        return is_due(
            packs,
            known,
            object_format=object_format,
            share=self._settings.seed_share,
            now=utc_now(),
        )


def _look_over(place: MirrorDirectory) -> tuple[str, list[PackOnDisk]] | None:
    with suppress(FileNotFoundError, NotADirectoryError):  # evicted meanwhile
        return read_object_format(place.repository), list_packs(place)
    return None


def _known(stored: StoredSeed, since: datetime) -> KnownSeed:
    manifest = stored.manifest
    if manifest is None:
        return KnownSeed(stored.etag, newer=isinstance(stored.fault, NewerManifest))
    return KnownSeed(
        stored.etag, manifest.object_format, manifest.written_at, manifest.size_bytes, since
    )
