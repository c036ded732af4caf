"""Archives of pushes: found in S3, or made from the commit and uploaded."""

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial

from asyncbuild.archive.archive_order import Order
from asyncbuild.archive.archiver import Archiver
from asyncbuild.archive.delta.lineage import ArchiveLineage
from asyncbuild.domain.errors import Unreachable
from asyncbuild.domain.events.stage_events import (
    PushFetchStarted,
    PushUploadFinished,
    PushUploadStarted,
)
from asyncbuild.domain.key_template import is_own
from asyncbuild.domain.model import Guard, Push, StoredArchive, Target
from asyncbuild.domain.statistics import ZipStatistics
from asyncbuild.git.content.submodules import open_whole
from asyncbuild.git.mirrors.cache import MirrorCache
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.pushes.missing_commit import MissingCommits
from asyncbuild.pushes.work import Work
from asyncbuild.runtime.emit import stage
from asyncbuild.runtime.tasks import for_each
from asyncbuild.storage.s3 import Store
from asyncbuild.storage.single_part import FINGERPRINT_KEY
from asyncbuild.zip.stream import ZipOutput


class Archives:
    """Makes commits present and ensures that their archives are in S3.

    Args:
        mirrors: Source of commits.
        archiver: Makes archives.
        store: Stores archives.
        missing: Decides about commits that their git server does not show.
    """

    def __init__(
        self, mirrors: MirrorCache, archiver: Archiver, store: Store, missing: MissingCommits
    ) -> None:
        self._mirrors = mirrors
        self._archiver = archiver
        self._store = store
        self._missing = missing
        self._streams: dict[str, ZipOutput] = {}

    def statistics(self) -> dict[str, ZipStatistics]:
        """Return the progress of each archive that is being made, by event id."""
        return {event_id: each.statistics() for event_id, each in self._streams.items()}

    async def find(self, push: Push, targets: Mapping[str, Target]) -> dict[str, StoredArchive]:
        """Return those archives of `targets`, by key, that are in S3 with the same contents.

        Raises:
            StageError: S3 could not be asked.
        """

        async def find(key: str) -> StoredArchive | None:
            return await self._store.find(key, fingerprint=self._fingerprint(push, targets[key]))

        found = zip(targets, await for_each(find, tuple(targets)), strict=True)
        return {key: archive for key, archive in found if archive is not None}

    async def ensure(self, work: Work, push: Push, target: Target, guard: Guard) -> StoredArchive:
        """Make the target's archive now, and return it.

        Args:
            work: The message of the push.
            push: The push whose commit is archived.
            target: Names the archive's contents and key.
            guard: Asked before anything is committed (I4).

        Raises:
            Unreachable: The git server does not show the commit, and will not.
            StageError: The stage that failed raised it.
        """
        async with self.open_snapshot(work, push) as snapshot:
            return await self.upload(push, target, snapshot, guard)

    @asynccontextmanager
    async def open_snapshot(self, work: Work, push: Push) -> AsyncIterator[Snapshot]:
        """Open the commit of a push.

        Raises:
            Unreachable: The git server does not show it, and will not.
            Busy: The server may show it later.
            StageError: As `MirrorCache.open`.
        """
        async with AsyncExitStack() as stack:
            try:
                with stage(PushFetchStarted()):
                    opened = self._mirrors.open(
                        push.repository,
                        ref=push.ref,
                        commit=push.commit,
                        behind=self._missing.behind(work, push),
                    )
                    snapshot = await stack.enter_async_context(opened)
            except Unreachable as error:
                await self._missing.explain(work, push, error)
                raise
            yield snapshot

    async def upload(
        self, push: Push, target: Target, snapshot: Snapshot, guard: Guard
    ) -> StoredArchive:
        """Upload the zip that a target needs of a commit, made in the cheapest way.

        Args:
            push: The push.
            target: Names the archive's contents and key.
            snapshot: The commit.
            guard: Asked before anything is committed (I4).

        Raises:
            StageError: The stage that failed raised it.
        """
        async with AsyncExitStack() as stack:
            ending = stack.enter_context(stage(PushUploadStarted(key=target.key)))
            selected = await snapshot.select(target.options)
            opened = open_whole(self._mirrors, push.repository, selected)
            result = await self._archiver.put(
                Order(
                    await stack.enter_async_context(opened),
                    target.key,
                    guard,
                    origin=ArchiveLineage(push.repository, push.ref),
                    metadata={FINGERPRINT_KEY: self._fingerprint(push, target)},
                    watch=partial(self._on_its_way, push),
                    # Others write an object that does not name the commit: it is replaced.
                    reuse=is_own(push.commit, target.key),
                )
            )
            archive = replace(
                result.made.archive, base=result.base_key, files_read=result.made.files_read
            )
            ending.finished = partial(
                PushUploadFinished,
                key=target.key,
                bytes=archive.size_bytes,
                sent_bytes=archive.sent_bytes,
                copied_bytes=archive.copied_bytes,
                entries=result.made.entries,
                archive_kind=archive.kind,
                base=archive.base,
                files_read=archive.files_read,
                fallback=result.fallback,
            )
        return archive

    @contextmanager
    def _on_its_way(self, push: Push, stream: ZipOutput) -> Iterator[None]:
        self._streams[push.id] = stream
        try:
            yield
        finally:
            self._streams.pop(push.id, None)

    def _fingerprint(self, push: Push, target: Target) -> str:
        """Return a digest that is equal for archives with the same entries in the same form."""
        text = f"{push.commit}\n{self._archiver.format_of(target.options)}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]
