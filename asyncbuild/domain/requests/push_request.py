"""Push message: the service's own message that asks for a build, written and read. Pure.

`docs/push-message.md` describes it for senders, `push-message.schema.json` beside this file for
programs. A version never changes its meaning: a field that is added makes a new version, because a
field that a reader does not know may restrict what is built. So unknown fields are refused.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from asyncbuild.domain.errors import Reject, show
from asyncbuild.domain.foreign_text import to_json
from asyncbuild.domain.git_names import is_commit
from asyncbuild.domain.model import TIP, Change, Push
from asyncbuild.domain.refs import check_pushed_ref
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.requests import request_fields as fields
from asyncbuild.domain.requests.request_terms import RequestTerms

OWN_KEY: Final = "asyncbuild"  # which every message of the service's own has, of any kind
KIND: Final = "push"
VERSION: Final = 1
AHEAD_MOST: Final = timedelta(minutes=15)  # of a request's time against its message's
_REQUIRED: Final = ("repository", "ref", "commit", "source", "time")
_OPTIONAL: Final = (
    *(
        "id",
        "old_commit",
        "projects",
        "variables",
        "reason",
        "requested_by",
        "again",
        "as_push",
        "since",
    ),
)
_FIELDS: Final = (OWN_KEY, "version", *_REQUIRED, *_OPTIONAL)


@dataclass(frozen=True, slots=True)
class PushRequest:
    """Request for a build of a ref's tip or of a commit.

    Attributes:
        id: Identity under which it is carried out once (I12); also the message's deduplication id.
        repository: Repository.
        ref: Full name of a branch or tag.
        commit: Id of the commit, or `TIP`.
        time: When it was asked for; of a push that was found, when the ref was seen there.
        terms: What else is asked for, and by whom.
        old_commit: Id of the commit that the ref pointed at before; empty if it is not known.
    """

    id: str
    repository: Repository
    ref: str
    commit: str
    time: datetime
    terms: RequestTerms
    old_commit: str = ""

    @property
    def push(self) -> Push:
        """The push that is asked for."""
        change = Change.CREATED if self.terms.as_push and self.commit != TIP else Change.REQUESTED
        return Push(
            id=self.id,
            repository=self.repository,
            ref=self.ref,
            commit=self.commit,
            change=Change.UPDATED if self.old_commit else change,
            time=self.time,
            old_commit=self.old_commit or None,
            pusher=self.terms.requested_by or None,
            terms=self.terms,
        )


def dump_request(request: PushRequest) -> bytes:
    """Return the body of a request's message, as `read_request` reads it."""
    terms = request.terms
    return to_json(
        {
            OWN_KEY: KIND,
            "version": VERSION,
            "id": request.id,
            "repository": request.repository.segments._asdict(),
            "ref": request.ref,
            "commit": request.commit,
            "old_commit": request.old_commit,
            "projects": terms.projects,
            "variables": terms.variables,
            "reason": terms.reason,
            "requested_by": terms.requested_by,
            "again": terms.again,
            "as_push": terms.as_push,
            "source": terms.source,
            "time": request.time,
            **({} if terms.since is None else {"since": terms.since}),
        },
        utc_z=True,
    )


def read_request(document: Mapping[str, Any], *, sent: datetime | None = None) -> PushRequest:
    """Return the request in a message's JSON object.

    Args:
        document: The object.
        sent: When the message came to the queue, if that is known.

    Raises:
        Reject: The object is not a request of a version that can be read; the reason names the
            first faulty field and its value, the remedy what it may be.
    """
    _check_kind(document)
    _check_names(document)
    commit = _commit(document)
    terms = _terms(document, commit)
    time = fields.read_moment(document, "time")
    terms = replace(terms, since=_since(document, time, terms))
    if sent is not None and time > sent + AHEAD_MOST:
        raise Reject(
            f"time is {show(document['time'])}, more than {AHEAD_MOST.seconds // 60} minutes after "
            f"the message was sent ({sent:%Y-%m-%dT%H:%M:%SZ})",
            remedy="set the sender's clock; a time ahead would make later pushes look old",
        )
    return PushRequest(
        id=fields.read_id(document) if "id" in document else _digest(document, terms.source),
        repository=fields.read_repository(document),
        ref=check_pushed_ref(document["ref"]),
        commit=commit,
        time=time,
        terms=terms,
        old_commit=_old_commit(document),
    )


def _check_kind(document: Mapping[str, Any]) -> None:
    kind, version = document.get(OWN_KEY), document.get("version")
    if kind != KIND:
        raise Reject(
            f"asyncbuild is {show(kind)}, which does not belong into the queue of pushes",
            remedy=f'"{KIND}" asks for a build; messages of other kinds have queues of their own',
        )
    if version != VERSION or isinstance(version, bool):
        raise Reject(
            f"version of the push message is {show(version)}",
            remedy=f"this service reads version {VERSION}; send that, or update the service and "
            "send the dead letter back",
        )


def _check_names(document: Mapping[str, Any]) -> None:
    for name in document:
        if name not in _FIELDS:
            raise Reject(
                f"field {show(name)} of the push message is unknown",
                remedy=f"version {VERSION} has the fields {', '.join(_FIELDS)}",
            )
    for name in _REQUIRED:
        if name not in document:
            raise Reject(
                f"field {name} of the push message is missing",
                remedy=f"it must have {', '.join(_REQUIRED)}: docs/push-message.md",
            )


def _commit(document: Mapping[str, Any]) -> str:
    commit = document["commit"]
    if not isinstance(commit, str) or not (commit == TIP or is_commit(commit)):
        raise Reject(
            f"commit is {show(commit)}",
            remedy=f'give the full id of 40 or 64 lower-case hex digits, or "{TIP}" for the commit '
            "that the ref points at",
        )
    return commit


def _old_commit(document: Mapping[str, Any]) -> str:
    commit = document.get("old_commit", "")
    if not isinstance(commit, str) or not (commit == "" or is_commit(commit)):
        raise Reject(
            f"old_commit is {show(commit)}",
            remedy="give the full id of 40 or 64 lower-case hex digits, or leave it out",
        )
    return commit


def _terms(document: Mapping[str, Any], commit: str) -> RequestTerms:
    terms = RequestTerms(
        source=fields.read_source(document),
        reason=fields.read_line(document, "reason", most=1_000),
        requested_by=fields.read_line(document, "requested_by", most=256),
        projects=fields.read_projects(document),
        variables=fields.read_variables(document),
        again=fields.read_flag(document, "again", default=False),
    )
    as_push = fields.read_flag(document, "as_push", default=commit == TIP and terms.is_plain)
    if as_push and not terms.is_plain:
        raise Reject(
            "as_push is true together with projects, variables or again",
            remedy="a push is built by its rules alone: leave as_push out, or the others",
        )
    return replace(terms, as_push=as_push)


def _since(document: Mapping[str, Any], time: datetime, terms: RequestTerms) -> datetime | None:
    if "since" not in document:
        return None
    since = fields.read_moment(document, "since")
    if since > time or not terms.as_push or document["commit"] == TIP:
        raise Reject(
            f"since is {show(document['since'])}",
            remedy="it is for a push that was found: as_push is true, commit is an id, and since "
            "is not after time",
        )
    return since


def _digest(document: Mapping[str, Any], source: str) -> str:
    """Return an id made of all fields: equal messages of one time are one request."""
    text = to_json({name: document[name] for name in sorted(document)})
    return f"{source}-{hashlib.sha256(text).hexdigest()[:32]}"
