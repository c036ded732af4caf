"""Registry of `[[hosts]]`: whose webhooks are trusted, and how their repositories are fetched."""

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
from asyncbuild.forges.webhooks.senders import Host, MessageReader, Signature


@dataclass(frozen=True, slots=True)
class OpenHosts:
    """Entries of `[[hosts]]` with their secrets loaded."""

    entries: Sequence[tuple[Host, HostSettings]]
    keyring: Keyring

    @property
    def reader(self) -> MessageReader:
        """Reader of messages, which checks signatures."""
        return MessageReader([host for host, _ in self.entries])

    def origin(self, repository: Repository) -> Origin | None:
        """Return the access to a repository; None if it is on none of these hosts."""
        for host, settings in self.entries:
            if host.is_of(repository):
                return origin_of(settings, repository, self.keyring)
        return None

    def repository(self, address: Address) -> Repository | None:
        """Return the repository at an address; None if it is on none of these hosts."""
        for host, settings in self.entries:
            repository = repository_at(settings, address)
            if repository is not None and host.is_of(repository):
                return repository
        return None


@asynccontextmanager
async def open_hosts(settings: Settings, aws: Aws) -> AsyncIterator[OpenHosts]:
    """Read the secrets of all hosts and keep them fresh.

    Raises:
        ConfigError: A secret is missing.
        StageError: Secrets Manager refuses, or cannot be reached.
    """
    async with open_keyring(references(settings), aws) as keyring:
        entries = [(_host(each, keyring.values), each) for each in settings.hosts]
        yield OpenHosts(entries, keyring)


@asynccontextmanager
async def open_origins(settings: Settings, aws: Aws, url: str | None) -> AsyncIterator[OpenHosts]:
    """Open the hosts that a fetch from a URL needs; all hosts without a URL.

    Secrets of webhooks are not read.

    Args:
        settings: The configuration.
        aws: Session for Secrets Manager.
        url: URL to fetch from; None for all hosts.

    Raises:
        ConfigError: A secret is missing.
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
    """Return the references of all hosts' secrets, each once."""
    named = [
        reference
        for host in settings.hosts
        for reference in (host.token, host.ssh_key, host.webhook_secret)
        if reference
    ]
    return list(dict.fromkeys(named))


def unchecked_reader(settings: Settings) -> MessageReader:
    """Return a reader that shows the contents of messages, without secrets and without trust."""
    return MessageReader([_host(each, None) for each in settings.hosts])


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
