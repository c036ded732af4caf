"""Does a delivery come from whom it says? Pure.

GitHub and both Bitbuckets sign the body: HMAC-SHA256 as `sha256=` and 64 hex digits, in
`X-Hub-Signature-256` (GitHub Docs, "Validating webhook deliveries") and `X-Hub-Signature`
(Bitbucket Support, "Manage webhooks", secure webhooks). GitLab sends the secret itself as
`X-Gitlab-Token` (GitLab Docs, "Webhooks", secret token).
"""

import hashlib
import hmac
from collections.abc import Sequence

from asyncbuild.webhooks.delivery import Delivery
from asyncbuild.webhooks.payloads import Kind

HEADERS = {
    Kind.GITHUB: "X-Hub-Signature-256",
    Kind.GITLAB: "X-Gitlab-Token",
    Kind.BITBUCKET: "X-Hub-Signature",
    Kind.BITBUCKET_SERVER: "X-Hub-Signature",
}


def sign(kind: Kind, secret: str, body: bytes) -> str:
    """The value of the header for this body."""
    if kind is Kind.GITLAB:
        return secret
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def is_present(delivery: Delivery, kind: Kind) -> bool:
    """Whether the delivery carries the header at all."""
    return HEADERS[kind].lower() in delivery.headers


def is_genuine(delivery: Delivery, kind: Kind, secrets: Sequence[str]) -> bool:
    """Whether one of the secrets made the header; how long that takes tells nothing.

    Several secrets, so that one can be replaced without a gap.
    """
    told = delivery.headers.get(HEADERS[kind].lower(), "").encode("utf-8", "surrogatepass")
    wanted = [sign(kind, secret, delivery.body).encode() for secret in secrets if secret]
    return any([hmac.compare_digest(told, each) for each in wanted])  # noqa: C419 - all, always
