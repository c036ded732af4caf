"""`asyncbuild dead-letters`: show what could not be built and why, send it back, or drop it."""

import sys
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console

from asyncbuild.commands.dead_letter_queue import DeadLetter, open_dead_letters
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.foreign_text import plain, to_json
from asyncbuild.status.phrases import gist

_WHOLE = 1_000_000  # nothing is cut off in a pipe or a file


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
        chosen = _choose(letters, ids) if ids else letters
    if as_json or ids:
        for letter in chosen:
            shown = to_json(letter.document(), indent=not as_json, newline=True)
            sys.stdout.write(shown.decode())
    else:
        width = Console().width if sys.stdout.isatty() else _WHOLE
        sys.stdout.write("\n".join([*lines_of(letters, width), ""]))
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
        for letter in _choose(letters, ids) if ids else letters:
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
        for letter in _choose(letters, ids):
            sys.stdout.write(await dead.drop(letter) + "\n")
    return 0


def _choose(letters: Sequence[DeadLetter], ids: Sequence[str]) -> list[DeadLetter]:
    chosen: list[DeadLetter] = []
    for wanted in ids:
        found = [letter for letter in letters if letter.id.startswith(wanted)]
        if len(found) != 1:
            raise Reject(
                f"{len(found)} dead letters have an id that begins with {wanted}",
                remedy="`asyncbuild dead-letters list` shows the ids",
            )
        chosen += found
    return [letter for letter in letters if letter in chosen]


def lines_of(letters: Sequence[DeadLetter], width: int) -> list[str]:
    """Return two lines a letter, none wider than `width`: its push, and the reason."""
    if not letters:
        return ["The dead-letter queue is empty."]
    lines = []
    for letter in letters:
        push = letter.push
        about = f"{push.repository.name} {push.branch} {push.commit[:10]}" if push else "no push"
        tries = f" after {letter.attempts} tries" if letter.attempts not in {"", "1"} else ""
        lines += [
            f"{letter.id[:13]}  {letter.sent:%Y-%m-%d %H:%M:%S} UTC  {about}",
            _why(f"    {letter.kind}{tries}: ", letter.reason, width),
        ]
    last = f"{len(letters)} in all; `asyncbuild dead-letters show ID` has the whole."
    return [_cut(line, width) for line in (*lines, last)]


def _why(begin: str, reason: str, width: int) -> str:
    """Return the whole reason, or the part that tells why if the whole is too wide."""
    whole = begin + reason
    return whole if cell_len(whole) <= width else begin + gist(reason)


def _cut(text: str, width: int) -> str:
    """Return one line for a terminal, without control characters."""
    shown = plain(text)
    return shown if cell_len(shown) <= width else set_cell_size(shown, width - 1).rstrip() + "…"
