"""Registry of posters: one for each entry of `[[hosts]]` with a table `commit_status`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import aiohttp

from asyncbuild.aws.session import Aws
from asyncbuild.config.hosts import CommitStatusSettings, HostSettings
from asyncbuild.config.settings import Settings
from asyncbuild.domain.repository import ForgeKind, Repository
from asyncbuild.forges.keyring import Keyring, open_keyring
from asyncbuild.forges.statuses.azure_devops_status import AzureDevOpsStatuses
from asyncbuild.forges.statuses.bitbucket_server_status import BitbucketServerStatuses
from asyncbuild.forges.statuses.bitbucket_status import BitbucketStatuses
from asyncbuild.forges.statuses.gitea_status import GiteaStatuses
from asyncbuild.forges.statuses.gitlab_status import GitLabStatuses
from asyncbuild.forges.statuses.poster_protocol import StatusPoster
from asyncbuild.forges.statuses.status_http import open_session
from asyncbuild.forges.webhooks.senders import Host, Signature

_PUBLIC_APIS: Final = {
    "github.com": "https://api.github.com",
    "bitbucket.org": "https://api.bitbucket.org/2.0",
}
_API_PATHS: Final = {
    ForgeKind.GITHUB: "/api/v3",  # GitHub Enterprise Server
    ForgeKind.GITLAB: "/api/v4",
    ForgeKind.BITBUCKET: "/2.0",
    ForgeKind.BITBUCKET_SERVER: "/rest/api/latest",
    ForgeKind.GITEA: "/api/v1",
    ForgeKind.FORGEJO: "/api/v1",
    ForgeKind.AZURE_DEVOPS: "",
}


@dataclass(frozen=True, slots=True)
class HostPoster:
    """Poster of one entry of `[[hosts]]`, with its settings."""

    host: Host
    settings: CommitStatusSettings
    poster: StatusPoster

    @property
    def credential(self) -> str:
        """Name of the credential, whose limits all repositories share that it posts to."""
        return f"{self.host.host} {self.settings.token or self.settings.app_private_key}"


@dataclass(frozen=True, slots=True)
class StatusPosters:
    """Posters of all entries of `[[hosts]]` that have a table `commit_status`."""

    posters: tuple[HostPoster, ...]

    def find(self, repository: Repository) -> HostPoster | None:
        """Return the poster for a repository; None if its statuses are not wanted."""
        return next((each for each in self.posters if each.host.is_of(repository)), None)

    def wanted(self, repository: Repository) -> CommitStatusSettings | None:
        """Return the settings for a repository's statuses; None if they are not wanted."""
        found = self.find(repository)
        return None if found is None else found.settings


@asynccontextmanager
async def open_status_posters(settings: Settings, aws: Aws) -> AsyncIterator[StatusPosters]:
    """Read the credentials and keep them fresh; open the connections.

    Raises:
        ConfigError: A secret is missing.
        StageError: Secrets Manager refuses, or cannot be reached.
    """
    hosts = [(each, each.commit_status) for each in settings.hosts if each.commit_status]
    named = [wanted.token or wanted.app_private_key or "" for _, wanted in hosts]
    async with open_keyring(named, aws) as keyring, open_session() as session:
        yield StatusPosters(
            tuple(
                HostPoster(
                    Host(each.host, ForgeKind(each.kind), each.repository, Signature.OFF),
                    wanted,
                    _poster(session, each, wanted, keyring),
                )
                for each, wanted in hosts
            )
        )


def api_url_of(host: HostSettings) -> str:
    """Return the address of a host's API: the setting `api_url`, or the usual one of its forge."""
    if host.commit_status is not None and host.commit_status.api_url:
        return host.commit_status.api_url
    usual = _PUBLIC_APIS.get(host.host)
    return usual or f"https://{host.host}{_API_PATHS[ForgeKind(host.kind)]}"


def _poster(
    session: aiohttp.ClientSession,
    host: HostSettings,
    wanted: CommitStatusSettings,
    keyring: Keyring,
) -> StatusPoster:
    api_url = api_url_of(host)
    token: Callable[[], str] = partial(keyring.value, wanted.token or "")
    match ForgeKind(host.kind):
        case ForgeKind.GITHUB:
            return _github_poster(session, api_url, wanted, keyring)
        case ForgeKind.GITLAB:
            return GitLabStatuses(session, api_url, token)
        case ForgeKind.BITBUCKET:
            return BitbucketStatuses(session, api_url, token, user=wanted.user)
        case ForgeKind.BITBUCKET_SERVER:
            return BitbucketServerStatuses(session, api_url, token)
        case ForgeKind.GITEA | ForgeKind.FORGEJO:
            return GiteaStatuses(session, api_url, token)
        case ForgeKind.AZURE_DEVOPS:
            return AzureDevOpsStatuses(session, api_url, token)


def _github_poster(
    session: aiohttp.ClientSession, api_url: str, wanted: CommitStatusSettings, keyring: Keyring
) -> StatusPoster:
    # The client library brings cryptography: only a service that posts to GitHub loads it.
    from asyncbuild.forges.statuses.github_status import (  # noqa: PLC0415 - see above
        GitHubCredential,
        GitHubStatuses,
    )

    if wanted.token:
        credential = GitHubCredential(token=partial(keyring.value, wanted.token))
    else:
        key = partial(keyring.value, wanted.app_private_key or "")
        credential = GitHubCredential(app_id=wanted.app_id, private_key=key)
    return GitHubStatuses(session, api_url, credential)
