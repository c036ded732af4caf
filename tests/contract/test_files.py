"""Files as objects, on two servers: sent in parts and read in ranges, checked on the way."""

import hashlib
import os
import random
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from isal.isal_zlib import crc32
from support.servers import REGION, open_s3_client
from support.wire import Call, Tapped, refused

from asyncbuild.config import StorageSettings
from asyncbuild.domain.errors import Outage, Retry, StageError
from asyncbuild.storage import file_download, file_upload
from asyncbuild.storage.file_download import FileDownloads, OtherSize
from asyncbuild.storage.file_upload import (
    FileGone,
    FileUploads,
    OpenFile,
    SendingPace,
    spans_of_parts,
)

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from asyncbuild.local.servers.children import LocalServer

PART = 5 * 1024 * 1024
SIZES = (1, 300_000, PART, 2 * PART + 1)


@pytest.fixture(params=["seaweedfs", "ministack"])
async def client(request: pytest.FixtureRequest) -> "AsyncIterator[S3Client]":
    """Open a client of each server."""
    server: LocalServer = request.getfixturevalue(request.param)
    async with open_s3_client(server, s3={"addressing_style": "path"}) as client:
        yield client


@pytest.fixture
async def storage(client: "S3Client") -> StorageSettings:
    """Make a bucket."""
    bucket = f"files-{uuid.uuid4()}"
    await client.create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    return StorageSettings(bucket=bucket)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send and read in the smallest pieces that S3 permits."""
    monkeypatch.setattr(file_upload, "_PART_BYTES", PART)
    monkeypatch.setattr(file_download, "_RANGE_BYTES", 700_001)


def some_bytes(nbytes: int) -> bytes:
    """Return bytes that are the same in every run."""
    return random.Random(nbytes).randbytes(nbytes)  # noqa: S311 - the same in every run


@contextmanager
def opened(path: Path, content: bytes) -> Iterator[OpenFile]:
    """Write a file and open it."""
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    spans = spans_of_parts(len(content))
    try:
        yield OpenFile(descriptor, len(content), [crc32(content[a:b]) for a, b in spans])
    finally:
        os.close(descriptor)


def uploads(client: Any, storage: StorageSettings) -> FileUploads:  # noqa: ANN401 - may be Tapped
    """Return uploads without a limit of their rate."""
    return FileUploads(client, storage, SendingPace(0))


@pytest.mark.parametrize("size_bytes", SIZES)
async def test_a_file_is_read_as_it_was_sent(
    client: "S3Client", storage: StorageSettings, tmp_path: Path, size_bytes: int
) -> None:
    """In one request or in parts, and back in ranges that come in any order."""
    content = some_bytes(size_bytes)
    with opened(tmp_path / "a", content) as file:
        await uploads(client, storage).upload("key", file)
    downloads = FileDownloads(client, storage, reads=4)
    digest = await downloads.download("key", tmp_path / "b", size_bytes=size_bytes)
    assert (tmp_path / "b").read_bytes() == content
    assert digest == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("size_bytes", [300_000, 2 * PART + 1])
async def test_a_part_that_changed_on_its_way_is_refused(
    client: "S3Client", storage: StorageSettings, tmp_path: Path, size_bytes: int
) -> None:
    """S3 compares each part with its CRC-32; nothing is stored, and no part stays."""
    with opened(tmp_path / "a", some_bytes(size_bytes)) as file:
        wrong = OpenFile(file.descriptor, size_bytes, [each ^ 1 for each in file.checksums])
        with pytest.raises(StageError):
            await uploads(client, storage).upload(".asyncbuild/seeds/key", wrong)
    listed = await client.list_objects_v2(Bucket=storage.bucket)
    assert "Contents" not in listed
    parts = await client.list_multipart_uploads(Bucket=storage.bucket)
    assert not parts.get("Uploads")


async def test_a_file_that_is_deleted_is_not_sent_to_its_end(
    client: "S3Client", storage: StorageSettings, tmp_path: Path
) -> None:
    """Its space is needed: the upload ends after a part, and leaves none."""

    async def send_and_delete(call: Call, parameters: dict[str, Any]) -> object:
        answer = await call(**parameters)
        (tmp_path / "a").unlink()
        return answer

    tapped = Tapped(client, upload_part=send_and_delete)
    with opened(tmp_path / "a", some_bytes(2 * PART)) as file, pytest.raises(FileGone):
        await uploads(tapped, storage).upload(".asyncbuild/seeds/key", file)
    assert tapped.calls.count("upload_part") == 1
    assert tapped.calls[-1] == "abort_multipart_upload"


@pytest.mark.parametrize("difference", [-1, 1, 700_001])
async def test_an_object_of_another_size_is_refused(
    client: "S3Client", storage: StorageSettings, tmp_path: Path, difference: int
) -> None:
    """Whether it is longer or shorter than was said."""
    await client.put_object(Bucket=storage.bucket, Key="key", Body=some_bytes(800_000))
    downloads = FileDownloads(client, storage, reads=4)
    with pytest.raises(StageError) as caught:
        await downloads.download("key", tmp_path / "b", size_bytes=800_000 + difference)
    assert isinstance(caught.value, OtherSize) or caught.value.code == "InvalidRange"


async def test_a_range_that_fails_ends_the_download(
    client: "S3Client", storage: StorageSettings, tmp_path: Path
) -> None:
    """Its error is told, by its kind; an object that is missing is a code."""
    await client.put_object(Bucket=storage.bucket, Key="key", Body=some_bytes(2_000_000))

    async def fail(call: Call, parameters: dict[str, Any]) -> object:
        if parameters["Range"].startswith("bytes=700001-"):
            raise refused("InternalError", status=500)
        return await call(**parameters)

    tapped: Any = Tapped(client, get_object=fail)
    with pytest.raises(Outage, match="InternalError"):
        await FileDownloads(tapped, storage, reads=1).download(
            "key", tmp_path / "b", size_bytes=2_000_000
        )
    with pytest.raises(Retry) as caught:
        await FileDownloads(client, storage, reads=1).download("no", tmp_path / "c", size_bytes=9)
    assert caught.value.code == "NoSuchKey"
