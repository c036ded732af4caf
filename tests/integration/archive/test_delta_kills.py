"""SIGKILL while a delta is made: afterwards there is a correct archive, or none (I7, I9)."""

import os
import random
import signal
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from botocore.exceptions import ClientError
from support.archives import Member, live_bytes_of_zip, members_of_commit, members_of_zip
from support.killed import Errand, KillingProxy, open_killing_proxy, start, wait
from support.repositories import SourceRepository
from support.servers import REGION, open_s3_client
from support.wait import PATIENCE_SECONDS

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from asyncbuild.local.servers.children import LocalServer

BUCKET = "kills"
_RANDOM_KILLS = int(os.environ.get("ASYNCBUILD_RANDOM_KILLS", "12"))

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]
both = pytest.mark.parametrize("server_name", ["seaweedfs", "ministack"])


@dataclass
class Scene:
    """A base in the bucket, and a commit to archive."""

    client: "S3Client"
    proxy: KillingProxy
    repository: SourceRepository
    base: str
    commit: str
    expected: dict[str, Member]

    @property
    def scratch(self) -> Path:
        """Return the temporary directory of the processes."""
        return self.repository.path.parent

    def errand(self, key: str, endpoint_url: str = "") -> Errand:
        """Return the errand to archive the commit at `key`."""
        url = endpoint_url or self.proxy.endpoint_url
        output = f"s3://{BUCKET}/{key}"
        repository, scratch = self.repository.path, str(self.scratch)
        return Errand(url, str(repository), self.commit, output, self.base, scratch)

    async def body(self, key: str) -> bytes | None:
        """Return the bytes of an object, or None without one."""
        try:
            answer = await self.client.get_object(Bucket=BUCKET, Key=key)
        except ClientError:
            return None
        async with answer["Body"] as stream:
            return await stream.read()

    async def is_there(self, key: str) -> bool:
        """Return whether there is an archive, after checking its contents."""
        body = await self.body(key)
        if body is None:
            return False
        assert members_of_zip(body) == self.expected
        assert len(body) == live_bytes_of_zip(body)
        return True

    async def uploads(self, key: str) -> list[str]:
        """Return ids of uploads that were begun and not ended."""
        answer = await self.client.list_multipart_uploads(Bucket=BUCKET, Prefix=key)
        return [each["UploadId"] for each in answer.get("Uploads", [])]

    async def wait_no_uploads(self, key: str) -> None:
        """Wait until all uploads are ended."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while await self.uploads(key):  # noqa: ASYNC110 - a server raises no event
                await anyio.sleep(0.02)

    async def kill(self, at: int, *, acted: bool) -> tuple[str, int]:
        """Kill a process at its request number `at`; return its key and its exit code."""
        key = f"{uuid.uuid4()}.zip"
        self.proxy.aim(at, acted=acted)
        self.proxy.victim = start(self.errand(key))
        return key, await wait(self.proxy.victim)


@pytest.fixture
async def scene(
    request: pytest.FixtureRequest, server_name: str, tmp_path: Path
) -> AsyncIterator[Scene]:
    """Archive 15 MB that cannot be compressed; then commit small changes at both ends."""
    server: LocalServer = request.getfixturevalue(server_name)
    chance = random.Random(5)  # noqa: S311 - the same in every run
    repository = SourceRepository(tmp_path / "source")
    repository.git("config", "core.compression", "0")
    files: dict[str, bytes | None] = {f"f{n:02}": chance.randbytes(250_000) for n in range(60)}
    first = repository.commit(files)
    second = repository.commit({"f02": b"new", "f57": None, "g": b"added", "f30": b"1"})
    async with open_s3_client(server) as client, open_killing_proxy(server.endpoint_url) as proxy:
        try:
            await client.head_bucket(Bucket=BUCKET)
        except ClientError:
            where = {"LocationConstraint": REGION}
            await client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)  # type: ignore[arg-type]
        base = f"s3://{BUCKET}/{uuid.uuid4()}/base.zip"
        errand = Errand(server.endpoint_url, str(repository.path), first, base, "", str(tmp_path))
        made = start(errand)
        assert await wait(made) == 0
        expected = members_of_commit(repository, second)
        yield Scene(client, proxy, repository, base, second, expected)


@both
async def test_a_kill_at_each_request_leaves_a_correct_archive_or_none(scene: Scene) -> None:
    """Before and after S3 acts on the request. Each killed process leaves at most one upload."""
    key, code = await scene.kill(0, acted=False)
    assert (code, await scene.is_there(key), await scene.uploads(key)) == (0, True, [])
    seen = scene.proxy.seen.copy()
    assert seen["UploadPartCopy"] >= 2
    assert seen["UploadPart"] == seen["CompleteMultipartUpload"] == 1
    made, left = [], 0
    for at in range(1, seen.total() + 1):
        for acted in (False, True):
            key, code = await scene.kill(at, acted=acted)
            assert code == -signal.SIGKILL
            made.append(await scene.is_there(key))
            uploads = await scene.uploads(key)
            assert len(uploads) <= 1 - made[-1]
            left += len(uploads)
            # The upload left behind does not harm the next attempt; the bucket's rule aborts it.
            if uploads and left <= 3:
                again = start(scene.errand(key))
                scene.proxy.aim(0, acted=False)
                assert await wait(again) == 0
                assert await scene.is_there(key)
                assert uploads == await scene.uploads(key)
    assert [*[False] * (2 * seen.total() - 1), True] == made  # only the last one had been reported
    assert left > 0


@both
async def test_a_kill_at_any_time_leaves_a_correct_archive_or_none(
    scene: Scene, server_name: str, request: pytest.FixtureRequest
) -> None:
    """Without a proxy in between. Afterwards the archive is made once, and is correct."""
    server: LocalServer = request.getfixturevalue(server_name)
    chance = random.Random(11)  # noqa: S311 - as good as any other
    begun = time.monotonic()
    assert await wait(start(scene.errand("measured.zip", server.endpoint_url))) == 0
    took = time.monotonic() - begun
    killed = number = 0
    while killed < _RANDOM_KILLS:
        key = f"{uuid.uuid4()}.zip"
        process = start(scene.errand(key, server.endpoint_url))
        await anyio.sleep(took * (number % _RANDOM_KILLS + chance.random()) / _RANDOM_KILLS)
        process.kill()
        code = await wait(process)
        there = await scene.is_there(key)
        assert there or code == -signal.SIGKILL
        if there:
            await scene.wait_no_uploads(key)  # the last request's server may still be at work
        assert len(await scene.uploads(key)) <= 1
        if not there and number % 4 == 0:
            assert await wait(start(scene.errand(key, server.endpoint_url))) == 0
            assert await scene.is_there(key)
        number += 1
        killed += code == -signal.SIGKILL
        if code == 0:
            took *= 0.9  # it was slower when measured, and ended before the signal


@both
async def test_two_processes_use_one_base_at_once(
    scene: Scene, server_name: str, request: pytest.FixtureRequest
) -> None:
    """Under one key and under their own: all are correct, and nothing is left."""
    server: LocalServer = request.getfixturevalue(server_name)
    keys = [f"{uuid.uuid4()}.zip" for _ in range(3)]
    errands = [scene.errand(key, server.endpoint_url) for key in (*keys, keys[0])]
    for process in [start(errand) for errand in errands]:
        assert await wait(process) == 0
    assert [await scene.is_there(key) for key in keys] == [True] * 3
    assert [await scene.uploads(key) for key in keys] == [[]] * 3
