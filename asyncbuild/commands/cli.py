"""Command line of asyncbuild: reads options, calls one function, and ends with an exit code.

Exit codes are those of sysexits(3) if an error has a kind (`domain/errors.py`); 1 means that a
command did its work and found something wrong.

A command imports what it uses when it runs. This module, and those that declare commands, import
click and nothing else that is large: `--help` and `--version` need no more.
`tests/unit/commands/test_imports.py` holds that.
"""

import sys
from pathlib import Path
from typing import Any

import click

from asyncbuild import __version__, config
from asyncbuild.commands.build.build_command import build
from asyncbuild.commands.config_option import CONFIG
from asyncbuild.commands.dead_letter_commands import dead_letters
from asyncbuild.commands.exit_codes import (
    INTERRUPTED,
    exit_code_of,
    exit_unless_zero,
    run_taking_away,
    run_to_end,
)
from asyncbuild.commands.forget_command import forget
from asyncbuild.commands.inspection_commands import check, explain, health, top
from asyncbuild.commands.reconcile.reconcile_command import reconcile
from asyncbuild.commands.report_command import report
from asyncbuild.domain.errors import StageError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="asyncbuild", message="%(prog)s %(version)s")
def cli() -> None:
    """Build every branch on every push."""


@cli.command()
@CONFIG
def serve(path: Path | None) -> None:
    """Turn pushes into builds until told to stop."""
    _serve(path, drain=False)


@cli.command()
@CONFIG
def drain(path: Path | None) -> None:
    """Turn the pushes that wait into builds; end when the queue stays empty."""
    _serve(path, drain=True)


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
@CONFIG
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
def archive(
    path: Path | None,
    **asked: Any,  # noqa: ANN401 - see `request_of`
) -> None:
    """Write the tree of COMMIT in REPOSITORY (a path or URL) as a zip."""
    from asyncbuild.commands.archive import request_of, run
    from asyncbuild.commands.late_log import configure_late

    try:
        request = request_of(**asked)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    settings = config.load(path)
    configure_late(settings.log)
    run_taking_away(run, settings, request)


@cli.command()
@click.option("--repository", "-r", "repositories", multiple=True, help="A path or URL; repeat it.")
@click.option(
    "--pushes",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Commits to replay of each of those.",
)
@click.option(
    "--lose",
    type=click.IntRange(min=0),
    default=0,
    help="Drop the events of so many pushes; a round has to find them.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--keep", is_flag=True, help="Stay up afterwards, until Ctrl-C.")
def demo(
    repositories: tuple[str, ...], pushes: int, lose: int, *, as_json: bool, keep: bool
) -> None:
    """Show pushes turn into builds, with servers of its own on this machine."""
    from asyncbuild.commands import serve as service
    from asyncbuild.local.demo import DemoOptions, run

    options = DemoOptions(
        repositories=repositories, pushes=pushes, as_json=as_json, keep=keep, lose=lose
    )
    exit_unless_zero(run_to_end(run, options, service.run))


@cli.command()
@click.argument(
    "name",
    type=click.Choice(
        [
            *("service", "account", "webhook", "alarms", "dashboard", "endpoints"),
            *("nightly-build", "outcome-notifications"),
        ]
    ),
    default="service",
)
@click.option("--readable", is_flag=True, help="As YAML with comments; may be too long to deploy.")
def template(name: str, *, readable: bool) -> None:
    """Print the stack of the service, or one of those beside it.

    Beside it: an account with repositories, a host's webhooks, more alarms, a dashboard, VPC
    endpoints; examples of builds by the clock and of e-mails about branches that break. As one line
    of JSON, which CloudFormation takes without a bucket for templates.
    """
    from asyncbuild.commands.template import compact, read

    text = read(name)
    click.echo(text if readable else compact(text), nl=False)


def _serve(path: Path | None, *, drain: bool) -> None:
    from asyncbuild.commands.last_line import logging_the_end
    from asyncbuild.domain.events.service_events import ConfigDoubt
    from asyncbuild.runtime.emit import emit

    with logging_the_end() as configure:
        settings = config.load(path)
        configure(settings.log)
        for doubt in config.warnings(path, settings):
            reason = f"{doubt.what}: {doubt.why}"
            emit(ConfigDoubt(doubt=doubt.name, reason=reason, remedy=doubt.remedy))
        # Now, so that a fault of the configuration is told before AWS libraries are loaded.
        from asyncbuild.commands.serve import run

        async def call() -> None:
            await run(settings, drain=drain)

        run_to_end(call)


for _command in (build, check, dead_letters, explain, forget, health, reconcile, report, top):
    cli.add_command(_command)


def main() -> None:
    """Run the command line; an error of a known kind prints one message, a bug a traceback."""
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
