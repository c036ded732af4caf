"""Command line of `asyncbuild report`."""

from pathlib import Path

import click

from asyncbuild import config
from asyncbuild.commands.config_option import CONFIG
from asyncbuild.commands.exit_codes import exit_unless_zero, run_to_end


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@CONFIG
@click.option("--again", is_flag=True, help="Send them to the queue of reports again.")
@click.option("--all", "every", is_flag=True, help="With --again: all of them.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def report(
    ids: tuple[str, ...], path: Path | None, *, again: bool, every: bool, as_json: bool
) -> None:
    """List commit statuses that could not be posted, with the reason of each.

    An ID may be shortened as long as it is unique; with IDs, those are shown whole.
    """
    if not again:
        if every:
            raise click.UsageError("--all belongs to --again")
        from asyncbuild.commands.report_letters import show

        exit_unless_zero(run_to_end(show, config.load(path), ids, as_json))
        return
    if bool(ids) == every:
        raise click.UsageError("name dead letters, or say --all")
    if as_json:
        raise click.UsageError("--json belongs to the list")
    from asyncbuild.commands.report_letters import send_again

    exit_unless_zero(run_to_end(send_again, config.load(path), ids))
