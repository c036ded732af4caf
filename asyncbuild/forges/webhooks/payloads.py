"""Push payloads of GitHub, GitLab and Bitbucket → what they say, checked (I11). Pure.

Sources: GitHub Docs, "Webhook events and payloads", push; GitLab Docs, "Webhook events", push and
tag events; Bitbucket Cloud, "Event payloads", repo:push; Bitbucket Data Center, "Event payload",
repo:refs_changed. A payload is known by its shape: the header that names the event is not signed,
so it can only tell that a payload is no push (`forges/registry.py`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypedDict
from urllib.parse import urlsplit

from asyncbuild.domain.errors import Reject, show
from asyncbuild.domain.repository import encode_segment
from asyncbuild.domain.times import usable_time
from asyncbuild.forges.codecommit import check_ref

_Fields = Mapping[str, Any]

# Letters, digits, `_`, `-` and `.` are what the hosts allow, GitHub's owners fewer; a leading dash
# none of them. No part of an owner holds two dots: they join the parts where one name is needed.
_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,99}")
_OWNER_PART = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]|\.(?=[A-Za-z0-9_-]))*")
_OWNER_MOST = 100
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ZEROS = re.compile(r"0{40}|0{64}")
_PUSHER_MOST = 200
_CHANGES_MOST = 100
_BUILT = ("refs/heads/", "refs/tags/")
_GITLAB_PUSHES = frozenset({"push", "tag_push"})
_BITBUCKET_REFS = {
    "branch": "refs/heads/",
    "named_branch": "refs/heads/",
    "tag": "refs/tags/",
    "annotated_tag": "refs/tags/",
}


class Kind(StrEnum):
    """Whose payload it is."""

    GITHUB = "github"
    GITLAB = "gitlab"
    BITBUCKET = "bitbucket"
    BITBUCKET_SERVER = "bitbucket-server"


@dataclass(frozen=True, slots=True)
class RefChange:
    """One ref of a push. `old` is None if the ref was made, `new` if it was deleted."""

    ref: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Payload:
    """What a push payload says, with every value that goes on checked.

    `host` is the host's name, with a port where one is not the usual, or empty if it does not say.
    `owner` may have several parts: `group/subgroup`.
    """

    kind: Kind
    host: str
    owner: str
    name: str
    changes: tuple[RefChange, ...]
    faults: tuple[Reject, ...] = ()  # of changes that cannot be understood, beside the others
    others: tuple[str, ...] = ()  # refs that are neither branch nor tag, as text to be shown
    pusher: str | None = None
    time: datetime | None = None


class _Changes(TypedDict):
    """The fields of `Payload` that describe changes."""

    changes: tuple[RefChange, ...]
    faults: tuple[Reject, ...]
    others: tuple[str, ...]


def read_payload(document: _Fields) -> Payload | str:
    """Read a payload.

    Returns:
        A `Payload`, or why there is nothing to do for a well-formed event of another kind.

    Raises:
        Reject: it is not a payload that is known; the reason names the field and its value.
    """
    # GitLab's system hooks have no object_kind.
    for name in ("object_kind", "event_name"):
        if isinstance(kind := document.get(name), str):
            return _gitlab(document) if kind in _GITLAB_PUSHES else f"event {show(kind)} is no push"
    if isinstance(document.get("push"), dict):
        return _bitbucket(document)
    if document.get("eventKey") == "repo:refs_changed":
        return _bitbucket_server(document)
    if "ref" in document and "after" in document and "repository" in document:
        return _github(document)
    if "zen" in document or document.get("test") is True:
        return "the host tried out its webhook"
    if isinstance(event := document.get("eventKey"), str):
        return f"event {show(event)} is no push"
    raise Reject("message is neither a CodeCommit event nor a push payload of a known host")


def _github(document: _Fields) -> Payload:
    repository = _object(document, "repository")
    owner, _, name = _text(repository, "full_name").rpartition("/")
    old, new = _commit(document, "before"), _commit(document, "after")
    return Payload(
        kind=Kind.GITHUB,
        host=_host(repository, "html_url"),
        owner=_owner(owner),
        name=_name(name),
        changes=(RefChange(check_ref(document["ref"]), old, new),),
        pusher=_pusher(document.get("sender"), "login") or _pusher(document.get("pusher"), "name"),
        time=_seconds(repository.get("pushed_at")),
    )


def _gitlab(document: _Fields) -> Payload:
    project = _object(document, "project")
    owner, _, name = _text(project, "path_with_namespace").rpartition("/")
    old, new = _commit(document, "before"), _commit(document, "after")
    return Payload(
        kind=Kind.GITLAB,
        host=_host(project, "web_url"),
        owner=_owner(owner),
        name=_name(name),
        changes=(RefChange(check_ref(document.get("ref")), old, new),),
        pusher=_pusher(document, "user_username"),
    )


def _bitbucket(document: _Fields) -> Payload:
    repository = _object(document, "repository")
    owner, _, name = _text(repository, "full_name").rpartition("/")
    html = _object(_object(repository, "links"), "html")
    return Payload(
        kind=Kind.BITBUCKET,
        host=_host(html, "href"),
        owner=_owner(owner),
        name=_name(name),
        pusher=_pusher(document.get("actor"), "nickname"),
        **_read_changes(_changes(document["push"]), _bitbucket_change),
    )


def _bitbucket_change(change: _Fields) -> RefChange:
    refs: list[str] = []
    ids: list[str | None] = []
    for side in ("old", "new"):
        value = change.get(side)
        if value is None:
            ids.append(None)
            continue
        if not isinstance(value, dict):
            raise Reject(f"changes[].{side} is {show(value)}, not an object")
        kind, name = value.get("type"), value.get("name")
        if not isinstance(kind, str) or kind not in _BITBUCKET_REFS or not isinstance(name, str):
            raise Reject(f"changes[].{side} has type {show(kind)} and name {show(name)}")
        refs.append(check_ref(_BITBUCKET_REFS[kind] + name))
        ids.append(_commit(_object(value, "target"), "hash"))
    if not refs or refs[0] != refs[-1]:
        raise Reject(f"changes[] names the refs {show(refs)}, not one")
    old, new = ids
    return RefChange(refs[0], old, new)


def _bitbucket_server(document: _Fields) -> Payload:
    repository = _object(document, "repository")
    return Payload(
        kind=Kind.BITBUCKET_SERVER,
        host="",
        owner=_owner(_text(_object(repository, "project"), "key")),
        name=_name(_text(repository, "slug")),
        pusher=_pusher(document.get("actor"), "name"),
        time=_iso(document.get("date")),
        **_read_changes(_changes(document), _bitbucket_server_change),
    )


def _bitbucket_server_change(change: _Fields) -> RefChange | str:
    ref = _object(change, "ref").get("id")
    if isinstance(ref, str) and ref.startswith("refs/") and not ref.startswith(_BUILT):
        return show(ref)
    return RefChange(check_ref(ref), _commit(change, "fromHash"), _commit(change, "toHash"))


# --- the fields -----------------------------------------------------------------------------------


def _object(fields: _Fields, name: str) -> _Fields:
    value = fields.get(name)
    if not isinstance(value, dict):
        raise Reject(f"{name} is {show(value)}, not an object")
    return value


def _text(fields: _Fields, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise Reject(f"{name} is {show(value)}, not a string")
    return value


def _changes(fields: _Fields) -> Sequence[_Fields]:
    changes = fields.get("changes")
    if not isinstance(changes, list) or not all(isinstance(each, dict) for each in changes):
        raise Reject(f"changes is {show(changes)}, not a list of objects")
    if not changes:
        raise Reject("changes has no entries")
    return changes


def _read_changes(
    entries: Sequence[_Fields], read: Callable[[_Fields], RefChange | str]
) -> _Changes:
    """Read each by itself: one that cannot be understood takes no other along.

    Raises:
        Reject: all of them are faulty, or more are to be built than can; a deletion costs nothing.
    """
    changes: list[RefChange] = []
    faults: list[Reject] = []
    others: list[str] = []
    for entry in entries:
        try:
            change = read(entry)
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


def _commit(fields: _Fields, name: str) -> str | None:
    value = fields.get(name)
    if not isinstance(value, str) or not _COMMIT.fullmatch(value):
        raise Reject(f"{name} is {show(value)}, which is no commit id of 40 or 64 hex digits")
    return None if _ZEROS.fullmatch(value) else value


def _owner(owner: str) -> str:
    """`acme`, or `group/subgroup`; encoded, it must fit in 100 characters (`check_repository`)."""
    parts = owner.split("/")
    if not all(_OWNER_PART.fullmatch(part) for part in parts):
        raise Reject(f"owner {show(owner)} is no owner of a repository that is safe to use")
    if len(encode_segment(owner)) > _OWNER_MOST:
        raise Reject(f"owner {show(owner)} is longer than {_OWNER_MOST} characters")
    return owner


def _name(name: str) -> str:
    if not _NAME.fullmatch(name) or name in {".", ".."}:
        raise Reject(f"{show(name)} is no repository name that is safe to use")
    return name


def _host(fields: _Fields, name: str) -> str:
    """The host of a web page: only ever compared with the configured ones."""
    url = _text(fields, name)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise Reject(f"{name} is {show(url)}, which names no host")
    return f"{host}:{port}" if port else host


def _pusher(fields: object, name: str) -> str | None:
    """Who pushed, if it is a plain name: it goes into a variable of the build."""
    value = fields.get(name) if isinstance(fields, dict) else None
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= _PUSHER_MOST:
        return None
    return value


def _seconds(value: object) -> datetime | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    try:
        return usable_time(datetime.fromtimestamp(value, UTC))
    except (ValueError, OverflowError, OSError):
        return None


def _iso(value: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        return usable_time(time.astimezone(UTC)) if time and time.tzinfo else None
    except (ValueError, OverflowError):
        return None
