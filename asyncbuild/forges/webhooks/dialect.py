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
# take five minutes.
FRESH_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook request. Header names are in lower case; values may be secrets (I10)."""

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    sent: datetime | None

    def document(self) -> Mapping[str, Any]:
        """The payload, which every forge sends as a JSON object.

        Raises:
            Reject: it is none.
        """
        if self.body.startswith(b"payload="):
            raise Reject(
                "the webhook's payload is a form, not JSON",
                remedy="choose the content type application/json in the webhook's settings",
            )
        return read_object(self.body, "webhook payload")


@dataclass(frozen=True, slots=True)
class RefChange:
    """One ref of a push. `old` is None if the ref was made, `new` if it was deleted."""

    ref: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Payload:
    """What a push payload says, with every value that goes on checked.

    `host` is the host's name, with a port where one is not the usual, or empty if it does not say.
    `owner` may have several parts: `group/subgroup`.
    """

    kind: ForgeKind
    host: str
    owner: str
    name: str
    changes: tuple[RefChange, ...]
    faults: tuple[Reject, ...] = ()  # of changes that cannot be understood, beside the others
    others: tuple[str, ...] = ()  # refs that are neither branch nor tag, as text to be shown
    pusher: str | None = None
    time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookHeaders:
    """Headers of one forge's webhooks that are looked at, in lower case.

    Attributes:
        event: Names the event. It is not signed, so it can only tell that there is no push.
        pushes: Values of that header that mean a push.
        ids: Identify a delivery, the best first.
        shared_ids: Shared by several deliveries: no identity by themselves.
        signatures: All that it takes to check a signature, the most important first.
        secrets: Those whose values are secrets themselves (I10).
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
        """Headers that are looked at."""

    def signature_header(self, delivery: Delivery) -> str:
        """Return the name of the header that is to be checked, as the forge writes it."""

    def is_genuine(self, delivery: Delivery, secrets: Sequence[str]) -> bool:
        """Return whether one of the secrets made the header; how long that takes tells nothing.

        Several secrets, so that one can be replaced without a gap.
        """

    def is_fresh(self, delivery: Delivery) -> bool:
        """Return whether it came to the queue when it was signed, if the signature has a time."""

    def read(self, document: Mapping[str, Any]) -> Payload | str | None:
        """Read a payload, known by its shape.

        Returns:
            A `Payload`; why there is nothing to do, for another event of this forge; None for what
            may be of another forge.

        Raises:
            Reject: it has the shape and is faulty; the reason names the field and its value.
        """
