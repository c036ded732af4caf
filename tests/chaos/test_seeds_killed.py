"""The service killed in the middle of writing or taking a seed, at a byte that the proxy chooses.

The servers judge: each push is built once and in order, each archive is what git has, and the git
server counts who cloned.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from support.counting_git import CountingGit, open_counting_git
from support.halting_s3 import HaltingS3, open_halting_s3
from support.service import Service, environment, open_service, read_dead_letters, wait_settled
from support.wait import PATIENCE_SECONDS
from support.warm_fleet import list_sizes
from support.warm_remotes import MB, Load, WarmRemote, WarmRemotes

from asyncbuild.local.servers import journal
from asyncbuild.local.stack import BUCKET, Stack, open_stack
from asyncbuild.local.verify import Pushed, verify

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]

PUSHES = 4
NOISE_BYTES = 12 * MB


@dataclass
class SeedWorld:
    """Servers, a repository of 12 MB, and tasks with caches of their own, one after the other."""

    stack: Stack
    s3: HaltingS3
    git: CountingGit
    remote: WarmRemote
    sent: list[Pushed] = field(default_factory=list)

    @property
    def mirrors(self) -> Path:
        """Return the directory of all caches."""
        return self.stack.directory / "caches"

    @asynccontextmanager
    async def open_task(self, cache: str) -> AsyncIterator[Service]:
        """Run the service with a cache of this name."""
        variables = environment(
            self.stack,
            consumers=2,
            queue={"visibility_timeout_seconds": 5, "wait_seconds": 1},
            git={
                "remote": self.git.remote,
                "credentials": "none",
                "cache_directory": str(self.mirrors / cache),
            },
            storage={"endpoint_url": self.s3.endpoint_url, "part_bytes": 5 * 1024 * 1024},
            lanes={"busy_most_seconds": 1},
            status={"listen": "off"},
        )
        async with open_service(variables) as service:
            await service.wait_logged("service.started")
            yield service

    async def push(self) -> None:
        """Push the next commit, and send its event."""
        self.sent.append(self.remote.push())
        await self.stack.send(self.sent[-1])

    async def wait_halted(self) -> None:
        """Wait until the proxy holds a request."""
        with anyio.fail_after(PATIENCE_SECONDS):
            await self.s3.halted.wait()

    async def wait_seed(self) -> None:
        """Wait until there is a manifest."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while not await self.manifests():  # noqa: ASYNC110 - a bucket raises no event
                await anyio.sleep(0.05)

    async def objects(self) -> Mapping[str, int]:
        """Return the seed's objects and their sizes."""
        return await list_sizes(self.stack, self.stack.settings.storage.seed_prefix)

    async def manifests(self) -> list[str]:
        """Return the keys of manifests."""
        return [key for key in await self.objects() if key.endswith("manifest.json")]

    async def clones(self) -> int:
        """Return the number of clones so far."""
        return (await to_thread.run_sync(self.git.total)).clones

    async def check(self) -> None:
        """Wait until all pushes are settled, and compare everything with git."""
        await wait_settled(self.stack)
        started = journal.read(self.stack.journal)
        found = await verify(self.sent, started, s3=self.stack.s3, bucket=BUCKET)
        assert found.faults == []
        assert found.built == len(self.sent)
        assert await read_dead_letters(self.stack) == []


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[SeedWorld]:
    """Open everything; no task runs yet."""
    remotes = await WarmRemotes.create(
        tmp_path, Load(repositories=1, large=1, large_bytes=NOISE_BYTES, pushes=PUSHES)
    )
    with open_counting_git(tmp_path) as git:
        async with (
            open_stack(remotes.load.names) as stack,
            open_halting_s3(str(stack.settings.aws.endpoint_url)) as s3,
        ):
            yield SeedWorld(stack, s3, git, remotes.remotes[0])


async def test_killed_while_a_seed_is_written(world: SeedWorld) -> None:
    """A torn seed is none: tasks clone until one has written it whole, then the next takes it."""
    for cache, part, after_bytes in (("first", ".pack", 6 * MB), ("second", "manifest.json", 0)):
        world.s3.halt("PUT", part, after_bytes=after_bytes)
        async with world.open_task(cache) as task:
            await world.push()
            await world.wait_halted()
            task.kill()
            await task.wait()
        assert await world.manifests() == []
    world.s3.resume()
    async with world.open_task("third"):
        await world.push()
        await world.wait_seed()
    assert await world.clones() == 3
    async with world.open_task("fourth"):
        await world.push()
        await world.check()
    assert await world.clones() == 3


async def test_killed_while_a_seed_is_taken(world: SeedWorld) -> None:
    """The same cache, and then another, take the whole seed; nothing is left of the torn one."""
    async with world.open_task("first"):
        await world.push()
        await world.wait_seed()
    world.s3.halt("GET", ".pack", after_bytes=6 * MB)
    async with world.open_task("second") as task:
        await world.push()
        await world.wait_halted()
        task.kill()
        await task.wait()
    world.s3.resume()
    async with world.open_task("second"):
        await world.push()
        await world.check()
    assert await world.clones() == 1
    assert list(world.mirrors.rglob("repository.git"))
    assert not list(world.mirrors.rglob("staging-*"))
