"""The commands. Each reads its options, calls one function and turns its end into an exit code.

Exit codes are sysexits(3)'s where an error has a kind (`domain/errors.py`); 1 says that a command
did its work and found something wrong.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from asyncbuild import __version__, config
from asyncbuild.commands.exit_codes import (
    INTERRUPTED,
    exit_code_of,
    logging_the_end,
    run_taking_away,
    run_to_end,
)
from asyncbuild.domain.errors import StageError
from asyncbuild.domain.events.service_events import ConfigDoubt
from asyncbuild.runtime import log_setup
from asyncbuild.runtime.emit import emit

_CONFIG = click.option(
    "--config",
    "-c",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=config.FILE_VARIABLE,
    show_envvar=True,
    help="TOML file with the settings; without one, defaults and ASYNCBUILD_* variables.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="asyncbuild", message="%(prog)s %(version)s")
def cli() -> None:
    """Build every branch on every push."""


@cli.command()
@_CONFIG
def serve(path: Path | None) -> None:
    """Turn pushes into builds until told to stop."""
    _serve(path, drain=False)


@cli.command()
@_CONFIG
def drain(path: Path | None) -> None:
    """Turn the pushes that wait into builds; end when the queue stays empty."""
    _serve(path, drain=True)


@cli.command()
@_CONFIG
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
    *,
    as_json: bool,
    probe: bool,
    project: str,
    repository: str,
    pushed: tuple[str, str] | None,
    changed: tuple[str, ...],
) -> None:
    """Say whether the service could do its work, and if not, what to do about it.

    With --probe it makes a queue, a rule, objects and builds in the account, and takes them away
    again, with the rights of whoever calls it (docs/probes.md). With --push it ends with 1 if
    nothing would be done for such a push (docs/rules.md).
    """
    from asyncbuild.checks.probes.run import Subjects  # noqa: PLC0415 - as below
    from asyncbuild.checks.report import run  # noqa: PLC0415 - as below

    if (project or repository) and not probe:
        raise click.UsageError("--project and --repository are for --probe")
    if changed and not pushed:
        raise click.UsageError("--changed is for --push")
    if pushed and probe:
        raise click.UsageError("--push and --probe exclude each other")
    settings = config.load(path)
    if pushed:
        from asyncbuild.checks.pushes import run as run_push  # noqa: PLC0415 - as below

        _exit(run_to_end(run_push, settings, pushed, changed, as_json))
        return
    subjects = Subjects(project, repository) if probe else None
    _exit(run_to_end(run, settings, config.warnings(path, settings), as_json, subjects))


@cli.command()
@click.argument("repository")
@click.argument("commit")
@click.option("--output", "-o", required=True, help="A file, - for standard output, or s3://…")
@click.option("--base", default="", help="s3://… of an older archive to make it of, in S3.")
@click.option("--subtree", default="", help="A directory that becomes the zip's root.")
@click.option(
    "--path", "paths", multiple=True, help="A pathspec, relative to the subtree; repeat it."
)
@click.option(
    "--ignore-export-attributes", is_flag=True, help="export-ignore and export-subst do nothing."
)
@click.option("--submodules", is_flag=True, help="The trees of submodules go in, too.")
@click.option("--lfs", is_flag=True, help="Contents of Git LFS files go in, not their pointers.")
@_CONFIG
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
def archive(
    repository: str,
    commit: str,
    output: str,
    base: str,
    path: Path | None,
    *,
    quiet: bool,
    **chosen: Any,  # noqa: ANN401 - what goes in, see `parse_options`
) -> None:
    """Write the tree of COMMIT in REPOSITORY (a path or URL) as a zip."""
    from asyncbuild.commands.archive import run  # noqa: PLC0415 - as below
    from asyncbuild.domain.archive_options import parse_options  # noqa: PLC0415 - as below

    try:
        options = parse_options(**chosen)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    settings = config.load(path)
    log_setup.configure(settings.log)
    run_taking_away(run, settings, repository, commit, output, base, not quiet, options)


@cli.command()
@click.option("--repository", "-r", "repositories", multiple=True, help="A path or URL; repeat it.")
@click.option(
    "--pushes",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Commits to replay of each of those.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--keep", is_flag=True, help="Stay up afterwards, until Ctrl-C.")
def demo(repositories: tuple[str, ...], pushes: int, *, as_json: bool, keep: bool) -> None:
    """Show pushes turn into builds, with servers of its own on this machine."""
    from asyncbuild.commands import serve as service  # noqa: PLC0415 - as below
    from asyncbuild.local.demo import DemoOptions, run  # noqa: PLC0415 - as below

    options = DemoOptions(repositories=repositories, pushes=pushes, as_json=as_json, keep=keep)
    _exit(run_to_end(run, options, service.run))


@cli.command()
@click.argument("repository", required=False)
@click.argument("what", required=False, metavar="[REF|COMMIT]")
@_CONFIG
@click.option(
    "--days",
    type=click.FloatRange(min=0, max=36_500),
    default=30.0,
    show_default=True,
    help="How far back to look.",
)
@click.option("--since", default="", help="The same: 10m, 24h, 2d, or a time, in UTC.")
@click.option("--slowest", is_flag=True, help="Slowest first: repositories, or pushes of one.")
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

    With --since or --slowest REPOSITORY may be left out: then it tells of all. Exit code 1 if
    nothing is found.
    """
    from asyncbuild.commands.explain import question_of, run  # noqa: PLC0415 - as below

    if not (repository or asked["since"] or asked["slowest"]):
        raise click.UsageError("name a REPOSITORY, or say --since or --slowest")
    question = question_of(repository, what, now=datetime.now(UTC), **asked)
    _exit(run_to_end(run, config.load(path), question))


