"""Compression of short and long files by each library: microseconds and share of the size.

    python bench/deflate.py --repository /path/to.git

The files are those of `git archive HEAD`. Prints a table in Markdown: for each class of sizes and
each library the CPU time of one file and, behind it, how much of the contents is left. `chosen` is
what `asyncbuild.zip.format.deflate` does at level 1, and is deterministic, as zlib-ng and igzip 3
are.
"""

import argparse
import subprocess
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from isal import isal_zlib
from zlib_ng import zlib_ng

from asyncbuild.zip.format.deflate import LEAST_DEFLATED_BYTES, deflate
from asyncbuild.zip.format.tar_members import Run, iter_members
from asyncbuild.zip.format.tar_reader import TarReader

_CLASSES = (64, 256, 1024, 2048, 4096, 16_384, 65_536, 1024 * 1024)
_MOST_FILES = 4_000  # for each class
_ROUNDS = 3
_RAW = -15
LIBRARIES: dict[str, Callable[[bytes], bytes]] = {
    "zlib 1": lambda one: zlib.compress(one, 1, _RAW),
    "zlib-ng 1": lambda one: zlib_ng.compress(one, 1, _RAW),
    "igzip 0": lambda one: isal_zlib.compress(one, 0, _RAW),
    "igzip 1": lambda one: isal_zlib.compress(one, 1, _RAW),
    "igzip 3": lambda one: isal_zlib.compress(one, 3, _RAW),
    "chosen": lambda one: deflate(one, 1) if len(one) >= LEAST_DEFLATED_BYTES else one,
}


def read_files(repository: Path) -> list[bytes]:
    """Return contents of all files up to 1 MiB that are not empty."""
    command = ["git", "-C", str(repository), "archive", "--format=tar", "HEAD"]
    tar = subprocess.run(command, capture_output=True, check=True).stdout
    reader = TarReader(whole_bytes=_CLASSES[-1], block_bytes=_CLASSES[-1])
    runs = [piece for piece in reader.feed(tar) if isinstance(piece, Run)]
    return [bytes(content) for run in runs for _, _, _, content in iter_members(run) if content]


def measure(files: list[bytes], library: Callable[[bytes], bytes]) -> tuple[float, float]:
    """Return microseconds of CPU for each file, and the compressed share of its bytes."""
    best = float("inf")
    left = 0
    for _ in range(_ROUNDS):
        begun = time.thread_time()
        packed = [library(one) for one in files]
        best = min(best, time.thread_time() - begun)
        left = sum(min(len(a), len(b)) for a, b in zip(packed, files, strict=True))
    return best / len(files) * 1e6, left / sum(map(len, files))


def main() -> None:
    """Measure each library, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--repository", type=Path, required=True)
    files = read_files(parser.parse_args().repository)
    print(f"| bytes | files | {' | '.join(LIBRARIES)} |")
    print("| ---: | ---: |" + " ---: |" * len(LIBRARIES))
    least = 0
    for most in _CLASSES:
        some = [one for one in files if least <= len(one) < most]
        row = [f"{least:,}", f"{len(some):,}"]
        for library in LIBRARIES.values() if some else ():
            microseconds, left = measure(some[:_MOST_FILES], library)
            row.append(f"{microseconds:.1f} · {left:.2f}")
        print(f"| {' | '.join(row)} |")
        least = most


if __name__ == "__main__":
    main()
