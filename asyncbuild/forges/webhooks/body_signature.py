"""Signatures of whole bodies: HMAC-SHA256 as `sha256=` and 64 hex digits. Pure.

GitHub and both Bitbuckets sign like this, each in a header of its own: GitHub Docs, "Validating
webhook deliveries"; Bitbucket Support, "Manage webhooks", secure webhooks.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import ClassVar

from asyncbuild.forges.webhooks.dialect import Delivery


class SignedBody:
    """Part of a `WebhookDialect` that checks such a signature in the header `header`."""

    header: ClassVar[str]

    def signature_header(self, _delivery: Delivery) -> str:
        """Return the header's name; see `WebhookDialect`."""
        return self.header

    def is_genuine(self, delivery: Delivery, secrets: Sequence[str]) -> bool:
        """Return whether one of the secrets made the signature; see `WebhookDialect`."""
        told = delivery.headers.get(self.header.lower(), "")
        made = [sign_body(secret, delivery.body) for secret in secrets if secret]
        return is_any_equal([told], made)

    def is_fresh(self, _delivery: Delivery) -> bool:
        """Return True, because the signature contains no time."""
        return True


def sign_body(secret: str, body: bytes) -> str:
    """Return the value of the header for a body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def is_any_equal(told: Iterable[str], made: Sequence[str]) -> bool:
    """Return whether a text of one list equals one of the other, in constant time."""
    return any(
        [  # noqa: C419 - compares all, always
            hmac.compare_digest(to_bytes(each), to_bytes(wanted))
            for each in told
            for wanted in made
        ]
    )


def to_bytes(text: str) -> bytes:
    """Return the value of a header as bytes, also one that is not valid Unicode."""
    return text.encode("utf-8", "surrogatepass")
