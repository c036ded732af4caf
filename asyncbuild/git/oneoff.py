"""One commit of any repository, without the cache: what `asyncbuild archive` reads.

A directory is read where it is, bare or not; nothing is fetched, nothing in it is changed. From a
URL one commit is fetched into a temporary repository.
"""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import to_thread

from asyncbuild.config import GitSettings
from asyncbuild.errors import Reject, Unreachable
from asyncbuild.git.faults import Fault, GitFailed
from asyncbuild.git.fetch import FETCH, init_arguments
from asyncbuild.git.names import check_revision, is_commit
from asyncbuild.git.process import Command, Git, Work
from asyncbuild.git.reader import Reader
from asyncbuild.git.remotes import Remote, Remotes
from asyncbuild.git.snapshot import Snapshot

_KEPT = "refs/asyncbuild/asked"


@asynccontextmanager
async def open_commit(
    where: str,
    revision: str,
    *,
    settings: GitSettings,
    remotes: Remotes,
    region: str | None = None,
) -> AsyncIterator[Snapshot]:
    """Open one commit.

    Args:
        where: Path of a repository or of its working tree, or a URL.
        revision: For a directory whatever git-rev-parse(1) takes, such as `HEAD~1`; for a URL the
            name of a branch or tag, full or short, or the id of a commit that the server serves.
        settings: `[git]`; the cache is not touched.
        remotes: Credentials for URLs.
        region: Of a CodeCommit URL whose host does not name it.

    Raises:
        Reject: there is no repository, or no such commit in it.
        Retry, Busy: see `Git.run`.
    """
    git = Git(settings)
    with tempfile.TemporaryDirectory(prefix="asyncbuild-") as scratch:
        reader = Reader(git, Path(scratch) / "reader")
        await reader.prepare()
        if "://" in where:
            check_revision(revision)
            repository = Path(scratch) / "repository.git"
            await _fetch(git, remotes.remote_of_url(where, region=region), revision, repository)
            revision = _KEPT
        else:
            repository = await _find_repository(git, where)
        commit = await _resolve(git, repository, revision, where)
        found = (await reader.find(repository, [commit], f"read {where}"))[commit]
        yield Snapshot(
            path=repository,
            commit=found.id,
            commit_time=found.time,
            tree=found.tree,
            name=where,
            reader=reader,
        )


async def _find_repository(git: Git, where: str) -> Path:
    """The common git directory: the objects of a linked working tree are in the main one."""
    path = await to_thread.run_sync(lambda: Path(where).expanduser().resolve())
    arguments = ("-C", str(path), "rev-parse", "--path-format=absolute", "--git-common-dir")
    try:
        answer = await git.run(Command(arguments, f"open {where}"))
    except GitFailed as error:
        raise Reject(
            f"{where} is no git repository", remedy="name a repository, a working tree, or a URL"
        ) from error
    return Path(answer.decode().removesuffix("\n"))


async def _resolve(git: Git, repository: Path, revision: str, where: str) -> str:
    arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    command = Command(arguments, f"find {revision} in {where}", git_directory=repository)
    try:
        return (await git.run(command)).decode().strip()
    except GitFailed as error:
        raise Reject(
            f"{revision!a} names no commit in {where}", remedy="name a branch, a tag or a commit"
        ) from error


async def _fetch(git: Git, remote: Remote, revision: str, repository: Path) -> None:
    """Fetch by id or by name; a short name is looked for where git-fetch looks for it."""
    init = init_arguments(repository, revision if is_commit(revision) else "")
    await git.run(Command(init, f"make a repository for {remote.name}"))
    arguments = [*FETCH, "--depth=1", "--stdin", "--end-of-options", remote.url]
    command = Command(
        arguments,
        f"fetch {revision} of {remote.name}",
        git_directory=repository,
        environment=await remote.environment(),
        stdin=f"+{revision}:{_KEPT}\n".encode(),
        work=Work.FETCH,
    )
    try:
        await git.run(command)
    except GitFailed as error:
        if error.fault in {Fault.NO_REF, Fault.NO_OBJECT}:
            raise Unreachable(f"{remote.name} has no {revision!a}") from error
        if error.fault is Fault.NOT_BY_ID:
            raise Reject(
                f"{remote.name} serves no commit by its id unless it is the tip of a ref",
                remedy="name the branch, or clone it and name the directory",
            ) from error
        raise
