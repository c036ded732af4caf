"""Texts in a commit's message that keep a rule from building the commit. Pure.

As in other CI systems, letters of either case are equal (GitLab, "Skip a pipeline": "using any
capitalization"), and the whole message counts, its trailers too.
"""

from collections.abc import Iterable
from typing import Final

MARKER_MOST: Final = 100  # characters


def find_markers(message: bytes, markers: Iterable[str]) -> frozenset[str]:
    """Return those of the markers that a message has.

    Args:
        message: Message of a commit in any encoding, read as UTF-8, or if it is not, as Latin-1:
            so ASCII is found in all encodings that contain it.
        markers: Texts to look for.
    """
    text = _decode(message).casefold()
    return frozenset(each for each in markers if each.casefold() in text)


def check_marker(marker: str) -> str:
    """Return a marker that can be looked for, without white space around it.

    Raises:
        ValueError: It is empty, longer than `MARKER_MOST`, or not one line of printable text.
    """
    stripped = marker.strip()
    if not stripped:
        msg = 'is empty; write a text, such as "[skip ci]"'
        raise ValueError(msg)
    if len(stripped) > MARKER_MOST or not stripped.isprintable():
        msg = f"is not one line of at most {MARKER_MOST} characters"
        raise ValueError(msg)
    return stripped


def _decode(message: bytes) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError:
        return message.decode("latin-1")
