"""Honest pushes beside a hostile load: checked for completeness, order, doubles and latency.

    make hostile [SECONDS=600]

Pushes of twenty repositories go through `asyncbuild serve` twice, each time on local stand-ins of
their own: without the load for a quarter of the time, then with it. The load comes from four sides
at once, repeatable by its seed:

    pusher    trees with patterns that match slowly, odd names, and pointers to large files whose
              server is always at its limit
    outsider  webhooks without a valid signature: deep, long, empty, of an unknown host
    server    a git host that fails, redirects, hangs or asks for long waits; signed pushes to it
    sender    queue messages that are not pushes, in own groups and those of honest repositories

The last line is one JSON object. `p95_ratio` compares the honest pushes' time from message to
build; `peak_mib` is the anonymous and shared memory of the service and all its children, at any
look; `deaths` counts unexpected ends of the service. Exit code 1 if an honest push is
missing, doubled or out of order, or if the service died.
"""

import argparse
import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import anyio
import orjson
from aiohttp import web
from support.git_http import GitServer, open_git_server
from support.lfs import pointer_of
from support.malformed import malformed
from support.odd_trees import make_repository, odd_tree
from support.repositories import SourceRepository
from support.service import Service, environment, make_pushes, open_service
from support.webhooks import SECRET, headers, payload

from asyncbuild.domain.repository import ForgeKind
from asyncbuild.local.servers import journal
from asyncbuild.local.stack import BUCKET, Stack, open_stack
from asyncbuild.local.verify import Findings, Pushed, verify

_PUSHER, _SERVER = "pusher.example", "server.example"
_SETTLE_SECONDS = 300  # after the last honest push
_HOSTILE_REPOSITORIES = 100
_TOO_LONG = "9" * 12


@dataclass(frozen=True, slots=True)
class Plan:
    """Amounts and duration of a run."""

    seed: int
    seconds: float
    pushes: int
    repositories: int


@dataclass(slots=True)
class Seen:
    """Figures of one run."""

    findings: Findings = field(default_factory=Findings)
    latencies: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    deaths: int = 0
    hostile: int = 0

    @property
    def p95_seconds(self) -> float:
        """Return the latency that 95 % of the pushes do not exceed."""
        row = sorted(self.latencies)
        return row[min(len(row) - 1, int(len(row) * 0.95))] if row else 0.0


# --- the load -------------------------------------------------------------------------------------


@dataclass
class Load:
    """Four kinds of attackers. Each send is one message on the queue."""

    stack: Stack
    pusher: GitServer
    random: Random
    commits: Sequence[tuple[str, str]]
    honest: Sequence[str]
    sent: int = 0

    async def run(self) -> None:
        """Send until cancelled, a few messages a second from each side."""
        texts = iter(malformed(100_000))
        while True:
            name, commit = self.random.choice(self.commits)
            await self._hook(_PUSHER, name, commit)
            await self._hook(_SERVER, f"r{self.random.randrange(_HOSTILE_REPOSITORIES)}", "1" * 40)
            await self._outside()
            group = self.random.choice([*self.honest, "nobody", "", "$.detail.repositoryId"])
            await self._put(next(texts), group or "empty", {})
            await anyio.sleep(self.random.uniform(0.2, 0.8))

    async def _outside(self) -> None:
        number = self.random.randrange(10**9)
        deep = "[" * self.random.choice([10, 1_000, 100_000]) + str(number)
        long = orjson.dumps({"ref": "x" * 200_000, "n": number}).decode()
        body = self.random.choice([deep, long, f'{{"n":{number}}}', f"\u202e{number}", f"{number}"])
        host = self.random.choice([_PUSHER, _SERVER, "unknown.example", "x" * 2_000])
        sent = headers(
            ForgeKind.GITHUB, body.encode(), secret=self.random.choice([None, "a guess"])
        )
        group = f"outsider-{self.random.randrange(20)}"
        await self._put(body, group, {**sent, "Webhook-Host": host})

    async def _hook(self, host: str, name: str, commit: str) -> None:
        made = payload(ForgeKind.GITHUB)
        made["repository"]["full_name"] = f"evil/{name}"
        body = orjson.dumps(made | {"after": commit})
        id_ = f"{self.random.randrange(10**8):08d}-cc78-11e3-81ab-4c9367dc0958"
        more = {"Webhook-Host": host, "X-GitHub-Delivery": id_}
        sent = {**headers(ForgeKind.GITHUB, body), **more}
        await self._put(body.decode(), f"{host}/{name}", sent, id_)

    async def _put(
        self, body: str, group: str, attributes: Mapping[str, str], id_: str = ""
    ) -> None:
        self.sent += 1
        await self.stack.sqs.send_message(
            QueueUrl=self.stack.settings.queue.url,
            MessageBody=body,
            MessageGroupId=group,
            MessageDeduplicationId=id_ or f"hostile-{self.sent}",
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
            },
        )


