"""Cache of bare mirrors: a commit is fetched once, by one fetch for all waiting pushes."""

import errno
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from anyio import to_thread
from anyio.abc import TaskGroup

from asyncbuild.config.sections import GitSettings
from asyncbuild.domain.errors import ConfigError
from asyncbuild.domain.git_names import check_commit, check_repository, object_format
from asyncbuild.domain.refs import check_ref
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.statistics import MirrorStatistics
from asyncbuild.forges.git_remote import Remote
from asyncbuild.forges.remotes import Places
from asyncbuild.git.batch_readers import BatchReaders, open_batch_readers
from asyncbuild.git.content.lfs.store import Fetched
from asyncbuild.git.content.lfs.stored_file import Verified
from asyncbuild.git.formats.cat_file import Commit
from asyncbuild.git.formats.error_classes import GitFailed, GitFault, machine_error
from asyncbuild.git.mirrors.directory import MirrorDirectory
from asyncbuild.git.mirrors.early_lookup import EarlyLookup
from asyncbuild.git.mirrors.fetch import Fetcher
from asyncbuild.git.mirrors.listed_refs import Taker, stream_refs
from asyncbuild.git.mirrors.locked_fetch import LockedFetch
from asyncbuild.git.mirrors.maintenance import Upkeep
from asyncbuild.git.mirrors.mirror_locks import open_for_use
from asyncbuild.git.mirrors.renewal import MirrorRenewal, mark_suspect
from asyncbuild.git.mirrors.seed_source import SeedSource
from asyncbuild.git.mirrors.shared_fetch import DEFAULT_BRANCH, CommitRequest, SharedFetch
from asyncbuild.git.mirrors.transport import Transfers
from asyncbuild.git.process.command import Git
from asyncbuild.git.quick_answers import QuickAnswers
from asyncbuild.git.reader import Reader
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.git.tree.attribute_worktrees import Worktrees
from asyncbuild.git.tree.worktree import open_directory
from asyncbuild.runtime.tasks import open_background

# Faults of a fetch into an existing mirror. Also unknown words: git has more than are listed.
_SUSPICIOUS = frozenset({GitFault.CORRUPT, GitFault.OTHER})


@asynccontextmanager
async def open_mirrors(
    settings: GitSettings,
    remotes: Places,
    *,
    pauses_seconds: Sequence[float] = (),
    forges: int = 1,
    seeds: SeedSource | None = None,
) -> AsyncIterator["MirrorCache"]:
    """Open the cache; at the end, running fetches are cancelled.

    Args:
        settings: `[git]`.
        remotes: Remotes of repositories.
        pauses_seconds: See `lfs.store.Fetched`.
        forges: Number of forges.
        seeds: Seeds of mirrors; None without any.

    Raises:
        ConfigError: The cache directory cannot be written to.
    """
    git = Git(settings, forges=forges)
    empties = settings.cache_directory / "reader"
    async with AsyncExitStack() as stack:
        readers = await stack.enter_async_context(open_batch_readers(git, empties))
        reader = Reader(git, empties, mark_suspect).asking(QuickAnswers(readers))
        try:
            await reader.prepare()
            directory = await stack.enter_async_context(open_directory(empties))
        except OSError as error:
            raise ConfigError(
                f"git.cache_directory {settings.cache_directory} cannot be used: {error.strerror}",
                remedy="name a directory that this user may write to",
            ) from error
        tasks = await stack.enter_async_context(open_background())
        worktrees = Worktrees(reader.unsuspecting(), directory, tasks)
        resources = CacheResources(git, reader, readers, worktrees, tasks, seeds)
        mirrors = MirrorCache(settings, remotes, resources, pauses_seconds=pauses_seconds)
        tasks.start_soon(mirrors.keep_to_budget)
        yield mirrors


@dataclass(frozen=True, slots=True)
class CacheResources:
    """Resources of a cache, opened and closed by `open_mirrors`; `tasks` run in the background."""

    git: Git
    reader: Reader
    readers: BatchReaders
    worktrees: Worktrees
    tasks: TaskGroup
    seeds: SeedSource | None = None


