"""Access to repositories of `[[hosts]]`: HTTPS with a token, or SSH with a key.

The URL comes from the configuration; only owner and name in it come from an event, and they were
checked. The token travels in git's environment; the key is a file of this process's memory (I10).
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

# Values that the fields of `remote` may have; an owner may have subgroups.
_FIELDS = {"owner": r"[^/]+(?:/[^/]+)*", "repository": r"[^/]+"}
# Settings of this machine have no influence: no configuration, agent, other key or unknown host.
_SSH = (
    *("ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"),
    *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "ForwardAgent=no"),
    *("-o", "PreferredAuthentications=publickey", "-o", "GlobalKnownHostsFile=/dev/null"),
    *("-o", "UpdateHostKeys=no", "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=30"),
)


class Secrets(Protocol):
    """Secrets by reference; `forges.keyring.Keyring` implements it."""

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
    """Return the setting `remote`, or the usual URL of the forge for HTTPS or SSH."""
    usual = GIT_ACCESS[ForgeKind(host.kind)]
    return host.remote or usual.template(host.host, by_ssh=bool(host.ssh_key))


def origin_of(host: HostSettings, repository: Repository, keyring: Secrets) -> Origin:
    """Return the access to a repository of `host`.

    Args:
        host: Entry of `[[hosts]]`.
        repository: Repository of that host.
        keyring: Secrets of the entries.
    """
    owner = quote(repository.owner)
    url = template_of(host).format(
        host=host.host, owner=owner, repository=quote(repository.name, safe="")
    )
    return Origin(url, host.host, _login(host, keyring), _ssh(host, keyring))


def repository_at(host: HostSettings, address: Address) -> Repository | None:
    """Return the repository of `host` at an address; None if the address is somewhere else.

    Several addresses lead to one repository: that of the setting `remote`, and those that the
    host's pages name, by HTTPS and by SSH.
    """
    name, _, port = host.host.partition(":")
    usual = GIT_ACCESS[ForgeKind(host.kind)]
    fields = mark(_FIELDS)
    ways = (
        parse_address(template_of(host).format(host=host.host, **fields)),
        Address("https", name, int(port) if port else None, usual.web_path.format(**fields)),
        Address("ssh", usual.ssh_host.format(host=name), None, usual.ssh_path.format(**fields)),
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
    """Return GIT_SSH_COMMAND, which git passes to a shell: names of files, each quoted.

    Args:
        identity: Path of the private key.
        known_hosts: Path of the known hosts.
        more: Further arguments of ssh.
    """
    files = ("-o", f"UserKnownHostsFile={known_hosts}", "-i", identity)
    return shlex.join((*_SSH, *files, *more))
