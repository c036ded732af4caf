"""Facts that a forge tells of a credential that posts commit statuses."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AppInstallation:
    """Installation of a GitHub App: the account, its permission, and whether it is suspended."""

    account: str
    statuses: str
    suspended: bool


@dataclass(frozen=True, slots=True)
class CredentialFacts:
    """Facts that a forge tells of a credential.

    Attributes:
        scopes: Names of what it may do; None if the forge does not tell.
        expires_at: When it ends; None if it does not, or the forge does not tell.
        permission: Of a GitHub App, its permission for commit statuses: `write`, `read` or empty.
        installations: Of a GitHub App, the first hundred; None for other credentials.
        is_tried: Whether the forge was asked at all.
    """

    scopes: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    permission: str = ""
    installations: Sequence[AppInstallation] | None = None
    is_tried: bool = True
