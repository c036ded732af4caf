"""Parsers of LFS servers' answers: batch answers, URLs, headers, waits. Pure.

All input is treated as untrusted: each function returns a usable value, or raises `ValueError`
(git-lfs, docs/api/batch.md).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import orjson

_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}
_URL_MOST: Final = 16_384
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))  # kept as it is: it may be signed
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_OWN_HEADERS: Final = frozenset(  # control how a request is sent: not for servers to set
    (
        *("host", "connection", "content-length", "transfer-encoding", "te", "trailer"),
        *("upgrade", "expect", "range", "accept-encoding", "keep-alive"),
    )
)
_DAY_SECONDS: Final = 86_400.0


class ServerOrigin(NamedTuple):
    """One server: logins are sent to it alone, and only its words are quoted."""

    scheme: str
    host: str
    port: int


def origin_of(url: str) -> ServerOrigin:
    """Return the origin of a URL (RFC 6454).

    Raises:
        ValueError: The URL is not one of HTTP.
    """
    parts = urlsplit(url)
    scheme, host = parts.scheme, parts.hostname or ""
    if scheme not in _PORTS or not host:
        msg = "it is not a URL of http or https"
        raise ValueError(msg)
    return ServerOrigin(scheme, host, parts.port if parts.port is not None else _PORTS[scheme])


def usable_url(text: object, base: str = "") -> str:
    """Return a URL that can be requested, byte for byte as given if that is possible.

    Args:
        text: The URL of an untrusted source.
        base: URL to which a relative one is relative.

    Raises:
        ValueError: It has no usable host, or cannot be sent.
    """
    if not isinstance(text, str) or not text or len(text) > _URL_MOST or _CONTROL.search(text):
        msg = "it is not a URL"
        raise ValueError(msg)
    url = urljoin(base, text) if base and "://" not in text.partition("?")[0] else text
    parts = urlsplit(url)
    origin = origin_of(url)
    host = _host(origin.host)
    if "@" in parts.netloc or not 0 < origin.port < 2**16:
        msg = "its host is not a host"
        raise ValueError(msg)
    place = f"[{host}]" if ":" in host else host
    if origin.port != _PORTS[origin.scheme]:
        place += f":{origin.port}"
    rest = url.partition("://")[2][len(parts.netloc) :].partition("#")[0]
    if not rest.startswith("/"):
        rest = f"/{rest}"
    target = quote(rest.encode("utf-8", "surrogateescape"), safe=_PRINTABLE)
    return f"{origin.scheme}://{place}{target}"


def _host(host: str) -> str:
    """Return a host name as DNS has it, or the digits of an address.

    Raises:
        ValueError: It is neither (`UnicodeError` is one).
    """
    if ":" in host:  # an IPv6 address, whose brackets urlsplit has checked
        if not re.fullmatch(r"[0-9A-Fa-f:.]+", host):
            msg = "it is not an address"
            raise ValueError(msg)
        return host
    name = host if host.isascii() else host.encode("idna").decode()
    if len(name) > 253 or not all(map(_LABEL.fullmatch, name.removesuffix(".").split("."))):  # noqa: PLR2004 - RFC 1035, 2.3.4
        msg = "its host is not a name"
        raise ValueError(msg)
    return name


@dataclass(frozen=True, slots=True)
class LfsAction:
    """Address and headers of a content, and how long they are valid; None if that is unknown."""

    href: str = field(repr=False)  # its query may be a login
    headers: Mapping[str, str] = field(repr=False)
    within_seconds: float | None = None


def parse_batch(text: bytes) -> dict[str, Mapping[str, Any]]:
    """Return the server's answer for each object, by its id.

    Raises:
        ValueError: It is not an answer of the batch API.
    """
    said = orjson.loads(text)
    objects = said.get("objects") if isinstance(said, dict) else None
    if not isinstance(objects, list) or not all(isinstance(each, dict) for each in objects):
        msg = "it has no objects"
        raise ValueError(msg)
    return {str(each.get("oid")): each for each in objects}


def parse_action(said: Mapping[str, Any], base: str, now: datetime) -> LfsAction:
    """Return the download of one object.

    Args:
        said: Its answer, as `parse_batch` returns it.
        base: URL to which a relative one is relative.
        now: Time of the answer.

    Raises:
        ValueError: The answer names no usable address.
    """
    action = said.get("actions")
    action = action.get("download") if isinstance(action, dict) else None
    if not isinstance(action, dict):
        msg = "it names no download"
        raise ValueError(msg)  # noqa: TRY004 - all are one kind of error
    href = usable_url(action.get("href"), base)
    return LfsAction(href, usable_headers(action.get("header")), _within(action, now))


def usable_headers(said: object) -> dict[str, str]:
    """Return the headers that a server wants to be sent, without those that it must not set.

    Raises:
        ValueError: A header cannot be sent.
    """
    if said is None:
        return {}
    if not isinstance(said, dict):
        msg = "its header is not an object"
        raise ValueError(msg)  # noqa: TRY004 - all are one kind of error
    for name, value in said.items():
        if not (isinstance(value, str) and _TOKEN.fullmatch(name) and _VALUE.fullmatch(value)):
            msg = "one of its headers cannot be sent"
            raise ValueError(msg)
    return {name: value for name, value in said.items() if name.lower() not in _OWN_HEADERS}


def _within(action: Mapping[str, Any], now: datetime) -> float | None:
    """Return the seconds until the URL expires; None if the answer does not tell, or tells 0."""
    within = action.get("expires_in")
    if isinstance(within, int | float) and within and math.isfinite(within):
        return float(within)
    try:
        left = (datetime.fromisoformat(str(action.get("expires_at"))) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):  # TypeError: a time without a zone
        return None
    return left if left > -_DAY_SECONDS else None  # Go writes year 1 for an unset time


def message_of(text: bytes) -> str:
    """Return the message of a batch API error (JSON); empty if it has none."""
    try:
        said = orjson.loads(text)
    except ValueError:
        return ""
    return str(said.get("message") or "") if isinstance(said, dict) else ""
