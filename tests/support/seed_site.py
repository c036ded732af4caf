"""Tasks with caches of their own, in front of one git server and one bucket with seeds."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.mirrors import KEY, SECRET, TOKEN, Site, fixed, repository
from support.servers import REGION
from support.wait import wait_until

from asyncbuild.aws.session import Aws
from asyncbuild.config import AwsSettings, GitSettings, Settings, StorageSettings
from asyncbuild.domain.events.event import Emitted, Event
from asyncbuild.forges.codecommit_login import AwsCredentials
from asyncbuild.forges.remotes import Remotes
from asyncbuild.git.mirrors.cache import MirrorCache, open_mirrors
from asyncbuild.git.mirrors.directory import MirrorDirectory
from asyncbuild.git.seeds.mirror_seeds import CONNECTIONS, MirrorSeeds, open_seeds
from asyncbuild.runtime.emit import subscribed

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

PREFIX = StorageSettings().seed_prefix


@dataclass
class SeedTask:
    """A running cache, its settings, and what it told."""

    mirrors: MirrorCache
    seeds: MirrorSeeds | None
    place: MirrorDirectory
    events: list[Event]

    @property
    def is_writing(self) -> bool:
        """Return whether it writes a seed, or looks whether one is due."""
        return self.seeds is not None and self.seeds._upkeep._running

    @property
    def holds_packs(self) -> bool:
        """Return whether this process has packs or indexes open, deleted ones, too."""
        links = []
        for each in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                links.append(str(each.readlink()))
        return any("/objects/pack/pack-" in each for each in links)

    def told(self, name: str) -> list[Any]:
        """Return the events of this name."""
        return [each for each in self.events if each.name == name]

    async def wait_told(self, name: str, times: int = 1) -> Any:  # noqa: ANN401 - the event
        """Wait for an event, and return the last of its name."""
        await wait_until(lambda: len(self.told(name)) >= times)
        return self.told(name)[-1]

    @property
    def sources(self) -> list[str]:
        """Sources of the mirrors that were made: `clone` or `seed`."""
        return [each.source for each in self.told("mirror.made")]


@dataclass
class SeedSite:
    """A git server with the repository `web`, and a bucket.

    Attributes:
        site: The git server.
        endpoint_url: Endpoint of S3, which tests may replace by a proxy's.
        bucket: Name of the bucket.
        client: Client of S3, for the tests.
    """

    site: Site
    endpoint_url: str
    bucket: str
    client: "S3Client"

    @property
    def repository(self) -> str:
        """Return the path of the repository."""
        return repository().path

    @property
    def prefix(self) -> str:
        """Return the prefix of the keys of the seed of `web`."""
        return f"{PREFIX}{self.repository}/"

    @property
    def manifest(self) -> str:
        """Return the key of its manifest."""
        return f"{self.prefix}manifest.json"

    def settings(self, cache: str, **changes: Any) -> Settings:  # noqa: ANN401 - any of [git]
        """Return the settings of a task with this cache."""
        directory = self.site.directory / cache
        git = {"seed_min_bytes": 1, "cache_directory": directory, **changes}
        return Settings(
            aws=AwsSettings(region=REGION, endpoint_url=self.endpoint_url, max_tries=1),
            git=self.site.settings(**git),
            storage=StorageSettings(bucket=self.bucket, addressing_style="path"),
        )

    @asynccontextmanager
    async def open_task(self, cache: str = "cache", **changes: Any) -> AsyncIterator[SeedTask]:  # noqa: ANN401 - any of [git]
        """Run a task with a cache of its own."""
        settings = self.settings(cache, **changes)
        remotes = Remotes(settings.git, fixed(AwsCredentials(KEY, SECRET, TOKEN)))
        with listening() as events:
            async with self._open(settings, remotes) as (mirrors, seeds):
                yield SeedTask(mirrors, seeds, place_of(settings.git), events)

    @asynccontextmanager
    async def _open(
        self, settings: Settings, remotes: Remotes
    ) -> AsyncIterator[tuple[MirrorCache, MirrorSeeds | None]]:
        async with (
            Aws(settings).open_s3(pool=CONNECTIONS) as client,
            open_seeds(settings.git, settings.storage, client) as seeds,
            open_mirrors(settings.git, remotes, seeds=seeds) as mirrors,
        ):
            yield mirrors, seeds

    async def keys(self) -> list[str]:
        """Return the keys of all objects of the seed."""
        page = await self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix)
        return [each["Key"] for each in page.get("Contents", ())]

    async def read(self, key: str) -> bytes:
        """Return the contents of an object."""
        answer = await self.client.get_object(Bucket=self.bucket, Key=key)
        async with answer["Body"] as stream:
            return await stream.read()

    async def write(self, key: str, body: bytes) -> None:
        """Replace the contents of an object."""
        await self.client.put_object(Bucket=self.bucket, Key=key, Body=body)


def place_of(settings: GitSettings) -> MirrorDirectory:
    """Return the directory of the mirror of `web`."""
    return MirrorDirectory(settings.cache_directory / "mirrors" / repository().path)


@contextmanager
def listening() -> Iterator[list[Event]]:
    """Collect events while inside."""
    events: list[Event] = []

    def hear(told: Emitted) -> None:
        events.append(told.event)

    with subscribed(hear):
        yield events
