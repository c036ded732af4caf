"""Parser of `.gitmodules` (gitmodules(5)), and of the addresses that its URLs name. Pure.

All of it is written by people who may push. It is examined and compared; no part of it is passed
to a program unchanged, and none names a file (I11).
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443, "ssh": 22, "git": 9418}
_SCP: Final = re.compile(r"(?:[^/@:]+@)?(?P<host>[^/@:]+):(?P<path>[^:].*)")  # git-clone(1)
_HELPER: Final = re.compile(r"[A-Za-z0-9+.-]+::")  # gitremote-helpers(7): ext::, fd::, …
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_ROOT: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]+")  # root of a URL, which has no parent
_USERINFO: Final = re.compile(r"(?<=//)[^/@\s]+@")
_MARK: Final = "zz{}zz"
_URL_SHOWN_MOST: Final = 200
_URL_MOST: Final = 4_096


class Submodule(NamedTuple):
    """One section of `.gitmodules`; fields are empty where it does not set them."""

    name: str
    url: str = ""
    update: str = ""


class Address(NamedTuple):
    """Place that a URL leads to: without login, usual port, `.git` and slash at its end."""

    scheme: str  # http, https, ssh, git; file for a path of this machine
    host: str
    port: int | None
    path: str


def parse_gitmodules(listing: bytes) -> dict[bytes, Submodule]:
    """Return the submodules by path, from the output of `git config --list -z`.

    As git does, names that lead out of a directory and values that look like an option are ignored,
    and the last of several values counts.
    """
    sections: dict[str, dict[str, bytes]] = {}
    for line in listing.split(b"\0"):
        key, _, value = line.partition(b"\n")
        section, _, rest = key.decode("utf-8", "surrogateescape").partition(".")
        name, _, variable = rest.rpartition(".")
        if section == "submodule" and _is_name(name) and not value.startswith(b"-"):
            sections.setdefault(name, {})[variable] = value
    return {
        values["path"]: Submodule(
            name,
            values.get("url", b"").decode("utf-8", "surrogateescape"),
            values.get("update", b"").decode("utf-8", "surrogateescape"),
        )
        for name, values in sections.items()
        if "path" in values
    }


def _is_name(name: str) -> bool:
    """Return whether git accepts a submodule's name (check_submodule_name()): no part is `..`."""
    return bool(name) and ".." not in re.split(r"[/\\]", name)


def resolve(parent: str, url: str) -> str:
    """Return a URL relative to its parent's, as git resolves it (relative_url() in its remote.c).

    Raises:
        ValueError: The URL climbs above its parent's host.
    """
    place, separator = parent.removesuffix("/"), "/"
    root = _ROOT.match(place)
    if not url.startswith(("./", "../")):
        return url
    while url.startswith(("./", "../")):
        step, _, url = url.partition("/")
        if step == ".":
            continue
        above, found, _ = place.rpartition("/")
        if not found:
            above, found, _ = place.rpartition(":")
            separator = ":"
        if not found or (root and not above.startswith(root[0])):
            msg = "climbs above its parent's host"
            raise ValueError(msg)
        place = above
    return f"{place}{separator}{url}".removesuffix("/")


def show_url(url: str) -> str:
    """Return a URL for people, without a login (I10)."""
    shown = _USERINFO.sub("***@", url)
    return ascii(shown if len(shown) <= _URL_SHOWN_MOST else f"{shown[:_URL_SHOWN_MOST]}…")


def parse_address(url: str) -> Address | None:
    """Return the address of a URL, an scp-like name or an absolute path; None for any other text.

    A path may contain blanks; in a URL of HTTP they are quoted.
    """
    odd = url.startswith("-") or _CONTROL.search(url) or _HELPER.match(url)
    if odd or len(url) > _URL_MOST:
        return None
    return _of_url(url) if "://" in url else _of_path(url)


def _of_url(url: str) -> Address | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.query or parts.fragment or parts.scheme not in {*_PORTS, "file"}:
        return None
    if " " in (url if parts.scheme in {"http", "https"} else parts.netloc):
        return None
    if not all((parts.hostname or "x").removesuffix(".").split(".")):
        return None
    if (parts.scheme == "file") != (not parts.hostname):
        return None
    path = _path(unquote(parts.path))
    port = None if port == _PORTS.get(parts.scheme) else port
    return Address(parts.scheme, parts.hostname or "", port, path) if path else None


def _of_path(url: str) -> Address | None:
    if url.startswith("/"):
        path = _path(url)
        return Address("file", "", None, path) if path else None
    scp = _SCP.fullmatch(url)
    if scp is None:
        return None
    path = _path("/" + scp["path"].removeprefix("/"))
    return Address("ssh", scp["host"].lower(), None, path) if path else None


def _path(path: str) -> str | None:
    path = path.rstrip("/").removesuffix(".git")
    odd = {"", ".", ".."} & set(path.split("/")[1:])
    return None if odd or not path.startswith("/") or _CONTROL.search(path) else path


def split_scp(url: str) -> tuple[str, str] | None:
    """Return login with host, and path, of `[user@]host:path` (git-clone(1)); None for other texts.

    Such a path is relative to the home of the login there, unless it begins with a slash.
    """
    found = None if "://" in url or url.startswith("/") else _SCP.fullmatch(url)
    if found is None:
        return None
    place, _, path = url.partition(":")
    return place, path


def mark(fields: Mapping[str, str]) -> dict[str, str]:
    """Return values for the fields of a template that `match` recognizes in its result."""
    return {name: _MARK.format(name) for name in fields}


def match(marked: Address | None, address: Address, fields: Mapping[str, str]) -> dict[str, str]:
    """Return the values with which a template leads to an address; empty if none do.

    Args:
        marked: Address of the template with the values of `mark`.
        address: Address that the template should lead to.
        fields: Regular expressions of the template's fields.
    """
    if marked is None or (marked.scheme == "file") != (address.scheme == "file"):
        return {}
    by_web = {marked.scheme, address.scheme} <= {"http", "https"}
    if by_web and marked.port != address.port:
        return {}
    pattern = re.escape(f"{marked.host}{marked.path}")
    for name, values in fields.items():
        first, *more = pattern.split(_MARK.format(name))
        if more:
            pattern = f"{first}(?P<{name}>{values})" + f"(?P={name})".join(more)
    found = re.fullmatch(pattern, f"{address.host}{address.path}")
    return found.groupdict() if found else {}
