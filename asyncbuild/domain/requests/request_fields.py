"""Readers of fields of a push message, which check each value (I11). Pure.

Each raises `Reject` with the field, its value and what it may be.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from asyncbuild.domain.errors import Reject, show
from asyncbuild.domain.git_names import check_repository
from asyncbuild.domain.repository import Repository, decode_repository, encode_repository
from asyncbuild.domain.rules.rule_variables import variable_fault
from asyncbuild.domain.times import read_time

Document = Mapping[str, Any]

PROJECTS_MOST: Final = 50
VARIABLES_MOST: Final = 50
VARIABLE_CHARACTERS_MOST: Final = 5_000  # of names and values together
# CodeCommit's events have UUIDs, webhooks ids of at most 100; the ledger's keys hold this many.
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_SOURCE: Final = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
# CodeBuild API, ProjectName; CodePipeline API, PipelineName
_PROJECT: Final = re.compile(r"[A-Za-z0-9.@_-]{1,150}", re.ASCII)
# From the year 2000: days before it are subtracted without an end of the calendar.
_TIME: Final = re.compile(
    r"[2-9]\d{3}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)
_REGION: Final = re.compile(r"[a-z]{2,4}(-[a-z0-9]+){1,4}", re.ASCII)
_SEGMENTS: Final = ("account", "region", "name")
_UNSAFE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def read_id(document: Document) -> str:
    """Return the id."""
    return _read_word(
        document, "id", _ID, "1 to 128 of A-Z a-z 0-9 . _ -, the first a letter or digit"
    )


def read_source(document: Document) -> str:
    """Return the source."""
    return _read_word(
        document, "source", _SOURCE, "1 to 32 of a-z 0-9 -, the first a letter, such as schedule"
    )


def read_repository(document: Document) -> Repository:
    """Return the repository whose path segments are in the field."""
    given = document["repository"]
    if not isinstance(given, dict) or set(given) != set(_SEGMENTS):
        raise Reject(
            f"repository is {show(given)}",
            remedy="give an object with account, region and name; of other forges than CodeCommit "
            "account is the host and region the owner, as in the ledger's records",
        )
    for name in _SEGMENTS:
        if not isinstance(given[name], str):
            raise Reject(f"repository.{name} is {show(given[name])}", remedy="give it as a string")
    account, region, name = (given[each] for each in _SEGMENTS)
    if _ACCOUNT.fullmatch(account) and not _REGION.fullmatch(region):
        raise Reject(f"repository.region is {show(region)}", remedy="give an AWS region")
    repository = check_repository(decode_repository(account, region, name))
    usual = account == account.lower() and not name.startswith("-")
    if not usual or encode_repository(repository) != (account, region, name):
        raise Reject(
            f"repository {show(f'{account}/{region}/{name}')} cannot be one",
            remedy="copy account, region and name from a record: asyncbuild explain --json",
        )
    return repository


def read_moment(document: Document, name: str) -> datetime:
    """Return the time in a field, in UTC."""
    given = document[name]
    time = read_time(given) if isinstance(given, str) and _TIME.fullmatch(given) else None
    if time is None:
        raise Reject(
            f"{name} is {show(given)}", remedy="give an RFC 3339 time, such as 2026-11-30T02:00:00Z"
        )
    return time


def read_line(document: Document, name: str, *, most: int) -> str:
    """Return the line of text in an optional field; empty without it.

    Args:
        document: The message's JSON object.
        name: Name of the field.
        most: Longest text in characters.
    """
    given = document.get(name, "")
    if not isinstance(given, str) or not given.isprintable() or len(given) > most:
        raise Reject(
            f"{name} is {show(given)}",
            remedy=f"give one line of printable text, at most {most} characters",
        )
    return given


def read_flag(document: Document, name: str, *, default: bool) -> bool:
    """Return the truth value in an optional field.

    Args:
        document: The message's JSON object.
        name: Name of the field.
        default: Value without the field.
    """
    given = document.get(name, default)
    if not isinstance(given, bool):
        raise Reject(f"{name} is {show(given)}", remedy="give true or false")
    return given


def read_projects(document: Document) -> tuple[str, ...]:
    """Return the names of projects and pipelines, each once."""
    given = document.get("projects", [])
    if not isinstance(given, list) or len(given) > PROJECTS_MOST:
        raise Reject(
            f"projects is {show(given)}", remedy=f"give a list of at most {PROJECTS_MOST} names"
        )
    for name in given:
        if not isinstance(name, str) or not _PROJECT.fullmatch(name):
            raise Reject(
                f"projects has {show(name)}",
                remedy="give names of CodeBuild projects or of pipelines",
            )
    return tuple(dict.fromkeys(given))


def read_variables(document: Document) -> Mapping[str, str]:
    """Return the variables, sorted by name."""
    given = document.get("variables", {})
    if not isinstance(given, dict) or len(given) > VARIABLES_MOST:
        # Values are never shown: some are secrets (I10).
        many = f"has {len(given)} entries" if isinstance(given, dict) else "is not an object"
        raise Reject(
            f"variables {many}",
            remedy=f"give an object of at most {VARIABLES_MOST} names and texts",
        )
    for name, value in given.items():
        check_variable(name, value)
    if sum(len(name) + len(value) for name, value in given.items()) > VARIABLE_CHARACTERS_MOST:
        raise Reject(
            f"variables have more than {VARIABLE_CHARACTERS_MOST} characters together",
            remedy="put long texts into the bucket or Parameter Store",
        )
    return dict(sorted(given.items()))


def check_variable(name: str, value: object) -> None:
    """Check a variable of a request: the names are those that rules may set.

    Args:
        name: Name of the variable.
        value: Its value.

    Raises:
        Reject: The name is reserved or is none, or the value is not text.
    """
    fault = variable_fault(name)
    if fault is not None:
        raise Reject(f"variables has {show(name)}", remedy=fault)
    if not isinstance(value, str) or _UNSAFE.search(value):
        raise Reject(
            f"variables.{name} is not text that a build can have",
            remedy="give text; of control characters it may have tabs and line ends alone",
        )


def _read_word(document: Document, name: str, pattern: re.Pattern[str], meaning: str) -> str:
    given = document[name]
    if not isinstance(given, str) or not pattern.fullmatch(given):
        raise Reject(f"{name} is {show(given)}", remedy=f"give {meaning}")
    return given
