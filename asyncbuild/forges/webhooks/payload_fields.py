"""Readers of fields of push payloads, which check each value (I11). Pure.

Each function raises `Reject` with the field and its value, except where it says otherwise.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict
from urllib.parse import urlsplit

from asyncbuild.domain.errors import Reject, show
from asyncbuild.domain.repository import encode_segment
from asyncbuild.domain.times import usable_time
from asyncbuild.forges.webhooks.dialect import RefChange

Fields = Mapping[str, Any]

# Forges allow letters, digits, `_`, `-` and `.`, GitHub's owners fewer; none allows a leading dash.
# No part of an owner contains two dots: they join the parts where one name is needed.
_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,99}")
_OWNER_PART = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]|\.(?=[A-Za-z0-9_-]))*")
_OWNER_MOST = 100
_SPACED = re.compile(r"(?<=[^ ]) (?=[^ ])")  # a space between two other characters
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ZEROS = re.compile(r"0{40}|0{64}")
_PUSHER_MOST = 200
_CHANGES_MOST = 100


class Changes(TypedDict):
    """Fields of `Payload` that describe changes."""

    changes: tuple[RefChange, ...]
    faults: tuple[Reject, ...]
    others: tuple[str, ...]


def read_object_field(fields: Fields, name: str) -> Fields:
    """Return the object in a field."""
    value = fields.get(name)
    if not isinstance(value, dict):
        raise Reject(f"{name} is {show(value)}, not an object")
    return value


def read_text(fields: Fields, name: str) -> str:
    """Return the string in a field."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise Reject(f"{name} is {show(value)}, not a string")
    return value


def read_changes(fields: Fields, read_change: Callable[[Fields], RefChange | str]) -> Changes:
    """Read the entries of `changes`, each by itself: a faulty one does not affect the others.

    Args:
        fields: Object with the list.
        read_change: Reads one entry; it returns text to be shown for a ref that is not built.

    Raises:
        Reject: The field is not a list of objects, all of them are faulty, or more refs are to be
            built than the limit; deletions do not count.
    """
    changes: list[RefChange] = []
    faults: list[Reject] = []
    others: list[str] = []
    for entry in _entries(fields):
        try:
            change = read_change(entry)
        except Reject as fault:
            faults.append(fault)
            continue
        if isinstance(change, str):
            others.append(change)
        else:
            changes.append(change)
    if faults and not changes:
        raise faults[0]
    made = sum(change.new is not None for change in changes)
    if made > _CHANGES_MOST:
        raise Reject(f"changes has {made} refs that are to be built; at most {_CHANGES_MOST} can")
    return {"changes": tuple(changes), "faults": tuple(faults), "others": tuple(others)}


def _entries(fields: Fields) -> Sequence[Fields]:
    changes = fields.get("changes")
    if not isinstance(changes, list) or not all(isinstance(each, dict) for each in changes):
        raise Reject(f"changes is {show(changes)}, not a list of objects")
    if not changes:
        raise Reject("changes has no entries")
    return changes


def read_commit(fields: Fields, name: str) -> str | None:
    """Return a commit's id; None for zeros, with which forges express a missing commit."""
    value = fields.get(name)
    if not isinstance(value, str) or not _COMMIT.fullmatch(value):
        raise Reject(f"{name} is {show(value)}, which is not a commit id of 40 or 64 hex digits")
    return None if _ZEROS.fullmatch(value) else value


def split_full_name(full_name: str) -> tuple[str, str]:
    """Return owner and name of `group/subgroup/name`."""
    owner, _, name = full_name.rpartition("/")
    return check_owner(owner), check_name(name)


def check_owner(owner: str) -> str:
    """Return `acme`, or `group/subgroup`; encoded, it must fit in 100 characters."""
    parts = owner.split("/")
    if not all(_OWNER_PART.fullmatch(part) for part in parts):
        raise Reject(f"owner {show(owner)} is not an owner that is safe to use")
    if len(encode_segment(owner)) > _OWNER_MOST:
        raise Reject(f"owner {show(owner)} is longer than {_OWNER_MOST} characters")
    return owner


def check_name(name: str) -> str:
    """Return a repository's name."""
    if not _NAME.fullmatch(name) or name in {".", ".."}:
        raise Reject(f"{show(name)} is not a repository name that is safe to use")
    return name


def check_spaced_owner(owner: str) -> str:
    """Return an owner as `check_owner` does, of a forge whose names may have spaces inside."""
    check_owner(_SPACED.sub("_", owner))
    return owner


def check_spaced_name(name: str) -> str:
    """Return a name as `check_name` does, of a forge whose names may have spaces inside."""
    check_name(_SPACED.sub("_", name))
    return name


def read_host(fields: Fields, name: str) -> str:
    """Return the host of a web page: it is only ever compared with the configured ones."""
    url = read_text(fields, name)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise Reject(f"{name} is {show(url)}, which names no host")
    return f"{host}:{port}" if port else host


def find_pusher(fields: object, name: str) -> str | None:
    """Return the pusher if it is a plain name, as it becomes a variable of the build; or None."""
    value = fields.get(name) if isinstance(fields, dict) else None
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= _PUSHER_MOST:
        return None
    return value


def find_unix_time(value: object) -> datetime | None:
    """Return the time of whole seconds since 1970; None for anything else."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    try:
        return usable_time(datetime.fromtimestamp(value, UTC))
    except (ValueError, OverflowError, OSError):
        return None


def find_iso_time(value: object) -> datetime | None:
    """Return the time of an ISO 8601 text with a zone; None for anything else."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        return usable_time(time.astimezone(UTC)) if time and time.tzinfo else None
    except (ValueError, OverflowError):
        return None
