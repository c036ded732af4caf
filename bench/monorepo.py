"""A monorepo to measure with: a hundred thousand source files, and realistic commits.

Text is cut out of the sources of the Python that runs this, so that it packs as source does. The
same seed gives the same repository on the same Python.
"""

import argparse
import random
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

EPOCH = 1_700_000_000
_LANGUAGES = ("py", "ts", "go", "java", "md", "json", "yaml", "css")
_MOST_BYTES = 400_000


class Monorepo:
    """Writes a bare repository by `git fast-import`."""

    def __init__(self, *, files: int, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._text = _sources()
        self._paths = [self._path(number) for number in range(files)]
        self._next = files
        # Few directories see most of the work, and in them few files.
        self._hot = self._chance.sample(range(files), max(1, files // 50))

    def stream(
        self, commits: int, *, sizes: tuple[int, ...] = (), scattered: bool = True
    ) -> Iterator[bytes]:
        """Yield one commit with everything, then `commits` changes; or changes of these `sizes`."""
        yield _commit(0, "everything")
        for path in self._paths:
            yield self._file(path)
        yield self._file(".gitattributes", b"* text=auto\n*.png -text\n")
        for number, size in enumerate(sizes or (self._size() for _ in range(commits)), 1):
            yield _commit(number, f"change of {size} files")
            yield from self._change(size, scattered=scattered)

    def _change(self, size: int, *, scattered: bool) -> Iterator[bytes]:
        """Yield the changes of a commit: mostly edits in busy places.

        A few new and deleted files.
        """
        chance = self._chance
        around = chance.choice(self._hot)
        for _ in range(size):
            kind = chance.random()
            if kind < 0.06:
                self._next += 1
                self._paths.append(self._path(self._next))
                yield self._file(self._paths[-1])
            elif kind < 0.09 and len(self._paths) > size:
                yield f"D {self._paths.pop(chance.randrange(len(self._paths)))}\n".encode()
            elif scattered and chance.random() < 0.15:
                yield self._file(chance.choice(self._paths))
            else:
                near = around + round(chance.gauss(0, 1) * (30 + size))
                yield self._file(self._paths[near % len(self._paths)])

    def _size(self) -> int:
        """Return the number of files of a commit: half of them up to three, some hundreds."""
        return min(500, max(1, round(self._chance.lognormvariate(1.2, 1.1))))

    def _path(self, number: int) -> str:
        area, package = number // 4_000, number // 80
        language = _LANGUAGES[package % len(_LANGUAGES)]
        kind = ("src", "test", "internal")[number % 3]
        return f"area{area:02}/package{package:05}/{kind}/module_{number:06}.{language}"

    def _file(self, path: str, content: bytes | None = None) -> bytes:
        content = self._content() if content is None else content
        return f"M 100644 inline {path}\ndata {len(content)}\n".encode() + content + b"\n"

    def _content(self) -> bytes:
        """Return paragraphs of several files, one after the other."""
        wanted = min(_MOST_BYTES, int(self._chance.lognormvariate(8.2, 1.1)))
        pieces = []
        while wanted > 0:
            begin = self._chance.randrange(len(self._text))
            piece = self._text[begin : begin + min(wanted, self._chance.randrange(500, 6_000))]
            pieces.append(piece)
            wanted -= len(piece) or 1
        return b"".join(pieces) + b"# %d\n" % self._chance.getrandbits(64)


def make(
    directory: Path,
    *,
    files: int,
    commits: int,
    seed: int,
    sizes: tuple[int, ...] = (),
    scattered: bool = True,
) -> None:
    """Make the repository, unless it exists."""
    if directory.exists():
        return
    partial = directory.with_suffix(".part")
    subprocess.run(
        ["git", "init", "--quiet", "--bare", "--initial-branch=main", partial], check=True
    )
    with subprocess.Popen(
        ["git", "--git-dir", partial, "fast-import", "--quiet", "--depth=0"], stdin=subprocess.PIPE
    ) as process:
        if process.stdin is None:
            raise AssertionError
        stream = Monorepo(files=files, seed=seed).stream(commits, sizes=sizes, scattered=scattered)
        for piece in stream:
            process.stdin.write(piece)
        process.stdin.close()
        if process.wait():
            raise SystemExit("git fast-import failed")
    partial.rename(directory)


def _commit(number: int, message: str) -> bytes:
    return (
        f"commit refs/heads/main\ncommitter A <a@example.com> {EPOCH + 60 * number} +0000\n"
        f"data {len(message)}\n{message}\n"
    ).encode()


def _sources() -> bytes:
    library = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(path for path in library.rglob("*.py") if "site-packages" not in path.parts)
    return b"".join(path.read_bytes() for path in files)


def main() -> None:
    """Make a repository, for use by hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--files", type=int, default=104_000)
    parser.add_argument("--commits", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    make(options.directory, files=options.files, commits=options.commits, seed=options.seed)


if __name__ == "__main__":
    main()
