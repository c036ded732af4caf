"""Fetches of commits into a mirror, with the smallest request that finds them.

The order: the ref that the push named, at `git.depth`; the commit by its id, if the server permits;
the ref deeper and deeper; its whole history. A commit that is not found then was overtaken by a
force push. CodeCommit speaks protocol v0 and serves only ids of tips, so ids come after refs.

A commit without a known ref, a submodule's, is searched in the same way on the default branch, and
then on all branches and tags.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread

from asyncbuild.config.sections import GitSettings
from asyncbuild.domain.errors import Reject, Unreachable
from asyncbuild.domain.events.git_events import MirrorMade
from asyncbuild.domain.git_names import kept_commit, kept_ref, object_format
from asyncbuild.forges.git_remote import Remote
from asyncbuild.git.formats.cat_file import Commit
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.mirrors.directory import (
    MirrorDirectory,
    MirrorState,
    has_pack,
    read_object_format,
)
from asyncbuild.git.mirrors.disk_space import delete, empty
from asyncbuild.git.mirrors.ref_fetches import RefFetches, open_ones, refs_of, settle_misfits
from asyncbuild.git.mirrors.seed_source import SeedSource
from asyncbuild.git.mirrors.shared_fetch import DEFAULT_BRANCH, CommitRequest
from asyncbuild.git.mirrors.transport import BRANCHES, FetchTarget, Transfers
from asyncbuild.git.reader import Reader
from asyncbuild.runtime.emit import emit
from asyncbuild.runtime.tasks import both, open_tasks

_DEEPER = (64, 1024)
_ANYWHERE = frozenset({DEFAULT_BRANCH, ""})
# Faults of the first fetch into a seed that the seed may have caused. Also unknown words.
_OF_THE_SEED = frozenset({GitFault.CORRUPT, GitFault.OTHER})


class Fetcher(RefFetches):
    """Fetches into mirrors; the sharing of fetches is not its concern.

    Args:
        settings: `[git]`.
        transfers: Talks to remotes.
        reader: Looks commits up.
        open_way: Makes room for a new mirror; called with its place and its staging directory.
        look_ahead: Finds commits in a new mirror while it is made; called with the same and the
            wishes.
        make_way: Makes room for so many bytes.
        seeds: Seeds of mirrors; None without any.
    """

    def __init__(
        self,
        settings: GitSettings,
        transfers: Transfers,
        reader: Reader,
        *,
        open_way: Callable[[MirrorDirectory, Path], AbstractAsyncContextManager[None]],
        look_ahead: Callable[
            [MirrorDirectory, Path, Sequence[CommitRequest]], Awaitable[Mapping[str, Commit]]
        ],
        make_way: Callable[[int], Awaitable[None]],
        seeds: SeedSource | None = None,
    ) -> None:
        self._open_way = open_way
        self._look_ahead = look_ahead
        self._make_way = make_way
        self._seeds = seeds
        super().__init__(transfers, reader)
        self._settings = settings
        self._only_by_ref: set[str] = set()  # URLs of servers that refused an id

    async def fetch(
        self, place: MirrorDirectory, remote: Remote, wishes: Sequence[CommitRequest], lock: int
    ) -> None:
        """Settle every request, after leftovers are deleted. Call with the fetch lock held.

        Args:
            place: The mirror.
            remote: Its remote.
            wishes: Commits that callers wait for.
            lock: Descriptor of the fetch lock, which git inherits.

        Raises:
            StageError: The remote could not be asked; it holds for all requests still open.
        """
        sight = await to_thread.run_sync(_reclaim_and_look, place)
        target = FetchTarget(place.repository, remote, lock)
        if sight is None:
            await self._clone(place, remote, wishes, lock)
        else:
            settle_misfits(wishes, sight.object_format)
            # Another process, or an earlier fetch, may have brought it meanwhile.
            late = [wish for wish in wishes if wish.seen != sight]
            await self.settle_present(place.repository, remote, late)
            if open_ones(wishes):
                await self._by_ref(target, wishes, self._settings.depth)
        if open_ones(wishes):
            await self._search(target, wishes)
        if anywhere := [wish for wish in open_ones(wishes) if wish.ref in _ANYWHERE]:
            await self._by_all_refs(target, anywhere)
        for wish in open_ones(wishes):
            wish.settle(await self._why_not(target, wish))

    async def _clone(
        self, place: MirrorDirectory, remote: Remote, wishes: Sequence[CommitRequest], lock: int
    ) -> None:
        """Fetch for the first time, into a staging directory that then becomes the mirror."""
        staging = await to_thread.run_sync(place.stage)
        try:
            target = FetchTarget(staging, remote, lock)
            seeded = await self._take_seed(place, target, wishes)
            found = {} if seeded else await self._make(place, target, wishes)
            if found is None:
                return
            async with self._open_way(place, staging):
                await to_thread.run_sync(place.publish, staging)
            size = await to_thread.run_sync(place.remembered)
            emit(
                MirrorMade(
                    mirror=place.name,
                    source="seed" if seeded else "clone",
                    size_bytes=size.bytes,
                )
            )
            for wish in open_ones(wishes):
                if wish.commit in found:
                    wish.settle(found[wish.commit])
            await self.settle_present(place.repository, remote, wishes)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(delete, staging)

    async def _take_seed(
        self, place: MirrorDirectory, target: FetchTarget, wishes: Sequence[CommitRequest]
    ) -> bool:
        """Fill an empty directory with a seed and what its server has since; False without one.

        The server is asked in any case: it alone knows whether this service may still read the
        repository. What it refuses is refused, as of a mirror that is there.
        """
        if self._seeds is None:
            return False
        formats = {object_format(wish.commit) for wish in open_ones(wishes)}
        manifest = await self._seeds.find(place, formats)
        if manifest is None:
            return False
        await self._transfers.init(target, wishes[0].commit)
        fill = partial(self._seeds.fill, place, target.directory, manifest)
        # Beside the download: a server that is away or refuses ends it at once, each time.
        filled, _ = await both(
            partial(fill, make_way=self._make_way),
            partial(self._transfers.reach, target.remote, wishes[0].ref),
        )
        if filled:
            try:
                await self.fetch_refs_left(target, wishes, self._settings.depth)
            except GitFailed as error:
                if error.fault not in _OF_THE_SEED:
                    raise
                self._seeds.refuse(place, error.reason)
            else:
                return True
        await to_thread.run_sync(empty, target.directory)
        return False

    async def _make(
        self, place: MirrorDirectory, target: FetchTarget, wishes: Sequence[CommitRequest]
    ) -> Mapping[str, Commit] | None:
        """Fetch all requests into a new repository; return None if none of their refs exists.

        Returns:
            Commits that were found on the way; maybe not all.
        """
        found: dict[str, Commit] = {}

        async def look_ahead() -> None:
            found.update(await self._look_ahead(place, target.directory, wishes))

        async with open_tasks() as tasks:
            tasks.start_soon(look_ahead)
            made = await self._begin(target, wishes)
            if not made or not await to_thread.run_sync(has_pack, target.directory):
                tasks.cancel_scope.cancel()
        return found if made else None

    async def _begin(self, target: FetchTarget, wishes: Sequence[CommitRequest]) -> bool:
        """Fetch the refs of all requests into an empty directory; False if all refs are gone."""
        refs, depth = refs_of(wishes), self._settings.depth
        try:
            if len(refs) == 1 and refs[0].startswith(BRANCHES):
                await self._transfers.clone(target, refs[0], depth)
            else:
                await self._init(target, wishes)
                await self.fetch_refs(target, wishes, depth)
        except GitFailed as error:
            if not await self.leave_out_gone(error, target.remote, wishes):
                return False
            await self._init(target, wishes)
            await self.fetch_refs(target, wishes, depth)
        settle_misfits(wishes, await to_thread.run_sync(read_object_format, target.directory))
        return True

    async def _init(self, target: FetchTarget, wishes: Sequence[CommitRequest]) -> None:
        await self._transfers.init(target, wishes[0].commit)
        settle_misfits(wishes, object_format(wishes[0].commit))

    async def _by_ref(
        self, target: FetchTarget, wishes: Sequence[CommitRequest], depth: int
    ) -> None:
        """Fetch the refs of all open requests; those whose ref is gone are unreachable."""
        if await self.fetch_refs_left(target, wishes, depth):
            await self.settle_present(target.directory, target.remote, wishes)

    async def _by_all_refs(self, target: FetchTarget, wishes: Sequence[CommitRequest]) -> None:
        """Fetch the history of all branches and tags, for commits that may be on any of them."""
        there = await self._transfers.list_refs(target.remote)
        refs = sorted(ref for ref in there if ref.startswith(("refs/heads/", "refs/tags/")))
        if refs:
            await self._transfers.fetch(target, [f"+{ref}:{kept_ref(ref)}" for ref in refs], 0)
            await self.settle_present(target.directory, target.remote, wishes)

    async def _search(self, target: FetchTarget, wishes: Sequence[CommitRequest]) -> None:
        """Search the history of refs, which have moved on since, for the commits."""
        await self._by_id(target, wishes)
        await self._settle_behind(target, wishes)
        if self._settings.depth == 0:
            return
        for depth in (*(each for each in _DEEPER if each > self._settings.depth), 0):
            if not open_ones(wishes):
                return
            await self._by_ref(target, wishes, depth)

    async def _settle_behind(self, target: FetchTarget, wishes: Sequence[CommitRequest]) -> None:
        """Settle requests whose ref is where it was before the push; search no history."""
        for wish in open_ones(wishes):
            if wish.behind and await self._tip(target, wish) == wish.behind:
                wish.settle(
                    _unreachable(
                        f"{wish.ref} of {target.remote.name} is still at {wish.behind} and not at "
                        f"{wish.commit}",
                        tip=wish.behind,
                    )
                )

    async def _tip(self, target: FetchTarget, wish: CommitRequest) -> str:
        return await self._transfers.read_ref(target, kept_ref(wish.ref))

    async def _by_id(self, target: FetchTarget, wishes: Sequence[CommitRequest]) -> None:
        """Fetch the missing commits by id, one call for each: an unknown id fails a whole call."""
        for commit in sorted({wish.commit for wish in open_ones(wishes)}):
            if target.remote.url in self._only_by_ref:
                return
            try:
                await self._transfers.fetch(
                    target, [f"+{commit}:{kept_commit(commit)}"], self._settings.depth
                )
            except GitFailed as error:
                if error.fault is GitFault.NOT_BY_ID:
                    self._only_by_ref.add(target.remote.url)
                elif error.fault is not GitFault.NO_OBJECT:
                    raise
        await self.settle_present(target.directory, target.remote, wishes)

    async def _why_not(self, target: FetchTarget, wish: CommitRequest) -> Reject | Unreachable:
        kind = await self._reader.kind(
            target.directory, wish.commit, f"look into {target.remote.name}"
        )
        if kind is not None:
            return Reject(f"{wish.commit} of {target.remote.name} is a {kind} and no commit")
        if wish.ref in _ANYWHERE:
            return Unreachable(f"{wish.commit} is on no branch and no tag of {target.remote.name}")
        return _unreachable(
            f"{wish.commit} is not in the history of {wish.ref} of {target.remote.name}",
            tip=await self._tip(target, wish),
        )


def _reclaim_and_look(place: MirrorDirectory) -> MirrorState | None:
    place.reclaim()
    return place.look()


def _unreachable(reason: str, *, tip: str) -> Unreachable:
    error = Unreachable(reason)
    error.tip = tip
    return error
