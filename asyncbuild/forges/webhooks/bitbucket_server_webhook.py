"""Webhooks of Bitbucket Data Center: payload of a push, and its signature. Pure.

Sources: Bitbucket Data Center, "Event payload", repo:refs_changed, and "Manage webhooks", secrets.
"""

from collections.abc import Mapping
from typing import Any

from asyncbuild.domain.errors import show
from asyncbuild.domain.refs import PUSHED, check_pushed_ref
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.forges.webhooks.body_signature import SignedBody
from asyncbuild.forges.webhooks.dialect import Payload, RefChange, WebhookHeaders
from asyncbuild.forges.webhooks.payload_fields import (
    check_name,
    check_owner,
    find_iso_time,
    find_pusher,
    read_changes,
    read_commit,
    read_object_field,
    read_text,
)

_REFS_CHANGED = "repo:refs_changed"
# Of a mirror (Smart Mirroring): refs that it has taken from its upstream; none of them beyond a
# limit.
_SYNCHRONIZED = "mirror:repo_synchronized"
_PERSONAL = "~"  # begins the key of a user's own project


class BitbucketServerWebhook(SignedBody):
    """Dialect of Bitbucket Data Center. Payloads do not name the host; the gateway may."""

    header = "X-Hub-Signature"
    headers = WebhookHeaders(
        event="x-event-key",
        pushes=frozenset({_REFS_CHANGED, _SYNCHRONIZED}),
        ids=("x-request-id",),
        signatures=("x-hub-signature",),
    )

    def read(self, document: Mapping[str, Any]) -> Payload | str | None:
        """Read a payload; see `WebhookDialect`."""
        event = document.get("eventKey")
        if event == _SYNCHRONIZED and not document.get("changes"):
            return "the mirror took more refs than its event names, or none"
        if event in {_REFS_CHANGED, _SYNCHRONIZED}:
            return _read_push(document)
        if document.get("test") is True:
            return "the host tried out its webhook"
        return f"event {show(event)} is not a push" if isinstance(event, str) else None


def _read_push(document: Mapping[str, Any]) -> Payload:
    repository = read_object_field(document, "repository")
    return Payload(
        kind=ForgeKind.BITBUCKET_SERVER,
        host="",
        owner=_read_owner(repository),
        name=check_name(read_text(repository, "slug")),
        pusher=find_pusher(document.get("actor"), "name"),
        time=find_iso_time(document.get("date")),
        **read_changes(document, _read_change),
    )


def _read_owner(repository: Mapping[str, Any]) -> str:
    key = read_text(read_object_field(repository, "project"), "key")
    personal = _PERSONAL if key.startswith(_PERSONAL) else ""
    return personal + check_owner(key.removeprefix(_PERSONAL))


def _read_change(change: Mapping[str, Any]) -> RefChange | str:
    ref = read_object_field(change, "ref").get("id")
    if isinstance(ref, str) and ref.startswith("refs/") and not ref.startswith(PUSHED):
        return show(ref)
    old, new = read_commit(change, "fromHash"), read_commit(change, "toHash")
    return RefChange(check_pushed_ref(ref), old, new)
