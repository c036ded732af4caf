"""One round over many repositories, one of them with very many refs: calls, bytes, time, memory.

Real git lists bare repositories of this machine; the bucket and the queues are models that count.
Memory is that of this process and its gits. Last line: one JSON object.
"""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, cast

import anyio
import click
from anyio import to_thread

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.records import Records

from asyncbuild.builds.ledger_records import Head, head_record
from asyncbuild.builds.reconcile_ledger import ReconcileLedger
from asyncbuild.config import GitSettings
from asyncbuild.domain.model import Action
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.rules.rule import Rule
from asyncbuild.forges.remotes import Remotes
from asyncbuild.git.mirrors.listed_refs import RemoteRefs
from asyncbuild.git.process.command import Git
from asyncbuild.reconcile.found_sender import FoundSender
from asyncbuild.reconcile.planning.ref_plan import RefFate
from asyncbuild.reconcile.planning.round_messages import RoundOrder
from asyncbuild.reconcile.planning.wanted_refs import WantedRefs
from asyncbuild.reconcile.reconciler import Reconciler
from asyncbuild.reconcile.repository_groups import RepositoryGroups
from asyncbuild.reconcile.round_starter import RoundStarter
from asyncbuild.reconcile.told_failures import ToldFailures
from asyncbuild.runtime import log as logs
from asyncbuild.runtime.malloc import share_one_heap

ACCOUNT, REGION, PREFIX = "123456789012", "eu-west-1", "ledger/"
_RULES = (Rule("all", ("*",), ("*",), Action.BUILD, projects=("p",)),)
_BRANCHES = 8


