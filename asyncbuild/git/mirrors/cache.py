"""The cache of bare mirrors: a commit is fetched once, by one fetch for all who wait for it."""

import errno
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from asyncbuild.config.sections import DISK_FREE_LEAST_BYTES, MIB, GitSettings
from asyncbuild.domain.errors import Busy, ConfigError
from asyncbuild.domain.events.git_events import FetchFinished, MirrorRenewed
from asyncbuild.domain.git_names import check_commit, check_repository, object_format
from asyncbuild.domain.refs import check_ref
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.statistics import MirrorStatistics
from asyncbuild.forges.git_remote import Remote
from asyncbuild.forges.remotes import Places
from asyncbuild.git.content.lfs.store import Fetched
from asyncbuild.git.content.lfs.stored_file import Verified
from asyncbuild.git.formats.cat_file import Commit
from asyncbuild.git.formats.error_classes import GitFailed, GitFault, machine_error
from asyncbuild.git.mirrors.directory import MirrorDirectory, Sight
from asyncbuild.git.mirrors.early_lookup import Lookout
from asyncbuild.git.mirrors.fetch import Fetcher
from asyncbuild.git.mirrors.integrity import find_damage
from asyncbuild.git.mirrors.maintenance import Upkeep
from asyncbuild.git.mirrors.shared_fetch import DEFAULT_BRANCH, SharedFetch, Wish
from asyncbuild.git.mirrors.transport import Transfers
from asyncbuild.git.process.command import Git
from asyncbuild.git.reader import Reader
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.git.tree.attribute_worktrees import Worktrees, open_directory
from asyncbuild.runtime.emit import emit
from asyncbuild.runtime.locks import open_lock
from asyncbuild.runtime.tasks import open_background

_USE_WAIT_SECONDS = 10.0
# Of a fetch into a mirror that is there. Unknown words, too: git has more of them than are listed.
_SUSPICIOUS = frozenset({GitFault.CORRUPT, GitFault.OTHER})


@asynccontextmanager
async def open_mirrors(
    settings: GitSettings,
    remotes: Places,
    *,
    pauses_seconds: Sequence[float] = (),
    forges: int = 1,
) -> AsyncIterator["MirrorCache"]:
    """Open the cache. Leaving ends what still fetches.

    Args:
        settings: `[git]`.
        remotes: Where repositories are fetched from.
        pauses_seconds: See `lfs.store.Fetched`.
        forges: How many forges have the repositories.

    Raises:
        ConfigError: the cache directory cannot be written to.
    """
    git = Git(settings, forges=forges)
    reader = Reader(git, settings.cache_directory / "reader", _mark_suspect)
    async with AsyncExitStack() as stack:
        try:
            await reader.prepare()
            directory = await stack.enter_async_context(
                open_directory(settings.cache_directory / "reader")
            )
        except OSError as error:
            raise ConfigError(
                f"git.cache_directory {settings.cache_directory} cannot be used: {error.strerror}",
                remedy="name a directory that this user may write to",
            ) from error
        tasks = await stack.enter_async_context(open_background())
        worktrees = Worktrees(reader.unsuspecting(), directory, tasks)
        mirrors = MirrorCache(
            settings,
            remotes,
            git=git,
            reader=reader,
            worktrees=worktrees,
            tasks=tasks,
            pauses_seconds=pauses_seconds,
        )
        tasks.start_soon(mirrors.keep_to_budget)
        yield mirrors


