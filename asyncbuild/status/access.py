"""Access to the status port: requests by a known name, and with the token where one is set."""

import base64
import hmac
from collections.abc import Collection
from ipaddress import ip_address
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from asyncbuild.domain.reachable import is_address

# Probes of containers cannot send a secret, and learn only a state.
_WITHOUT_TOKEN: Final = frozenset({"/healthz", "/readyz"})


def refuse_foreign_names(names: Collection[str], *, loopback_only: bool) -> Middleware:
    """Refuse requests whose Host is a name that is not known.

    A page elsewhere can point a name of its own to this address, and the browser then lets it read
    the answers (DNS rebinding). That needs a name: an IP address in Host was typed by a person.

    Args:
        names: Host names, without ports, that lead here on purpose.
        loopback_only: Whether only loopback addresses are served, so that others are refused, too.
    """
    known = {name.lower() for name in names}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        name = _name_of(request)
        if name not in known and not _is_own(name, loopback_only=loopback_only):
            raise web.HTTPForbidden(
                text="this page is not served by that name; status.hosts lists the names that are\n"
            )
        return await handler(request)

    return check


def require_token(token: str) -> Middleware:
    """Refuse requests without `token`, as a bearer token or as the password of any user.

    A browser asks for user and password by itself (RFC 7617); Prometheus sends either.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = _given(request.headers.get("Authorization", ""))
        free = request.path in _WITHOUT_TOKEN
        # Bytes of a header that are not UTF-8 arrive as surrogates.
        sent = given.encode("utf-8", "surrogateescape")
        if not free and not hmac.compare_digest(sent, token.encode()):
            raise web.HTTPUnauthorized(
                text="the token of status.token is needed\n",
                headers={"WWW-Authenticate": 'Basic realm="asyncbuild", charset="UTF-8"'},
            )
        return await handler(request)

    return check


def is_loopback(host: str) -> bool:
    """Return whether a host name or address means this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_own(name: str, *, loopback_only: bool) -> bool:
    return is_loopback(name) or (not loopback_only and is_address(name))


def _name_of(request: web.Request) -> str:
    """Return the name in a request's Host; empty if it is missing or malformed."""
    try:
        return (request.url.host or "").lower()
    except ValueError:
        return ""


def _given(header: str) -> str:
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        decoded = base64.b64decode(value.strip(), validate=True).decode()
    except ValueError:  # not base64, or not of UTF-8
        return ""
    return decoded.partition(":")[2]
