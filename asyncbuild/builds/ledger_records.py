"""Bodies of the ledger's objects as JSON: written and parsed. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from asyncbuild.domain.errors import Reject, StageError, reading
from asyncbuild.domain.foreign_text import to_json
from asyncbuild.domain.model import Message, Nothing, Outcome, Push
from asyncbuild.domain.movements import FoundMark
from asyncbuild.domain.times import read_time

_VERSION = 1
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# SQS keeps a message for up to 14 days, and so may a dead letter of an event be sent back.
_FOUND_KEPT = timedelta(days=30)
_FOUND_MOST = 64
_MEND = "delete or correct the object, and send the message back"


@dataclass(frozen=True, slots=True)
class Head:
    """The newest push of a ref that was built or uploaded.

    Attributes:
        commit: The commit that was pushed.
        time: When it was pushed.
        event_id: Id of the push.
        before: The commit of the newest push before it; empty if there was none, or if a version
            that does not record it wrote the object.
        group: Message group in which the push came; empty if a version that does not record it
            wrote the object.
        found: Pushes of the ref that were found by comparing refs, or by a request for its tip,
            oldest first: their events may still come. Few are kept, and for as long as a message
            can wait.
        position: Place of the push in the order of heads of its ref: greater than that of each
            head before it. Milliseconds of its time, unless a head before it has as many.
    """

    commit: str
    time: datetime
    event_id: str
    before: str = ""
    group: str = ""
    found: tuple[FoundMark, ...] = ()
    position: int = 0

    @property
    def follows_by_time(self) -> bool:
        """True if its time alone puts it behind each head before it."""
        return self.position == _milliseconds(self.time)


@dataclass(frozen=True, slots=True)
class KnownHead:
    """Head of a ref as it was read or written.

    Attributes:
        newest: The newest push that was built; None without a record that can be
            read.
        etag: ETag of the record, quoted; empty without a record.
    """

    newest: Head | None = None
    etag: str = ""


@dataclass(frozen=True, slots=True)
class FixedTip:
    """Commit at which the ref of a request was when it was looked up, and that time."""

    commit: str
    seen_at: datetime


def next_head(push: Push, newest: Head | None, *, group: str = "") -> Head | None:
    """Return the head of a ref after `push` was built; None if it stays `newest`.

    The head never goes back: an old push that was forced must not make those between it and the
    newest look new. A push that names the newest as its old commit follows it, whatever its clock
    said.

    Args:
        push: The push that was built.
        newest: The newest push of the ref that is on record.
        group: Message group of the push.
    """
    position = _milliseconds(push.time)
    if newest is None:
        found = _found(push, None)
        return Head(push.commit, push.time, push.id, group=group, found=found, position=position)
    if newest.event_id == push.id:
        return None
    if push.time < newest.time and push.old_commit != newest.commit:
        return None
    found = _found(push, newest)
    position = max(position, newest.position + 1)
    return Head(push.commit, push.time, push.id, newest.commit, group, found, position)


def outcome_record(
    push: Push, outcome: Outcome, *, recorded_at: datetime, more: Mapping[str, object]
) -> bytes:
    """Return the record of what was done for one target of a push.

    Args:
        push: The push.
        outcome: What was done.
        recorded_at: Time of the record.
        more: Further fields.
    """
    return dump_record({**_push_fields(push, recorded_at), **_outcome_fields(outcome), **more})


def nothing_record(event: Nothing, *, recorded_at: datetime) -> bytes:
    """Return the record of an event that asked for no build."""
    document: dict[str, object] = {
        "version": _VERSION,
        "event_id": event.id,
        "ref": event.ref,
        "verdict": "ignored",
        "reason": event.reason,
        "recorded_at": recorded_at,
    }
    if event.time is not None:
        document["pushed_at"] = event.time
    if event.repository is not None:
        document["repository"] = event.repository.segments._asdict()
    return dump_record(document)


def rejected_record(
    message: Message, push: Push | None, error: StageError, *, attempts: int, recorded_at: datetime
) -> bytes:
    """Return the record of a message that went to the dead-letter queue because of `error`.

    Args:
        message: The message.
        push: Its push that is to blame; None if it has none.
        error: Why it was given up.
        attempts: Number of counted attempts.
        recorded_at: Time of the record.
    """
    return dump_record(
        {
            "version": _VERSION,
            "message_id": message.id,
            "group": message.group,
            **(_push_fields(push, recorded_at) if push else {}),
            "verdict": "rejected",
            "kind": error.kind,
            "reason": str(error),
            "attempts": attempts,
            "recorded_at": recorded_at,
        }
    )


def head_record(head: Head, *, ref: str) -> bytes:
    """Return the record of a ref's newest push, as `read_head` reads it."""
    return dump_record(
        {
            "commit": head.commit,
            "time": head.time,
            "event_id": head.event_id,
            "ref": ref,
            "before": head.before,
            "group": head.group,
            **({"found": head.found} if head.found else {}),
            "position": head.position,
        }
    )


def tip_record(fixed: FixedTip) -> bytes:
    """Return the record of what the tip of a request is, as `read_tip` reads it."""
    return dump_record({"commit": fixed.commit, "seen_at": fixed.seen_at})


