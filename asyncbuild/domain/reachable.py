"""Addresses that a URL from outside the configuration may lead to. Pure.

Everyone who may push, or who runs a server of LFS contents, can name any host. Connections are made
to public addresses, to servers that the configuration names, and to those of `git.internal`.
Without this limit a URL could lead to servers that trust this machine's network.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NAME: Final = re.compile(
    r"(?P<any>\*\.)?(?P<host>[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?)(:(?P<port>[1-9][0-9]{0,4}))?"
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_BITS32: Final = 0xFFFF_FFFF


def check_entry(entry: str) -> str:
    """Check an entry of a list of hosts and networks; return it unchanged.

    Raises:
        ValueError: The entry is neither a host nor a network.
    """
    if _network(entry) is None and not _NAME.fullmatch(entry.lower()):
        msg = (
            f'{entry!r} is neither a host nor a network; write "lfs.example.com", "*.example.com", '
            '"lfs.example.com:8443", "10.0.0.0/8" or "fd00::/8"'
        )
        raise ValueError(msg)
    return entry


def is_address(host: str) -> bool:
    """Return whether a host is written as an IP address, so that no name is looked up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Reach:
    """Hosts and addresses that may be reached.

    Args:
        internal: Hosts and networks that may be reached whatever their addresses are; see
            `check_entry` for how they are written.
        trusted: Host and port of servers that the configuration names.
    """

    def __init__(
        self, internal: Iterable[str] = (), trusted: Iterable[tuple[str, int]] = ()
    ) -> None:
        entries = tuple(internal)
        self._internal = entries
        self._networks = [each for each in map(_network, entries) if each is not None]
        named = [_NAME.fullmatch(each.lower()) for each in entries if _network(each) is None]
        self._names = [each for each in named if each is not None]
        self._trusted = frozenset((host.lower(), port) for host, port in trusted)

    def trusting(self, *places: tuple[str, int]) -> "Reach":
        """Return a copy that trusts these hosts and ports, too."""
        return Reach(self._internal, (*self._trusted, *places))

    def trusts(self, host: str, port: int) -> bool:
        """Return whether the configuration names this server; then its address does not matter."""
        host = host.lower().removesuffix(".")
        if (host, port) in self._trusted:
            return True
        return any(
            each["port"] in {None, str(port)}
            and (host.endswith(f".{each['host']}") if each["any"] else host == each["host"])
            for each in self._names
        )

    def permits(self, host: str, port: int, address: str) -> bool:
        """Return whether a connection to this address may be made for this host.

        Args:
            host: Name as the URL has it.
            port: Port number.
            address: IP address that the name was resolved to; a zone after `%` is ignored.
        """
        if self.trusts(host, port):
            return True
        try:
            found = _plain(ipaddress.ip_address(address.partition("%")[0]))
        except ValueError:
            return False
        if any(found.version == each.version and found in each for each in self._networks):
            return True
        return found.is_global and not (found.is_multicast or found.is_reserved)


def _network(entry: str) -> _Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _plain(address: _Address) -> _Address:
    """Return the IPv4 address that an IPv6 address embeds; other addresses unchanged."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & _BITS32)
    return address.ipv4_mapped or address.sixtofour or address
