"""CPU of the consumers of results: events of builds at a steady rate, on servers of this machine.

The consumers run in a process of their own, which nothing else shares; the builds are started and
indexed before, their events sent at the rate by this one. Last line: one JSON object.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.streams.text
import click
import orjson

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.result_site import AT_ONCE, ResultSite, open_result_site

from asyncbuild.aws.session import Aws
from asyncbuild.commands.log_setup import configure
from asyncbuild.config import LogSettings, Settings
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.local.servers.children import ACCESS_KEY, SECRET_KEY, open_ministack
from asyncbuild.results.open_results import open_results

_SECTIONS = ("aws", "queue", "storage", "builds", "pipelines", "results")
_IDLE_SECONDS = 5.0


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _consume() -> None:
    """Consume until standard input closes; print the CPU seconds at each line of it."""
    settings = Settings()
    async with open_results(settings, Aws(settings)) as opened, anyio.create_task_group() as tasks:
        assert opened is not None
        tasks.start_soon(opened.consumers.run)
        async for _ in anyio.wrap_file(sys.stdin):
            print(_cpu_seconds(), flush=True)
        opened.consumers.stop()


async def _measure(count: int, per_minute: float) -> dict[str, float]:
    async with open_ministack() as server, open_result_site(server) as site:
        started = [await site.start_build(script=AT_ONCE) for _ in range(count)]
        environment = _environment(site)
        command = [sys.executable, __file__, "--consume"]
        async with await anyio.open_process(command, env=environment, stderr=None) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            lines = anyio.streams.text.TextReceiveStream(process.stdout)

            async def read_cpu() -> float:
                await process.stdin.send(b"\n")  # type: ignore[union-attr] # see above
                return float(await lines.receive())

            first = await read_cpu()
            await anyio.sleep(_IDLE_SECONDS)
            begin, begun = await read_cpu(), time.monotonic()
            latencies = await _send(site, started, per_minute)
            end, seconds = await read_cpu(), time.monotonic() - begun
            await process.stdin.aclose()
    latencies.sort()
    return {
        "results": count,
        "per_minute": per_minute,
        "idle_cores": (begin - first) / _IDLE_SECONDS,
        "cores": (end - begin) / seconds,
        "cpu_ms_per_result": 1000 * (end - begin) / count,
        "p95_seconds": latencies[int(0.95 * len(latencies))],
        "batch_get_builds": site.builds.calls["BatchGetBuilds"],
    }


async def _send(site: ResultSite, started: list[StartedBuild], per_minute: float) -> list[float]:
    """Send the events at the rate; return the seconds from each to its record."""
    sent: dict[str, float] = {}
    begun = time.time()
    for number, each in enumerate(started):
        await anyio.sleep(max(0.0, begun + number * 60 / per_minute - time.time()))
        sent[each.record] = time.time()
        await site.tell_end(each)
    await site.wait_empty()
    repository = started[0].repository
    found = {
        key.key: key.last_modified.timestamp()
        async for key in site.store.iter_records(f"ledger/result/{repository.path}/")
    }
    times = {key.replace("/result/", "/push/"): at for key, at in found.items()}
    return [times[record] - at for record, at in sent.items()]


def _environment(site: ResultSite) -> dict[str, str]:
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }
    for name in _SECTIONS:
        section: Any = getattr(site.settings, name)
        told = section.model_dump(mode="json", exclude_defaults=True)
        environment[f"ASYNCBUILD_{name.upper()}"] = json.dumps(told)
    environment["ASYNCBUILD_QUEUE"] = json.dumps({"wait_seconds": 20})
    return environment


@click.command()
@click.option("--results", "count", default=1_000, show_default=True, help="Number of builds.")
@click.option("--per-minute", default=1_000.0, show_default=True, help="Rate of the events.")
@click.option("--consume", is_flag=True, hidden=True)
def main(*, count: int, per_minute: float, consume: bool) -> None:
    """Measure the CPU of the consumers of results."""
    os.environ.setdefault("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    configure(LogSettings(format="json"))
    if consume:
        anyio.run(_consume)
        return
    measured = anyio.run(_measure, count, per_minute)
    print(orjson.dumps(measured).decode())


if __name__ == "__main__":
    main()
