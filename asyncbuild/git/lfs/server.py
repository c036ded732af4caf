"""Which server has the contents of a repository's large files, and how it lets us in.

By default the one that git-lfs would find (git-lfs, docs/api/server-discovery.md): beside the
repository, with the repository's own login. What a commit's `.lfsconfig` says is the word of
whoever may push; it can only name another place of the same server.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

import orjson

from asyncbuild.errors import Reject, Retry
from asyncbuild.git.gitmodules import show_url
from asyncbuild.git.process import Command, Git, Work
from asyncbuild.git.remotes import Remote

_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}
_ODD: Final = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
_DEFAULT_SSH: Final = "ssh -o BatchMode=yes"


@dataclass(frozen=True, slots=True)
class Server:
    """Where contents come from.

    Attributes:
        url: Of the batch API, without `/objects/batch`; it holds no secret.
        headers: Let us in there, and are sent nowhere else.
        directory: In place of a server: a repository of this machine.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    directory: Path | None = None


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: who is asked. A login goes to nobody else.

    Raises:
        ValueError: it is no URL.
    """
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)


def derive_url(remote: str) -> str:
    """The URL of the LFS server beside a repository."""
    path = remote.rstrip("/")
    return f"{path}/info/lfs" if path.endswith(".git") else f"{path}.git/info/lfs"


def choose_url(remote: str, named: str) -> str:
    """The URL of the LFS server, given the one that the commit names, if any.

    Raises:
        Reject: that is another server.
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


async def find_server(remote: Remote, named: str, git: Git) -> Server:
    """The server for a repository, with a fresh login.

    Raises:
        Reject: the commit names another one.
        Retry: it does not let us in.
    """
    parts = urlsplit(remote.url)
    if parts.scheme in {"", "file"}:
        return Server(remote.url, directory=Path(unquote(parts.path)))
    if parts.scheme == "ssh":
        return await _ask_by_ssh(remote, named, git)
    headers = {}
    if remote.login is not None:
        name, _, value = (await remote.login()).partition(": ")
        headers[name] = value
    return Server(choose_url(remote.url, named), headers)


async def _ask_by_ssh(remote: Remote, named: str, git: Git) -> Server:
    """`git-lfs-authenticate`, which answers with a URL and headers for it."""
    parts = urlsplit(remote.url)
    usual = urlunsplit(("https", parts.hostname or "", parts.path, "", ""))
    chosen = choose_url(usual, named)
    ssh = shlex.split(remote.ssh() if remote.ssh is not None else _DEFAULT_SSH)
    port = ("-p", str(parts.port)) if parts.port else ()
    user = f"{parts.username}@" if parts.username else ""
    order = f"git-lfs-authenticate {shlex.quote(unquote(parts.path))} download"
    doing = f"ask {remote.name} for its LFS server"
    answer = await git.run(
        Command(
            (*ssh[1:], *port, "--", f"{user}{parts.hostname}", order),
            doing,
            program=ssh[0],
            work=Work.FETCH,
        )
    )
    try:
        said = orjson.loads(answer)
        url = str(said.get("href") or chosen)
        headers = {str(name): str(value) for name, value in (said.get("header") or {}).items()}
    except (orjson.JSONDecodeError, AttributeError) as error:
        raise Retry(f"{doing}: git-lfs-authenticate did not answer in JSON") from error
    return Server(url.rstrip("/"), headers)