@cli.command()
@click.argument("name", type=click.Choice(["service", "account", "webhook"]), default="service")
@click.option("--readable", is_flag=True, help="As YAML with comments; may be too long to deploy.")
def template(name: str, *, readable: bool) -> None:
    """Print the stack of the service, of an account with repositories, or of a host's webhooks.

    As one line of JSON, which CloudFormation takes without a bucket for templates.
    """
    from asyncbuild.commands.template import compact, read  # noqa: PLC0415 - as below

    text = read(name)
    click.echo(text if readable else compact(text), nl=False)


@cli.group(name="dead-letters")
def dead_letters() -> None:
    """Look at what could not be built, send it back, or drop it.

    An ID may be shortened as long as it is unique.
    """


@dead_letters.command(name="list")
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_(path: Path | None, *, as_json: bool) -> None:
    """List all, with the reason of each."""
    from asyncbuild.commands.dead_letters import show  # noqa: PLC0415 - as below

    _exit(run_to_end(show, config.load(path), (), as_json))


@dead_letters.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@_CONFIG
def show(ids: tuple[str, ...], path: Path | None) -> None:
    """Show dead letters whole, with their bodies."""
    from asyncbuild.commands.dead_letters import show  # noqa: PLC0415 - as below

    _exit(run_to_end(show, config.load(path), ids, False))  # noqa: FBT003 - called by position


@dead_letters.command(name="send-back")
@click.argument("ids", nargs=-1, metavar="ID...")
@_CONFIG
@click.option("--all", "every", is_flag=True, help="All of them, oldest of a group first.")
@click.option("--force", is_flag=True, help="Also those of which a newer push was built.")
def send_back(ids: tuple[str, ...], path: Path | None, *, every: bool, force: bool) -> None:
    """Put dead letters back on their queue, in their group. Safe to repeat."""
    from asyncbuild.commands.dead_letters import send_back  # noqa: PLC0415 - as below

    if bool(ids) == every:
        raise click.UsageError("name dead letters, or say --all")
    _exit(run_to_end(send_back, config.load(path), ids, force))


@dead_letters.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@_CONFIG
def drop(ids: tuple[str, ...], path: Path | None) -> None:
    """Delete dead letters for good."""
    from asyncbuild.commands.dead_letters import drop  # noqa: PLC0415 - as below

    _exit(run_to_end(drop, config.load(path), ids))


@cli.command()
@click.argument("address", required=False)
@_CONFIG
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
    from asyncbuild.status.top import run  # noqa: PLC0415 - as below

    settings = config.load(path) if path or not address else None

    async def call() -> None:
        await run(address or "", settings, every_seconds=every_seconds, once=once)

    run_to_end(call)


@cli.command()
@_CONFIG
@click.option("--ready", is_flag=True, help="Not only alive, but able to do its work.")
def health(path: Path | None, *, ready: bool) -> None:
    """Ask the service at status.listen whether it is alive: exit code 0, or not. For probes."""
    from asyncbuild.status.health import ask  # noqa: PLC0415 - as below

    click.echo(ask(config.load(path).status, ready=ready), nl=False)


def _serve(path: Path | None, *, drain: bool) -> None:
    # Imported late: `--help` and a fault in the configuration need no AWS library, which takes
    # half a second to load.
    from asyncbuild.commands.serve import run  # noqa: PLC0415 - see above

    with logging_the_end() as configure:
        settings = config.load(path)
        configure(settings.log)
        for doubt in config.warnings(path, settings):
            reason = f"{doubt.what}: {doubt.why}"
            emit(ConfigDoubt(doubt=doubt.name, reason=reason, remedy=doubt.remedy))

        async def call() -> None:
            await run(settings, drain=drain)

        run_to_end(call)


def _exit(code: int) -> None:
    if code:
        sys.exit(code)


def main() -> None:
    """The entry point: one message for an error that was foreseen, a traceback for a bug."""
    try:
        code = cli.main(prog_name="asyncbuild", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except (StageError, OSError, BaseExceptionGroup) as error:
        code = exit_code_of(error)
    sys.exit(code)
