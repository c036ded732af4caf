"""`asyncbuild dead-letters`: show what could not be built and why, send it back, or drop it."""

import sys
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console

from asyncbuild.commands.dead_letter_queue import open_dead_letters
from asyncbuild.commands.dead_queue import L, Letter
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.foreign_text import plain, to_json
from asyncbuild.status.phrases import gist

_WHOLE = 1_000_000  # nothing is cut off in a pipe or a file
_LISTING = "asyncbuild dead-letters list"
_SHOWS_WHOLE = "`asyncbuild dead-letters show ID` has the whole."


async def show(settings: Settings, ids: Sequence[str], as_json: bool) -> int:  # noqa: FBT001 - called by position
    """List all letters, or print those whose id begins with one of `ids`, whole; return 0.

    Args:
        settings: All settings.
        ids: Beginnings of ids; empty for all.
        as_json: Whether the list is JSON.

    Raises:
        Reject: No letter, or more than one, has such an id.
    """
    async with open_dead_letters(settings) as dead, dead.open_all() as letters:
        chosen = choose(letters, ids) if ids else letters
    if as_json or ids:
        write_whole(chosen, indent=not as_json)
    else:
        write_list(letters, _SHOWS_WHOLE)
    return 0


async def send_back(settings: Settings, ids: Sequence[str], force: bool) -> int:  # noqa: FBT001 - called by position
    """Send messages back, oldest of a group first; return 1 if one was refused.

    Args:
        settings: All settings.
        ids: Beginnings of ids; empty for all.
        force: Whether to build a push although a newer one was built.

    Raises:
        Reject: No letter, or more than one, has such an id.
    """
    refused = 0
    async with open_dead_letters(settings) as dead, dead.open_all() as letters:
        for letter in choose(letters, ids) if ids else letters:
            try:
                sys.stdout.write(await dead.send_back(letter, force=force) + "\n")
            except Reject as error:
                refused += 1
                sys.stderr.write(f"refused: {error}\n")
    return 1 if refused else 0


async def drop(settings: Settings, ids: Sequence[str]) -> int:
    """Delete the messages whose id begins with one of `ids`; return 0.

    Raises:
        Reject: No letter, or more than one, has such an id.
    """
    async with open_dead_letters(settings) as dead, dead.open_all() as letters:
        for letter in choose(letters, ids):
            sys.stdout.write(await dead.drop(letter) + "\n")
    return 0


def write_whole(letters: Sequence[Letter], *, indent: bool) -> None:
    """Print letters as JSON objects, one a line unless `indent`."""
    for letter in letters:
        sys.stdout.write(to_json(letter.document(), indent=indent, newline=True).decode())


def write_list(letters: Sequence[Letter], hint: str) -> None:
    """Print two lines a letter, as wide as the terminal.

    Args:
        letters: The letters.
        hint: What else can be done, for the last line.
    """
    width = Console().width if sys.stdout.isatty() else _WHOLE
    sys.stdout.write("\n".join([*lines_of(letters, width, hint), ""]))


def choose(letters: Sequence[L], ids: Sequence[str], listing: str = _LISTING) -> list[L]:
    """Return the letters whose id begins with one of `ids`.

    Args:
        letters: All letters.
        ids: Beginnings of ids.
        listing: Command that shows the ids.

    Raises:
        Reject: No letter, or more than one, has such an id.
    """
    chosen: list[L] = []
    for wanted in ids:
        found = [letter for letter in letters if letter.id.startswith(wanted)]
        if len(found) != 1:
            raise Reject(
                f"{len(found)} dead letters have an id that begins with {wanted}",
                remedy=f"`{listing}` shows the ids",
            )
        chosen += found
    return [letter for letter in letters if letter in chosen]


def lines_of(letters: Sequence[Letter], width: int, hint: str = _SHOWS_WHOLE) -> list[str]:
    """Return two lines a letter, none wider than `width`: its push, and the reason."""
    if not letters:
        return ["The dead-letter queue is empty."]
    lines = []
    for letter in letters:
        tries = f" after {letter.attempts} tries" if letter.attempts not in {"", "1"} else ""
        lines += [
            f"{letter.id[:13]}  {letter.sent:%Y-%m-%d %H:%M:%S} UTC  {letter.about}",
            _why(f"    {letter.kind}{tries}: ", letter.reason, width),
        ]
    last = f"{len(letters)} in all; {hint}"
    return [_cut(line, width) for line in (*lines, last)]


def _why(begin: str, reason: str, width: int) -> str:
    """Return the whole reason, or the part that tells why if the whole is too wide."""
    whole = begin + reason
    return whole if cell_len(whole) <= width else begin + gist(reason)


def _cut(text: str, width: int) -> str:
    """Return one line for a terminal, without control characters."""
    shown = plain(text)
    return shown if cell_len(shown) <= width else set_cell_size(shown, width - 1).rstrip() + "…"
