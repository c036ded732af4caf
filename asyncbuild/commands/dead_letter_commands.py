"""Command line of `asyncbuild dead-letters`."""

from pathlib import Path

import click

from asyncbuild import config
from asyncbuild.commands.config_option import CONFIG
from asyncbuild.commands.exit_codes import exit_unless_zero, run_to_end


@click.group(name="dead-letters")
def dead_letters() -> None:
    """Look at what could not be built, send it back, or drop it.

    An ID may be shortened as long as it is unique.
    """


@dead_letters.command(name="list")
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_(path: Path | None, *, as_json: bool) -> None:
    """List all, with the reason of each."""
    from asyncbuild.commands.dead_letters import show

    exit_unless_zero(run_to_end(show, config.load(path), (), as_json))


@dead_letters.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@CONFIG
def show(ids: tuple[str, ...], path: Path | None) -> None:
    """Show dead letters whole, with their bodies."""
    from asyncbuild.commands.dead_letters import show

    exit_unless_zero(run_to_end(show, config.load(path), ids, False))  # noqa: FBT003 - called by position


@dead_letters.command(name="send-back")
@click.argument("ids", nargs=-1, metavar="ID...")
@CONFIG
@click.option("--all", "every", is_flag=True, help="All of them, oldest of a group first.")
@click.option("--force", is_flag=True, help="Also those of which a newer push was built.")
def send_back(ids: tuple[str, ...], path: Path | None, *, every: bool, force: bool) -> None:
    """Put dead letters back on their queue, in their group. Safe to repeat."""
    from asyncbuild.commands.dead_letters import send_back

    if bool(ids) == every:
        raise click.UsageError("name dead letters, or say --all")
    exit_unless_zero(run_to_end(send_back, config.load(path), ids, force))


@dead_letters.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@CONFIG
def drop(ids: tuple[str, ...], path: Path | None) -> None:
    """Delete dead letters for good."""
    from asyncbuild.commands.dead_letters import drop

    exit_unless_zero(run_to_end(drop, config.load(path), ids))
