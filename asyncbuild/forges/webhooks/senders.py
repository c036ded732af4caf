"""Reader of messages of any sender: message → pushes. Pure: secrets come in as a function.

A payload names its host; the configuration alone decides which credentials that host gets, under
which URL, and with which secret its signature is checked. Hosts without an entry are refused.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial

from asyncbuild.domain.errors import Reject, show
from asyncbuild.domain.foreign_json import read_object
from asyncbuild.domain.model import Change, Message, Nothing, Push
from asyncbuild.domain.repository import ForgeKind, Repository, encode_segment
from asyncbuild.domain.requests.push_request import OWN_KEY, read_request
from asyncbuild.domain.rules.rule_globs import matches
from asyncbuild.forges.codecommit_messages import parse_message
from asyncbuild.forges.webhooks.delivery import HOST, open_delivery
from asyncbuild.forges.webhooks.dialect import FRESH_SECONDS, Delivery, Payload, RefChange
from asyncbuild.forges.webhooks.dialects import (
    DIALECTS,
    ID_HEADERS,
    PUSH_EVENTS,
    SHARED_ID_HEADERS,
    has_shape_of,
    read_payload,
)

_EVENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Signature(StrEnum):
    """Treatment of deliveries without a good signature."""

    REQUIRED = "required"
    IF_PRESENT = "if-present"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Host:
    """One origin of pushes.

    Attributes:
        host: Its name, with a port where it differs from the usual one.
        kind: The forge whose payloads it sends.
        repository: Globs on `owner/name`: the repositories that this entry is for.
        signature: Whether deliveries must be signed.
        secrets: Returns the current secrets for signatures; called for each delivery.
    """

    host: str
    kind: ForgeKind
    repository: Sequence[str] = ("*",)
    signature: Signature = Signature.REQUIRED
    secrets: Callable[[], Sequence[str]] = tuple

    @property
    def segment(self) -> str:
        """Host as the first segment of a repository's path."""
        return encode_segment(self.host.lower())

    def is_of(self, repository: Repository) -> bool:
        """Return whether this entry is for that repository."""
        is_here = repository.is_foreign and repository.forge == self.host.lower()
        return is_here and self.covers(repository.full_name)

    def covers(self, path: str) -> bool:
        """Return whether `owner/name` is one of the entry's repositories; forges ignore case."""
        return matches(path.lower(), [glob.lower() for glob in self.repository])


class Unverified(Reject):
    """A webhook's request without a good signature: anyone may have sent it.

    Attributes:
        host: The segment of the `[[hosts]]` entry it came by, or `unknown`.
    """

    host = "unknown"


class MessageReader:
    """Reader of messages: events of CodeCommit, requests, and push payloads of given hosts."""

    def __init__(self, hosts: Sequence[Host] = ()) -> None:
        self._hosts = tuple(hosts)

    def read(self, message: Message) -> tuple[Push | Nothing | Reject, ...]:
        """Read one message: one event, or the pushes of several refs at once, in their order.

        Returns:
            Events, and after them the reasons why some refs of the message cannot be understood.

        Raises:
            Reject: It is not a push that can be trusted; the reason says why, without a secret
                (I10).
        """
        try:
            delivery = open_delivery(message)
        except Reject as error:  # a request that cannot be opened has no signature to check
            if not self._hosts:
                raise
            raise Unverified(error.reason, remedy=error.remedy) from error
        if delivery is None:
            return self._read_trusted(message)
        try:
            return self._read(delivery)
        except Reject as error:
            if not self._hosts or self._is_trusted(delivery):
                raise
            told = Unverified(error.reason, remedy=error.remedy)
            told.host = self._segment_of(delivery)
            raise told from error

    def _read_trusted(self, message: Message) -> tuple[Push | Nothing | Reject, ...]:
        """Read an event of CodeCommit or a request, which the queue's policy lets in."""
        document = read_object(message.body, "message body")
        if OWN_KEY not in document:
            return parse_message(message.body)
        push = read_request(document, sent=message.sent).push
        if push.repository.is_foreign and not any(h.is_of(push.repository) for h in self._hosts):
            raise Reject(
                f"a request for {push.repository.path}, which no [[hosts]] entry has",
                remedy="add an entry for that host and repository, or correct `repository`",
            )
        return (push,)

    def _segment_of(self, delivery: Delivery) -> str:
        return next((each.segment for each in self._of_route(delivery)), Unverified.host)

    def _of_route(self, delivery: Delivery) -> list[Host]:
        """Return the entries that a request may belong to, by the host that the gateway names."""
        name = delivery.headers.get(HOST, "").lower()
        return [host for host in self._hosts if name in {host.host, ""}]

    def _is_trusted(self, delivery: Delivery) -> bool:
        """Return whether the sender is trusted, even if the request is faulty."""
        return any(
            host.signature is Signature.OFF
            or DIALECTS[host.kind].is_genuine(delivery, host.secrets())
            for host in self._of_route(delivery)
        )

    def _read(self, delivery: Delivery) -> tuple[Push | Nothing | Reject, ...]:
        document = delivery.document()
        payload = _other_event(delivery) or read_payload(document, is_push=_says_push(delivery))
        identity = _identity(delivery, payload)
        if isinstance(payload, str):
            doubted = self._hosts and not self._is_trusted(delivery)
            unverified = self._segment_of(delivery) if doubted else ""
            return (Nothing(identity, payload, unverified=unverified),)
        host = self._host_of(payload, delivery)
        _check_signature(host, delivery)
        repository = Repository.of_host(host.host, payload.owner, payload.name)
        made = [each for each in payload.changes if each.new]
        if not made and not payload.faults:
            return (_nothing(identity, payload, repository),)
        push = partial(_push, payload=payload, repository=repository, delivery=delivery)
        if len(made) == 1:
            return (push(made[0], identity=identity), *payload.faults)
        pushes = [push(each, identity=f"{identity}.{n}") for n, each in enumerate(made, 1)]
        return (*pushes, *payload.faults)

    def _host_of(self, payload: Payload, delivery: Delivery) -> Host:
        """Return the first entry for the repository. The gateway's host overrides the payload's."""
        name = (delivery.headers.get(HOST) or payload.host).lower()
        path = f"{payload.owner}/{payload.name}"
        for host in self._hosts:
            known = has_shape_of(host.kind, payload) and name in {host.host, ""}
            if known and host.covers(path):
                return host
        raise Reject(
            f"a {payload.kind} push to {path} of host {name[:100]!a}, which no [[hosts]] entry has",
            remedy="add an entry for that host, kind and repository, or take the webhook away",
        )


