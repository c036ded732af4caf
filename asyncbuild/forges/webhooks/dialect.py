"""Protocol of a forge's webhooks: their headers, signatures and payloads. Pure.

Each forge has a module of its own beside this one; `dialects.py` lists them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.foreign_json import read_object
from asyncbuild.domain.repository import ForgeKind

# From a signature's time to the queue. Standard Webhooks leaves it to the receiver; its libraries
# use five minutes.
FRESH_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook request. Header names are in lower case; values may be secrets (I10)."""

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    sent: datetime | None

    def document(self) -> Mapping[str, Any]:
        """Return the payload, which every forge sends as a JSON object.

        Raises:
            Reject: The body is not a JSON object.
        """
        if self.body.startswith(b"payload="):
            raise Reject(
                "the webhook's payload is a form, not JSON",
                remedy="choose the content type application/json in the webhook's settings",
            )
        return read_object(self.body, "webhook payload")


@dataclass(frozen=True, slots=True)
class RefChange:
    """One ref of a push. `old` is None if the ref was created, `new` if it was deleted."""

    ref: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Payload:
    """Contents of a push payload, with every value that is passed on checked.

    `host` is the host's name, with a port where it differs from the usual one; empty if the payload
    names none. `owner` may have several parts: `group/subgroup`.
    `identity` is the delivery's id, if the forge writes it into the payload.
    """

    kind: ForgeKind
    host: str
    owner: str
    name: str
    changes: tuple[RefChange, ...]
    faults: tuple[Reject, ...] = ()  # of changes that cannot be understood
    others: tuple[str, ...] = ()  # refs that are neither branch nor tag, as text to be shown
    pusher: str | None = None
    time: datetime | None = None
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookHeaders:
    """Headers of one forge's webhooks that are read, in lower case.

    Attributes:
        event: Header that names the event. It is not signed, so it is only used to recognize events
            without a push.
        pushes: Values of that header that mean a push.
        ids: Headers that identify a delivery, the best first.
        shared_ids: Headers that several deliveries share: no identity by themselves.
        signatures: Headers needed to check a signature, the most important first.
        secrets: Headers whose values are secrets themselves (I10).
    """

    event: str
    pushes: frozenset[str]
    ids: tuple[str, ...]
    signatures: tuple[str, ...]
    shared_ids: tuple[str, ...] = ()
    secrets: frozenset[str] = frozenset()


class WebhookDialect(Protocol):
    """Webhooks of one forge."""

    @property
    def headers(self) -> WebhookHeaders:
        """Headers that are read."""

    def signature_header(self, delivery: Delivery) -> str:
        """Return the name of the header that is to be checked, as the forge writes it."""

    def is_genuine(self, delivery: Delivery, secrets: Sequence[str]) -> bool:
        """Return whether one of the secrets made the signature, in constant time.

        There may be several secrets, so that one can be replaced without a gap.
        """

    def is_fresh(self, delivery: Delivery) -> bool:
        """Return whether the delivery came to the queue soon after it was signed.

        True if the signature contains no time.
        """

    def read(self, document: Mapping[str, Any]) -> Payload | str | None:
        """Read a payload, recognized by its shape.

        Returns:
            A `Payload`; for another event of this forge the reason why there is nothing to do; None
            for a payload that may be of another forge.

        Raises:
            Reject: It has the shape and is faulty; the reason names the field and its value.
        """
