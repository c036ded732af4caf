"""Addresses that git may connect to, pinned for servers that an untrusted source named.

git looks a name up by itself, and a name may lead to another address each time: so it is looked up
here, and git is told which addresses to use (http.curloptResolve, git 2.37). An older git ignores
that, and ssh has no such setting: there the answer may have changed by the time it is used. ssh
connects only to servers whose key it knows, so that gains an attacker little.
"""

import asyncio
import socket
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from asyncbuild.domain.errors import Outage, Reject
from asyncbuild.domain.reachable import Reach, is_address
from asyncbuild.forges.addresses import show_url, split_scp
from asyncbuild.git.formats.lfs_answers import origin_of
from asyncbuild.git.outbound import PrivateAddress, proxy_of

_HTTPS: Final = 443


async def pin(url: str, reach: Reach) -> Mapping[str, str]:
    """Return settings for one git call to the server of this URL.

    Raises:
        Reject: Its address is not permitted, or the URL is invalid.
        Outage: Its name cannot be looked up.
    """
    scp = split_scp(url)
    if scp is not None or urlsplit(url).scheme == "ssh":
        host = scp[0].rpartition("@")[2] if scp else urlsplit(url).hostname or ""
        # An unknown name may be defined in this user's ssh_config(5).
        _permitted(host, _HTTPS, await _look_up(host, 22), reach)
        return {}
    try:
        origin = origin_of(url)
    except ValueError as error:
        raise Reject(f"{show_url(url)} is not a URL: {error}") from None
    if proxy_of(url) is not None and not is_address(origin.host):
        return {}  # the proxy looks it up
    found = await _look_up(origin.host, origin.port)
    if not found:
        raise Outage(f"{show_url(url)}: the host {origin.host!a} is not known")
    permitted = _permitted(origin.host, origin.port, found, reach)
    if is_address(origin.host):
        return {}
    listed = ",".join(f"[{each}]" if ":" in each else each for each in permitted)
    return {"http.curloptResolve": f"{origin.host}:{origin.port}:{listed}"}


def _permitted(host: str, port: int, found: list[str], reach: Reach) -> list[str]:
    permitted = [each for each in found if reach.permits(host, port, each)]
    if found and not permitted:
        raise PrivateAddress(host)
    return permitted


async def _look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a host; none if it is unknown."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(each[4][0]) for each in found))
