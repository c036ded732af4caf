"""Reader of git's packet trace: protocol and capabilities of a server. Pure.

GIT_TRACE_PACKET writes a line for each packet: `… packet: git< version 2`. Sources:
gitprotocol-v2(5), gitprotocol-capabilities(5), gitprotocol-http(5).
"""

import re
from dataclasses import dataclass

_PACKET = re.compile(r"packet: +\S+?< (.*)$", re.MULTILINE)
_NUL = "\\0"  # as the trace writes the byte between the first ref and the capabilities


@dataclass(frozen=True, slots=True)
class Protocol:
    """Protocol version and capabilities of a server.

    Attributes:
        version: 0, 1 or 2.
        capabilities: As the server names them; those of `fetch` in v2 as `fetch=shallow`.
    """

    version: int
    capabilities: frozenset[str]

    @property
    def may_filter(self) -> bool:
        """Return whether the server claims to leave objects out on request."""
        return bool({"filter", "fetch=filter"} & self.capabilities)

    @property
    def may_serve_ids(self) -> bool:
        """Return whether the server claims to serve commits which no ref points to."""
        allowed = {"allow-reachable-sha1-in-want", "allow-any-sha1-in-want"}
        return self.version == 2 or bool(allowed & self.capabilities)  # noqa: PLR2004 - as in "v2"


def parse_trace(text: str) -> Protocol | None:
    """Return the protocol of the traced server; None if the trace contains no advertisement."""
    packets = [found.rstrip() for found in _PACKET.findall(text)]
    if "version 2" in packets:
        return Protocol(2, frozenset(_of_v2(packets[packets.index("version 2") + 1 :])))
    for packet in packets:
        _, nul, capabilities = packet.partition(_NUL)
        if nul:
            return Protocol(1 if "version 1" in packets else 0, frozenset(capabilities.split()))
    return None


def _of_v2(packets: list[str]) -> list[str]:
    """Return the capabilities up to the flush packet; `fetch=shallow filter` is two of them."""
    found: list[str] = []
    for packet in packets:
        if packet == "0000":
            break
        name, equals, values = packet.partition("=")
        found += [f"{name}={value}" for value in values.split()] if equals else [name]
    return found
