"""`[[hosts]]` put to work: whose webhooks are believed, and how their repositories are fetched."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from asyncbuild.aws.session import Aws
from asyncbuild.config.hosts import HostSettings
from asyncbuild.config.settings import Settings
from asyncbuild.domain.repository import ForgeKind, Repository
from asyncbuild.forges.addresses import Address, parse_address
from asyncbuild.forges.keyring import Keyring, open_keyring
from asyncbuild.forges.origins import Origin, origin_of, repository_at
from asyncbuild.forges.webhooks.senders import Host, Hosts, Signature


@dataclass(frozen=True, slots=True)
class OpenHosts:
    """The hosts with their secrets at hand."""

    entries: Sequence[tuple[Host, HostSettings]]
    keyring: Keyring

    @property
    def reader(self) -> Hosts:
        """Reads messages and checks signatures."""
        return Hosts([host for host, _ in self.entries])

    def origin(self, repository: Repository) -> Origin | None:
        """How a repository is fetched; None if it is none of these hosts'."""
        for host, settings in self.entries:
            if host.is_of(repository):
                return origin_of(settings, repository, self.keyring)
        return None

    def repository(self, address: Address) -> Repository | None:
        """The repository at an address; None if it is none of these hosts'."""
        for host, settings in self.entries:
            repository = repository_at(settings, address)
            if repository is not None and host.is_of(repository):
                return repository
        return None


@asynccontextmanager
async def open_hosts(settings: Settings, aws: Aws) -> AsyncIterator[OpenHosts]:
    """Read the secrets of all hosts and keep them fresh.

    Raises:
        ConfigError: a secret is not there.
        StageError: Secrets Manager refuses, or cannot be reached.
    """
    async with open_keyring(references(settings), aws) as keyring:
        entries = [(_host(each, keyring.values), each) for each in settings.hosts]
        yield OpenHosts(entries, keyring)


@asynccontextmanager
async def open_origins(settings: Settings, aws: Aws, url: str | None) -> AsyncIterator[OpenHosts]:
    """What is needed to fetch from a URL, of all hosts without one: no webhook's secret is read.

    Raises:
        ConfigError: a secret is not there.
        StageError: Secrets Manager refuses, or cannot be reached.
    """
    address = parse_address(url) if url else None
    hosts = [each for each in settings.hosts if url is None or _is_at(each, address)]
    named = [reference for each in hosts for reference in (each.token, each.ssh_key) if reference]
    async with open_keyring(named, aws) as keyring:
        yield OpenHosts([(_host(each, None), each) for each in hosts], keyring)


def _is_at(settings: HostSettings, address: Address | None) -> bool:
    repository = repository_at(settings, address) if address else None
    return repository is not None and _host(settings, None).is_of(repository)


def references(settings: Settings) -> list[str]:
    """Where the secrets of all hosts are."""
    named = [
        reference
        for host in settings.hosts
        for reference in (host.token, host.ssh_key, host.webhook_secret)
        if reference
    ]
    return list(dict.fromkeys(named))


def unchecked_reader(settings: Settings) -> Hosts:
    """Reads messages to show what they say, without secrets and without believing them."""
    return Hosts([_host(each, None) for each in settings.hosts])


def _host(settings: HostSettings, secrets: Callable[[str], Sequence[str]] | None) -> Host:
    host = Host(settings.host, ForgeKind(settings.kind), settings.repository, Signature.OFF)
    if secrets is None or settings.webhook_secret is None:
        return host
    return Host(
        host.host,
        host.kind,
        host.repository,
        Signature(settings.signature),
        partial(secrets, settings.webhook_secret),
    )
