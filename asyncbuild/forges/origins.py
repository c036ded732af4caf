"""Repository of another host → how it is fetched: HTTPS with a token, or SSH with a key.

The URL comes from the configuration; of an event it holds owner and name, which were checked. The
token travels in git's environment; the key is a file of this process's memory (I10).
"""

import base64
import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote

from asyncbuild.config.hosts import HostSettings
from asyncbuild.domain.repository import ForgeKind, Repository
from asyncbuild.forges.addresses import Address, mark, match, parse_address
from asyncbuild.forges.git_access import GIT_ACCESS

# What may take the place of the fields of `remote`; an owner may have subgroups.
_FIELDS = {"owner": r"[^/]+(?:/[^/]+)*", "repository": r"[^/]+"}
# Nothing of the host has a say: no configuration, no agent, no other key, no unknown host.
_SSH = (
    *("ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"),
    *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "ForwardAgent=no"),
    *("-o", "PreferredAuthentications=publickey", "-o", "GlobalKnownHostsFile=/dev/null"),
    *("-o", "UpdateHostKeys=no", "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=30"),
)


class Secrets(Protocol):
    """Secrets by reference; `forges.keyring.Keyring` is one."""

    def value(self, reference: str) -> str:
        """Return a secret."""

    def path(self, reference: str) -> str:
        """Return the path of a private file with a secret."""

    def path_of(self, text: str) -> str:
        """Return the path of a private file with a text."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Access to one repository; see `remotes.Remote`. `host` has the repositories' pages."""

    url: str
    host: str
    login: Callable[[], Awaitable[str]] | None = field(default=None, repr=False)
    ssh: Callable[[], str] | None = field(default=None, repr=False)


def template_of(host: HostSettings) -> str:
    """Return the setting `remote`, or what is usual for the forge and the way in."""
    usual = GIT_ACCESS[ForgeKind(host.kind)]
    return host.remote or usual.template(host.host, by_ssh=bool(host.ssh_key))


def origin_of(host: HostSettings, repository: Repository, keyring: Secrets) -> Origin:
    """How a repository of `host` is fetched."""
    owner = quote(repository.owner)
    url = template_of(host).format(
        host=host.host, owner=owner, repository=quote(repository.name, safe="")
    )
    return Origin(url, host.host, _login(host, keyring), _ssh(host, keyring))


def repository_at(host: HostSettings, address: Address) -> Repository | None:
    """The repository of `host` at an address; None if that is somewhere else.

    There are several ways to one repository: that of the setting `remote`, and those that the
    host's pages name, by HTTPS and by SSH.
    """
    name, _, port = host.host.partition(":")
    web_path = GIT_ACCESS[ForgeKind(host.kind)].web_path
    fields = mark(_FIELDS)
    ways = (
        parse_address(template_of(host).format(host=host.host, **fields)),
        Address("https", name, int(port) if port else None, web_path.format(**fields)),
        Address("ssh", name, None, "/{owner}/{repository}".format(**fields)),
    )
    for way in ways:
        if way is not None and (way.scheme == "ssh") == (address.scheme == "ssh"):
            found = match(way, address, _FIELDS)
            if found and ".." not in found["owner"]:
                return Repository.of_host(host.host, found["owner"], found["repository"])
    return None


def _login(host: HostSettings, keyring: Secrets) -> Callable[[], Awaitable[str]] | None:
    token = host.token
    if token is None:
        return None
    user = host.user or GIT_ACCESS[ForgeKind(host.kind)].token_user

    async def login() -> str:
        pair = f"{user}:{keyring.value(token)}".encode()
        return f"Authorization: Basic {base64.b64encode(pair).decode()}"

    return login


def _ssh(host: HostSettings, keyring: Secrets) -> Callable[[], str] | None:
    key = host.ssh_key
    if key is None:
        return None

    def command() -> str:
        known = keyring.path_of("\n".join(host.known_hosts))
        return ssh_command(identity=keyring.path(key), known_hosts=known)

    return command


def ssh_command(*, identity: str, known_hosts: str, more: Sequence[str] = ()) -> str:
    """GIT_SSH_COMMAND, which git gives to a shell: names of files, each quoted."""
    files = ("-o", f"UserKnownHostsFile={known_hosts}", "-i", identity)
    return shlex.join((*_SSH, *files, *more))
