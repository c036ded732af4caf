"""Repositories of the user that are cloned, and whose last commits are pushed again."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asyncbuild.domain.errors import NoPermission, Outage, Reject, StageError
from asyncbuild.local.expected_tree import LocalGitFailed, run_git
from asyncbuild.local.verify import Pushed
from asyncbuild.local.workload import PushedRepository, WaitBuilt

_NEEDS_LOGIN = re.compile(
    r"Authentication failed|could not read (Username|Password)|Permission denied|"
    r"Host key verification failed|returned error: 40[13]"
)
_UNREACHED = re.compile(
    r"Could not resolve host.*|Failed to connect.*|Couldn't connect.*|ssh: .*|unable to look up.*|"
    r"unable to connect.*|Connection (refused|timed out|reset).*|Network is unreachable|"
    r"SSL (connect|certificate).*|returned error: 5\d\d"
)


@dataclass(slots=True)
class Replay:
    """A clone of any repository, whose last commits are pushed again, oldest first."""

    remote: PushedRepository
    branch: str
    commits: Sequence[str]

    @property
    def words(self) -> Sequence[str]:
        """Return one word for each push: the name of the branch."""
        return [self.branch] * len(self.commits)

    @classmethod
    async def create(cls, directory: Path, source: str, *, pushes: int, name: str) -> "Replay":
        """Clone `source`, find its last first-parent commits, and delete all refs.

        A checkout whose HEAD is detached, as those of CI are, counts as a branch at the same
        commit, or as `main`.

        Args:
            directory: Directory of all repositories.
            source: Path or URL of the repository.
            pushes: Largest number of commits.
            name: Name of the clone.

        Raises:
            Reject: The repository does not exist, or has no commit.
            Outage: Its host cannot be reached.
            NoPermission: Its host requires a login.
        """
        remote = directory / "remotes" / name
        try:
            await run_git("clone", "--quiet", "--bare", "--", source, str(remote))
        except LocalGitFailed as error:
            raise _no_clone(source, error) from error
        try:
            log = ["rev-list", "--first-parent", f"--max-count={pushes}", "HEAD", "--"]
            commits = (await run_git(*log, directory=remote)).decode().split()
        except LocalGitFailed as error:
            reason = f"--repository {source}: its HEAD has no commit"
            raise Reject(reason, remedy="commit something, or name another repository") from error
        head = await _branch_of_head(remote)
        refs = await run_git("for-each-ref", "--format=delete %(refname)", directory=remote)
        await run_git("symbolic-ref", "HEAD", head, directory=remote)
        await run_git("update-ref", "--stdin", directory=remote, given=refs)
        return cls(PushedRepository(name, remote), head.removeprefix("refs/heads/"), commits[::-1])

    @property
    def length(self) -> int:
        """Number of pushes."""
        return len(self.commits)

    async def iter_pushes(self, _: WaitBuilt) -> AsyncIterator[Pushed]:
        """Move the branch one commit on, each time the next push is requested."""
        ref, old = f"refs/heads/{self.branch}", None
        for commit in self.commits:
            await run_git("update-ref", ref, commit, directory=self.remote.directory)
            yield self.remote.pushed(ref, commit, old)
            old = commit


async def _branch_of_head(remote: Path) -> str:
    """Return the full name of the branch of HEAD, or of one at the same commit."""
    try:
        return (await run_git("symbolic-ref", "HEAD", directory=remote)).decode().strip()
    except LocalGitFailed:
        at_head = ["for-each-ref", "--points-at=HEAD", "--format=%(refname)", "refs/heads"]
        names = (await run_git(*at_head, directory=remote)).decode().split()
        return names[0] if names else "refs/heads/main"


def _no_clone(source: str, error: LocalGitFailed) -> StageError:
    """Return the error for a failed clone, classified by the words of git, curl and ssh."""
    reason = f"--repository {source}: {error.reason}"
    if _NEEDS_LOGIN.search(error.said):
        remedy = "clone it by hand, where you can log in, and name the clone's directory"
        return NoPermission(reason, remedy=remedy)
    if found := _UNREACHED.search(error.said):
        reason = f"--repository {source} cannot be reached: {found[0]}"
        remedy = "see whether the address is right, and whether this machine may connect to it"
        return Outage(reason, remedy=remedy)
    return Reject(reason, remedy="name a git repository with at least one commit")


def names_of(sources: Sequence[str]) -> list[str]:
    """Return a repository name for each path or URL: its last part, numbered where it repeats."""
    names: list[str] = []
    for source in sources:
        last = re.split(r"[/:]", source.rstrip("/"))[-1].removesuffix(".git")
        name = re.sub(r"[^\w-]", "-", last, flags=re.ASCII).strip("-") or "repository"
        taken = sum(each == name or each.startswith(f"{name}-") for each in names)
        names.append(f"{name}-{taken + 1}" if name in names else name)
    return names
