"""Command lines that change nothing: `check`, `explain`, `health` and `top`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from asyncbuild import config
from asyncbuild.commands.config_option import CONFIG
from asyncbuild.commands.exit_codes import exit_unless_zero, run_to_end


@dataclass(frozen=True, slots=True)
class _CheckRequest:
    """Options of `asyncbuild check`, without that of the configuration."""

    as_json: bool
    probe: bool
    project: str
    repository: str
    pushed: tuple[str, str] | None
    changed: tuple[str, ...]

    def require_whole(self) -> None:
        """Raise if options have no effect together.

        Raises:
            click.UsageError: An option lacks the one that it belongs to, or contradicts another.
        """
        if (self.project or self.repository) and not self.probe:
            raise click.UsageError("--project and --repository are for --probe")
        if self.changed and not self.pushed:
            raise click.UsageError("--changed is for --push")
        if self.pushed and self.probe:
            raise click.UsageError("--push and --probe exclude each other")


@click.command()
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--probe", is_flag=True, help="Ask AWS what only AWS can tell, too; see docs.")
@click.option("--project", default="", help="A CodeBuild project that the probes may build with.")
@click.option(
    "--repository", default="", help="A repository that the probes may read: NAME or ACCOUNT/NAME."
)
@click.option(
    *("--push", "pushed"),
    nargs=2,
    default=None,
    metavar="REPOSITORY REF",
    help="Only say which rules match such a push, and why; AWS is not asked.",
)
@click.option(
    "--changed", multiple=True, metavar="PATH", help="With --push: what it changes; repeat it."
)
def check(
    path: Path | None,
    **asked: Any,  # noqa: ANN401 - see `_CheckRequest`
) -> None:
    """Say whether the service could do its work, and if not, what to do about it.

    With --probe it makes a queue, a rule, objects and builds in the account, and takes them away
    again, with the rights of its caller (docs/probes.md). With --push it ends with 1 if
    nothing would be done for such a push (docs/rules.md).
    """
    request = _CheckRequest(**asked)
    request.require_whole()
    settings = config.load(path)
    if request.pushed:
        from asyncbuild.checks.pushes import run as run_push

        chosen = (request.pushed, request.changed, request.as_json)
        exit_unless_zero(run_to_end(run_push, settings, *chosen))
        return
    from asyncbuild.checks.findings_output import run
    from asyncbuild.checks.probes.run import Subjects

    subjects = Subjects(request.project, request.repository) if request.probe else None
    doubts = config.warnings(path, settings)
    exit_unless_zero(run_to_end(run, settings, doubts, request.as_json, subjects))


@click.command()
@click.argument("repository", required=False)
@click.argument("what", required=False, metavar="[REF|COMMIT]")
@CONFIG
@click.option(
    "--days",
    type=click.FloatRange(min=0, max=36_500),
    default=30.0,
    show_default=True,
    help="How far back to look.",
)
@click.option("--since", default="", help="The same: 10m, 24h, 2d, or a time, in UTC.")
@click.option("--slowest", is_flag=True, help="Slowest first: repositories, or pushes of one.")
@click.option("--failed", is_flag=True, help="Only pushes whose builds or pipelines failed.")
@click.option(
    "--most",
    "-n",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many to show.",
)
@click.option("--address", default="", help="HOST:PORT of the service; default: status.listen.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def explain(
    repository: str | None,
    what: str | None,
    path: Path | None,
    **asked: Any,  # noqa: ANN401 - see `question_of`
) -> None:
    """Tell what became of the pushes of REPOSITORY, and why; what still waits, and for what.

    Of a started build or pipeline it tells how that ended. REPOSITORY may be left out with --since,
    --slowest or --failed, to be told of all repositories. Exit code 1 if nothing is found.
    """
    from asyncbuild.commands.explain import question_of, run

    if not (repository or asked["since"] or asked["slowest"] or asked["failed"]):
        raise click.UsageError("name a REPOSITORY, or say --since, --slowest or --failed")
    question = question_of(repository, what, now=datetime.now(UTC), **asked)
    exit_unless_zero(run_to_end(run, config.load(path), question))


@click.command()
@click.argument("address", required=False)
@CONFIG
@click.option(
    "--every",
    "every_seconds",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    help="Seconds.",
)
@click.option("--once", is_flag=True, help="Print it and end.")
def top(address: str | None, path: Path | None, *, every_seconds: float, once: bool) -> None:
    """Show what the service at ADDRESS does; by default the one of status.listen."""
    from asyncbuild.status.top import run

    settings = config.load(path) if path or not address else None

    async def call() -> None:
        await run(address or "", settings, every_seconds=every_seconds, once=once)

    run_to_end(call)


@click.command()
@CONFIG
@click.option("--ready", is_flag=True, help="Not only alive, but able to do its work.")
def health(path: Path | None, *, ready: bool) -> None:
    """Ask the service at status.listen whether it is alive: exit code 0, or not. For probes."""
    from asyncbuild.status.health import ask

    click.echo(ask(config.load(path).status, ready=ready), nl=False)