def dump_record(document: Mapping[str, object]) -> bytes:
    """Return a document as JSON, its times in UTC with a Z."""
    return to_json(document, utc_z=True)


def read_record(key: str, body: bytes) -> Mapping[str, Any]:
    """Return the JSON object in the body of a record.

    Raises:
        Reject: The body holds no JSON object; the reason names the key.
    """
    with reading(f"record {key}", remedy=_MEND):
        document = orjson.loads(body)
        if not isinstance(document, dict):
            raise TypeError
        return document


def read_or_explain(key: str, body: bytes) -> Mapping[str, Any]:
    """Return the JSON object of a record, or one with the verdict `unreadable` and the reason."""
    try:
        return read_record(key, body)
    except Reject as error:
        return {"verdict": "unreadable", "reason": str(error)}


def read_head(key: str, body: bytes) -> Head:
    """Return the newest push that a ref's record names.

    Raises:
        Reject: The record cannot be read, or names no commit; the reason names the key.
    """
    document = read_record(key, body)
    with reading(f"record {key}", remedy=_MEND):
        commit, event_id, time = (document[name] for name in ("commit", "event_id", "time"))
        before = document.get("before", "")
        moment = read_time(time)
        if moment is None:
            raise ValueError
        if not _COMMIT.fullmatch(commit) or not isinstance(event_id, str):
            raise ValueError
        if before != "" and not _COMMIT.fullmatch(before):
            raise ValueError
        group = document.get("group", "")
        found = tuple(_read_mark(each) for each in document.get("found", ()))
        group = group if isinstance(group, str) else ""
        # Earlier versions wrote no position.
        position = int(document.get("position", _milliseconds(moment)))
        return Head(commit, moment, event_id, before, group, found, position)


def _found(push: Push, newest: Head | None) -> tuple[FoundMark, ...]:
    """Return the found pushes that a head keeps, `push` among them if it is one.

    A request counted as a push, which does not say when its ref was last seen elsewhere, has
    moved the ref since the newest push that was built.
    """
    before = () if newest is None else newest.found
    kept = [each for each in before if push.time - each.time <= _FOUND_KEPT]
    if push.terms is not None:
        since, old = push.terms.since, push.old_commit or ""
        if since is None:
            since = push.time - _FOUND_KEPT if newest is None else min(newest.time, push.time)
            old = old or ("" if newest is None else newest.commit)
        kept.append(FoundMark(push.commit, since, push.time, push.id, old))
    return tuple(kept[-_FOUND_MOST:])


def _read_mark(entry: Mapping[str, Any]) -> FoundMark:
    commit, old = entry["commit"], entry["old_commit"]
    since, time = read_time(entry["since"]), read_time(entry["time"])
    if since is None or time is None or not _COMMIT.fullmatch(commit):
        raise ValueError
    if old != "" and not _COMMIT.fullmatch(old):
        raise ValueError
    return FoundMark(commit, since, time, str(entry["event_id"]), old)


def read_tip(key: str, body: bytes) -> FixedTip:
    """Return what the tip of a request is.

    Raises:
        Reject: The record cannot be read; the reason names the key.
    """
    document = read_record(key, body)
    with reading(f"record {key}", remedy=_MEND):
        commit, moment = document["commit"], read_time(document["seen_at"])
        if moment is None or not _COMMIT.fullmatch(commit):
            raise ValueError
        return FixedTip(commit, moment)


def read_reference(key: str, body: bytes, *, below: str) -> str:
    """Return the key of a record that another object names.

    Args:
        key: Key of the naming object.
        body: Its contents.
        below: Prefix that the returned key must have.

    Raises:
        Reject: The object cannot be read, or names no key that begins with `below`; the reason
            names `key`.
    """
    with reading(f"record {key}", remedy=_MEND):
        record = str(orjson.loads(body)["record"])
        if not record.startswith(below):
            raise ValueError(record)
        return record


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def _push_fields(push: Push, recorded_at: datetime) -> dict[str, object]:
    return {
        "version": _VERSION,
        "event_id": push.id,
        "repository": push.repository.segments._asdict(),
        "ref": push.ref,
        "commit": push.commit,
        "old_commit": push.old_commit,
        "change": push.change,
        "pusher": push.pusher,
        "pushed_at": push.time,
        "recorded_at": recorded_at,
        **_request_fields(push),
    }


def _request_fields(push: Push) -> dict[str, object]:
    """Return the terms of a request, as a part of the record; nothing for a push of a forge."""
    terms = push.terms
    if terms is None:
        return {}
    return {
        "request": {
            "source": terms.source,
            "reason": terms.reason,
            "requested_by": terms.requested_by,
            "projects": terms.projects,
            "variables": tuple(terms.variables),
            "again": terms.again,
            "as_push": terms.as_push,
        }
    }


def _outcome_fields(outcome: Outcome) -> dict[str, object]:
    target = outcome.target
    return {
        "verdict": outcome.verdict,
        "reason": outcome.reason,
        "action": target.action if target else None,
        "rule": target.rule if target else None,
        "project": target.project if target else None,
        "pipeline": target.pipeline if target else None,
        "archive": outcome.archive,
        "build": outcome.build,
        "execution": outcome.execution,
        "timings": outcome.timings,
    }