@dataclass
class CountingRecords(Records):
    """Records that count calls, and bytes there and back."""

    calls: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)

    async def read_stored(self, key: str) -> Any:  # noqa: ANN401 - as its base
        """Read."""
        self.calls["GetObject"] += 1
        found = await super().read_stored(key)
        self.sizes["read"] += len(found.body) if found else 0
        return found

    async def get_record(self, key: str) -> bytes | None:
        """Read."""
        self.calls["GetObject"] += 1
        return await super().get_record(key)

    async def replace_stored(self, key: str, body: bytes, *, etag: str) -> str | None:
        """Write."""
        self.calls["PutObject"] += 1
        self.sizes["written"] += len(body)
        return await super().replace_stored(key, body, etag=etag)

    async def iter_records(self, prefix: str, *, after: str = "") -> AsyncIterator[Any]:
        """List; a page has a thousand keys."""
        number = 0
        async for each in super().iter_records(prefix, after=after):
            self.calls["ListObjectsV2"] += number % 1_000 == 0
            number += 1
            yield each
        self.calls["ListObjectsV2"] += number == 0

    async def list_folders(self, prefix: str) -> list[str]:
        """List folders."""
        rest = (key.removeprefix(prefix) for key in self.kept if key.startswith(prefix))
        found = sorted({each.partition("/")[0] for each in rest if "/" in each})
        self.calls["ListObjectsV2"] += max(1, -(-len(found) // 1_000))
        return found


@dataclass
class CountingQueue:
    """SQS, and CodeCommit's lists: takes what is sent, and counts."""

    calls: Counter[str] = field(default_factory=Counter)

    async def send_message_batch(self, **call: Any) -> dict[str, Any]:  # noqa: ANN401 - boto's
        """Take messages."""
        self.calls[f"SendMessageBatch {call['QueueUrl']}"] += 1
        return {}

    def accounts(self) -> list[tuple[str, str]]:
        """Return no accounts: all repositories are known."""
        return []


def make_repositories(directory: Path, count: int, refs: int) -> list[str]:
    """Make bare repositories that share their commits; the first has `refs` refs."""
    base = directory / "base"
    subprocess.run(["git", "init", "-q", "--bare", str(base)], check=True)
    stream = b"".join(
        b"commit refs/heads/b%d\ncommitter C <c@x> %d +0000\ndata 1\nx\n" % (number, number)
        for number in range(100)
    )
    subprocess.run(["git", "fast-import", "--quiet"], cwd=base, input=stream, check=True)
    listed = subprocess.check_output(["git", "for-each-ref", "--format=%(objectname)"], cwd=base)
    commits = listed.decode().split()
    random = Random(1)  # noqa: S311 - the same in every run
    names = [f"repository-{number:05d}" for number in range(count)]
    for number, name in enumerate(names):
        there = directory / "remotes" / name
        (there / "objects/info").mkdir(parents=True)
        (there / "refs").mkdir()
        (there / "HEAD").write_text("ref: refs/heads/main\n")
        (there / "config").write_text("[core]\n\tbare = true\n\trepositoryformatversion = 0\n")
        (there / "objects/info/alternates").write_text(f"{base}/objects\n")
        branches = refs if number == 0 else _BRANCHES
        lines = [f"{random.choice(commits)} refs/heads/feature/{n:06d}\n" for n in range(branches)]
        text = "# pack-refs with: peeled fully-peeled sorted \n" + "".join(lines)
        (there / "packed-refs").write_text(text)
    return names


def move(directory: Path, names: Sequence[str], commit: str) -> None:
    """Move one branch of each of these repositories."""
    for name in names:
        path = directory / "remotes" / name / "refs/heads/feature/000001"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{commit}\n")


async def watch_memory(peaks: dict[str, int]) -> None:
    """Keep the largest sum of private and shared memory of this process and its gits."""
    while True:
        peaks["tree"] = max(peaks.get("tree", 0), await to_thread.run_sync(_tree_bytes))
        await anyio.sleep(0.05)


def _tree_bytes() -> int:
    total, groups = _private_bytes(Path(f"/proc/{_OWN}")), _groups()
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            stat = (each / "stat").read_text().rpartition(")")[2].split()
            if int(stat[2]) in groups:
                total += _private_bytes(each)
    return total


def _groups() -> set[int]:
    """Return the process groups of the gits: each child leads its own."""
    tasks = Path(f"/proc/{_OWN}/task").glob("*/children")
    return {int(each) for task in tasks for each in task.read_text().split()}


def _private_bytes(process: Path) -> int:
    text = (process / "smaps_rollup").read_text()
    kinds = ("Pss_Anon:", "Pss_Shmem:")
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(kinds))


_OWN = int(Path("/proc/self").resolve().name)


class Bench:
    """Repositories, models, and a reconciler whose clock is set by hand."""

    def __init__(self, directory: Path, names: Sequence[str], *, at_once: int) -> None:
        self.records, self.queue = CountingRecords(), CountingQueue()
        self.now = datetime.now(UTC)
        self.at_once = at_once
        settings = GitSettings(
            remote=f"file://{directory}/remotes/{{repository}}", credentials="none"
        )
        self.ledger = ReconcileLedger(self.records, prefix=PREFIX)
        wanted = WantedRefs(_RULES)
        queue = cast("Any", self.queue)
        self.reconciler = Reconciler(
            mirrors=RemoteRefs(Git(settings), Remotes(settings)),
            ledger=self.ledger,
            groups=RepositoryGroups(self.ledger, queue),
            sender=FoundSender(queue, "pushes"),
            wanted=wanted,
            grace=timedelta(minutes=10),
            clock=lambda: self.now,
        )
        self.starter = RoundStarter(
            queue,
            "rounds",
            ledger=self.ledger,
            codecommit=queue,
            wanted=wanted,
            told=ToldFailures(),
            clock=lambda: self.now,
        )
        for name in names:
            head = Head("a" * 40, self.now, "e", group=name)
            path = Repository.of_codecommit(ACCOUNT, REGION, name).path
            self.records.kept[f"{PREFIX}head/{path}/gone.json"] = head_record(head, ref="refs/x/y")

    async def round(self, label: str) -> dict[str, Any]:
        """Make a round, and return what it cost."""
        self.records.calls.clear()
        self.records.sizes.clear()
        self.queue.calls.clear()
        peaks: dict[str, int] = {}
        fates: Counter[str] = Counter()
        begun, used = time.monotonic(), _cpu_seconds()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_memory, peaks)
            await self.starter.start(RoundOrder(self.now))
            started = time.monotonic() - begun
            waiting = await self._look_at(await self.starter.find_repositories(forget=False), fates)
            if waiting:
                self.now += timedelta(minutes=11)
                await self._look_at(waiting, fates)
            tasks.cancel_scope.cancel()
        return {
            "round": label,
            "start_seconds": round(started, 2),
            "seconds": round(time.monotonic() - begun, 1),
            "cpu_seconds": round(_cpu_seconds() - used, 1),
            "fates": dict(fates),
            "s3": dict(self.records.calls),
            "s3_bytes": dict(self.records.sizes),
            "sqs": dict(self.queue.calls),
            "tree_mib": round(peaks.get("tree", 0) / 2**20, 1),
        }

    async def _look_at(
        self, repositories: Sequence[Repository], fates: Counter[str]
    ) -> list[Repository]:
        left, waiting = iter(repositories), list[Repository]()

        async def consume() -> None:
            for repository in left:
                look = await self.reconciler.look(repository)
                fates.update(each.fate.value for each in look.plans)
                fates["baseline repositories"] += look.baseline
                if look.count(RefFate.WAITING):
                    waiting.append(repository)

        async with anyio.create_task_group() as tasks:
            for _ in range(self.at_once):
                tasks.start_soon(consume)
        return waiting


def _cpu_seconds() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))


async def run(directory: Path, repositories: int, refs: int, at_once: int) -> None:
    """Take a baseline, make a round at rest, and one in which 1 % moved and nothing was told."""
    names = make_repositories(directory, repositories, refs)
    bench = Bench(directory, names, at_once=at_once)
    results = []
    for label, share in (("baseline", 0), ("at rest", 0), ("1 % lost", 100)):
        if share:
            listed = ["git", "rev-parse", "refs/heads/b99"]
            commit = subprocess.check_output(listed, cwd=directory / "base")  # noqa: ASYNC221 - before the round
            move(directory, names[::share], commit.decode().strip())
        bench.now += timedelta(hours=1)
        results.append(await bench.round(label))
        print(json.dumps(results[-1]), file=sys.stderr)
    print(json.dumps({"repositories": repositories, "refs_of_one": refs, "rounds": results}))


@click.command()
@click.option("--repositories", default=10_000, show_default=True)
@click.option("--refs", default=100_000, show_default=True, help="Refs of one of them.")
@click.option("--at-once", default=1, show_default=True, help="Looks at the same time.")
def main(repositories: int, refs: int, at_once: int) -> None:
    """Measure rounds."""
    logs.mute()
    share_one_heap()  # as the service does
    directory = Path(tempfile.mkdtemp(prefix="asyncbuild-bench-"))
    try:
        anyio.run(run, directory, repositories, refs, at_once)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
