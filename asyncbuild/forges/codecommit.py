"""Parser of CodeCommit's events: message body → `Push`, or the reason why it is not one.

Understands the EventBridge envelope of "CodeCommit Repository State Change" in all its forms, also
inside an SNS notification. Source: CodeCommit User Guide, "Monitoring CodeCommit events in
EventBridge". Every value that later reaches a command line, a path or a key is checked here (I11).
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

from asyncbuild.domain.errors import Reject, show
from asyncbuild.domain.foreign_json import read_object
from asyncbuild.domain.model import Change, Nothing, Push
from asyncbuild.domain.refs import check_pushed_ref
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.times import read_time

_DETAIL_TYPE = "CodeCommit Repository State Change"
_UNREFERENCED = "unreferencedMergeCommitCreated"
_CHANGES = {"referenceCreated": Change.CREATED, "referenceUpdated": Change.UPDATED}
_PREFIXES = {"branch": "refs/heads/", "tag": "refs/tags/"}

_EVENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ACCOUNT = re.compile(r"[0-9]{12}")
_REGION = re.compile(r"[a-z]{2,4}(-[a-z0-9]+){1,4}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# CodeCommit: letters, digits, `.`, `_`, `-`, at most 100 (Quotas in CodeCommit). A leading dash
# would be legal there, but a command could take it for an option.
_REPOSITORY = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,99}")


_Fields = Mapping[str, Any]


def parse(body: str | bytes) -> Push | Nothing:
    """Read one message body.

    Returns:
        A `Push`, or `Nothing` for a well-formed event that asks for no build.

    Raises:
        Reject: The body is not such an event; the reason names the field and its value.
    """
    event = _unwrap(read_object(body, "message body"))
    if "detail-type" not in event:
        raise Reject("message is not an EventBridge event: it has no detail-type")
    if event["detail-type"] != _DETAIL_TYPE:
        raise Reject(f'detail-type is {show(event["detail-type"])}, not "{_DETAIL_TYPE}"')
    detail = event.get("detail")
    if not isinstance(detail, dict):
        raise Reject(f"detail is {show(detail)}, not an object")
    identity = _match(_EVENT_ID, event, "id")
    repository = _repository(event, detail)
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
        commit=_match(_COMMIT, detail, "commitId"),
        change=_CHANGES[change],
        time=_time(event),
        old_commit=_match(_COMMIT, detail, "oldCommitId") if detail.get("oldCommitId") else None,
        pusher=_pusher(detail),
    )


def _unwrap(event: _Fields) -> _Fields:
    """Return the EventBridge event inside an SNS notification (SNS Developer Guide, JSON formats).

    Other events are returned unchanged.
    """
    if event.get("Type") == "Notification" and "Message" in event and "detail-type" not in event:
        message = event["Message"]
        if not isinstance(message, str):
            raise Reject(f"Message of the SNS notification is {show(message)}, not a string")
        return read_object(message, "Message of the SNS notification")
    return event


def _repository(event: _Fields, detail: _Fields) -> Repository:
    account = _match(_ACCOUNT, event, "account")
    region = _match(_REGION, event, "region")
    name = _match(_REPOSITORY, detail, "repositoryName")
    if name in {".", ".."}:
        _wrong("repositoryName", name)
    return Repository.of_codecommit(account, region, name)


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


def _time(event: _Fields) -> datetime:
    text = event.get("time")
    time = read_time(text)
    if time is None:
        raise Reject(f"time is {show(text)}, not an ISO 8601 time")
    return time


def _pusher(detail: _Fields) -> str | None:
    """Return the pusher, if it is text that may become a variable of the build."""
    arn = detail.get("callerUserArn")
    return arn if isinstance(arn, str) and arn and arn.isprintable() else None


def _match(pattern: re.Pattern[str], fields: _Fields, name: str) -> str:
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
    "commitId": "commit id of 40 or 64 hex digits",
    "oldCommitId": "commit id of 40 or 64 hex digits",
}
