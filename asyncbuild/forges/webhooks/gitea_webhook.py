"""Webhooks of Gitea and Forgejo: GitHub's payloads with signatures of their own. Pure.

Both send GitHub's headers beside their own, so a gateway that passes GitHub's on is enough.
Sources: Gitea Docs, "Webhooks"; Forgejo Docs, "Webhooks": HMAC-SHA256 of the body as 64 hex digits.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from asyncbuild.forges.webhooks.body_signature import is_any_equal, sign_body
from asyncbuild.forges.webhooks.dialect import Delivery, Payload, WebhookHeaders

_OF_GITHUB: Final = "X-Hub-Signature-256"
_PREFIX: Final = "sha256="  # GitHub's header has it, the forges' own ones do not


class GiteaWebhook:
    """Dialect of Gitea, or of Forgejo.

    Args:
        name: Name of the forge, as its headers spell it.
    """

    def __init__(self, name: str) -> None:
        own = f"x-{name.lower()}"
        self._own = f"X-{name}-Signature"
        self.headers = WebhookHeaders(
            event=f"{own}-event",
            pushes=frozenset({"push"}),
            ids=(f"{own}-delivery",),
            signatures=(self._own.lower(), _OF_GITHUB.lower()),
        )

    def signature_header(self, delivery: Delivery) -> str:
        """Return the forge's own header, or GitHub's if that alone was passed on."""
        return self._own if self._own.lower() in delivery.headers else _OF_GITHUB

    def is_genuine(self, delivery: Delivery, secrets: Sequence[str]) -> bool:
        """Return whether one of the secrets made the signature; see `WebhookDialect`."""
        header = self.signature_header(delivery)
        told = delivery.headers.get(header.lower(), "")
        made = [sign_body(secret, delivery.body) for secret in secrets if secret]
        if header == self._own:
            made = [each.removeprefix(_PREFIX) for each in made]
        return is_any_equal([told], made)

    def is_fresh(self, _delivery: Delivery) -> bool:
        """Return True, because the signature contains no time."""
        return True

    def read(self, _document: Mapping[str, Any]) -> Payload | str | None:
        """Return None: payloads have GitHub's shape, which GitHub's dialect reads."""
        return None
