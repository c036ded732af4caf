"""Parser of CodeCommit's events: event → `Push`, or the reason why it is not one.

Understands the EventBridge envelope of "CodeCommit Repository State Change" in all its forms.
Source: CodeCommit User Guide, "Monitoring CodeCommit events in EventBridge". Every value that later
reaches a command line, a path or a key is checked here (I11).
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

from asyncbuild.domain.errors import Reject, show
from asyncbuild.domain.model import Change, Nothing, Push
from asyncbuild.domain.refs import check_pushed_ref
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.times import read_time

_DETAIL_TYPE = "CodeCommit Repository State Change"
_UNREFERENCED = "unreferencedMergeCommitCreated"
_CHANGES = {"referenceCreated": Change.CREATED, "referenceUpdated": Change.UPDATED}
_PREFIXES = {"branch": "refs/heads/", "tag": "refs/tags/"}

EVENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ACCOUNT = re.compile(r"[0-9]{12}")
_REGION = re.compile(r"[a-z]{2,4}(-[a-z0-9]+){1,4}")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# CodeCommit: letters, digits, `.`, `_`, `-`, at most 100 (Quotas in CodeCommit). A leading dash
# would be legal there, but a command could take it for an option.
_REPOSITORY = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,99}")


_Fields = Mapping[str, Any]


def read_event(event: Mapping[str, Any]) -> Push | Nothing:
    """Read one event of EventBridge.

    Returns:
        A `Push`, or `Nothing` for a well-formed event that asks for no build: other changes of a
        repository, and events of other kinds or services.

    Raises:
        Reject: It is not an event; the reason names the field and its value.
    """
    if "detail-type" not in event:
        raise Reject("message is not an EventBridge event: it has no detail-type")
    kind, detail = event["detail-type"], event.get("detail")
    if not isinstance(kind, str):
        raise Reject(f'detail-type is {show(kind)}, not "{_DETAIL_TYPE}"')
    identity = match_field(EVENT_ID, event, "id")
    if kind != _DETAIL_TYPE:
        return Nothing(identity, f"event {show(kind)} of {show(event.get('source'))} is not a push")
    if not isinstance(detail, dict):
        raise Reject(f"detail is {show(detail)}, not an object")
    repository = read_repository_parts(
        event.get("account"), event.get("region"), detail.get("repositoryName")
    )
    return _push(identity, repository, event, detail)


def _push(identity: str, repository: Repository, event: _Fields, detail: _Fields) -> Push | Nothing:
    change = detail.get("event")
    if change == _UNREFERENCED:
        return Nothing(identity, "a merge commit that no ref points at", repository)
    ref = _ref(detail)
    if change == "referenceDeleted":
        time = read_time(event.get("time"))
        return Nothing(identity, f"{ref} was deleted", repository, ref, time=time)
    if not isinstance(change, str) or change not in _CHANGES:
        raise Reject(f"detail.event is {show(change)}, which is not a known change of a reference")
    return Push(
        id=identity,
        repository=repository,
        ref=ref,
        commit=match_field(COMMIT, detail, "commitId"),
        change=_CHANGES[change],
        time=read_event_time(event, "time"),
        old_commit=match_field(COMMIT, detail, "oldCommitId")
        if detail.get("oldCommitId")
        else None,
        pusher=find_pusher_arn(detail.get("callerUserArn")),
    )


def read_repository_parts(account: object, region: object, name: object) -> Repository:
    """Return a repository whose parts are safe to use.

    Raises:
        Reject: One is not, or is missing.
    """
    told = {"account": account, "region": region, "repositoryName": name}
    patterns = (_ACCOUNT, _REGION, _REPOSITORY)
    parts = [
        match_field(pattern, told, field) for pattern, field in zip(patterns, told, strict=True)
    ]
    if name in {".", ".."}:
        _wrong("repositoryName", name)
    return Repository.of_codecommit(*parts)


def _ref(detail: _Fields) -> str:
    full = detail.get("referenceFullName")
    if full:
        return check_pushed_ref(full)
    short, kind = detail.get("referenceName"), detail.get("referenceType")
    if isinstance(short, str) and isinstance(kind, str) and kind in _PREFIXES:
        return check_pushed_ref(_PREFIXES[kind] + short)
    raise Reject(
        f"detail has no referenceFullName, and referenceType {show(kind)} with referenceName "
        f"{show(short)} names no ref"
    )


def read_event_time(event: _Fields, name: str) -> datetime:
    """Return the time in a field of an event.

    Raises:
        Reject: It is not an ISO 8601 time.
    """
    text = event.get(name)
    time = read_time(text)
    if time is None:
        raise Reject(f"{name} is {show(text)}, not an ISO 8601 time")
    return time


def find_pusher_arn(arn: object) -> str | None:
    """Return the pusher, if it is text that may become a variable of the build."""
    return arn if isinstance(arn, str) and arn and arn.isprintable() else None


def match_field(pattern: re.Pattern[str], fields: _Fields, name: str) -> str:
    """Return the text of a field that fits a pattern.

    Raises:
        Reject: It does not fit, or is missing.
    """
    value = fields.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        _wrong(name, value)
    return value


def _wrong(name: str, value: object) -> NoReturn:
    if value is None:
        raise Reject(f"{name} is missing")
    raise Reject(f"{name} is {show(value)}, which is no {_MEANING.get(name, 'legal value')}")


_MEANING = {
    "id": "event id",
    "account": "AWS account id of 12 digits",
    "region": "AWS region",
    "repositoryName": "repository name that is safe to use",
    "commit": "commit id of 40 or 64 hex digits",
    "eventId": "event id",
    "commitId": "commit id of 40 or 64 hex digits",
    "oldCommitId": "commit id of 40 or 64 hex digits",
}
