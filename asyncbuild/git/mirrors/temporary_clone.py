"""Temporary access to one commit of any repository, without the cache, for `asyncbuild archive`.

A directory is read in place, bare or not; nothing is fetched, nothing in it is changed. From a URL
one commit is fetched into a temporary repository.
"""

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from anyio import to_thread

from asyncbuild.config.sections import GitSettings
from asyncbuild.domain.archive_options import WHOLE, ArchiveOptions, Submodules
from asyncbuild.domain.errors import Reject, Unreachable
from asyncbuild.domain.git_names import check_revision, is_commit
from asyncbuild.forges.addresses import parse_address
from asyncbuild.forges.git_remote import Remote
from asyncbuild.forges.remotes import Remotes
from asyncbuild.git.content.lfs.contents import Objects
from asyncbuild.git.content.lfs.store import Fetched, Present
from asyncbuild.git.content.submodules import open_whole
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.mirrors.submodule_remotes import ROOT, SubmoduleRemotes
from asyncbuild.git.process.command import Command, Git, ProcessKind
from asyncbuild.git.process.memory import UNLIMITED
from asyncbuild.git.reader import Reader
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.runtime.scratch import open_scratch

_KEPT: Final = "refs/asyncbuild/asked"
_MISSING: Final = frozenset(
    {GitFault.NO_OBJECT, GitFault.CORRUPT, GitFault.OTHER}
)  # how git reports a missing object
# A command is not repeated, so contents of LFS files are requested as often as by git-lfs.
_PAUSES_SECONDS: Final = (1.0, 2.0, 4.0, 8.0)


class _CloneSource(NamedTuple):
    """A repository that can be read here, and what its commit is called in it."""

    path: Path
    name: str  # without a login
    revision: str
    remote: Remote
    objects: Objects


@dataclass(frozen=True, slots=True)
class CommitPlace:
    """A commit of any repository, as a user names it.

    Attributes:
        where: Path of a repository or of its working tree, or a URL.
        revision: For a directory anything that git-rev-parse(1) takes, such as `HEAD~1`; for a URL
            the name of a branch or tag, full or short, or the id of a commit that the server
            serves.
        region: Region of a CodeCommit URL whose host does not name it.
    """

    where: str
    revision: str
    region: str | None = None


@asynccontextmanager
async def open_commit(
    place: CommitPlace,
    *,
    settings: GitSettings,
    remotes: Remotes,
    options: ArchiveOptions = WHOLE,
) -> AsyncIterator[Snapshot]:
    """Open one commit.

    Args:
        place: The commit.
        settings: `[git]`; the cache is not touched.
        remotes: Credentials for URLs.
        options: Contents of the archive.

    Raises:
        Reject: The repository, the commit or the subtree does not exist.
        Retry, Busy: As `Git.run`.
    """
    with open_scratch("asyncbuild-archive-") as scratch:
        settings = _for_one_call(settings, scratch)
        git = Git(settings)
        reader = Reader(git, scratch / "reader")
        await reader.prepare()
        if is_url(place.where):
            remote = remotes.remote_at(place.where, region=place.region)
            source = await _fetch(git, remote, place.revision, scratch)
        else:
            own = options.submodules is Submodules.INCLUDE
            source = await _find_repository(git, place, remotes if own else None)
        commit = await _resolve(git, source, place.revision)
        found = (await reader.find(source.path, [commit], f"read {source.name}"))[commit]
        snapshot = Snapshot(
            path=source.path,
            commit=found.id,
            commit_time=found.time,
            tree=found.tree,
            name=source.name,
            reader=reader,
            objects=source.objects,
        )
        async with _about_missing(git, source):
            selected = await snapshot.select(options)
            if options.submodules is Submodules.INCLUDE:
                opened = _open_with_submodules(settings, remotes, source, selected)
            else:
                opened = open_whole(None, ROOT, selected)
            async with opened as whole:
                yield whole


@asynccontextmanager
async def _open_with_submodules(
    settings: GitSettings, remotes: Remotes, source: _CloneSource, snapshot: Snapshot
) -> AsyncIterator[Snapshot]:
    # The cache of mirrors, which nothing else of such an archive needs.
    from asyncbuild.git.mirrors.cache import open_mirrors  # noqa: PLC0415

    neighbours = SubmoduleRemotes(remotes, source.remote)
    async with (
        open_mirrors(settings, neighbours, pauses_seconds=_PAUSES_SECONDS) as mirrors,
        open_whole(mirrors, ROOT, snapshot) as whole,
    ):
        yield whole


def _for_one_call(settings: GitSettings, scratch: Path) -> GitSettings:
    """Return settings with a cache of their own, and all the memory of a user's machine."""
    changes: dict[str, object] = {"cache_directory": scratch / "cache"}
    if not settings.memory_budget_bytes:
        changes["memory_budget_bytes"] = UNLIMITED
    return settings.model_copy(update=changes)


@asynccontextmanager
async def _about_missing(git: Git, source: _CloneSource) -> AsyncIterator[None]:
    """Name a partial clone as the cause of a missing object, which `git archive` would fetch."""
    try:
        yield
    except GitFailed as error:
        command = Command(
            ("config", "--get-regexp", r"^(extensions\.partialclone|remote\..*\.promisor)$"),
            f"read {source.name}",
            git_directory=source.path,
            good=frozenset({0, 1}),
        )
        if error.fault not in _MISSING or not await git.run(command):
            raise
        raise Reject(
            f"{source.name} is a partial clone that lacks objects of the commit, and nothing is "
            f"fetched into a directory ({error.reason})",
            remedy="fetch them (`git fetch --refetch --no-filter`), or name the URL",
        ) from error


