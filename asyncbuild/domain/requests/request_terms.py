"""Terms of a request: what it asks for beyond repository, ref and commit, and who sent it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

FOUND_SOURCE: Final = "reconcile"  # which compares refs with what was seen of them


@dataclass(frozen=True, slots=True)
class RequestTerms:
    """Terms of a request, which the push made of it keeps.

    Attributes:
        source: Kind of the sender: `build`, `reconcile`, `schedule`, or a word of its own.
        reason: Why the build is asked for; for people.
        requested_by: Person or role that asked, as the sender tells it; nothing proves it.
        projects: Projects and pipelines that are started, of those that the rules name; empty: all.
        variables: Variables of the build beside those of the rules, which they override.
        again: Whether the commit is built although it was built before.
        as_push: Whether the request replaces a push whose event never came: then it may be stale,
            covers older pushes of its ref, and becomes the ref's head.
        since: Time at which the ref was last seen elsewhere, of a push that was found by comparing
            refs; None for other requests.
    """

    source: str
    reason: str = ""
    requested_by: str = ""
    projects: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    again: bool = False
    as_push: bool = False
    since: datetime | None = None

    @property
    def is_plain(self) -> bool:
        """True if nothing but a build of the ref by its rules is asked for."""
        return not (self.projects or self.variables or self.again)

    @property
    def is_found(self) -> bool:
        """True if it replaces the event of a push that was found by comparing refs."""
        return self.source == FOUND_SOURCE or self.since is not None
