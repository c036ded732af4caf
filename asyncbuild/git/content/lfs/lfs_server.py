"""Server of Git LFS: its address, its login, and quotes of its words without the login."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from asyncbuild.domain.reachable import Reach
from asyncbuild.git.formats.error_classes import quote


@dataclass(frozen=True, slots=True)
class LfsServer:
    """Source of contents.

    Attributes:
        url: URL of the batch API, without `/objects/batch`; it holds no secret.
        headers: Login for that server, sent nowhere else.
        reach: Addresses that its answers may lead to.
        directory: A repository of this machine, in place of a server.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    reach: Reach = field(default_factory=Reach)
    directory: Path | None = None

    def quote(self, text: str) -> str:
        """Return one printable line of the server's words, unless it repeats the login (I10)."""
        for header in self.headers.values():
            word = header.rpartition(" ")[2]
            if word in text or header in text:
                return "(it repeats the login)"
        return quote(text) if text else ""