def is_url(where: str) -> bool:
    """Return whether `where` is a URL. A path may have a colon, too, but then it exists."""
    if "://" in where:
        return True
    address = parse_address(where)
    by_ssh = address is not None and address.scheme == "ssh"
    return by_ssh and not Path(where).exists()


async def _find_origin(git: Git, repository: Path, remotes: Remotes) -> Remote | None:
    """Return the base of relative submodule URLs (git-submodule(1)): the remote, if there is one.

    Without one the base is the working tree itself.
    """
    arguments = ("config", "--get", "remote.origin.url")
    command = Command(
        arguments, f"read {repository}", git_directory=repository, good=frozenset({0, 1})
    )
    url = (await git.run(command)).decode("utf-8", "replace").removesuffix("\n")
    return remotes.remote_at(url) if url else None


async def _find_repository(git: Git, place: CommitPlace, remotes: Remotes | None) -> _CloneSource:
    """Find the common git directory: objects of a linked working tree are in the main one.

    With `remotes` also the base of relative submodule URLs, which nothing else needs.
    """
    where = place.where
    path = await to_thread.run_sync(lambda: Path(where).expanduser().resolve())
    arguments = ("-C", str(path), "rev-parse", "--path-format=absolute", "--git-common-dir")
    try:
        answer = await git.run(Command(arguments, f"open {where}"))
    except GitFailed as error:
        if error.fault not in {
            GitFault.CORRUPT,
            GitFault.OTHER,
        }:  # as git reports a directory that is not a repository
            raise
        raise Reject(
            f"{where} is not a git repository", remedy="name a repository, a working tree, or a URL"
        ) from error
    repository = Path(os.fsdecode(answer).removesuffix("\n"))
    remote = Remote(str(repository), where)
    if remotes is not None:
        origin = await _find_origin(git, repository, remotes)
        remote = origin or Remote(str(await _top(git, path) or repository), where)
    return _CloneSource(
        repository, where, place.revision, remote, Present(repository / "lfs", where)
    )


async def _top(git: Git, path: Path) -> Path | None:
    """Return the working tree that a directory is in; None if it is in none."""
    command = Command(
        ("-C", str(path), "rev-parse", "--show-toplevel"),
        f"open {path}",
        good=frozenset({0, 128}),
    )
    answer = await git.run(command)
    return Path(os.fsdecode(answer).removesuffix("\n")) if answer else None


async def _resolve(git: Git, source: _CloneSource, asked: str) -> str:
    name = f"{source.revision}^{{commit}}"
    arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", name)
    command = Command(arguments, f"find {asked} in {source.name}", git_directory=source.path)
    try:
        return (await git.run(command)).decode().strip()
    except GitFailed as error:
        if error.fault not in {GitFault.NO_REF, GitFault.OTHER}:
            raise
        raise Reject(
            f"{asked!a} names no commit in {source.name}",
            remedy="name a branch, a tag or a commit",
        ) from error


async def _fetch(git: Git, remote: Remote, revision: str, scratch: Path) -> _CloneSource:
    """Fetch by id or by name; a short name is looked up where git-fetch looks for it."""
    # Transport, which a directory that is read in place does not need.
    from asyncbuild.git.mirrors.renamed_repository import follow  # noqa: PLC0415
    from asyncbuild.git.mirrors.transport import FETCH, init_arguments  # noqa: PLC0415

    check_revision(revision)
    repository = scratch / "repository.git"
    init = init_arguments(repository, revision if is_commit(revision) else "")
    await git.run(Command(init, f"make a repository for {remote.name}"))

    async def fetch(extent: Sequence[str], there: Remote) -> None:
        arguments = [*FETCH, *extent, "--stdin", "--end-of-options", there.url]
        command = Command(
            arguments,
            f"fetch {revision} of {remote.name}",
            git_directory=repository,
            environment=await there.environment(),
            stdin=f"+{revision}:{_KEPT}\n".encode(),
            work=ProcessKind.FETCH,
        )
        await git.run(command)

    with _refusals_of(remote, revision):
        try:
            await follow(remote, partial(fetch, ["--depth=1"]))
        except GitFailed as error:
            if error.fault is not GitFault.NOT_SHALLOW:
                raise
            await follow(remote, partial(fetch, []))
    objects = Fetched(
        directory=repository / "lfs",
        lock=scratch / "lfs.lock",
        remote=lambda: remote,
        settings=git.settings,
        git=git,
        pauses_seconds=_PAUSES_SECONDS,
    )
    return _CloneSource(repository, remote.name, _KEPT, remote, objects)


@contextmanager
def _refusals_of(remote: Remote, revision: str) -> Iterator[None]:
    """Raise `Unreachable` or `Reject` if the server does not serve a revision."""
    try:
        yield
    except GitFailed as error:
        if error.fault in {GitFault.NO_REF, GitFault.NO_OBJECT}:
            raise Unreachable(f"{remote.name} has no {revision!a}") from error
        if error.fault is GitFault.NOT_BY_ID:
            raise Reject(
                f"{remote.name} serves no commit by its id unless it is the tip of a ref",
                remedy="name the branch, or clone it and name the directory",
            ) from error
        raise
