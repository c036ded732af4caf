"""LFS server of a repository: which one has the contents, and the login for it.

By default it is the one that git-lfs would find (git-lfs, docs/api/server-discovery.md): beside the
repository, with the repository's own login. A commit's `.lfsconfig` is untrusted, because anybody
who may push writes it; it can only name another path on the same server.
"""

import re
import shlex
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import orjson

from asyncbuild.domain.errors import Reject, Retry
from asyncbuild.forges.addresses import show_url, split_scp
from asyncbuild.forges.git_remote import Remote
from asyncbuild.git.content.lfs.lfs_server import LfsServer
from asyncbuild.git.formats.lfs_answers import origin_of, usable_headers, usable_url
from asyncbuild.git.process.command import Command, Git, ProcessKind

_ODD: Final = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
_DEFAULT_SSH: Final = "ssh -o BatchMode=yes"


def derive_url(remote: str) -> str:
    """Return the URL of the LFS server beside a repository."""
    path = remote.rstrip("/")
    return f"{path}/info/lfs" if path.endswith(".git") else f"{path}.git/info/lfs"


def choose_url(remote: str, named: str) -> str:
    """Return the URL of the LFS server, given the one that the commit names, if any.

    Raises:
        Reject: The commit names another server.
    """
    if not named:
        return derive_url(remote)
    try:
        here = origin_of(named) == origin_of(remote)
    except ValueError:
        here = False
    parts = urlsplit(named if here else remote)
    odd = _ODD.search(named) or {".", ".."} & set(unquote(parts.path).split("/"))
    if not here or odd or parts.query or parts.fragment:
        raise Reject(
            f".lfsconfig names the LFS server {show_url(named)}, and {show_url(remote)} is fetched "
            "from another one",
            remedy='name a URL there, or set lfs = "pointers" and let the build fetch the contents',
        )
    return urlunsplit(
        (parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", "")
    )


async def find_server(remote: Remote, named: str, git: Git) -> LfsServer:
    """Return the server for a repository, with a fresh login.

    Args:
        remote: The repository.
        named: URL that the commit names; empty for none.
        git: Runs ssh.

    Raises:
        Reject: The commit names another server, or the repository's URL leads to none.
        Retry: The server refuses the login.
    """
    ssh = _ssh_place(remote.url)
    if ssh is not None:
        return await _ask_by_ssh(remote, ssh, named, git)
    parts = urlsplit(remote.url)
    if parts.scheme in {"", "file"}:
        return LfsServer(remote.url, directory=Path(unquote(parts.path)))
    url = choose_url(remote.url, named)
    try:
        usable_url(url)
    except ValueError as error:
        raise Reject(f"{show_url(url)} is the URL of no LFS server: {error}") from None
    headers = {}
    if remote.login is not None:
        name, _, value = (await remote.login()).partition(": ")
        headers[name] = value
    return LfsServer(url, headers, remote.reach)


class _SshPlace(NamedTuple):
    """A repository that is fetched by SSH."""

    user: str  # empty, or with its @
    host: str
    port: int | None
    path: str  # as it is sent to the server


def _ssh_place(url: str) -> _SshPlace | None:
    parts = urlsplit(url)
    if parts.scheme == "ssh":
        user = f"{parts.username}@" if parts.username else ""
        return _SshPlace(user, parts.hostname or "", parts.port, unquote(parts.path))
    scp = split_scp(url)
    if scp is None:
        return None
    user, at, host = scp[0].rpartition("@")
    return _SshPlace(f"{user}{at}", host, None, scp[1])


async def _ask_by_ssh(remote: Remote, place: _SshPlace, named: str, git: Git) -> LfsServer:
    """Return the server that `git-lfs-authenticate` answers with: a URL, and headers for it."""
    usual = urlunsplit(("https", place.host, quote(place.path), "", ""))
    chosen = choose_url(usual, named)
    ssh = shlex.split(remote.ssh() if remote.ssh is not None else _DEFAULT_SSH)
    port = ("-p", str(place.port)) if place.port else ()
    order = f"git-lfs-authenticate {shlex.quote(place.path)} download"
    doing = f"ask {remote.name} for its LFS server"
    answer = await git.run(
        Command(
            (*ssh[1:], *port, "--", f"{place.user}{place.host}", order),
            doing,
            program=ssh[0],
            work=ProcessKind.FETCH,
            forge=remote.forge,
        )
    )
    try:
        said = orjson.loads(answer)
        url = usable_url(said.get("href") or chosen).rstrip("/")
        headers = usable_headers(said.get("header"))
    except (ValueError, AttributeError):  # the answer may hold a login
        raise Retry(f"{doing}: git-lfs-authenticate did not answer as it should") from None
    origin = origin_of(url)
    reach = remote.reach
    if origin.host == place.host.lower():  # the same machine, which the configuration names
        reach = reach.trusting((origin.host, origin.port))
    return LfsServer(url, headers, reach)
