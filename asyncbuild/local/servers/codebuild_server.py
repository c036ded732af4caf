"""Stand-in for CodeBuild on loopback, on which the demo and the tests start their builds.

In this process: `async with open_codebuild_standin(["web"]) as standin`. As a process of its own,
which survives whatever is done to others: `python -m asyncbuild.local.servers.codebuild_server
--port 4600 --project web --journal FILE`. With a journal every accepted StartBuild is one line of
JSON on disk before it is answered, and a stand-in opened on that journal again remembers builds and
tokens. With `--events-queue URL` the ends of builds are told there as EventBridge would do it, and
`--failed 0.2` lets a share of them fail; all that is random follows from `--seed`.

The rules it keeps, and where each is from, are in `local/servers/codebuild_state.py`.
"""

import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import click

from asyncbuild import config
from asyncbuild.aws.session import Aws
from asyncbuild.local.servers.aws_json import application, service_model
from asyncbuild.local.servers.build_script import Script, SeededScripts
from asyncbuild.local.servers.codebuild_state import CodeBuildStandin
from asyncbuild.local.servers.event_sender import EventFaults, open_event_sender
from asyncbuild.local.servers.journal import Journal
from asyncbuild.local.servers.served import REGION, open_site


@asynccontextmanager
async def open_codebuild_standin(
    projects: Iterable[str] = (),
    *,
    port: int = 0,
    journal: Path | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[CodeBuildStandin]:
    """Serve on 127.0.0.1 while inside; yield the stand-in, with its endpoint.

    Args:
        projects: Names of the projects that exist.
        port: Port; 0 takes a free one.
        journal: File of accepted builds; None for none.
        clock: Clock in epoch seconds.
    """
    standin = CodeBuildStandin(clock=clock)
    if journal is not None:
        standin.journal = await Journal.open(journal)
        for started in standin.journal.found:
            standin.remember(started)
    for name in projects:
        standin.add_project(name)
    app = application(service_model("codebuild"), standin.answer)
    async with open_site(app, port=port) as standin.endpoint_url:
        yield standin


@dataclass(frozen=True, slots=True)
class _EventTarget:
    """Queue of the events: its URL, and the endpoint of its service."""

    queue_url: str
    endpoint_url: str | None
    faults: EventFaults


def _share(name: str, says: str) -> Callable[[Any], Any]:
    return click.option(name, default=0.0, show_default=True, help=f"Share of {says}.")


@click.command()
@click.option("--port", default=0, show_default="a free one", help="Port on 127.0.0.1.")
@click.option("--project", "projects", multiple=True, help="A project that exists. Repeatable.")
@click.option("--journal", type=click.Path(dir_okay=False, path_type=Path), help="Where builds go.")
@click.option("--limit", type=int, help="So many builds run at once, no more.")
@click.option("--build-seconds", default=2.0, show_default=True, help="How long a build runs.")
@click.option("--seed", default=1, show_default=True, help="On which all that is random depends.")
@_share("--failed", "builds that end as FAILED")
@_share("--fault", "builds that end as FAULT")
@_share("--timed-out", "builds that end as TIMED_OUT")
@_share("--stopped", "builds that end as STOPPED")
@_share("--foreign", "builds of which another user starts a copy")
@click.option("--events-queue", help="URL of the SQS queue to which ends of builds are told.")
@click.option("--events-endpoint", help="Endpoint of that queue's service.")
@_share("--events-lost", "events that are not sent")
@_share("--events-doubled", "events that are sent twice")
@_share("--events-disordered", "events that are sent after the next one")
@_share("--events-late", "events that are sent up to two seconds late")
def main(
    *,
    port: int,
    projects: tuple[str, ...],
    journal: Path | None,
    limit: int | None,
    **given: Any,  # noqa: ANN401 - of options with these types
) -> None:
    """Serve a stand-in for CodeBuild until SIGINT or SIGTERM; prints its endpoint."""

    async def serve() -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with open_codebuild_standin(projects, port=port, journal=journal) as standin:
                standin.running_limit = limit
                standin.script = _script(given)
                standin.foreign_share = given["foreign"]
                async with _open_events(standin, _events(given)):
                    click.echo(standin.endpoint_url)
                    async for _ in signals:
                        return

    anyio.run(serve)


def _script(given: Mapping[str, Any]) -> Script | SeededScripts:
    seconds = given["build_seconds"]
    ends = {name: given[name] for name in ("failed", "fault", "timed_out", "stopped")}
    if not any(ends.values()):
        return Script(build_seconds=seconds)
    return SeededScripts(seed=given["seed"], build_seconds=(seconds / 2, seconds), **ends)


def _events(given: Mapping[str, Any]) -> _EventTarget | None:
    if given["events_queue"] is None:
        return None
    names = ("lost", "doubled", "disordered", "late")
    shares = {name: given[f"events_{name}"] for name in names}
    faults = EventFaults(seed=given["seed"], **shares)
    return _EventTarget(given["events_queue"], given["events_endpoint"], faults)


@asynccontextmanager
async def _open_events(standin: CodeBuildStandin, to: _EventTarget | None) -> AsyncIterator[None]:
    if to is None:
        yield
        return
    overrides = {"aws": {"region": REGION, "endpoint_url": to.endpoint_url}}
    async with (
        Aws(config.load(None, overrides)).open_sqs(pool=2) as client,
        open_event_sender(standin, client, to.queue_url, faults=to.faults),
    ):
        yield


if __name__ == "__main__":
    main()
