"""Search for bytes on which a reader of foreign input fails.

    python -m support.fuzz SECONDS [CORES]

Guided by coverage where atheris (libFuzzer) is installed; else pieces of the corpus are changed at
random. What was found lies in `.fuzz/READER/`. The last line is one JSON object. Exit code 1: a
reader failed.
"""

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

FOUND: Final = Path(".fuzz")
_CORPUS: Final = Path(__file__).parents[1] / "fixtures" / "foreign"
_LONGEST: Final = 8_192  # bytes of one input: Python reads no number of more than 4,300 digits
_EXECUTED: Final = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_COVERED: Final = re.compile(r"cov: (\d+)")
_GRACE_SECONDS: Final = 600  # for imports, instrumentation and the last input


@dataclass(frozen=True, slots=True)
class Result:
    """Executions and crashes of one reader; `coverage` counts libFuzzer's edges, 0 without it."""

    executions: int
    crashes: int
    coverage: int


def main(seconds: float, cores: int) -> int:
    """Try every reader for its share of the time, and print the findings."""
    names = sorted(each.name for each in _CORPUS.iterdir())
    share = max(1, int(seconds * cores / len(names)))
    begun = time.monotonic()
    with ThreadPoolExecutor(cores) as pool:
        results = dict(zip(names, pool.map(lambda name: _run(name, share), names), strict=True))
    for name, result in results.items():
        print(f"{name:<14} {result.executions:>10} executions, coverage {result.coverage}")  # noqa: T201 - its output
    crashes = sum(each.crashes for each in results.values())
    document: dict[str, Any] = {
        "executions": sum(each.executions for each in results.values()),
        "crashes": crashes,
        "coverage": sum(each.coverage for each in results.values()),
        "guided": _is_guided(),
        "seconds": round(time.monotonic() - begun, 1),
        "cores": cores,
        "readers": {name: asdict(result) for name, result in results.items()},
    }
    print(json.dumps(document))  # noqa: T201 - its output
    return int(crashes > 0)


def _is_guided() -> bool:
    return find_spec("atheris") is not None


def _run(name: str, seconds: int) -> Result:
    """Run a reader in a process of its own: libFuzzer ends with its process."""
    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "support.fuzz", "--reader", name, str(seconds)]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=seconds + _GRACE_SECONDS, check=False
        )
        code, said = done.returncode, done.stderr.decode("utf-8", "replace")
    except subprocess.TimeoutExpired as error:
        code, said = 1, (error.stderr or b"").decode("utf-8", "replace")
    if code:
        print(f"{name}: exit code {code}\n{said[-4_000:]}")  # noqa: T201 - its output
    executed, covered = _EXECUTED.findall(said), _COVERED.findall(said)
    return Result(
        int(executed[-1]) if executed else 0, int(code != 0), int(covered[-1]) if covered else 0
    )


def try_reader(name: str, seconds: int) -> None:
    """Try one reader in this process, which ends."""
    if not _is_guided():
        _try_at_random(name, seconds)
        return
    atheris: Any = import_module("atheris")

    with atheris.instrument_imports(include=["asyncbuild"]):
        from support.readers import READERS  # noqa: PLC0415 - instrumented

    found = FOUND / name
    options = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-max_len={_LONGEST}",
        "-timeout=20",
        "-rss_limit_mb=1024",
        "-print_final_stats=1",
        f"-artifact_prefix={found}/",
        str(found),
        str(_CORPUS / name),
    ]
    atheris.Setup(options, READERS[name])
    atheris.Fuzz()


def _try_at_random(name: str, seconds: int) -> None:
    from support.readers import READERS  # noqa: PLC0415 - as above

    seeds = [each.read_bytes() for each in sorted((_CORPUS / name).iterdir())]
    end, count = time.monotonic() + seconds, 0
    for data in _iter_changed(seeds, random.Random(os.getpid())):  # noqa: S311 - no secret
        if time.monotonic() > end:
            break
        count += 1
        try:
            READERS[name](data)
        except BaseException:
            (FOUND / name / f"crash-{count}").write_bytes(data)
            raise
    sys.stderr.write(f"stat::number_of_executed_units: {count}\n")


def _iter_changed(seeds: list[bytes], chance: random.Random) -> Iterator[bytes]:
    while True:
        data = chance.choice(seeds)[:_LONGEST]
        for _ in range(chance.randint(0, 6)):
            begin = chance.randint(0, len(data))
            end = min(len(data), begin + chance.randint(0, 30))
            other = chance.choice(seeds)
            at = chance.randint(0, len(other))
            piece = chance.choice(
                [
                    *(b"", chance.randbytes(4), data[begin:end] * 2, other[at : at + 30]),
                    *(b"[" * 1_100, b"9" * 5_000),
                ]
            )
            data = data[:begin] + piece + data[end:]
        yield data


if __name__ == "__main__":
    if sys.argv[1] == "--reader":
        try_reader(sys.argv[2], int(sys.argv[3]))
    else:
        cores = int(sys.argv[2]) if len(sys.argv) > 2 else os.cpu_count() or 1
        sys.exit(main(float(sys.argv[1]), cores))