class MirrorCache:
    """One bare mirror for each repository, as many as the budget holds.

    Args:
        settings: `[git]`.
        remotes: Remotes of repositories.
        resources: Resources that `open_mirrors` owns.
        pauses_seconds: See `lfs.store.Fetched`.
    """

    def __init__(
        self,
        settings: GitSettings,
        remotes: Places,
        resources: CacheResources,
        *,
        pauses_seconds: Sequence[float] = (),
    ) -> None:
        self._settings = settings
        self._pauses_seconds = pauses_seconds
        self.remotes = remotes
        self._git = git = resources.git
        self._reader = reader = resources.reader
        self._worktrees = resources.worktrees
        self._tasks = resources.tasks
        self._upkeep = Upkeep(settings, git, leave=resources.readers.drop)
        self._transfers = Transfers(git)
        fetcher = Fetcher(
            settings,
            self._transfers,
            reader,
            open_way=self._upkeep.open_way,
            look_ahead=EarlyLookup(reader, resources.worktrees).look,
            make_way=self._upkeep.make_way,
            seeds=resources.seeds,
        )
        self._locked_fetch = LockedFetch(settings, fetcher, self._upkeep)
        self._seeds = resources.seeds
        self._renewal = MirrorRenewal(settings, git, self._upkeep, self._seeds)
        self._shared: dict[str, SharedFetch] = {}
        self._verified = Verified()
        self._statistics = MirrorStatistics()

    def statistics(self) -> MirrorStatistics:
        """Return counts since the start, and the present mirrors."""
        return replace(
            self._statistics,
            fetches=self._locked_fetch.fetches,
            renewals=self._renewal.renewals,
            evictions=self._upkeep.evictions,
            mirrors=self._upkeep.mirrors,
            size_bytes=self._upkeep.size_bytes,
            processes=self._git.running,
        )

    async def keep_to_budget(self) -> None:
        """Delete leftovers of killed processes, and evict mirrors beyond the budget."""
        await self._upkeep.evict()

    @asynccontextmanager
    async def open(
        self, repository: Repository, *, ref: str, commit: str, behind: str = ""
    ) -> AsyncIterator[Snapshot]:
        """Make the commit present, by a fetch if needed; it stays while the block is open.

        Args:
            repository: Repository of the push.
            ref: Full name of the ref that was pushed.
            commit: Id of the commit, or of an annotated tag that leads to it.
            behind: Commit of the ref before the push. If the server still shows it there, its
                history is not fetched to look for the commit.

        Raises:
            Unreachable: Neither the ref nor its history has it; `tip` is the ref's commit now.
            Reject: A name is not valid, the repository does not exist, the object is not a commit.
            Busy: The server throttles, or the disk is full even after eviction.
            Retry: Something else failed that may succeed next time.
        """
        check_ref(ref)
        async with self._open(repository, CommitRequest(ref, commit, behind)) as snapshot:
            yield snapshot

    async def find_tip(self, repository: Repository, ref: str) -> tuple[str, ...]:
        """Return the ids that the server shows for a ref now; none if it shows no such ref.

        For an annotated tag there are two: its own id, then that of the object it points at.

        Raises:
            StageError: The server could not be asked.
        """
        check_repository(repository)
        return await self._transfers.find_ids(self._remote(repository), check_ref(ref))

    async def stream_refs(
        self, repository: Repository, make: Callable[[], Taker], *, tags: bool
    ) -> Taker:
        """Return what took the list of the branches that the server shows now, piece by piece.

        Args:
            repository: The repository.
            make: Makes what takes the list.
            tags: Whether tags are listed, too.

        Raises:
            StageError: The server could not be asked.
        """
        check_repository(repository)
        return await stream_refs(self._git, self._remote(repository), make, tags=tags)

    @asynccontextmanager
    async def open_commit(self, repository: Repository, commit: str) -> AsyncIterator[Snapshot]:
        """Open a commit that may be on any branch or tag, such as a submodule's, as `open` does.

        Raises:
            Unreachable: None of them has it.
            StageError: As `open`.
        """
        async with self._open(repository, CommitRequest(DEFAULT_BRANCH, commit)) as snapshot:
            yield snapshot

    @asynccontextmanager
    async def _open(self, repository: Repository, wish: CommitRequest) -> AsyncIterator[Snapshot]:
        check_repository(repository)
        check_commit(wish.commit)
        place = MirrorDirectory(self._settings.cache_directory / "mirrors" / repository.path)
        async with AsyncExitStack() as stack:
            found = await self._find(stack, place, repository, wish)
            yield Snapshot(
                path=place.repository,
                commit=found.id,
                commit_time=found.time,
                tree=found.tree,
                name=repository.path,
                reader=self._reader.of(repository.forge),
                ref=wish.ref,
                worktrees=self._worktrees,
                objects=self._objects(place, repository),
            )

    def _objects(self, place: MirrorDirectory, repository: Repository) -> Fetched:
        async def grown() -> None:
            await self._upkeep.note_growth(place)
            self._tasks.start_soon(self._upkeep.evict)

        return Fetched(
            directory=place.lfs,
            lock=place.lfs_lock,
            remote=partial(self._remote, repository),
            settings=self._settings,
            git=self._git,
            before=self._upkeep.make_way,
            grown=grown,
            full=self._upkeep.make_room,
            verified=self._verified,
            pauses_seconds=self._pauses_seconds,
        )

    async def _find(
        self,
        stack: AsyncExitStack,
        place: MirrorDirectory,
        repository: Repository,
        wish: CommitRequest,
    ) -> Commit:
        """Hold the mirror with the commit in it; a damaged one is replaced, once."""
        try:
            renewals = self._renewal.times(place)
            try:
                return await self._enter(stack, place, repository, wish)
            except GitFailed as error:
                if error.fault not in _SUSPICIOUS or not await to_thread.run_sync(place.is_whole):
                    raise
                # Marked while still held: no other task can have put a new mirror in its place yet.
                await mark_suspect(place.repository)
                await stack.aclose()
                await self._renewal.renew(place)
                if self._renewal.times(place) == renewals:
                    raise  # the mirror is not to blame
                again = CommitRequest(wish.ref, wish.commit, wish.behind)
                return await self._enter(stack, place, repository, again)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                await self._upkeep.make_room()
            raise machine_error(error, f"use {place.root}") from error

    async def _enter(
        self,
        stack: AsyncExitStack,
        place: MirrorDirectory,
        repository: Repository,
        wish: CommitRequest,
    ) -> Commit:
        """Hold the mirror and find the commit in it, or have it fetched."""
        share = self._share(place, repository)
        present = None
        with share.open_look():  # before all slow steps: a burst of pushes is one fetch
            suspect = await to_thread.run_sync(place.arrive)
            if not suspect:
                await stack.enter_async_context(open_for_use(place, repository.path))
                present = await self._look(share, place, wish)
        if suspect:  # outside the look-up, which fetches wait for
            await self._renewal.renew(place)
            return await self._enter(stack, place, repository, wish)
        if present is not None:
            self._statistics.present += 1
            return present
        fetched = await share.get(wish)
        self._statistics.fetched += 1
        return fetched

    async def _look(
        self, share: SharedFetch, place: MirrorDirectory, wish: CommitRequest
    ) -> Commit | None:
        """Return the commit, if it is in the mirror already."""
        wish.seen = await to_thread.run_sync(place.touch)
        if wish.seen is not None and not wish.seen.object_format:
            raise GitFailed(f"{place.repository} is damaged", fault=GitFault.CORRUPT)
        if wish.seen is None or wish.seen.object_format != object_format(wish.commit):
            return None
        return await share.present.get(wish.commit)

    def _remote(self, repository: Repository) -> Remote:
        return replace(self.remotes.remote(repository), forge=repository.forge)

    def _share(self, place: MirrorDirectory, repository: Repository) -> SharedFetch:
        for path in [path for path, each in self._shared.items() if each.idle]:
            del self._shared[path]
        if repository.path not in self._shared:
            fetch = partial(self._fetch, place, repository)
            doing = f"look into {repository.path}"
            find = partial(self._reader.find, place.repository, doing=doing)
            self._shared[repository.path] = SharedFetch(self._tasks, fetch, find)
        return self._shared[repository.path]

    async def _fetch(
        self, place: MirrorDirectory, repository: Repository, wishes: Sequence[CommitRequest]
    ) -> None:
        """Fetch once for all these requests."""
        await self._locked_fetch.fetch(place, self._remote(repository), wishes, repository.path)
        self._tasks.start_soon(self._settle, place)

    async def _settle(self, place: MirrorDirectory) -> None:
        """Tidy up after a fetch, and let the mirror be written as a seed: in that order."""
        await self._upkeep.settle(place)
        if self._seeds is not None:
            self._seeds.note(place)
