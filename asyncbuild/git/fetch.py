"""Brings commits into a mirror, asking the remote for as little as will do.

The order: the ref that the push named, at `git.depth`; the commit by its id, where the server lets;
the ref deeper and deeper; its whole history. What is not found then was overtaken by a force push.
CodeCommit speaks protocol v0 and serves ids of tips alone, so ids come after refs.

A commit whose ref is not known, a submodule's, is looked for in the same way on the default branch,
and then on all branches and tags.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from asyncbuild.config import GitSettings
from asyncbuild.errors import Reject, Unreachable
from asyncbuild.git.faults import Fault, GitFailed
from asyncbuild.git.names import kept_commit, kept_ref, object_format
from asyncbuild.git.place import Place, delete
from asyncbuild.git.process import Command, Git, Work
from asyncbuild.git.reader import Reader
from asyncbuild.git.remotes import Remote
from asyncbuild.git.sharing import DEFAULT_BRANCH, Wish

_DEEPER = (64, 1024)
_ANYWHERE = frozenset({DEFAULT_BRANCH, ""})
FETCH = (
    "fetch",
    "--progress",
    "--no-tags",
    "--no-write-fetch-head",
    "--no-auto-maintenance",
    "--no-recurse-submodules",
    "--no-show-forced-updates",
    "--update-shallow",
)


@dataclass(frozen=True, slots=True)
class _Target:
    """A repository that is written to, its remote, and the lock that git keeps with us."""

    directory: Path
    remote: Remote
    lock: int


class Fetcher:
    """Fetches into mirrors; knows nothing of who shares a fetch.

    Args:
        settings: `[git]`.
        git: Runs git.
        reader: Looks commits up.
        open_way: Lets a new mirror appear while it is open, given its place and where it is made.
    """

    def __init__(
        self,
        settings: GitSettings,
        git: Git,
        reader: Reader,
        *,
        open_way: Callable[[Place, Path], AbstractAsyncContextManager[None]],
    ) -> None:
        self._open_way = open_way
        self._settings = settings
        self._git = git
        self._reader = reader
        self._only_by_ref: set[str] = set()  # URLs of servers that refused an id

    async def fetch(self, place: Place, remote: Remote, wishes: Sequence[Wish], lock: int) -> None:
        """Settle every wish. Call with the fetch lock held and `place.reclaim()` done.

        Raises:
            StageError: the remote could not be asked; it holds for all wishes still open.
        """
        sight = await to_thread.run_sync(place.look)
        target = _Target(place.repository, remote, lock)
        if sight is None:
            await self._clone(place, remote, wishes, lock)
        else:
            _settle_misfits(wishes, sight.object_format)
            # Another process, or the fetch before this one, may have brought it meanwhile.
            late = [wish for wish in wishes if wish.seen != sight]
            await self._settle_present(place.repository, remote, late)
            if _open(wishes):
                await self._by_ref(target, wishes, self._settings.depth)
        if _open(wishes):
            await self._search(target, wishes)
        if anywhere := [wish for wish in _open(wishes) if wish.ref in _ANYWHERE]:
            await self._by_all_refs(target, anywhere)
        for wish in _open(wishes):
            wish.settle(await self._why_not(target, wish))

    async def _clone(self, place: Place, remote: Remote, wishes: Sequence[Wish], lock: int) -> None:
        """The first fetch, into a staging directory that becomes the mirror when it is done."""
        staging = await to_thread.run_sync(place.stage)
        try:
            target = _Target(staging, remote, lock)
            await self._init(target, wishes)
            await self._by_ref(target, wishes, self._settings.depth, publish=place)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(delete, staging)

    async def _init(self, target: _Target, wishes: Sequence[Wish]) -> None:
        arguments = init_arguments(target.directory, wishes[0].commit)
        await self._git.run(Command(arguments, f"make a mirror of {target.remote.name}"))
        _settle_misfits(wishes, object_format(wishes[0].commit))

    async def _by_ref(
        self, target: _Target, wishes: Sequence[Wish], depth: int, publish: Place | None = None
    ) -> None:
        """Fetch the refs of all open wishes; those whose ref is gone are unreachable."""
        try:
            await self._fetch_refs(target, wishes, depth)
        except GitFailed as error:
            if error.fault is not Fault.NO_REF:
                raise
            # One missing ref fails the whole fetch. Leave out what is gone, then ask again.
            await self._settle_gone(target.remote, wishes)
            if not _open(wishes):
                return
            await self._fetch_refs(target, wishes, depth)
        if publish is not None:
            async with self._open_way(publish, target.directory):
                await to_thread.run_sync(publish.publish, target.directory)
            await self._settle_present(publish.repository, target.remote, wishes)
        else:
            await self._settle_present(target.directory, target.remote, wishes)

    async def _fetch_refs(self, target: _Target, wishes: Sequence[Wish], depth: int) -> None:
        refs = sorted({wish.ref for wish in _open(wishes) if wish.ref})
        if refs:
            await self._run(target, [f"+{ref}:{kept_ref(ref)}" for ref in refs], depth)

    async def _by_all_refs(self, target: _Target, wishes: Sequence[Wish]) -> None:
        """Fetch the history of all branches and tags, for commits that may be on any of them."""
        there = await self._list_refs(target.remote)
        refs = sorted(ref for ref in there if ref.startswith(("refs/heads/", "refs/tags/")))
        if refs:
            await self._run(target, [f"+{ref}:{kept_ref(ref)}" for ref in refs], 0)
            await self._settle_present(target.directory, target.remote, wishes)

    async def _search(self, target: _Target, wishes: Sequence[Wish]) -> None:
        """The refs were fetched and have moved on: look for the commits behind their tips."""
        await self._by_id(target, wishes)
        if self._settings.depth == 0:
            return
        for depth in (*(each for each in _DEEPER if each > self._settings.depth), 0):
            if not _open(wishes):
                return
            await self._by_ref(target, wishes, depth)

    async def _by_id(self, target: _Target, wishes: Sequence[Wish]) -> None:
        """One call for each: a single id that the server lacks fails the whole call."""
        for commit in sorted({wish.commit for wish in _open(wishes)}):
            if target.remote.url in self._only_by_ref:
                return
            try:
                await self._run(target, [f"+{commit}:{kept_commit(commit)}"], self._settings.depth)
            except GitFailed as error:
                if error.fault is Fault.NOT_BY_ID:
                    self._only_by_ref.add(target.remote.url)
                elif error.fault is not Fault.NO_OBJECT:
                    raise
        await self._settle_present(target.directory, target.remote, wishes)

    async def _run(self, target: _Target, refspecs: Sequence[str], depth: int) -> None:
        """One `git fetch`. Depth 0 is all of it. Refspecs go through stdin: no limit, no argv."""
        shallow = await anyio.Path(target.directory / "shallow").exists()
        extent = [f"--depth={depth}"] if depth else ["--unshallow"] if shallow else []
        arguments = [*FETCH, *extent, "--stdin", "--end-of-options", target.remote.url]
        await self._git.run(
            Command(
                arguments,
                f"fetch {target.remote.name}",
                git_directory=target.directory,
                environment=await target.remote.environment(),
                stdin="".join(f"{each}\n" for each in refspecs).encode(),
                descriptors=(target.lock,),
                work=Work.FETCH,
            )
        )

    async def _settle_present(
        self, repository: Path, remote: Remote, wishes: Sequence[Wish]
    ) -> None:
        if not await anyio.Path(repository).exists():
            return
        found = await self._reader.find(
            repository, (wish.commit for wish in _open(wishes)), f"look into {remote.name}"
        )
        for wish in _open(wishes):
            if wish.commit in found:
                wish.settle(found[wish.commit])

    async def _settle_gone(self, remote: Remote, wishes: Sequence[Wish]) -> None:
        there = await self._list_refs(remote)
        for wish in _open(wishes):
            if wish.ref == DEFAULT_BRANCH and wish.ref not in there:
                wish.ref = ""  # another may have it
            elif wish.ref and wish.ref not in there:
                wish.settle(Unreachable(f"{wish.ref} of {remote.name} does not exist any more"))

    async def _list_refs(self, remote: Remote) -> set[str]:
        """Full names, and `HEAD` where it leads to a commit."""
        arguments = ["ls-remote", "--end-of-options", remote.url]
        answer = await self._git.run(
            Command(
                arguments,
                f"list the refs of {remote.name}",
                environment=await remote.environment(),
                work=Work.FETCH,
            )
        )
        names = {
            line.partition(b"\t")[2].decode("utf-8", "replace") for line in answer.splitlines()
        }
        return {name for name in names if not name.endswith("^{}")}  # what tags are peeled to

    async def _why_not(self, target: _Target, wish: Wish) -> Reject | Unreachable:
        kind = await self._reader.kind(
            target.directory, wish.commit, f"look into {target.remote.name}"
        )
        if kind is not None:
            return Reject(f"{wish.commit} of {target.remote.name} is a {kind} and no commit")
        if wish.ref in _ANYWHERE:
            return Unreachable(f"{wish.commit} is on no branch and no tag of {target.remote.name}")
        return Unreachable(
            f"{wish.commit} is not in the history of {wish.ref} of {target.remote.name} any more"
        )


def init_arguments(repository: Path, commit: str) -> tuple[str, ...]:
    """Make a bare repository for commits with ids such as this one."""
    return (
        *("init", "--quiet", "--bare", "--template="),
        *(f"--object-format={object_format(commit)}", str(repository)),
    )


def _settle_misfits(wishes: Sequence[Wish], format_: str) -> None:
    for wish in _open(wishes):
        if format_ not in {"", object_format(wish.commit)}:
            wish.settle(Reject(f"{wish.commit} is no id of a repository of {format_} objects"))


def _open(wishes: Iterable[Wish]) -> list[Wish]:
    return [wish for wish in wishes if wish.open]
