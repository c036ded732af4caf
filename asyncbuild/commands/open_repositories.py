"""Access to repositories, shared by all that fetch from them: hosts, logins and mirrors."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from asyncbuild.aws.accounts import AccountCredentials
from asyncbuild.aws.session import Aws
from asyncbuild.config.settings import Settings
from asyncbuild.forges.registry import OpenHosts, open_hosts
from asyncbuild.forges.remotes import Remotes, signing
from asyncbuild.git.mirrors.cache import MirrorCache, open_mirrors
from asyncbuild.git.seeds.mirror_seeds import CONNECTIONS, MirrorSeeds, open_seeds


@dataclass(frozen=True, slots=True)
class OpenedRepositories:
    """Access to repositories: the hosts whose webhooks are trusted, the mirrors, their seeds."""

    hosts: OpenHosts
    mirrors: MirrorCache
    seeds: MirrorSeeds | None = None


@asynccontextmanager
async def open_repositories(settings: Settings, aws: Aws) -> AsyncIterator[OpenedRepositories]:
    """Open the mirrors of all repositories, with the secrets that fetching needs.

    Args:
        settings: All settings.
        aws: Session of the service.

    Raises:
        ConfigError: A secret is missing, or the cache directory cannot be written to.
    """
    async with AsyncExitStack() as stack:
        hosts = await stack.enter_async_context(open_hosts(settings, aws))
        credentials = signing(AccountCredentials(aws, settings))
        remotes = Remotes(settings.git, credentials, origins=hosts.origin, hosted=hosts.repository)
        seeds = await stack.enter_async_context(_open_seeds(settings, aws))
        opened = open_mirrors(settings.git, remotes, forges=settings.forges, seeds=seeds)
        yield OpenedRepositories(hosts, await stack.enter_async_context(opened), seeds)


@asynccontextmanager
async def _open_seeds(settings: Settings, aws: Aws) -> AsyncIterator[MirrorSeeds | None]:
    """Open the seeds with a client of their own: no push waits for their connections."""
    if not settings.git.seeds:
        yield None
        return
    async with (
        aws.open_s3(pool=CONNECTIONS) as client,
        open_seeds(settings.git, settings.storage, client) as seeds,
    ):
        yield seeds
