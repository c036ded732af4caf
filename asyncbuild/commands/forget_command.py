"""Command line of `asyncbuild forget`."""

from pathlib import Path

import click

from asyncbuild import config
from asyncbuild.commands.config_option import CONFIG
from asyncbuild.commands.exit_codes import exit_unless_zero, run_to_end


@click.command()
@click.argument("name")
@CONFIG
@click.option("--yes", "change", is_flag=True, help="Remove it; otherwise only count.")
@click.option(
    "--versions", is_flag=True, help="Older versions of the records, too: they are deleted."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def forget(name: str, path: Path | None, *, change: bool, versions: bool, as_json: bool) -> None:
    """Remove the name of a person from the ledger: as pusher, or as who asked for a build.

    NAME is as `explain` shows it, or the last part of an ARN. Without --yes nothing is changed. It
    can be repeated, and run beside the service. docs/security.md says what it cannot reach.
    """
    if not name.strip():
        raise click.UsageError("NAME is empty")
    from asyncbuild.commands.forget import ForgetRequest, run

    request = ForgetRequest(name.strip(), change=change, versions=versions, as_json=as_json)
    exit_unless_zero(run_to_end(run, config.load(path), request))
