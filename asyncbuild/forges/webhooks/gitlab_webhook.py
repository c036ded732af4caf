"""Webhooks of GitLab: payload of a push, and its signature. Pure.

GitLab sends the secret itself as `X-Gitlab-Token` or, with a signing token, a signature by the
Standard Webhooks specification: HMAC-SHA256 of `ID.TIMESTAMP.BODY`, as `v1,` and base64. Sources:
GitLab Docs, "Webhook events", push and tag events, and "Webhooks", secret token.

The library of that specification reads the clock and refuses signatures older than five minutes.
A message may wait in the queue for days, so its time is compared with its arrival in the queue.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncbuild.domain.errors import show
from asyncbuild.domain.refs import check_pushed_ref
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.forges.webhooks.body_signature import is_any_equal, to_bytes
from asyncbuild.forges.webhooks.dialect import (
    FRESH_SECONDS,
    Delivery,
    Payload,
    RefChange,
    WebhookHeaders,
)
from asyncbuild.forges.webhooks.payload_fields import (
    find_pusher,
    read_commit,
    read_host,
    read_object_field,
    read_text,
    split_full_name,
)

_SIGNING_TOKEN = "whsec_"  # noqa: S105 - prefix of one (Standard Webhooks, "Secrets")
_TIMESTAMP = re.compile(r"[0-9]{1,11}", re.ASCII)
_SIGNED, _ID, _TIME = "webhook-signature", "webhook-id", "webhook-timestamp"
_TOKEN = "X-Gitlab-Token"  # noqa: S105 - the name of a header
_PUSHES = frozenset({"push", "tag_push"})


class GitLabWebhook:
    """Dialect of GitLab."""

    headers = WebhookHeaders(
        event="x-gitlab-event",
        pushes=frozenset({"Push Hook", "Tag Push Hook", "System Hook"}),
        # GitLab 17.4: the same for every try of one delivery; equal to `webhook-id`, which is
        # signed.
        ids=("idempotency-key", _ID),
        shared_ids=("x-gitlab-event-uuid",),  # shared by a whole chain of webhooks
        signatures=(_SIGNED, _ID, _TIME, _TOKEN.lower()),
        secrets=frozenset({_TOKEN.lower()}),
    )

    def signature_header(self, delivery: Delivery) -> str:
        """Return the header's name; see `WebhookDialect`. A signature precedes a token."""
        return _SIGNED if _SIGNED in delivery.headers else _TOKEN

    def is_genuine(self, delivery: Delivery, secrets: Sequence[str]) -> bool:
        """Return whether one of the secrets made the header; see `WebhookDialect`."""
        known = [secret for secret in secrets if secret]
        told = delivery.headers.get(self.signature_header(delivery).lower(), "")
        if _SIGNED not in delivery.headers:
            return is_any_equal([told], known)
        made = [_sign(delivery, key) for key in map(_key_of, known) if key]
        return is_any_equal(told.split(" "), made)

    def is_fresh(self, delivery: Delivery) -> bool:
        """Return whether the delivery was signed recently; see `WebhookDialect`."""
        signed = delivery.headers.get(_TIME, "")
        if _SIGNED not in delivery.headers or delivery.sent is None:
            return True
        if not _TIMESTAMP.fullmatch(signed):
            return False
        age = delivery.sent - datetime.fromtimestamp(int(signed), UTC)
        return abs(age) <= timedelta(seconds=FRESH_SECONDS)

    def read(self, document: Mapping[str, Any]) -> Payload | str | None:
        """Read a payload; see `WebhookDialect`. System hooks have no `object_kind`."""
        for name in ("object_kind", "event_name"):
            if isinstance(kind := document.get(name), str):
                if kind in _PUSHES:
                    return _read_push(document)
                return f"event {show(kind)} is not a push"
        return None


def _read_push(document: Mapping[str, Any]) -> Payload:
    project = read_object_field(document, "project")
    owner, name = split_full_name(read_text(project, "path_with_namespace"))
    old, new = read_commit(document, "before"), read_commit(document, "after")
    return Payload(
        kind=ForgeKind.GITLAB,
        host=read_host(project, "web_url"),
        owner=owner,
        name=name,
        changes=(RefChange(check_pushed_ref(document.get("ref")), old, new),),
        pusher=find_pusher(document, "user_username"),
    )


def _sign(delivery: Delivery, key: bytes) -> str:
    told = (delivery.headers.get(name, "") for name in (_ID, _TIME))
    text = b"".join(to_bytes(each) + b"." for each in told) + delivery.body
    return "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()


def _key_of(secret: str) -> bytes:
    """Return the key in a signing token; empty for other secrets."""
    if not secret.startswith(_SIGNING_TOKEN):
        return b""
    text = secret.removeprefix(_SIGNING_TOKEN).rstrip("=")  # some senders leave the padding out
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""
