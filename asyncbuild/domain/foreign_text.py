"""Foreign text made fit to be shown: bounded in length, without control characters. Pure.

A reference, a reason, a server's words or a record may contain escape sequences of terminals (C0
and C1 controls), marks that turn the direction of text, halves of surrogate pairs, or a megabyte.
What goes to a terminal, a page, a log or an error passes through `plain`; JSON through `to_json`,
which keeps values and writes such characters as escapes.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from typing import Final

import orjson

SHOWN_MOST: Final = 4_000  # characters of one text
_REPLACED: Final = "\N{REPLACEMENT CHARACTER}"
_ESCAPED: Final = 0x10000  # JSON writes a character from here on as a pair of escapes
_BITS_MOST: Final = 63  # the largest integers that orjson writes
_DEPTH_MOST: Final = 100  # orjson writes 254 levels


def plain(text: str, most: int = SHOWN_MOST, *, lines: bool = False) -> str:
    """Return text without characters that control a terminal or hide, at most `most` long.

    Args:
        text: Any text.
        most: Longest result in characters; a text that is cut ends with an ellipsis.
        lines: Keep line feeds and tabs.
    """
    if len(text) > most:
        text = text[: most - 1] + "…"
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(each if each.isprintable() or each in kept else _REPLACED for each in text)


def to_json(
    value: object, *, indent: bool = False, newline: bool = False, utc_z: bool = False
) -> bytes:
    """Return any value as JSON in which every character that is not printable is an escape.

    A value that JSON has no form for becomes text, so that showing it never fails. Halves of
    surrogate pairs, which strict readers refuse, are replaced.

    Args:
        value: Mappings, sequences, dataclasses, times, text.
        indent: Write it over several lines.
        newline: End it with a line feed.
        utc_z: Write times in UTC with `Z` in place of `+00:00`.
    """
    option = orjson.OPT_NON_STR_KEYS | (orjson.OPT_UTC_Z if utc_z else 0)
    option |= orjson.OPT_INDENT_2 if indent else 0
    try:
        text = orjson.dumps(value, default=str, option=option).decode()
    except (TypeError, ValueError, RecursionError):
        text = orjson.dumps(_mended(value), default=str, option=option).decode()
    if not text.isascii() or "\x7f" in text:
        text = "".join(map(_escape, text))
    return (text + "\n" * newline).encode()


def _mended(value: object, depth: int = 0) -> object:
    """Return the value without halves of surrogate pairs, great integers and deep nesting."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, int) and value.bit_length() > _BITS_MOST:
        return f"an integer of {value.bit_length()} bits"
    if value is None or isinstance(value, float | int | date):
        return value
    return _mended_inside(value, depth)


def _mended_inside(value: object, depth: int) -> object:
    if depth > _DEPTH_MOST:
        return f"a {type(value).__name__} that is nested too deeply to be shown"
    if isinstance(value, Mapping):
        return {str(_mended(str(name))): _mended(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_mended(each, depth + 1) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        named = {each.name: getattr(value, each.name) for each in fields(value)}
        return _mended(named, depth)
    return _mended(str(value))


def _escape(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    code = ord(character)
    if code < _ESCAPED:
        return f"\\u{code:04x}"
    high, low = divmod(code - _ESCAPED, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
