"""Archives read back from a server: missing, broken or wrong ones are found."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import aioboto3
import pytest

from asyncbuild.local.expected_tree import run_git
from asyncbuild.local.servers.children import LocalServer
from asyncbuild.local.servers.journal import AcceptedStart
from asyncbuild.local.verify import Expects, Findings, Pushed, verify
from asyncbuild.local.workload import SampleRepository

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

BUCKET = "verify-archives"


@pytest.fixture
async def s3(ministack: LocalServer) -> AsyncIterator["S3Client"]:
    """Open a client, and create the bucket."""
    session = aioboto3.Session(region_name="us-east-1")
    async with session.client("s3", endpoint_url=ministack.endpoint_url) as client:
        await client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
async def pushes(tmp_path: Path) -> list[Pushed]:
    """Return a push that is built, one that is uploaded only, one that is neither."""

    async def at_once(_: object) -> None: ...

    story = await SampleRepository.create(
        tmp_path, f"shop-{tmp_path.name}", ["main", "develop", "#v1"], seed=2
    )
    return [push async for push in story.iter_pushes(at_once)]


async def archive_of(push: Pushed) -> bytes:
    """Return git's own zip of the push's commit."""
    return await run_git("archive", "--format=zip", str(push.commit), directory=push.directory)


def start_of(push: Pushed, key: str) -> AcceptedStart:
    """Return the StartBuild of `push` on the object at `key`."""
    names = {
        "EVENT_ID": push.id,
        "COMMIT_ID": str(push.commit),
        "REF": push.ref,
        "REPOSITORY_NAME": push.repository,
    }
    request = {
        "projectName": "shop",
        "sourceLocationOverride": f"{BUCKET}/{key}",
        "environmentVariablesOverride": [{"name": n, "value": v} for n, v in names.items()],
    }
    return AcceptedStart(push.time, "shop:1", 1, request)


async def verdict(pushes: list[Pushed], s3: "S3Client", objects: dict[str, bytes]) -> Findings:
    """Upload `objects`, start the build of the first push on its key, and verify."""
    for key, content in objects.items():
        await s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    return await verify(pushes, [start_of(pushes[0], pushes[0].key)], s3=s3, bucket=BUCKET)


async def test_complete_archives_have_no_fault(pushes: list[Pushed], s3: "S3Client") -> None:
    """Built and uploaded archives equal their commits; their sizes are known."""
    objects = {push.key: await archive_of(push) for push in pushes[:2]}
    findings = await verdict(pushes, s3, objects)
    assert findings.faults == []
    assert (findings.built, findings.uploaded) == (1, 1)
    assert findings.sizes == {push.id: len(objects[push.key]) for push in pushes[:2]}


async def test_missing_archives_are_found(pushes: list[Pushed], s3: "S3Client") -> None:
    """No object under a built push is wrong content, under an uploaded one it is missing."""
    findings = await verdict(pushes, s3, {})
    assert len(findings.wrong_content) == len(findings.missing) == 1
    assert pushes[0].key in findings.wrong_content[0]
    assert pushes[1].key in findings.missing[0]


async def test_the_archive_of_another_commit_is_found(pushes: list[Pushed], s3: "S3Client") -> None:
    """Right name, right form, other commit: both objects swapped are two faults."""
    objects = {
        pushes[0].key: await archive_of(pushes[1]),
        pushes[1].key: await archive_of(pushes[0]),
    }
    findings = await verdict(pushes, s3, objects)
    assert len(findings.wrong_content) == len(findings.faults) == 2


async def test_a_truncated_archive_is_found(pushes: list[Pushed], s3: "S3Client") -> None:
    """An object that was cut short cannot be read."""
    whole = await archive_of(pushes[0])
    only_build = [pushes[0], replace(pushes[1], expects=Expects.NOTHING)]
    findings = await verdict(only_build, s3, {pushes[0].key: whole[: len(whole) // 2]})
    assert len(findings.faults) == 1
    assert "no zip that can be read" in findings.wrong_content[0]