def _nothing(identity: str, payload: Payload, repository: Repository) -> Nothing:
    """Return why nothing is to do: all refs were deleted, or are neither branches nor tags."""
    if not payload.changes:
        others = ", ".join(payload.others[:5])
        return Nothing(identity, f"{others} is neither a branch nor a tag", repository)
    deleted = ", ".join(each.ref for each in payload.changes[:5])
    ref, time = payload.changes[0].ref, payload.time
    return Nothing(identity, f"{deleted} was deleted", repository, ref, time=time)


def _other_event(delivery: Delivery) -> str:
    """Return why there is nothing to do, if a header names an event other than a push; else empty.

    The payload of another event may have a push's shape: GitHub Enterprise's `cache_sync` has.
    """
    for header, pushes in PUSH_EVENTS.items():
        event = delivery.headers.get(header)
        if event is not None and event not in pushes:
            return f"event {show(event)} is not a push"
    return ""


def _says_push(delivery: Delivery) -> bool:
    """Return whether a header names the event of a push."""
    return any(delivery.headers.get(header) in pushes for header, pushes in PUSH_EVENTS.items())


def _check_signature(host: Host, delivery: Delivery) -> None:
    if host.signature is Signature.OFF:
        return
    dialect = DIALECTS[host.kind]
    header = dialect.signature_header(delivery)
    if header.lower() not in delivery.headers:
        if host.signature is Signature.IF_PRESENT:
            return
        raise Reject(
            f"a push of {host.host} without {header}",
            remedy=f"give the webhook a secret, and let the gateway pass {header} on",
        )
    if not dialect.is_genuine(delivery, host.secrets()):
        raise Reject(
            f"a push of {host.host} whose {header} does not fit webhook_secret",
            remedy="give the webhook and the [[hosts]] entry the same secret; if they have it, "
            "another sender uses the gateway, or the gateway changes bodies",
        )
    if not dialect.is_fresh(delivery):
        raise Reject(
            f"a push of {host.host} that was signed more than {FRESH_SECONDS // 60} minutes before "
            "or after it came to the queue",
            remedy="set the clock of the host; if it is right, an old delivery was sent again",
        )


def _push(
    change: RefChange,
    *,
    identity: str,
    payload: Payload,
    repository: Repository,
    delivery: Delivery,
) -> Push:
    body_id = hashlib.sha256(change.ref.encode() + b"\n" + delivery.body).hexdigest()[:32]
    return Push(
        id=identity,
        repository=repository,
        ref=change.ref,
        commit=change.new or "",
        change=Change.UPDATED if change.old else Change.CREATED,
        time=payload.time or delivery.sent or datetime.fromtimestamp(0, UTC),
        old_commit=change.old,
        pusher=payload.pusher,
        timed=payload.time is not None,
        body_id=body_id,
    )


def _identity(delivery: Delivery, payload: Payload | str) -> str:
    """Return the delivery's own id, or a hash of its body, shared ids and time of arrival."""
    own = "" if isinstance(payload, str) else payload.identity
    for named in (own, *(delivery.headers.get(name, "") for name in ID_HEADERS)):
        told = named.strip("{}")
        if _EVENT_ID.fullmatch(told):
            return told
    sent = delivery.sent.isoformat() if delivery.sent else ""
    shared = "".join(delivery.headers.get(name, "") for name in SHARED_ID_HEADERS)
    text = f"{shared}\n{sent}\n".encode("utf-8", "surrogatepass") + delivery.body
    return f"webhook-{hashlib.sha256(text).hexdigest()[:32]}"
