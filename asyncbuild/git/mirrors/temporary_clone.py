"""One commit of any repository, without the cache: what `asyncbuild archive` reads.

A directory is read where it is, bare or not; nothing is fetched, nothing in it is changed. From a
URL one commit is fetched into a temporary repository.
"""

import hashlib
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from anyio import to_thread

from asyncbuild.config.sections import GitSettings
from asyncbuild.domain.archive_options import WHOLE, ArchiveOptions, Submodules
from asyncbuild.domain.errors import Reject, Unreachable
from asyncbuild.domain.git_names import check_revision, is_commit
from asyncbuild.domain.repository import Repository
from asyncbuild.forges.addresses import Address, parse_address, split_scp
from asyncbuild.forges.git_remote import Remote, places_of
from asyncbuild.forges.remotes import Remotes
from asyncbuild.git.content.lfs.contents import Objects
from asyncbuild.git.content.lfs.store import Fetched, Present
from asyncbuild.git.content.submodules import open_whole
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.formats.lfs_answers import origin_of
from asyncbuild.git.mirrors.cache import open_mirrors
from asyncbuild.git.mirrors.pinned_address import pin
from asyncbuild.git.mirrors.renamed_repository import follow
from asyncbuild.git.mirrors.transport import FETCH, init_arguments
from asyncbuild.git.process.command import Command, Git, ProcessKind
from asyncbuild.git.process.memory import UNLIMITED
from asyncbuild.git.reader import Reader
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.runtime.scratch import open_scratch

_KEPT: Final = "refs/asyncbuild/asked"
_ROOT: Final = Repository.of_host("submodules", "of", "root")
_ODD: Final = re.compile(r"[^A-Za-z0-9_.-]")
_NAME_MOST: Final = 100
_MISSING: Final = frozenset(
    {GitFault.NO_OBJECT, GitFault.CORRUPT, GitFault.OTHER}
)  # how git tells of it
# Nobody tries a command again, so contents of LFS files are asked for as often as git-lfs does.
_PAUSES_SECONDS: Final = (1.0, 2.0, 4.0, 8.0)


class _CloneSource(NamedTuple):
    """A repository: for people and for submodules; what its commit is called there."""

    path: Path
    name: str  # without a login
    revision: str
    remote: Remote
    objects: Objects


@asynccontextmanager
async def open_commit(
    where: str,
    revision: str,
    *,
    settings: GitSettings,
    remotes: Remotes,
    options: ArchiveOptions = WHOLE,
    region: str | None = None,
) -> AsyncIterator[Snapshot]:
    """Open one commit.

    Args:
        where: Path of a repository or of its working tree, or a URL.
        revision: For a directory whatever git-rev-parse(1) takes, such as `HEAD~1`; for a URL the
            name of a branch or tag, full or short, or the id of a commit that the server serves.
        settings: `[git]`; the cache is not touched.
        remotes: Credentials for URLs.
        options: What of it is wanted in an archive.
        region: Of a CodeCommit URL whose host does not name it.

    Raises:
        Reject: there is no repository, or no such commit or subtree in it.
        Retry, Busy: see `Git.run`.
    """
    with open_scratch("asyncbuild-archive-") as scratch:
        changes: dict[str, object] = {"cache_directory": scratch / "cache"}
        if not settings.memory_budget_bytes:  # it is the user's machine, and one archive
            changes["memory_budget_bytes"] = UNLIMITED
        settings = settings.model_copy(update=changes)
        git = Git(settings)
        reader = Reader(git, scratch / "reader")
        await reader.prepare()
        if _is_url(where):
            remote = remotes.remote_at(where, region=region)
            source = await _fetch(git, remote, revision, scratch, settings)
        else:
            own = options.submodules is Submodules.INCLUDE
            source = await _find_repository(git, where, revision, remotes if own else None)
        commit = await _resolve(git, source, revision)
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
        neighbours = _Neighbours(remotes, source.remote)
        async with (
            _about_missing(git, source),
            open_mirrors(settings, neighbours, pauses_seconds=_PAUSES_SECONDS) as mirrors,
            open_whole(mirrors, _ROOT, await snapshot.select(options)) as whole,
        ):
            yield whole


@asynccontextmanager
async def _about_missing(git: Git, source: _CloneSource) -> AsyncIterator[None]:
    """Say of a partial clone that it is one: `git archive` would fetch what it lacks."""
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


def _is_url(where: str) -> bool:
    """A path may have a colon in it, too: what is there is no URL."""
    if "://" in where:
        return True
    address = parse_address(where)
    by_ssh = address is not None and address.scheme == "ssh"
    return by_ssh and not Path(where).exists()


