"""Page of the commands, as `--help` of each prints it, and of the exit codes."""

import re
from collections.abc import Iterator
from pathlib import Path

import click

from asyncbuild.commands.cli import cli
from manual.markdown import block

_COLUMNS = 100


def commands_page(_: Path) -> str:
    """Return the page of all commands."""
    text = "# Commands\n\nWhat `--help` of each prints. [Exit codes](exit-codes.md) are the same.\n"
    for name, told in _iter_help(cli, None, "asyncbuild"):
        text += f"\n## `{name}`\n\n{block(told)}"
    return text


def exit_codes_page(root: Path) -> str:
    """Return the page of the exit codes: README's table, which a test compares with the code."""
    readme = (root / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| exit code \|.*\n(?:\|.*\n)+", readme, re.MULTILINE)
    return f"# Exit codes\n\nOf every command.\n\n{rows[0]}"


def _iter_help(
    command: click.Command, above: click.Context | None, name: str
) -> Iterator[tuple[str, str]]:
    own = name.rpartition(" ")[2]
    with command.context_class(
        command, above, own, terminal_width=_COLUMNS, **command.context_settings
    ) as context:
        yield name, command.get_help(context)
        if isinstance(command, click.Group):
            for each in command.list_commands(context):
                below = command.get_command(context, each)
                if below and not below.hidden:
                    yield from _iter_help(below, context, f"{name} {each}")
