"""Repositories with large mirrors and small archives, pushed to one commit after the other.

Most of a repository is noise that no compression shrinks, and that `export-ignore` keeps out of
archives: so a thousand pushes cost clones and bytes, and no zip of the noise. All commits are made
beforehand; a push moves its branch only when it is made, as a push does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from asyncbuild.local.content import module
from asyncbuild.local.expected_tree import run_git
from asyncbuild.local.verify import Pushed
from asyncbuild.local.workload import PushedRepository

MB: Final = 1_000_000
_EPOCH: Final = 1_790_000_000
_BRANCHES: Final = ("main", "main", "main", "feature/a", "fix/b")
_BLOB_BYTES: Final = 4 * MB
_FILES: Final = 30


@dataclass(frozen=True, slots=True)
class Load:
    """Amounts of repositories and pushes.

    Attributes:
        repositories: Number of repositories.
        large: How many of them are large.
        large_bytes: Noise in each of these.
        small_bytes: Noise in each of the others.
        pushes: Pushes to all of them together, so many to each.
        pushes_per_second: How fast they come.
        seed: The same seed gives the same commits and the same order.
    """

    repositories: int = 60
    large: int = 20
    large_bytes: int = 51 * MB
    small_bytes: int = 9 * MB
    pushes: int = 1_000
    pushes_per_second: float = 2.0
    seed: int = 1

    @property
    def names(self) -> list[str]:
        """Names of the repositories."""
        return [f"repository-{number:03d}" for number in range(self.repositories)]


@dataclass(slots=True)
class WarmRemote:
    """A bare repository, and the commits that are pushed to it, in order."""

    repository: PushedRepository
    commits: Sequence[tuple[str, str]] = ()  # branch and commit
    _place: int = 0
    _tips: dict[str, str] = field(default_factory=dict)

    def reset(self) -> None:
        """Delete all branches: nothing was pushed."""
        for path in (self.repository.directory / "refs" / "heads").rglob("*"):
            if path.is_file():
                path.unlink()
        self._place, self._tips = 0, {}

    def push(self) -> Pushed:
        """Move the branch of the next commit to it."""
        branch, commit = self.commits[self._place]
        ref = f"refs/heads/{branch}"
        path = self.repository.directory / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.parent / f"{path.name}.lock"  # git's own name: no git takes it for a ref
        beside.write_text(f"{commit}\n", "ascii")
        beside.replace(path)
        old, self._tips[branch] = self._tips.get(branch), commit
        self._place += 1
        return self.repository.pushed(ref, commit, old)


@dataclass(frozen=True, slots=True)
class WarmRemotes:
    """Repositories of a load."""

    load: Load
    remotes: Sequence[WarmRemote]

    @classmethod
    async def create(cls, directory: Path, load: Load) -> "WarmRemotes":
        """Make them below a directory, with all commits and without branches."""
        made = []
        for number, name in enumerate(load.names):
            count = load.pushes // load.repositories + (number < load.pushes % load.repositories)
            nbytes = load.large_bytes if number < load.large else load.small_bytes
            random = Random(f"{load.seed}/{name}")  # noqa: S311 - repeatable, not secret
            remote = WarmRemote(PushedRepository(name, directory / name))
            await _make(remote, count, nbytes, random)
            made.append(remote)
        return cls(load, made)

    def reset(self) -> None:
        """Delete all branches."""
        for each in self.remotes:
            each.reset()

    def iter_pushes(self) -> Iterator[Pushed]:
        """Push, each time the next push is asked for: to all repositories, in random order."""
        order = [each for each in self.remotes for _ in each.commits]
        Random(f"{self.load.seed}/order").shuffle(order)  # noqa: S311 - repeatable, not secret
        for each in order:
            yield each.push()


async def _make(remote: WarmRemote, count: int, nbytes: int, random: Random) -> None:
    directory = remote.repository.directory
    await run_git("init", "--quiet", "--bare", "--initial-branch=main", str(directory))
    branches = ["main", *(random.choice(_BRANCHES) for _ in range(count - 1))][:count]
    marks = directory.with_suffix(".marks")
    command = ("-c", "core.compression=0", "fast-import", "--quiet", f"--export-marks={marks}")
    stream = b"".join([*_iter_stream(branches, nbytes, random), b"done\n"])
    await run_git(*command, directory=directory, given=stream)
    lines = (line.split() for line in marks.read_text("ascii").splitlines())
    commits = {int(mark[1:]): commit for mark, commit in lines}
    remote.commits = [(branch, commits[n]) for n, branch in enumerate(branches, 1)]
    remote.reset()


def _iter_stream(branches: Sequence[str], nbytes: int, random: Random) -> Iterator[bytes]:
    """Yield one commit for each branch named, for git-fast-import."""
    known = set[str]()
    for n, branch in enumerate(branches, 1):
        yield (
            b"commit refs/heads/%s\nmark :%d\ncommitter C <c@example.com> %d +0000\ndata 2\nx\n"
            % (branch.encode(), n, _EPOCH + n)
        )
        if n > 1 and branch not in known:
            yield b"from refs/heads/main\n"
        known.add(branch)
        if n == 1:
            yield _file(".gitattributes", b"*.bin export-ignore\n")
            for number, begin in enumerate(range(0, nbytes, _BLOB_BYTES)):
                size = min(_BLOB_BYTES, nbytes - begin)
                yield _file(f"noise/{number}.bin", random.randbytes(size))
        for number in range(_FILES) if n == 1 else random.sample(range(_FILES), 2):
            yield _file(f"src/{number % 5}/module_{number}.py", module(random).encode())


def _file(path: str, content: bytes) -> bytes:
    return b"M 644 inline %s\ndata %d\n%s\n" % (path.encode(), len(content), content)
