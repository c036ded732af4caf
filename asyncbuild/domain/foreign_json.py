"""Reader of foreign JSON that also accepts what strict readers refuse. Pure."""

import json
import sys
from collections.abc import Mapping
from typing import Any

import orjson

from asyncbuild.domain.errors import Reject, show


def load_json(text: str | bytes) -> Any:  # noqa: ANN401 - any value of JSON
    """Return the value of a JSON text, also of one that no strict reader takes.

    Senders put things into fields that nothing here reads: halves of surrogate pairs, bytes that
    are not UTF-8, NaN, integers of hundreds of digits, a byte order mark in front. Python's own
    reader takes those. Each part of the value is checked where it is used.

    Raises:
        ValueError: `text` is not JSON, or nested too deeply.
    """
    try:
        return orjson.loads(text)
    except ValueError:  # JSONDecodeError and UnicodeEncodeError
        told = text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
    try:
        return json.loads(told.removeprefix("\ufeff"), parse_int=_integer)
    except RecursionError as error:
        msg = "it is nested too deeply"
        raise ValueError(msg) from error


def _integer(digits: str) -> int | float:
    """Return an integer, or a float where there are more digits than Python reads or shows."""
    return int(digits) if len(digits) <= sys.int_info.str_digits_check_threshold else float(digits)


def read_object(body: str | bytes, what: str) -> Mapping[str, Any]:
    """Return the JSON object that `body` contains.

    Raises:
        Reject: `body` is not JSON or not an object; the reason begins with `what`.
    """
    try:
        value = load_json(body)
    except ValueError as error:
        raise Reject(f"{what} is not JSON: {error}: {_show_body(body)}") from error
    if not isinstance(value, dict):
        raise Reject(f"{what} is JSON, but not an object: {show(value)}")
    return value


def _show_body(body: str | bytes) -> str:
    """Return the beginning of a body, unless a header with a secret may be in it (I10)."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    return "not shown, it names a token" if "token" in text.lower() else show(text)
