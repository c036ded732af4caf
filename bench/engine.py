"""Time from a commit to its archive, compared with every other way.

    make bench                                       about ten minutes on two quiet cores
    make bench REPOSITORIES="/path/to.git /other"    and these, too
    python bench/engine.py --scale 0.01 --runs 1     a minute, to see that it works
    python bench/engine.py --kinds "" --repository /path/to.git --only floor,ours-null,git-zip-1

Calls by hand need PYTHONPATH=tests. Within a run of one repository the ways alternate. The table
has medians, also of the ratios to the same run's floor: `git archive --format=tar`, into nothing.
Where a repository is long, slow ways run once, unless `--every` is given. Tables and a plot go to
bench/results.

`ours-*` is the engine in a process that runs already and knows the attributes of the commit before
this one, as the service does. `command-*` is `asyncbuild archive` from the start of the interpreter
to its end; to S3 with all that the service does for a push: blob ids, kept directory. Peak memory
is that of the largest process; of `ours-*` and the two libraries it is their own, without git's
mapped pack.
The S3 server runs on the same cores; its CPU seconds stand in a column of their own. Before a way
the machine is let come to rest, for a few seconds at most (`--wait`); `cores` says how many fast
ones it had then, and what the way reads, a mirror or a tar, is read once to be in memory
(`quiet.py`).
`*-from-tar` compares the engine alone with the libraries: all are fed with one tar, made before.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import plot
import ratios
import repositories
from anyio.from_thread import start_blocking_portal
from local_server import open_server
from quiet import Cores, open_cores, read_through, settle
from support.seaweedfs import open_seaweedfs

from asyncbuild.local.servers.children import ACCESS_KEY, SECRET_KEY

_HERE = Path(__file__).parent
_BUCKET = "bench"


# A process inherits the peak of the one that forked it, so a small one is started in between.
_MEASURE = """
import json, os, sys, time
reading, writing = os.pipe()
begun = time.perf_counter()
argv = ["bash", "-o", "pipefail", "-c", sys.argv[1]]
child = os.posix_spawnp("bash", argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)])
os.close(writing)
said = open(reading).read()
_, status, usage = os.wait4(child, 0)
print(json.dumps({"said": said.strip(), "wall": time.perf_counter() - begun,
    "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss * 1024}))
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True)
class Way:
    """A shell command; commands in Python time themselves, without the interpreter's start."""

    name: str
    command: str
    slow: bool = False  # runs once, where a repository is large
    needs: str = ""  # a program
    library: str = ""  # the measured library


@dataclass(frozen=True)
class Sample:
    """Figures of one run."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    archive_bytes: int
    server_seconds: float  # of CPU, that the S3 server took meanwhile
    cores: float = 0.0  # fast cores when it began


_PYTHON = f"{sys.executable} {_HERE / 'ways.py'}"
_GIT = 'git -C "$REPOSITORY" archive'
_AWS = f'aws --endpoint-url "$BENCH_ENDPOINT" s3 cp --only-show-errors - s3://{_BUCKET}'
_COMMAND = f'{Path(sys.executable).parent / "asyncbuild"} archive "$REPOSITORY" HEAD -o'
_OLD_SCRIPT = (
    'cd "$SCRATCH" && git clone -q --depth 10 "file://$REPOSITORY" tree && cd tree '
    f"&& rm -rf .git && zip -q -r ../archive.zip . && cat ../archive.zip | {_AWS}/old.zip"
)
WAYS = [
    Way("floor", f"{_GIT} --format=tar HEAD >/dev/null"),
    Way("ours-null", f'{_PYTHON} ours "$REPOSITORY" null'),
    Way("ours-file", f'{_PYTHON} ours "$REPOSITORY" "$SCRATCH/ours.zip"'),
    Way("ours-s3", f'{_PYTHON} ours "$REPOSITORY" s3://{_BUCKET}/ours.zip'),
    Way("ours-s3-8-at-once", f'{_PYTHON} ours-at-once "$REPOSITORY" s3://{_BUCKET}/m', slow=True),
    Way("command-null", f"{_COMMAND} /dev/null"),
    Way("command-s3", f"{_COMMAND} s3://{_BUCKET}/command.zip"),
    Way("git-zip-1", f'{_GIT} --format=zip -1 HEAD | wc -c >"$SCRATCH/bytes"'),
    Way("git-zip-6", f'{_GIT} --format=zip -6 HEAD | wc -c >"$SCRATCH/bytes"', slow=True),
    Way("git-zip-6-s3", f"{_GIT} --format=zip -6 HEAD | {_AWS}/git.zip", slow=True, needs="aws"),
    Way("old-script-s3", _OLD_SCRIPT, slow=True, needs="aws"),
    Way("ours-from-tar", f'{_PYTHON} ours "$TAR" null'),
    Way(
        "stream-zip-from-tar", f'{_PYTHON} stream-zip "$TAR" null', slow=True, library="stream-zip"
    ),
    Way(
        "zipstream-ng-from-tar",
        f'{_PYTHON} zipstream-ng "$TAR" null',
        slow=True,
        library="zipstream-ng",
    ),
]
_HUGE_WAYS = {"floor", "ours-null", "command-s3"}  # the others take minutes each
_LONG_SECONDS = 2  # of the floor; where it takes so long, these run once, too
_ONCE_IF_LONG = {"ours-file", "command-null", "command-s3", "git-zip-1"}


def run_once(way: Way, repository: Path, environment: dict[str, str]) -> Sample:
    """Run a way in a scratch directory of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        server = environment.get("BENCH_SERVER")
        before = _cpu_seconds_of(server)
        places = {"REPOSITORY": str(repository.resolve()), "SCRATCH": scratch}
        done = subprocess.run(
            [sys.executable, "-S", "-E", "-c", _MEASURE, way.command],
            env=environment | places,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{way.name} failed: {way.command}\n{done.stderr[-2000:]}")
        said = json.loads(done.stdout)
        own = json.loads(said["said"] or "{}")
        return Sample(
            wall_seconds=own.get("wall", said["wall"]),
            cpu_seconds=own.get("cpu", said["cpu"]),
            peak_bytes=own.get("peak", said["peak"]),
            archive_bytes=own.get("bytes") or _archive_bytes(Path(scratch)),
            server_seconds=_cpu_seconds_of(server) - before,
        )


def _cpu_seconds_of(pid: str | None) -> float:
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = fields[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _archive_bytes(scratch: Path) -> int:
    if (scratch / "bytes").exists():
        return int((scratch / "bytes").read_text())
    if (scratch / "archive.zip").exists():
        return (scratch / "archive.zip").stat().st_size
    return 0


def measure(
    repository: Path,
    ways: list[Way],
    runs: int,
    environment: dict[str, str],
    ready: Callable[[Way], float],
    *,
    every: bool,
) -> dict[str, list[Sample]]:
    """Run all ways in turn, once for each run; long ones only in the last.

    With `every`, none is left out of a run. Each begins when `ready` returns, which says how many
    fast cores there are.
    """
    samples: dict[str, list[Sample]] = defaultdict(list)
    is_long = False
    for number in range(runs):
        for way in ways:
            once = way.slow or way.name in _ONCE_IF_LONG
            if once and is_long and not every and number < runs - 1:
                continue
            fast = ready(way)
            sample = replace(run_once(way, repository, environment), cores=fast)
            samples[way.name].append(sample)
            is_long = is_long or (way.name == "floor" and sample.wall_seconds > _LONG_SECONDS)
            took = f"{sample.wall_seconds:8.2f} s on {sample.cores:.2f} cores"
            print(f"  {number + 1}/{runs} {way.name:21} {took}", flush=True)
    return dict(samples)


def as_table(title: str, samples: dict[str, list[Sample]]) -> str:
    """Return medians as a table in Markdown."""
    lines = [
        f"### {title}",
        "",
        "| way | runs | wall s | of floor | CPU s | S3's CPU s | peak MiB | archive MB | cores |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    floors = next(iter(samples.values()))
    for name, each in samples.items():
        wall = statistics.median(one.wall_seconds for one in each)
        cpu = statistics.median(one.cpu_seconds for one in each)
        peak = max(one.peak_bytes for one in each) / 2**20
        size = each[0].archive_bytes / 1e6
        pairs = zip(each, floors, strict=False)  # of the same run: a machine has its slow minutes
        ratio = statistics.median(one.wall_seconds / floor.wall_seconds for one, floor in pairs)
        server = statistics.median(one.server_seconds for one in each)
        sent = f"{server:.2f}" if "-s3" in name else ""
        row = f"| {name} | {len(each)} | {wall:.2f} | {ratio:.2f} | {cpu:.2f} | {sent} |"
        fast = statistics.median(one.cores for one in each)
        lines.append(f"{row} {peak:.0f} | {f'{size:.1f}' if size else ''} | {fast:.2f} |")
    return "\n".join(lines) + "\n"


def about_the_machine() -> str:
    """Return processor, system and versions."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout
    packages = [
        f"{name} {_version(name)}" for name in ("isal", "zlib-ng", "stream-zip", "zipstream-ng")
    ]
    parts = [f"{len(os.sched_getaffinity(0))} x {models[0] if models else platform.machine()}"]
    parts += [f"Linux {platform.release()}", f"Python {platform.python_version()}", git.strip()]
    return ", ".join([*parts, *packages])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _choose(only: str) -> list[Way]:
    wanted = only.split(",") if only else [way.name for way in WAYS]
    unknown = set(wanted) - {way.name for way in WAYS}
    if unknown:
        raise SystemExit(f"no such way: {', '.join(sorted(unknown))}")
    chosen = []
    for way in WAYS:
        missing = way.needs and not shutil.which(way.needs)
        missing = missing or (way.library and _version(way.library) == "missing")
        if way.name in wanted and missing:
            print(f"left out: {way.name}, since {way.needs or way.library} is missing")
        elif way.name in wanted:
            chosen.append(way)
    return chosen


def _name_of(repository: Path) -> str:
    path = repository.resolve()
    return path.parent.name if path.name in {"repo", ".git"} else path.name.removesuffix(".git")


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repository", type=Path, action="append", default=[])
    parser.add_argument("--kinds", default="mono,tiny,huge", help="generated repositories")
    parser.add_argument("--scale", type=float, default=1.0, help="of the generated repositories")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--every", action="store_true", help="slow ways in every run, too")
    parser.add_argument("--only", default="", help="ways, separated by commas")
    parser.add_argument(
        "--wait", type=float, default=5, help="s at most, for fast cores, each time"
    )
    parser.add_argument("--output", type=Path, default=_HERE / "results")
    parser.add_argument(
        "--light-s3", action="store_true", help="memory_s3.py, which hardly needs a core"
    )
    arguments = parser.parse_args()
    ways = _choose(arguments.only)
    kinds = [kind for kind in arguments.kinds.split(",") if kind]
    sources = {kind: repositories.make(kind, arguments.scale) for kind in kinds}
    sources |= {_name_of(path): path for path in arguments.repository}
    environment = dict(os.environ)
    tables, charts = [about_the_machine() + "\n"], {}
    with ExitStack() as stack:
        if any("BENCH_ENDPOINT" in way.command or "s3://" in way.command for way in ways):
            environment |= _open_s3(stack, light=arguments.light_s3)
        settle(lambda: _cpu_seconds_of(environment.get("BENCH_SERVER")))
        cores = stack.enter_context(open_cores())

        for name, path in sources.items():
            print(f"{name}: {path}", flush=True)
            fitting = [way for way in ways if name != "huge" or way.name in _HUGE_WAYS]
            with _made_tar(path, fitting) as tar:
                places = environment | {"TAR": tar}
                ready = _ready(places, path, cores, arguments.wait)
                every = arguments.every
                samples = measure(path, fitting, arguments.runs, places, ready, every=every)
            tables.append(as_table(name, samples))
            tables.append(ratios.as_table(samples, len(os.sched_getaffinity(0))))
            charts[name] = {
                way: statistics.median(one.wall_seconds for one in each)
                for way, each in samples.items()
            }
    print("\n" + "\n".join(tables))
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "engine.md").write_text("\n".join(tables))
    (arguments.output / "engine.svg").write_text(plot.bars(charts))


@contextmanager
def _made_tar(repository: Path, ways: list[Way]) -> Iterator[str]:
    """Yield the path of a tar made by git, if any way needs one."""
    with tempfile.TemporaryDirectory() as directory:
        tar = f"{directory}/tree.tar"
        if any("$TAR" in way.command for way in ways):
            order = ["git", "-C", str(repository), "archive", "-o", tar, "HEAD"]
            subprocess.run(order, check=True)
        yield tar


def _ready(
    environment: dict[str, str], repository: Path, cores: Cores, seconds: float
) -> Callable[[Way], float]:
    """Wait until the machine is at rest before a way begins; return the number of fast cores."""
    server = environment.get("BENCH_SERVER")
    git = ["git", "-C", str(repository), "rev-parse", "--path-format=absolute"]
    asked = [*git, "--git-common-dir"]  # without the files of a working tree
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    mirror = Path(done.stdout.rstrip("\n"))

    def ready(way: Way) -> float:
        settle(lambda: _cpu_seconds_of(server))
        fast = cores.wait(seconds)
        read_through(Path(environment["TAR"]) if "$TAR" in way.command else mirror)
        return fast

    return ready


def _open_s3(stack: ExitStack, *, light: bool) -> dict[str, str]:
    """Open an S3 server on loopback with an empty bucket.

    A real one unless a light one is requested.
    """
    if light:
        endpoint, pid = stack.enter_context(open_server("memory_s3.py"))
    else:
        portal = stack.enter_context(start_blocking_portal())
        server = stack.enter_context(portal.wrap_async_context_manager(open_seaweedfs()))
        endpoint, pid = server.endpoint_url, server.pid
    environment = {
        "BENCH_ENDPOINT": endpoint,
        "BENCH_SERVER": str(pid),
        "ASYNCBUILD_STORAGE__ENDPOINT_URL": endpoint,
        "ASYNCBUILD_STORAGE__ADDRESSING_STYLE": "path",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    code = (
        "import os, boto3; boto3.client('s3', endpoint_url=os.environ['BENCH_ENDPOINT'])"
        f".create_bucket(Bucket='{_BUCKET}', "
        "CreateBucketConfiguration={'LocationConstraint': 'eu-west-1'})"
    )
    subprocess.run([sys.executable, "-c", code], env=os.environ | environment, check=True)
    return environment


if __name__ == "__main__":
    main()
