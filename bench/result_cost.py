"""Cost of results alone: CPU of the service while builds end, and no push comes.

    .venv/bin/python bench/result_cost.py [--a-minute 1000] [--minutes 1]

Builds of the stand-in end at an even rate; their entries in the index are those that the service
writes itself. Told are cores (CPU seconds of the process for each second of wall time) without any
result and with them, and the time from an event to its record. The last line is one JSON object.
"""

import argparse
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles

import anyio
import orjson

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.codebuild import make_push, make_request
from support.service import Service, environment, open_service

from asyncbuild.aws.session import Aws
from asyncbuild.builds.requests.start_build import parameters_of
from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.domain.model import Action, Build, Outcome, Target, Verdict
from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.servers.event_sender import EventSender, open_event_sender
from asyncbuild.local.stack import Stack, open_stack
from asyncbuild.storage.s3 import Store

_IDLE_SECONDS = 20.0
_PATIENCE_SECONDS = 120.0
_PROJECT = "shop"


async def main(a_minute: int, minutes: float) -> None:
    """Measure, and print the figures."""
    async with AsyncExitStack() as exits:
        enter = exits.enter_async_context
        stack = await enter(open_stack([_PROJECT]))
        stack.standin.script = Script(queued_seconds=0, build_seconds=1.0)
        results = stack.settings.results
        sender = await enter(open_event_sender(stack.standin, stack.sqs, results.url))
        variables = environment(stack, results=results.model_dump(mode="json"))
        service = await enter(open_service(variables))
        await service.wait_logged("service.started")
        s3 = await enter(Aws(stack.settings).open_s3(pool=4))
        storage = stack.settings.storage
        ledger = ResultLedger(Store(s3, storage), prefix=storage.ledger_prefix)
        idle = await _measure(service, lambda: anyio.sleep(_IDLE_SECONDS))
        count = round(a_minute * minutes)

        async def let_builds_end() -> None:
            await _start_builds(stack, ledger, count=count, seconds=60 * minutes)
            await _wait_recorded(service, count)

        busy = await _measure(service, let_builds_end)
        waits = sorted(_waits(service, sender))
    document = {
        "results": count,
        "a_minute": a_minute,
        "idle_cores": round(idle, 3),
        "cores": round(busy, 3),
        "event_to_record_p50_seconds": round(median(waits), 3),
        "event_to_record_p95_seconds": round(quantiles(waits, n=20)[-1], 3),
    }
    print(f"{count} results at {a_minute} a minute: {busy:.3f} cores, idle {idle:.3f}")
    print(orjson.dumps(document).decode())


async def _measure(service: Service, work: Callable[[], Awaitable[None]]) -> float:
    """Return CPU seconds of the process for each second that `work` takes."""
    before, begun = _cpu_seconds(service), time.monotonic()
    await work()
    return (_cpu_seconds(service) - before) / (time.monotonic() - begun)


def _cpu_seconds(service: Service) -> float:
    text = Path(f"/proc/{service.process.pid}/stat").read_text()
    fields = text.rpartition(")")[2].split()  # proc(5): utime, stime and those of ended children
    return sum(int(each) for each in fields[11:15]) / os.sysconf("SC_CLK_TCK")


async def _start_builds(stack: Stack, ledger: ResultLedger, *, count: int, seconds: float) -> None:
    """Start builds at an even rate, each with its entry in the index."""
    begun = time.monotonic()
    for number in range(count):
        push = make_push(number)
        request = make_request(push, project=_PROJECT, key=f"shop/main/{number}.zip")
        parameters = dict(parameters_of(request, stack.settings.builds))
        build = (await stack.standin.answer("StartBuild", parameters))["build"]
        outcome = Outcome(
            Verdict.BUILT,
            "bench",
            target=Target(Action.BUILD, request.key, _PROJECT),
            build=Build(build["id"], build["arn"], build["buildNumber"]),
            commit=push.commit,
        )
        await ledger.record_start(push, outcome)
        due = begun + seconds * (number + 1) / count
        await anyio.sleep(max(0.0, due - time.monotonic()))


async def _wait_recorded(service: Service, count: int) -> None:
    with anyio.fail_after(_PATIENCE_SECONDS):
        while sum(1 for _ in _recorded(service)) < count:  # noqa: ASYNC110 - a log raises no event
            await anyio.sleep(0.1)


def _recorded(service: Service) -> Iterator[tuple[str, float]]:
    """Yield each build whose result was recorded, and when, in epoch seconds."""
    for line in service.log:
        if line.get("event") == "result.recorded":
            moment = datetime.fromisoformat(str(line["timestamp"])).astimezone(UTC)
            yield str(line["build_id"]), moment.timestamp()


def _waits(service: Service, sender: EventSender) -> Iterator[float]:
    return (max(0.0, at - sender.sent_at[id_]) for id_, at in _recorded(service))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--a-minute", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=1.0)
    options = parser.parse_args()
    anyio.run(main, options.a_minute, options.minutes)
