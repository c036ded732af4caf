"""A mirror cache in front of a git server, set up as in the service."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from support.git_http import GitServer, open_git_server
from support.repositories import SourceRepository

from asyncbuild.config import ArchiveSettings, GitSettings
from asyncbuild.domain.archive_options import ArchiveOptions
from asyncbuild.domain.repository import Repository
from asyncbuild.forges.codecommit_login import AwsCredentials
from asyncbuild.forges.remotes import CredentialSource, Remotes
from asyncbuild.git.content.submodules import open_whole
from asyncbuild.git.mirrors.cache import MirrorCache, open_mirrors
from asyncbuild.git.process.command import ProcessKind
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.zip.engine import WORKING_BYTES, open_engine
from asyncbuild.zip.stream import ZipOptions

ACCOUNT = "123456789012"
REGION = "eu-west-1"
KEY, SECRET, TOKEN = "AKIAEXAMPLE", "s3cr3t/Example+Key", "t0ken/Example=="
MAIN = "refs/heads/main"


def repository(name: str = "web", account: str = ACCOUNT) -> Repository:
    """Return a repository of the test region."""
    return Repository.of_codecommit(account, REGION, name)


def fixed(credentials: AwsCredentials) -> CredentialSource:
    """Return a source of always the same credentials."""

    async def get(account: str, region: str) -> AwsCredentials:
        return credentials

    return get


@dataclass
class Site:
    """A git server with one repository, and the directory of its mirrors."""

    directory: Path
    server: GitServer
    source: SourceRepository

    @property
    def cache(self) -> Path:
        """Return `git.cache_directory`."""
        return self.directory / "cache"

    @property
    def mirror(self) -> Path:
        """Return the bare mirror of the repository `web`."""
        return self.cache / "mirrors" / ACCOUNT / REGION / "web" / "repository.git"

    def settings(self, **changes: Any) -> GitSettings:  # noqa: ANN401 - any setting
        """Return `[git]` for this site."""
        values: dict[str, Any] = {
            "remote": self.server.template,
            "credentials": "codecommit",
            "cache_directory": self.cache,
            "silence_timeout_seconds": 60,
            "timeout_seconds": 120,
        }
        return GitSettings(**(values | changes))

    @asynccontextmanager
    async def open_mirrors(
        self,
        *,
        credentials: CredentialSource | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        **changes: Any,  # noqa: ANN401 - any setting
    ) -> AsyncIterator[MirrorCache]:
        """Open the cache."""
        settings = self.settings(**changes)
        source = credentials or fixed(AwsCredentials(KEY, SECRET, TOKEN))
        async with open_mirrors(settings, Remotes(settings, source, now=now)) as mirrors:
            yield mirrors


@asynccontextmanager
async def open_site(directory: Path) -> AsyncIterator[Site]:
    """Open a server with an empty repository `web`, which one key may pull."""
    source = SourceRepository(directory / "remote" / "web")
    keys = {KEY: (SECRET, TOKEN)}
    async with open_git_server(directory / "remote", region=REGION, keys=keys) as server:
        yield Site(directory, server, source)


def is_quiet(mirrors: MirrorCache) -> bool:
    """Return whether no fetch, no git at work and no look through a tree for archives runs."""
    processes = mirrors.statistics().processes
    running = [count for kind, count in processes.items() if kind != ProcessKind.READER]
    fetching = [each for each in mirrors._shared.values() if not each.idle]
    return not (fetching or any(running) or mirrors._worktrees.is_learning)


async def read_archive(snapshot: Snapshot, *paths: bytes) -> bytes:
    """Return the whole tar."""
    async with snapshot.open_archive(paths=paths) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def archive_of(
    mirrors: MirrorCache, commit: str, ref: str = MAIN, name: str = "web"
) -> bytes:
    """Open and read one archive."""
    async with mirrors.open(repository(name), ref=ref, commit=commit) as snapshot:
        return await read_archive(snapshot)


async def zip_of(mirrors: MirrorCache, commit: str, options: ArchiveOptions) -> bytes:
    """Return the whole zip of a commit of `web`, with the options applied."""
    most = WORKING_BYTES + 64 * 1024 * 1024
    async with mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot:
        selected = await snapshot.select(options)
        async with (
            open_whole(mirrors, repository(), selected) as whole,
            open_engine(ArchiveSettings()) as engine,
            MemoryBudget(most).open_account(most) as account,
            whole.open_archive() as tar,
            engine.open_zip(
                tar, account=account, options=ZipOptions(cut=len(whole.above))
            ) as zipped,
        ):
            return b"".join([chunk async for chunk in zipped])