def _make_trees(root: Path) -> list[tuple[str, str]]:
    """Make a pusher's repositories; each name and commit."""
    patterns = "".join(f"{'*a' * 14}*b{n} export-ignore\n" for n in range(200))
    slow = {f"{'a' * 200}{n:05d}": "x" for n in range(50)}
    made = []
    for number in range(4):
        source = SourceRepository(root / "evil" / f"slow{number}.git")
        files = {".gitattributes": patterns.encode(), "n": b"%d" % number}
        files |= {name: text.encode() for name, text in slow.items()}
        made.append((f"slow{number}", source.commit(files, parent=None)))
    large = SourceRepository(root / "evil" / "large.git")
    attributes = b"*.bin filter=lfs diff=lfs merge=lfs -text\n"
    pointers = {f"{n}.bin": pointer_of(b"%d" % n) for n in range(20)}
    made.append(("large", large.commit({".gitattributes": attributes, **pointers})))
    odd = make_repository(root / "evil" / "odd.git", odd_tree([1_000]))
    return [*made, ("odd", odd.tip("main") or "")]


async def _misbehave(request: web.Request) -> web.StreamResponse:
    """Answer as the repository's number says."""
    number = int("".join(c for c in request.path.split(".git")[0] if c.isdigit()) or 0)
    match number % 6:
        case 0:
            return web.Response(status=503)
        case 1:
            return web.Response(status=429, headers={"Retry-After": _TOO_LONG})
        case 2:
            return web.Response(status=302, headers={"Location": "http://169.254.169.254/latest"})
        case 3:
            return web.Response(status=301, headers={"Location": str(request.url) + "/again"})
        case 4:
            await anyio.sleep(3_600)
        case _:
            pass
    return web.Response(status=503, headers={"Retry-After": _TOO_LONG}, text="x" * 100_000)


@asynccontextmanager
async def _open_bad_server() -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", _misbehave)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


# --- the service ----------------------------------------------------------------------------------


@dataclass
class Watched:
    """The service, restarted when it dies; and its memory."""

    variables: Mapping[str, str]
    seen: Seen
    ending: bool = False
    service: Service | None = None

    async def keep(self) -> None:
        """Run the service until `end`."""
        while not self.ending:
            async with open_service(self.variables) as service:
                self.service = service
                code = await service.process.wait()
            if not self.ending:
                self.seen.deaths += 1
                sys.stderr.write(f"the service ended with {code}: {list(service.log)[-3:]}\n")

    async def look(self) -> None:
        """Measure its memory until cancelled."""
        while True:
            if self.service is not None:
                found = _memory_bytes(self.service.process.pid)
                self.seen.peak_bytes = max(self.seen.peak_bytes, found)
            await anyio.sleep(0.5)

    def tell(self) -> None:
        """Print the most frequent log lines to standard error."""
        log = self.service.log if self.service is not None else []
        events = Counter(str(line.get("event")) for line in log)
        reasons = Counter(str(line.get("reason"))[:150] for line in log if line.get("reason"))
        for name, count in (*events.most_common(25), *reasons.most_common(12)):
            sys.stderr.write(f"{count:7} {name}\n")

    def end(self) -> None:
        """Stop the service for good."""
        self.ending = True
        if self.service is not None:
            self.service.kill()


def _memory_bytes(root: int) -> int:
    """Return anonymous and shared memory of a process and its descendants.

    Shared pages count once.
    """
    parents: dict[int, int] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with contextlib.suppress(OSError):
                stat = (path / "stat").read_text()
                parents[int(path.name)] = int(stat.rpartition(")")[2].split()[1])
    tree = {root}
    while more := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= more
    kib = 0
    for pid in tree:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
                if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                    kib += int(line.split()[1])
    return kib * 1024


# --- one run --------------------------------------------------------------------------------------