class _Neighbours:
    """The repositories that submodules name, each fetched once, into a cache of this call alone.

    They may be anywhere, as for `git clone --recurse-submodules`, which the caller asked for:
    but a login goes only to the server that it is for, and nothing of this machine is read for a
    repository that came from another one.
    """

    def __init__(self, remotes: Remotes, root: Remote) -> None:
        self._remotes = remotes
        self._known = {_ROOT: root}

    def remote(self, repository: Repository) -> Remote:
        """See `Remotes`."""
        return self._known.get(repository) or self._remotes.remote(repository)

    def find(self, url: str, beside: Repository) -> Repository:
        """See `Remotes`."""
        parent = self.remote(beside)
        address = parse_address(url)
        if address is None or (address.scheme == "file" and not _is_local(parent.url)):
            return self._remotes.find(url, beside)  # of CodeCommit, or nothing at all
        remote = self._guarded(self._remotes.remote_at(url), address)
        if remote.login is None and _same_server(url, parent.url):
            remote = replace(remote, login=parent.login)
        name = _ODD.sub("-", address.path.rpartition("/")[2])[:_NAME_MOST]
        found = Repository.of_host(
            "submodules", hashlib.sha256(url.encode()).hexdigest()[:12], name
        )
        self._known[found] = remote
        return found

    def _guarded(self, remote: Remote, address: Address) -> Remote:
        """The remote, kept from private addresses unless the configuration or the root has it."""
        if address.scheme == "file" or self._remotes.knows(address):
            return remote
        reach = self._known[_ROOT].reach
        if reach.trusts(address.host, places_of(remote.url)[0][1] if "://" in remote.url else 443):
            return replace(remote, reach=reach)
        return replace(remote, reach=reach, pin=partial(pin, remote.url, reach))


def _is_local(url: str) -> bool:
    return split_scp(url) is None and urlsplit(url).scheme in {"", "file"}


def _same_server(url: str, other: str) -> bool:
    try:
        return origin_of(url) == origin_of(other)
    except ValueError:  # one is of SSH, or a path
        return False


async def _find_origin(git: Git, repository: Path, remotes: Remotes) -> Remote | None:
    """Return the remote that relative submodule URLs begin at (git-submodule(1)), if there is one.

    Otherwise that is the working tree itself.
    """
    arguments = ("config", "--get", "remote.origin.url")
    command = Command(
        arguments, f"read {repository}", git_directory=repository, good=frozenset({0, 1})
    )
    url = (await git.run(command)).decode("utf-8", "replace").removesuffix("\n")
    return remotes.remote_at(url) if url else None


async def _find_repository(
    git: Git, where: str, revision: str, remotes: Remotes | None
) -> _CloneSource:
    """The common git directory: the objects of a linked working tree are in the main one."""
    path = await to_thread.run_sync(lambda: Path(where).expanduser().resolve())
    arguments = ("-C", str(path), "rev-parse", "--path-format=absolute", "--git-common-dir")
    try:
        answer = await git.run(Command(arguments, f"open {where}"))
    except GitFailed as error:
        if error.fault not in {
            GitFault.CORRUPT,
            GitFault.OTHER,
        }:  # as what is no repository is called
            raise
        raise Reject(
            f"{where} is no git repository", remedy="name a repository, a working tree, or a URL"
        ) from error
    repository = Path(os.fsdecode(answer).removesuffix("\n"))
    remote = await _find_origin(git, repository, remotes) if remotes is not None else None
    if remote is None:
        remote = Remote(str(await _top(git, path) or repository), where)
    return _CloneSource(repository, where, revision, remote, Present(repository / "lfs", where))


async def _top(git: Git, path: Path) -> Path | None:
    """The working tree that a directory is in; None if it is in none."""
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


async def _fetch(
    git: Git, remote: Remote, revision: str, scratch: Path, settings: GitSettings
) -> _CloneSource:
    """Fetch by id or by name; a short name is looked for where git-fetch looks for it."""
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

    try:
        try:
            await follow(remote, partial(fetch, ["--depth=1"]))
        except GitFailed as error:
            if error.fault is not GitFault.NOT_SHALLOW:
                raise
            await follow(remote, partial(fetch, []))
    except GitFailed as error:
        if error.fault in {GitFault.NO_REF, GitFault.NO_OBJECT}:
            raise Unreachable(f"{remote.name} has no {revision!a}") from error
        if error.fault is GitFault.NOT_BY_ID:
            raise Reject(
                f"{remote.name} serves no commit by its id unless it is the tip of a ref",
                remedy="name the branch, or clone it and name the directory",
            ) from error
        raise
    objects = Fetched(
        directory=repository / "lfs",
        lock=scratch / "lfs.lock",
        remote=lambda: remote,
        settings=settings,
        git=git,
        pauses_seconds=_PAUSES_SECONDS,
    )
    return _CloneSource(repository, remote.name, _KEPT, remote, objects)
