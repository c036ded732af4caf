"""Connections to servers that a URL from outside names: permitted addresses, and proxies."""

from typing import Final

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.reachable import Reach, is_address
from asyncbuild.git.formats.lfs_answers import origin_of

_SHOWN_MOST: Final = 200


class PrivateAddress(Reject):
    """A host is not connected to, because of its address."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host[:_SHOWN_MOST]!a} has a private address, and the configuration does not name it",
            remedy="if contents or submodules may come from there, add the host or its network to "
            "git.internal",
        )


def check_literal(reach: Reach, url: str) -> None:
    """Reject a URL whose host is an address that is not permitted; such a host is not looked up.

    Raises:
        PrivateAddress: The address is not permitted.
    """
    origin = origin_of(url)
    if is_address(origin.host) and not reach.permits(origin.host, origin.port, origin.host):
        raise PrivateAddress(origin.host)


def proxy_of(url: str) -> str | None:
    """Return the proxy for a URL, as git has it: `https_proxy`, `no_proxy` and the like."""
    import urllib.request  # noqa: PLC0415 - it brings the email package

    origin = origin_of(url)
    if urllib.request.proxy_bypass(origin.host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(origin.scheme) or proxies.get("all")
