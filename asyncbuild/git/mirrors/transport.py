"""Git calls that talk to a remote: clone, fetch, ls-remote. Callers decide what to ask for."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import anyio
from anyio import to_thread

from asyncbuild.domain.git_names import kept_ref, object_format
from asyncbuild.domain.refs import is_ref_name
from asyncbuild.forges.git_remote import Remote
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.mirrors.directory import keep_branch
from asyncbuild.git.mirrors.renamed_repository import follow
from asyncbuild.git.process.command import Command, Git, ProcessKind
from asyncbuild.git.process.memory import STREAMED, UNLIMITED

BRANCHES: Final = "refs/heads/"
# A mirror is a cache: files that a power failure tears are found corrupt, and fetched again.
_UNSYNCED: Final = ("-c", "core.fsync=none")
FETCH: Final = (
    *_UNSYNCED,
    *STREAMED,
    "fetch",
    "--progress",
    "--no-tags",
    "--no-write-fetch-head",
    "--no-auto-maintenance",
    "--no-recurse-submodules",
    "--no-show-forced-updates",
    "--update-shallow",
)
_CLONE: Final = (
    *_UNSYNCED,
    *STREAMED,
    "clone",
    "--progress",
    "--bare",
    "--template=",
    "--no-local",  # for a path, too: git copies no more than was asked for
    "--no-tags",
    "--single-branch",
)


@dataclass(frozen=True, slots=True)
class FetchTarget:
    """A repository that is written to, its remote, and the lock that git inherits."""

    directory: Path
    remote: Remote
    lock: int


class Transfers:
    """Runs git calls to remotes. All raise `StageError`s of `git/formats/error_classes.py`.

    Args:
        git: Runs git.
    """

    def __init__(self, git: Git) -> None:
        self._git = git
        self._only_whole: set[str] = set()  # URLs of servers that do not serve a depth

    async def init(self, target: FetchTarget, commit: str) -> None:
        """Make a repository for commits with ids of this one's format."""
        arguments = init_arguments(target.directory, commit)
        await self._git.run(Command(arguments, f"make a mirror of {target.remote.name}"))

    async def _at_depth(
        self, target: FetchTarget, depth: int, run: Callable[[FetchTarget, int], Awaitable[None]]
    ) -> None:
        """Run with the remote's current URL at a depth; without one if the server supports none.

        Static files over HTTP have none.
        """

        async def run_at(remote: Remote) -> None:
            there = replace(target, remote=remote)
            if depth and remote.url not in self._only_whole:
                try:
                    await run(there, depth)
                except GitFailed as error:
                    if error.fault is not GitFault.NOT_SHALLOW:
                        raise
                    self._only_whole.add(remote.url)
                else:
                    return
            await run(there, 0)

        await follow(target.remote, run_at)

    async def clone(self, target: FetchTarget, ref: str, depth: int) -> None:
        """Make a repository of a single branch in an empty directory; depth 0 is the whole history.

        At a first fetch at a depth over HTTP, `git fetch` checks connectivity twice: in its
        fetch-pack, which is another process, and again. `git clone` checks once.

        Args:
            target: The directory and its remote.
            ref: Full name of the branch.
            depth: Number of commits of history; 0 for all.
        """
        await self._at_depth(target, depth, partial(self._clone, ref))

    async def _clone(self, ref: str, target: FetchTarget, depth: int) -> None:
        doing = f"fetch {target.remote.name}"
        extent = [f"--depth={depth}"] if depth else []
        branch = f"--branch={ref.removeprefix(BRANCHES)}".encode()  # names are UTF-8 anywhere
        there = ("-C", str(target.directory.absolute()))
        where = ("--end-of-options", target.remote.url, ".")
        await self._git.run(
            Command(
                (*there, *_CLONE, *extent, branch, *where),
                doing,
                environment=await target.remote.environment(),
                descriptors=(target.lock,),
                work=ProcessKind.FETCH,
                memory_bytes=memory_of(target.remote),
                forge=target.remote.forge,
            )
        )
        if not await to_thread.run_sync(keep_branch, target.directory, ref, kept_ref(ref)):
            raise GitFailed(f"{doing}: git clone made no {ref}", fault=GitFault.NO_REF)

    async def fetch(self, target: FetchTarget, refspecs: Sequence[str], depth: int) -> None:
        """Fetch refspecs into a repository; they go through stdin, which has no limit of length.

        Args:
            target: The repository and its remote.
            refspecs: What to fetch, and under which names.
            depth: Number of commits of history; 0 for all.
        """
        await self._at_depth(target, depth, partial(self._fetch, refspecs))

    async def _fetch(self, refspecs: Sequence[str], target: FetchTarget, depth: int) -> None:
        shallow = await anyio.Path(target.directory / "shallow").exists()
        extent = [f"--depth={depth}"] if depth else ["--unshallow"] if shallow else []
        arguments = [*FETCH, *extent, "--stdin", "--end-of-options", target.remote.url]
        await self._git.run(
            Command(
                arguments,
                f"fetch {target.remote.name}",
                git_directory=target.directory,
                environment=await target.remote.environment(),
                stdin="".join(f"{each}\n" for each in refspecs).encode("utf-8", "surrogateescape"),
                descriptors=(target.lock,),
                work=ProcessKind.FETCH,
                memory_bytes=memory_of(target.remote),
                forge=target.remote.forge,
            )
        )

    async def read_ref(self, target: FetchTarget, ref: str) -> str:
        """Return the id of the object that a ref of the mirror points at; empty without the ref."""
        answer = await self._git.run(
            Command(
                ["for-each-ref", "--format=%(objectname)", "--end-of-options", ref],
                f"look into {target.remote.name}",
                git_directory=target.directory,
            )
        )
        return answer.decode().strip()

    async def find_ids(self, remote: Remote, ref: str) -> tuple[str, ...]:
        """Return the ids that a remote shows for a full ref name: its own, and what it peels to."""
        peeled = f"{ref}^{{}}"
        answer = await self._git.run(
            Command(
                ["ls-remote", "--end-of-options", remote.url, ref, peeled],
                f"look for {ref} of {remote.name}",
                environment=await remote.environment(),
                work=ProcessKind.FETCH,
                forge=remote.forge,
            )
        )
        lines = (line.partition(b"\t") for line in answer.splitlines())
        ids = {name: id_.decode() for id_, _, name in lines}
        return tuple(ids[name] for name in (ref.encode(), peeled.encode()) if name in ids)

    async def reach(self, remote: Remote, ref: str) -> None:
        """Ask a remote for a ref, to learn whether it answers and may be read."""
        await follow(remote, lambda there: self.find_ids(there, ref))

    async def list_refs(self, remote: Remote) -> set[str]:
        """Return full names, and `HEAD` if it leads to a commit.

        Names are bytes of any encoding, decoded with `surrogateescape`. Names that git itself would
        refuse are left out.
        """
        answer = await follow(remote, self._ls_remote)
        names = {
            line.partition(b"\t")[2].decode("utf-8", "surrogateescape")
            for line in answer.split(b"\n")
        }
        return {name for name in names if name == "HEAD" or is_ref_name(name)}  # no `v1^{}`

    async def _ls_remote(self, remote: Remote) -> bytes:
        arguments = ["ls-remote", "--end-of-options", remote.url]
        return await self._git.run(
            Command(
                arguments,
                f"list the refs of {remote.name}",
                environment=await remote.environment(),
                work=ProcessKind.FETCH,
                forge=remote.forge,
            )
        )


def memory_of(remote: Remote) -> int:
    """Return the memory limit of a git call; none for a repository on this machine.

    There the server is git's child, too, and would get its limit.
    """
    return UNLIMITED if urlsplit(remote.url).scheme in {"", "file"} else 0


def init_arguments(repository: Path, commit: str) -> tuple[str, ...]:
    """Return the arguments of `git init` for a bare repository for ids of this one's format."""
    return (
        *("init", "--quiet", "--bare", "--template="),
        *(f"--object-format={object_format(commit)}", str(repository)),
    )
