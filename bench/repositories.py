"""Repositories to measure with: made from a seed, equal everywhere, kept under .cache/bench."""

import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

CACHE = Path(__file__).parent.parent / ".cache" / "bench"
_MIB = 1024 * 1024
_SEED = 2024
Files = Iterator[tuple[str, bytes | Iterator[bytes], int]]  # path, contents, length


def _corpus(source: random.Random, nbytes: int) -> bytes:
    """Return text like source code: indented lines of recurring names."""
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    words = ["".join(source.choices(letters, k=source.randrange(2, 11))) for _ in range(4000)]
    weights = [1 / (rank + 5) for rank in range(len(words))]
    shapes = ["{} = {}({}, {})\n", "if {}.{} != {}:\n", "return {}\n", "# {} {} {} {} {}\n", "\n"]
    lines: list[str] = []
    length = 0
    while length < nbytes:
        names = source.choices(words, weights, k=40)
        for _ in range(8):
            shape = source.choice(shapes)
            line = "    " * source.randrange(4) + shape.format(*names[: shape.count("{}")])
            names = names[5:] + names[:5]
            lines.append(line)
            length += len(line)
    return "".join(lines).encode()


def _mono(count: int, nbytes: int) -> Files:
    """Yield many files: sources, generated code, and some binaries; sizes are log-normal."""
    source = random.Random(_SEED)  # noqa: S311 - the same everywhere, not secret
    code = _corpus(source, 8 * _MIB)
    noise = source.randbytes(4 * _MIB)
    sizes = [source.lognormvariate(0, 1.4) for _ in range(count)]
    scale = nbytes / sum(sizes)
    for number, share in enumerate(sizes):
        size = max(1, min(int(share * scale), 3 * _MIB))
        from_ = noise if number % 50 == 0 else code
        ending = "bin" if from_ is noise else ("pb.go" if number % 7 == 0 else "py")
        begin = source.randrange(len(from_) - size) if size < len(from_) else 0
        path = f"team{number % 17}/service{number % 211}/pkg{number % 1013}/file{number}.{ending}"
        content = b"# %d\n" % number + from_[begin : begin + size]
        yield path, content, len(content)


def _tiny(count: int) -> Files:
    source = random.Random(_SEED)  # noqa: S311 - the same everywhere, not secret
    code = _corpus(source, _MIB)
    for number in range(count):
        begin = source.randrange(len(code) - 400)
        content = b"%d\n" % number + code[begin : begin + source.randrange(20, 400)]
        yield f"d{number % 97}/e{number % 307}/f{number}.js", content, len(content)


def _huge(nbytes: int) -> Files:
    source = random.Random(_SEED)  # noqa: S311 - the same everywhere, not secret
    half = _corpus(source, _MIB)[:_MIB] + source.randbytes(_MIB)
    yield "huge.dat", (half for _ in range(nbytes // len(half))), nbytes // len(half) * len(half)


KINDS: dict[str, Callable[[float], Files]] = {
    "mono": lambda scale: _mono(int(100_000 * scale), int(1000 * _MIB * scale)),
    "tiny": lambda scale: _tiny(int(20_000 * scale)),
    "huge": lambda scale: _huge(int(4100 * _MIB * scale)),
}


def make(kind: str, scale: float) -> Path:
    """Make a bare repository with one commit on main, unless it exists."""
    path = CACHE / f"{kind}-{scale:g}.git"
    if path.exists():
        return path
    beside = path.with_suffix(".part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.parent.mkdir(parents=True, exist_ok=True)
    print(f"making {path} ...", flush=True)
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(beside)], check=True)
    # One pack without delta chains, like the newest versions in a well-packed repository.
    command = ["git", "-C", str(beside), "-c", "core.compression=1", "fast-import", "--quiet"]
    command.append("--depth=0")
    with subprocess.Popen(command, stdin=subprocess.PIPE) as importer:
        assert importer.stdin is not None
        _write_commit(importer.stdin, KINDS[kind](scale))
    if importer.returncode:
        raise SystemExit(f"git fast-import failed with {importer.returncode}")
    beside.rename(path)
    return path


def _write_commit(stream: IO[bytes], files: Files) -> None:
    stream.write(b"commit refs/heads/main\ncommitter B <b@example.com> 1700000000 +0000\ndata 0\n")
    for path, content, length in files:
        stream.write(b"M 100644 inline %s\ndata %d\n" % (path.encode(), length))
        for piece in [content] if isinstance(content, bytes) else content:
            stream.write(piece)
        stream.write(b"\n")
