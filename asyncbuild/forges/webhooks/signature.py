"""Signatures of deliveries: made by the forge, checked here. Pure.

GitHub and both Bitbuckets sign the body: HMAC-SHA256 as `sha256=` and 64 hex digits, in
`X-Hub-Signature-256` (GitHub Docs, "Validating webhook deliveries") and `X-Hub-Signature`
(Bitbucket Support, "Manage webhooks", secure webhooks). GitLab sends the secret itself as
`X-Gitlab-Token` (GitLab Docs, "Webhooks", secret token) or, with a signing token, a signature by
the Standard Webhooks specification: HMAC-SHA256 of `ID.TIMESTAMP.BODY`, as `v1,` and base64.

The library of that specification reads the clock, and takes nothing older than five minutes by it.
A message may wait in the queue for days: its time is compared with when it came there.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from asyncbuild.forges.webhooks.delivery import Delivery
from asyncbuild.forges.webhooks.payloads import Kind

FRESH_SECONDS = 300  # Standard Webhooks leaves it to the receiver; its libraries take five minutes
SIGNED = "webhook-signature"
SIGNING_TOKEN = "whsec_"  # noqa: S105 - how one begins (Standard Webhooks, "Secrets")
HEADERS = {
    Kind.GITHUB: "X-Hub-Signature-256",
    Kind.GITLAB: "X-Gitlab-Token",
    Kind.BITBUCKET: "X-Hub-Signature",
    Kind.BITBUCKET_SERVER: "X-Hub-Signature",
}
_TIMESTAMP = re.compile(r"[0-9]{1,11}", re.ASCII)


def sign(kind: Kind, secret: str, body: bytes) -> str:
    """Return the value of the forge's own header for this body."""
    if kind is Kind.GITLAB:
        return secret
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def header_of(delivery: Delivery, kind: Kind) -> str:
    """Return the name of the header that is to be checked."""
    return SIGNED if _by_standard(delivery, kind) else HEADERS[kind]


def is_present(delivery: Delivery, kind: Kind) -> bool:
    """Return whether the delivery carries the header at all."""
    return header_of(delivery, kind).lower() in delivery.headers


def is_genuine(delivery: Delivery, kind: Kind, secrets: Sequence[str]) -> bool:
    """Return whether one of the secrets made the header; how long that takes tells nothing.

    Several secrets, so that one can be replaced without a gap.
    """
    told = delivery.headers.get(header_of(delivery, kind).lower(), "")
    known = [secret for secret in secrets if secret]
    if _by_standard(delivery, kind):
        made = [_standard(delivery, key) for key in map(_key_of, known) if key]
        signatures = told.split(" ")
    else:
        made = [sign(kind, secret, delivery.body) for secret in known]
        signatures = [told]
    return any(
        [  # noqa: C419 - all, always
            hmac.compare_digest(_bytes(each), _bytes(wanted))
            for each in signatures
            for wanted in made
        ]
    )


def is_fresh(delivery: Delivery) -> bool:
    """Return whether it came to the queue when it was signed, if the signature has a time."""
    signed = delivery.headers.get("webhook-timestamp", "")
    if SIGNED not in delivery.headers or delivery.sent is None:
        return True
    if not _TIMESTAMP.fullmatch(signed):
        return False
    age = delivery.sent - datetime.fromtimestamp(int(signed), UTC)
    return abs(age) <= timedelta(seconds=FRESH_SECONDS)


def _by_standard(delivery: Delivery, kind: Kind) -> bool:
    return kind is Kind.GITLAB and SIGNED in delivery.headers


def _standard(delivery: Delivery, key: bytes) -> str:
    told = (delivery.headers.get(name, "") for name in ("webhook-id", "webhook-timestamp"))
    text = b"".join(_bytes(each) + b"." for each in told) + delivery.body
    return "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()


def _key_of(secret: str) -> bytes:
    """The key in a signing token; empty if it is none."""
    if not secret.startswith(SIGNING_TOKEN):
        return b""
    text = secret.removeprefix(SIGNING_TOKEN).rstrip("=")  # some leave the padding out
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
