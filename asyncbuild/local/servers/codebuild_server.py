"""Stand-in for CodeBuild on loopback, on which the demo and the tests start their builds.

In this process: `async with open_codebuild_standin(["web"]) as standin`. As a process of its own,
which survives whatever is done to others: `python -m asyncbuild.local.servers.codebuild_server
--port 4600 --project web --journal FILE`. With a journal every accepted StartBuild is one line of
JSON on disk before it is answered, and a stand-in opened on that journal again remembers builds and
tokens.

The rules it keeps, and where each is from, are in `local/servers/codebuild_state.py`.
"""

import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import click

from asyncbuild.local.servers.aws_json import application, service_model
from asyncbuild.local.servers.codebuild_state import CodeBuildStandin, Script
from asyncbuild.local.servers.journal import Journal
from asyncbuild.local.servers.served import open_site


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


@click.command()
@click.option("--port", default=0, show_default="a free one", help="Port on 127.0.0.1.")
@click.option("--project", "projects", multiple=True, help="A project that exists. Repeatable.")
@click.option("--journal", type=click.Path(dir_okay=False, path_type=Path), help="Where builds go.")
@click.option("--limit", type=int, help="So many builds run at once, no more.")
@click.option("--build-seconds", default=2.0, show_default=True, help="How long a build runs.")
def main(
    *,
    port: int,
    projects: tuple[str, ...],
    journal: Path | None,
    limit: int | None,
    build_seconds: float,
) -> None:
    """Serve a stand-in for CodeBuild until SIGINT or SIGTERM; prints its endpoint."""

    async def serve() -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with open_codebuild_standin(projects, port=port, journal=journal) as standin:
                standin.running_limit = limit
                standin.script = Script(build_seconds=build_seconds)
                click.echo(standin.endpoint_url)
                async for _ in signals:
                    return

    anyio.run(serve)


if __name__ == "__main__":
    main()