class MirrorCache:
    """One bare mirror for each repository, as many as the budget holds."""

    def __init__(
        self,
        settings: GitSettings,
        remotes: Places,
        *,
        git: Git,
        reader: Reader,
        worktrees: Worktrees,
        tasks: TaskGroup,
        pauses_seconds: Sequence[float] = (),
    ) -> None:
        self._settings = settings
        self._pauses_seconds = pauses_seconds
        self.remotes = remotes
        self._git = git
        self._reader = reader
        self._worktrees = worktrees
        self._tasks = tasks
        self._upkeep = Upkeep(settings, git)
        self._fetcher = Fetcher(
            settings,
            Transfers(git),
            reader,
            open_way=self._upkeep.open_way,
            look_ahead=Lookout(reader, worktrees).look,
        )
        self._transfers = Transfers(git)
        self._shared: dict[str, SharedFetch] = {}
        self._verified = Verified()
        self._statistics = MirrorStatistics()
        self._renewed: Counter[Path] = Counter()
        self._whole: dict[Path, Sight] = {}  # as they were when they were suspected wrongly

    def statistics(self) -> MirrorStatistics:
        """What was done since the start, and what there is now."""
        return MirrorStatistics(
            present=self._statistics.present,
            fetched=self._statistics.fetched,
            fetches=self._statistics.fetches,
            renewals=self._statistics.renewals,
            evictions=self._upkeep.evictions,
            mirrors=self._upkeep.mirrors,
            size_bytes=self._upkeep.size_bytes,
            processes=self._git.running,
        )

    async def keep_to_budget(self) -> None:
        """Clear up after killed processes and evict what is beyond the budget."""
        await self._upkeep.evict()

    @asynccontextmanager
    async def open(
        self, repository: Repository, *, ref: str, commit: str, behind: str = ""
    ) -> AsyncIterator[Snapshot]:
        """Make the commit present, fetching it if need be; it stays while this is open.

        Args:
            repository: Where it was pushed.
            ref: The full name of the ref it was pushed to.
            commit: Its id, or the id of an annotated tag that leads to it.
            behind: Where the ref was before. If the server shows it there still, its history is
                not fetched to look for the commit.

        Raises:
            Unreachable: neither the ref nor its history has it; `tip` says where the ref is.
            Reject: a name is no name, the repository does not exist, the object is no commit.
            Busy: the server throttles, or the disk is full even after eviction.
            Retry: anything that may be better the next time.
        """
        check_ref(ref)
        async with self._open(repository, Wish(ref, commit, behind)) as snapshot:
            yield snapshot

    async def find_tip(self, repository: Repository, ref: str) -> frozenset[str]:
        """Return where the server shows a ref now; nothing if it shows no such ref.

        Of an annotated tag there are two ids: its own, and that of what it points at.

        Raises:
            StageError: the server could not be asked.
        """
        check_repository(repository)
        return await self._transfers.find_ids(self._remote(repository), check_ref(ref))

    @asynccontextmanager
    async def open_commit(self, repository: Repository, commit: str) -> AsyncIterator[Snapshot]:
        """As `open`, of a commit that may be on any branch or tag, such as a submodule's.

        Raises:
            Unreachable: none of them has it.
            StageError: as `open`.
        """
        async with self._open(repository, Wish(DEFAULT_BRANCH, commit)) as snapshot:
            yield snapshot

    @asynccontextmanager
    async def _open(self, repository: Repository, wish: Wish) -> AsyncIterator[Snapshot]:
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
        self, stack: AsyncExitStack, place: MirrorDirectory, repository: Repository, wish: Wish
    ) -> Commit:
        """Hold the mirror with the commit in it; a damaged one is replaced, once."""
        try:
            renewals = self._renewed[place.root]
            try:
                return await self._enter(stack, place, repository, wish)
            except GitFailed as error:
                if error.fault not in _SUSPICIOUS or not await to_thread.run_sync(place.is_whole):
                    raise
                # Marked while still held: nobody can have put a new mirror in its place yet.
                await _mark_suspect(place.repository)
                await stack.aclose()
                await self._renew(place)
                if self._renewed[place.root] == renewals:
                    raise  # the mirror is not to blame
                again = Wish(wish.ref, wish.commit, wish.behind)
                return await self._enter(stack, place, repository, again)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                await self._upkeep.make_room()
            raise machine_error(error, f"use {place.root}") from error

    async def _enter(
        self, stack: AsyncExitStack, place: MirrorDirectory, repository: Repository, wish: Wish
    ) -> Commit:
        """Hold the mirror and find the commit in it, or have it fetched."""
        share = self._share(place, repository)
        present = None
        with share.open_look():  # before all that takes time: a burst of pushes is one fetch
            suspect = await to_thread.run_sync(place.arrive)
            if not suspect:
                await stack.enter_async_context(self._hold(place, repository))
                present = await self._look(share, place, wish)
        if suspect:  # not within the look: those who wait for a fetch would have to go first
            await self._renew(place)
            return await self._enter(stack, place, repository, wish)
        if present is not None:
            self._statistics.present += 1
            return present
        fetched = await share.get(wish)
        self._statistics.fetched += 1
        return fetched

    async def _look(self, share: SharedFetch, place: MirrorDirectory, wish: Wish) -> Commit | None:
        """The commit, if it is in the mirror already."""
        wish.seen = await to_thread.run_sync(place.touch)
        if wish.seen is not None and not wish.seen.object_format:
            raise GitFailed(f"{place.repository} is damaged", fault=GitFault.CORRUPT)
        if wish.seen is None or wish.seen.object_format != object_format(wish.commit):
            return None
        return await share.present.get(wish.commit)

    def _remote(self, repository: Repository) -> Remote:
        return replace(self.remotes.remote(repository), forge=repository.forge)

    def _hold(
        self, place: MirrorDirectory, repository: Repository
    ) -> AbstractAsyncContextManager[int]:
        """Keep the mirror from being taken away."""
        return open_lock(
            place.use_lock, shared=True, wait_seconds=_USE_WAIT_SECONDS, doing=repository.path
        )

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
        self, place: MirrorDirectory, repository: Repository, wishes: Sequence[Wish]
    ) -> None:
        """One fetch for all these wishes, alone in this mirror among all processes."""
        remote = self._remote(repository)
        started = anyio.current_time()
        self._statistics.fetches += 1
        async with (
            self._hold(place, repository),
            open_lock(
                place.fetch_lock,
                shared=False,
                wait_seconds=self._settings.timeout_seconds,
                doing=f"fetch {repository.path}",
            ) as lock,
        ):
            await to_thread.run_sync(place.reclaim)
            try:
                await self._fetcher.fetch(place, remote, wishes, lock)
            except GitFailed as error:
                if error.fault is not GitFault.DISK_FULL:
                    raise
                await self._fetch_on_full_disk(place, repository, wishes, lock)
            seconds = round(anyio.current_time() - started, 4)
            emit(
                FetchFinished(mirror=repository.path, pushes=len(wishes), duration_seconds=seconds)
            )
            await self._upkeep.tidy(place, lock)
        self._tasks.start_soon(self._upkeep.settle, place)

    async def _fetch_on_full_disk(
        self, place: MirrorDirectory, repository: Repository, wishes: Sequence[Wish], lock: int
    ) -> None:
        await self._upkeep.make_room()
        await to_thread.run_sync(place.reclaim)  # clears what the failed fetch left
        try:
            await self._fetcher.fetch(place, self._remote(repository), wishes, lock)
        except GitFailed as error:
            if error.fault is not GitFault.DISK_FULL:
                raise
            raise Busy(
                f"the disk of {self._settings.cache_directory} is full, though every mirror that "
                f"nobody uses was deleted: {error.reason}",
                remedy=f"give it more space, or lower git.cache_budget_bytes: "
                f"{DISK_FREE_LEAST_BYTES // MIB} MiB must be free, and room for the fetch",
            ) from error

    async def _renew(self, place: MirrorDirectory) -> None:
        """Look whether a suspected mirror is damaged; if so, delete it: the next fetch makes one.

        A mirror that was found whole is not looked at again before its packs change: a server, or
        a name that a pusher chose, may go on to say what makes it suspected.
        """
        doing = f"look for damage in {place.repository}"
        async with (
            open_lock(place.use_lock, shared=True, wait_seconds=_USE_WAIT_SECONDS, doing=doing),
            open_lock(
                place.fetch_lock,
                shared=False,
                wait_seconds=self._settings.timeout_seconds,
                doing=doing,
            ) as lock,
        ):
            damage = await self._judge(place, lock)
        if damage:
            await self._remove(place, damage)

    async def _judge(self, place: MirrorDirectory, lock: int) -> str:
        """Describe the damage of a suspect mirror; if there is none, the suspicion ends."""
        if not await to_thread.run_sync(place.is_suspect):
            return ""  # another one looked meanwhile
        sight = await to_thread.run_sync(place.look)
        if sight is None or self._whole.get(place.root) != sight:
            ids = await to_thread.run_sync(place.suspects)
            damage = await find_damage(self._git, place, ids, lock)
            if damage:
                return damage
            if sight is not None:
                self._whole[place.root] = sight
        await to_thread.run_sync(place.trust)
        return ""

    async def _remove(self, place: MirrorDirectory, damage: str) -> None:
        async with open_lock(
            place.use_lock,
            shared=False,
            wait_seconds=_USE_WAIT_SECONDS,
            doing=f"delete the corrupt mirror {place.repository}",
        ):
            if await to_thread.run_sync(place.is_suspect):
                self._statistics.renewals += 1
                self._renewed[place.root] += 1
                self._whole.pop(place.root, None)
                emit(MirrorRenewed(mirror=str(place.repository), damage=damage))
                await self._upkeep.remove(place)


async def _mark_suspect(repository: Path, object_id: str = "") -> None:
    await to_thread.run_sync(MirrorDirectory(repository.parent).mark_suspect, object_id)
