"""Command line of `asyncbuild reconcile`."""

from pathlib import Path

import click

from asyncbuild import config
from asyncbuild.commands.config_option import CONFIG
from asyncbuild.commands.exit_codes import exit_unless_zero, run_to_end


@click.command()
@click.argument("repositories", nargs=-1, metavar="[REPOSITORY]...")
@CONFIG
@click.option("--dry-run", is_flag=True, help="Say what is missing; send and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, one a ref.")
def reconcile(
    repositories: tuple[str, ...], path: Path | None, *, dry_run: bool, as_json: bool
) -> None:
    """Look for pushes that no event told, as a round does, in some repositories or in all.

    A REPOSITORY is NAME or ACCOUNT/REGION/NAME. A ref that nothing knows at its commit waits for
    `reconcile.grace_seconds`; the next look after that, by hand or by a round, sends its push. Ends
    with 1 if a repository could not be looked at, and with --dry-run if a push is missing.
    """
    from asyncbuild.commands.late_log import configure_late
    from asyncbuild.commands.reconcile.looks_by_hand import run

    settings = config.load(path)
    configure_late(settings.log)
    exit_unless_zero(run_to_end(run, settings, repositories, dry_run, as_json))
