"""Command line of `asyncbuild build`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from asyncbuild import config
from asyncbuild.commands.config_option import CONFIG
from asyncbuild.commands.exit_codes import exit_unless_zero, run_to_end

_NAMED = click.UsageError("write --variable NAME=VALUE, each name once")


@click.command()
@click.argument("repository")
@click.argument("what", required=False, metavar="[REF|COMMIT]")
@CONFIG
@click.option("--ref", default="", help="Branch or tag of a COMMIT that no record names.")
@click.option(
    "--project",
    "-p",
    "projects",
    multiple=True,
    help="Start only this project or pipeline; repeat it.",
)
@click.option(
    "--variable",
    "-v",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="A variable of the build, which overrides that of a rule; repeat it.",
)
@click.option("--again", is_flag=True, help="Build it although it was built before.")
@click.option("--reason", default="", help="Why, for the records.")
@click.option("--wait", is_flag=True, help="Show how it goes, and end with its result.")
@click.option(
    "--timeout",
    "timeout_minutes",
    type=click.FloatRange(min=0.1, max=100_000),
    default=480.0,
    show_default=True,
    help="Minutes to wait.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object at the end.")
def build(
    path: Path | None,
    variables: Sequence[str],
    **asked: Any,  # noqa: ANN401 - see `BuildWish`
) -> None:
    """Ask for a build of a branch, a tag or a commit of REPOSITORY.

    REPOSITORY is a name, or ACCOUNT/REGION/NAME, or HOST/OWNER/NAME. Without REF, main or master is
    built, whichever was built before. What was built before is told and not built again. With
    --wait the exit code is 0 if all passed, 1 if something failed, 3 if nothing was built, 65 if
    the request was refused, 75 if the time was up (docs/build.md).
    """
    pairs = [each.partition("=") for each in variables]
    named = {name: value for name, sign, value in pairs if sign}
    if len(named) < len(pairs):
        raise _NAMED
    from asyncbuild.commands.build.build_on_request import BuildWish, run

    wish = BuildWish(variables=named, **asked)
    exit_unless_zero(run_to_end(run, config.load(path), wish))
