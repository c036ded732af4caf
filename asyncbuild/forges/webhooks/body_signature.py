"""Signatures of whole bodies: HMAC-SHA256 as `sha256=` and 64 hex digits. Pure.

GitHub and both Bitbuckets sign so, each in a header of its own: GitHub Docs, "Validating webhook
deliveries"; Bitbucket Support, "Manage webhooks", secure webhooks.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import ClassVar

from asyncbuild.forges.webhooks.dialect import Delivery


class SignedBody:
    """The part of a `WebhookDialect` that checks such a signature; `header` has it."""

    header: ClassVar[str]

    def signature_header(self, _delivery: Delivery) -> str:
        """See `WebhookDialect`."""
        return self.header

    def is_genuine(self, delivery: Delivery, secrets: Sequence[str]) -> bool:
        """See `WebhookDialect`."""
        told = delivery.headers.get(self.header.lower(), "")
        made = [sign_body(secret, delivery.body) for secret in secrets if secret]
        return is_any_equal([told], made)

    def is_fresh(self, _delivery: Delivery) -> bool:
        """The signature has no time."""
        return True


def sign_body(secret: str, body: bytes) -> str:
    """Return the value of the header for a body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def is_any_equal(told: Iterable[str], made: Sequence[str]) -> bool:
    """Return whether a text of one side is one of the other; how long that takes tells nothing."""
    return any(
        [  # noqa: C419 - all, always
            hmac.compare_digest(to_bytes(each), to_bytes(wanted))
            for each in told
            for wanted in made
        ]
    )


def to_bytes(text: str) -> bytes:
    """Return the value of a header as bytes, also one that is no Unicode text."""
    return text.encode("utf-8", "surrogatepass")