async def _run(plan: Plan, *, pushes: int, seconds: float, loaded: bool) -> Seen:
    seen = Seen()
    names = [f"repository-{number:03d}" for number in range(plan.repositories)]
    async with (
        open_stack([*names, "web"]) as stack,
        open_git_server(stack.directory / "pusher", prefix="/") as pusher,
        _open_bad_server() as bad,
    ):
        each = pushes // plan.repositories
        lanes = await make_pushes(
            stack, repositories=plan.repositories, pushes=each, seed=plan.seed
        )
        pusher.lfs.status, pusher.lfs.headers = 429, {"Retry-After": _TOO_LONG}
        commits = await anyio.to_thread.run_sync(_make_trees, pusher.root)
        random = Random(plan.seed)  # noqa: S311 - repeatable, not secret
        load = Load(stack, pusher, random, commits, names)
        watched = Watched(_variables(stack, pusher, bad), seen)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watched.keep)
            tasks.start_soon(watched.look)
            async with anyio.create_task_group() as attack:
                if loaded:
                    attack.start_soon(load.run)
                sent = await _send(stack, lanes, seconds)
                attack.cancel_scope.cancel()
            await _wait_built(stack, sent)
            watched.tell()
            watched.end()
            tasks.cancel_scope.cancel()
        seen.hostile = load.sent
        await _judge(stack, list(chain(*lanes)), sent, seen)
    return seen


def _variables(stack: Stack, pusher: GitServer, bad: str) -> dict[str, str]:
    hosts = [
        {
            "host": host,
            "kind": "github",
            "remote": f"{url}/{{owner}}/{{repository}}.git",
            "webhook_secret": "env:WEBHOOK",
        }
        for host, url in ((_PUSHER, pusher.url), (_SERVER, bad))
    ]
    rules = [
        {"repository": "repository-*", "action": "build"},
        {"repository": "*", "action": "build", "project": "web", "lfs": "content"},
    ]
    return {**environment(stack, hosts=hosts, rules=rules), "WEBHOOK": SECRET}


async def _send(
    stack: Stack, lanes: Sequence[Sequence[Pushed]], seconds: float
) -> dict[str, float]:
    """Send the honest pushes at an even pace; return the time of each by id."""
    sent: dict[str, float] = {}
    pushes = list(chain.from_iterable(zip(*lanes, strict=True)))
    begun = time.monotonic()
    for number, push in enumerate(pushes):
        await anyio.sleep(max(0.0, begun + number * seconds / len(pushes) - time.monotonic()))
        sent[push.id] = time.time()
        await stack.send(push)
    return sent


async def _wait_built(stack: Stack, sent: Mapping[str, float]) -> None:
    with anyio.move_on_after(_SETTLE_SECONDS):
        while set(sent) - {each.variables.get("EVENT_ID") for each in _started(stack)}:  # noqa: ASYNC110 - no event
            await anyio.sleep(0.5)


def _started(stack: Stack) -> Sequence[Any]:
    return journal.read(stack.journal) if stack.journal.exists() else []


async def _judge(
    stack: Stack, pushes: Sequence[Pushed], sent: Mapping[str, float], seen: Seen
) -> None:
    """Compare the builds with the honest pushes; builds of the load do not count."""
    started = [each for each in _started(stack) if each.variables.get("EVENT_ID") in sent]
    first: dict[str, float] = {}
    for each in started:
        first.setdefault(each.variables["EVENT_ID"], each.time)
    seen.latencies = [first[id_] - sent[id_] for id_ in first]
    seen.findings = await verify(pushes, started, s3=stack.s3, bucket=BUCKET)


async def main(plan: Plan) -> int:
    """Run without and with the load; return 0 if the honest pushes did not suffer."""
    share = max(plan.repositories, plan.pushes // 4)
    quiet = await _run(plan, pushes=share, seconds=plan.seconds / 4, loaded=False)
    loud = await _run(plan, pushes=plan.pushes, seconds=plan.seconds, loaded=True)
    found = loud.findings
    for fault in found.faults[:20]:
        sys.stderr.write(f"{fault}\n")
    document = {
        "built": found.built,
        "missing": len(found.missing),
        "duplicated": len(found.duplicated),
        "out_of_order": len(found.out_of_order),
        "p95_ratio": round(loud.p95_seconds / quiet.p95_seconds, 2) if quiet.latencies else None,
        "peak_mib": round(loud.peak_bytes / 2**20),
        "deaths": loud.deaths,
        "wrong_content": len(found.wrong_content),
        "p95_seconds": [round(quiet.p95_seconds, 2), round(loud.p95_seconds, 2)],
        "hostile_messages": loud.hostile,
        "seed": plan.seed,
        "seconds": plan.seconds,
        "load_average": [round(each, 1) for each in os.getloadavg()],
    }
    sys.stdout.write(orjson.dumps(document).decode() + "\n")
    return 1 if found.faults or loud.deaths else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--pushes", type=int, default=500)
    parser.add_argument("--repositories", type=int, default=20)
    os.environ["WEBHOOK"] = SECRET
    sys.exit(anyio.run(main, Plan(**vars(parser.parse_args()))))
