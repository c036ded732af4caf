"""Range copies on two servers: the composed object is exact, or it is not there at all (I7).

SeaweedFS is the judge of part rules; ministack takes parts of any length.
"""

import random
import uuid
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from botocore.exceptions import ClientError
from support.servers import REGION
from support.wait import PATIENCE_SECONDS
from support.wire import Call, Tapped, refused

from asyncbuild.aws.session import Aws
from asyncbuild.config import AwsSettings, Settings, StorageSettings
from asyncbuild.domain.errors import LeaseLost, Retry, StageError
from asyncbuild.domain.model import ByteRange, StoredArchive
from asyncbuild.runtime.memory_budget import MemoryAccount, MemoryBudget
from asyncbuild.storage.compose import CopySource, NewObject, Piece, SourceChanged
from asyncbuild.storage.parts import MIB
from asyncbuild.storage.s3 import Store

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from asyncbuild.local.servers.children import LocalServer

BUCKET = "compose"
PART = 5 * MIB
OLD = random.Random(1).randbytes(3 * PART + 12_345)  # noqa: S311 - the same in every run
NEW = random.Random(2).randbytes(PART + 77)  # noqa: S311 - as above

_Shape = ByteRange | bytes

both = pytest.mark.parametrize("server_name", ["seaweedfs", "ministack"])


@pytest.fixture
async def client(request: pytest.FixtureRequest, server_name: str) -> "AsyncIterator[S3Client]":
    """Open a client of the server that the parameter names, and create a bucket on it."""
    server: LocalServer = request.getfixturevalue(server_name)
    settings = Settings(
        aws=AwsSettings(region=REGION, endpoint_url=server.endpoint_url, max_tries=2),
        storage=StorageSettings(addressing_style="path"),
    )
    async with Aws(settings).open_s3(pool=10) as client:
        try:
            await client.head_bucket(Bucket=BUCKET)
        except ClientError:
            await client.create_bucket(
                Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
        yield client


@pytest.fixture
async def source(client: "S3Client") -> CopySource:
    """Return an old archive, under a name that has to be quoted."""
    key = f"{uuid.uuid4()}/old ä+%.zip"
    answer = await client.put_object(Bucket=BUCKET, Key=key, Body=OLD)
    return CopySource(key, answer["ETag"])


@pytest.fixture
def key() -> str:
    """Return a key that no other test uses."""
    return f"{uuid.uuid4()}/new ö.zip"


def _store(client: object, **storage: Any) -> Store:  # noqa: ANN401 - any setting
    given = {"bucket": BUCKET, "part_bytes": PART} | storage
    return Store(client, StorageSettings(**given))  # type: ignore[arg-type] # may be Tapped


def _allow() -> None:
    """Guard that lets everything pass."""


async def _chunks(content: bytes, account: MemoryAccount) -> AsyncIterator[bytes]:
    for begin in range(0, len(content), MIB):
        chunk = content[begin : begin + MIB]
        await account.take(len(chunk))
        yield chunk


async def _compose(
    store: Store,
    key: str,
    source: CopySource,
    pieces: Iterable[_Shape],
    **more: Any,  # noqa: ANN401 - the guard
) -> StoredArchive:
    """Compose; check that the account ends with nothing taken, even after an error."""
    async with MemoryBudget(64 * MIB).open_account(3 * PART) as account:
        given: list[Piece] = [
            _chunks(piece, account) if isinstance(piece, bytes) else piece for piece in pieces
        ]
        try:
            return await store.compose(
                NewObject(key, more.get("guard", _allow), {"asyncbuild-fingerprint": "print"}),
                given,
                source=source,
                account=account,
            )
        finally:
            assert account.held_bytes == 0, "bytes were not given back"


def _bytes_of(pieces: Iterable[_Shape]) -> bytes:
    return b"".join(
        piece if isinstance(piece, bytes) else OLD[piece.begin : piece.end] for piece in pieces
    )


async def _body(client: "S3Client", key: str) -> bytes:
    answer = await client.get_object(Bucket=BUCKET, Key=key)
    async with answer["Body"] as stream:
        return await stream.read()


async def _nothing_left(client: "S3Client", key: str) -> None:
    uploads = await client.list_multipart_uploads(Bucket=BUCKET, Prefix=key)
    assert uploads.get("Uploads", []) == []
    with pytest.raises(ClientError, match="404"):
        await client.head_object(Bucket=BUCKET, Key=key)


_SHAPES: list[list[_Shape]] = [
    [ByteRange(0, PART), b"tail"],
    [ByteRange(7, PART + 7), ByteRange(PART + 9, 2 * PART + 9), NEW],
    [ByteRange(PART, 3 * PART), NEW + NEW + NEW, ByteRange(0, PART), b"end"],
    [ByteRange(0, PART), NEW[:PART], ByteRange(len(OLD) - PART, len(OLD)), NEW + b"x"],
]


@both
@pytest.mark.parametrize("shape", range(len(_SHAPES)))
@pytest.mark.parametrize("checksum", ["crc32", "none"])
async def test_a_composed_object_has_exactly_the_bytes(
    client: "S3Client", key: str, source: CopySource, shape: int, checksum: str
) -> None:
    """Ranges and bytes in any order that S3's limits allow; copied and sent are counted apart."""
    pieces = _SHAPES[shape]
    archive = await _compose(_store(client, checksum=checksum), key, source, pieces)
    assert _bytes_of(pieces) == await _body(client, key)
    sent = sum(len(piece) for piece in pieces if isinstance(piece, bytes))
    assert ("delta", sent) == (archive.kind, archive.sent_bytes)
    assert len(_bytes_of(pieces)) == archive.size_bytes == sent + archive.copied_bytes
    found = await _store(client).find(key, fingerprint="print")
    assert found is not None
    assert archive.etag == found.etag


@both
async def test_an_object_may_be_composed_of_itself(client: "S3Client", source: CopySource) -> None:
    """With one key for all pushes of a branch, the delta overwrites its base."""
    await _compose(_store(client), source.key, source, [ByteRange(0, 2 * PART), b"end"])
    assert OLD[: 2 * PART] + b"end" == await _body(client, source.key)


@pytest.mark.parametrize("server_name", ["seaweedfs"])
async def test_a_short_part_between_copies_is_refused(
    client: "S3Client", key: str, source: CopySource
) -> None:
    """An invalid plan fails the upload, and leaves nothing."""
    pieces: list[_Shape] = [ByteRange(0, PART), b"short", ByteRange(PART, 2 * PART), b"end"]
    with pytest.raises(StageError, match="EntityTooSmall"):
        await _compose(_store(client), key, source, pieces)
    await _nothing_left(client, key)


@both
@pytest.mark.parametrize("change", ["overwritten", "deleted"])
async def test_a_changed_source_ends_the_upload(
    client: "S3Client", key: str, source: CopySource, change: str
) -> None:
    """Deleted or overwritten between plan and copy: the error says so, and nothing is left."""
    if change == "deleted":
        await client.delete_object(Bucket=BUCKET, Key=source.key)
    else:
        await client.put_object(Bucket=BUCKET, Key=source.key, Body=OLD[::-1])
    with pytest.raises(SourceChanged):
        await _compose(_store(client), key, source, [ByteRange(0, PART), b"end"])
    await _nothing_left(client, key)
    async with MemoryBudget(8 * MIB).open_account(MIB) as account:
        with pytest.raises(SourceChanged):
            async for _ in _store(client).iter_ranges(source, [[ByteRange(0, 9)]], account=account):
                pass


@both
async def test_a_source_that_changes_between_two_copies_ends_the_upload(
    client: "S3Client", key: str, source: CopySource
) -> None:
    """The first range was copied already; the second is refused, and so is the object."""
    numbers = []

    async def overwritten_after_first(call: Call, parameters: dict[str, Any]) -> object:
        numbers.append(parameters["PartNumber"])
        if len(numbers) == 2:
            await client.put_object(Bucket=BUCKET, Key=source.key, Body=OLD[::-1])
        return await call(**parameters)

    tapped = Tapped(client, upload_part_copy=overwritten_after_first)
    pieces: list[_Shape] = [ByteRange(0, PART), ByteRange(PART, 2 * PART), b"end"]
    with pytest.raises(SourceChanged):
        await _compose(_store(tapped, parts_in_flight=1), key, source, pieces)
    assert numbers == [1, 2]
    await _nothing_left(client, key)


@both
@pytest.mark.parametrize("call", ["upload_part_copy", "upload_part", "complete_multipart_upload"])
async def test_any_failure_leaves_nothing(
    client: "S3Client", key: str, source: CopySource, call: str
) -> None:
    """After a refusal of any call there are no parts and no object."""

    async def fail(_: Call, __: dict[str, Any]) -> object:
        raise refused("InternalError", status=500)

    with pytest.raises(StageError, match="InternalError"):
        await _compose(_store(Tapped(client, **{call: fail})), key, source, _SHAPES[3])
    await _nothing_left(client, key)


@both
async def test_a_lost_lease_leaves_nothing(
    client: "S3Client", key: str, source: CopySource
) -> None:
    """The guard is asked at the end, when all parts were sent (I4)."""

    def refuse() -> None:
        raise LeaseLost("lease lost")

    with pytest.raises(LeaseLost):
        await _compose(_store(client), key, source, _SHAPES[0], guard=refuse)
    await _nothing_left(client, key)


@both
async def test_a_cancelled_composition_leaves_nothing(
    client: "S3Client", key: str, source: CopySource
) -> None:
    """Cancelled while a copy hangs: aborted all the same."""
    hanging = anyio.Event()

    async def hang(call: Call, parameters: dict[str, Any]) -> object:
        hanging.set()
        await anyio.sleep_forever()
        return await call(**parameters)

    store = _store(Tapped(client, upload_part_copy=hang))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_compose, store, key, source, _SHAPES[2])
        with anyio.fail_after(PATIENCE_SECONDS):
            await hanging.wait()
        tasks.cancel_scope.cancel()
    await _nothing_left(client, key)


@both
async def test_a_failing_producer_leaves_nothing(
    client: "S3Client", key: str, source: CopySource
) -> None:
    """Its error is raised to the caller."""

    async def broken() -> AsyncIterator[bytes]:
        raise Retry("broken tar")
        yield b""

    async with MemoryBudget(64 * MIB).open_account(3 * PART) as account:
        with pytest.raises(Retry, match="broken tar"):
            await _store(client).compose(
                NewObject(key, _allow, {}),
                [ByteRange(0, PART), broken()],
                source=source,
                account=account,
            )
    await _nothing_left(client, key)


@both
async def test_the_last_bytes_are_sent_while_they_are_made(
    client: "S3Client", key: str, source: CopySource
) -> None:
    """The directory is sent in parts of the least length, whatever is set.

    The first before the end.
    """
    sent = anyio.Event()

    async def tell(call: Call, parameters: dict[str, Any]) -> object:
        answer = await call(**parameters)
        sent.set()
        return answer

    async def made(account: MemoryAccount) -> AsyncIterator[bytes]:
        async for chunk in _chunks(NEW[:PART], account):
            yield chunk
        with anyio.fail_after(PATIENCE_SECONDS):
            await sent.wait()
        async for chunk in _chunks(NEW[PART:], account):
            yield chunk

    tapped = Tapped(client, upload_part=tell)
    async with MemoryBudget(64 * MIB).open_account(3 * PART) as account:
        await _store(tapped, part_bytes=2 * PART).compose(
            NewObject(key, _allow, {}),
            [ByteRange(0, PART), made(account)],
            source=source,
            account=account,
        )
    assert OLD[:PART] + NEW == await _body(client, key)


@both
async def test_only_requested_ranges_are_read(client: "S3Client", source: CopySource) -> None:
    """Near ones with one request, far ones with their own; bytes between them are dropped."""
    near = [ByteRange(3, 10), ByteRange(10, 20), ByteRange(60_000, 60_001)]
    far = [ByteRange(PART, 2 * PART)]
    tapped = Tapped(client)
    async with MemoryBudget(64 * MIB).open_account(2 * PART) as account:
        found = []
        async for chunk in _store(tapped).iter_ranges(source, [near, far], account=account):
            found.append(chunk)
            account.give_back(len(chunk))
        assert account.held_bytes == 0
    assert _bytes_of([*near, *far]) == b"".join(found)
    assert tapped.calls == ["get_object"] * 2


@both
async def test_a_whole_copy_is_one_request_with_its_own_metadata(
    client: "S3Client", key: str, source: CopySource
) -> None:
    """Equal bytes under another key, found by the new fingerprint."""
    tapped = Tapped(client)
    async with MemoryBudget(64 * MIB).open_account(PART) as account:
        archive = await _store(tapped).copy_archive(
            NewObject(key, _allow, {"asyncbuild-fingerprint": "other"}),
            source=source,
            size_bytes=len(OLD),
            account=account,
        )
    assert tapped.calls == ["copy_object"]
    assert await _body(client, key) == OLD
    assert ("copy", 0, len(OLD)) == (archive.kind, archive.sent_bytes, archive.copied_bytes)
    found = await _store(client).find(key, fingerprint="other")
    assert found is not None
    assert archive.etag == found.etag
    described = await _store(client).describe(key)
    assert described is not None
    assert len(OLD) == described.size_bytes
    assert await _store(client).describe(f"{key}.missing") is None


@both
async def test_a_whole_copy_of_a_changed_object_is_refused(
    client: "S3Client", key: str, source: CopySource
) -> None:
    """The ETag pins it."""
    await client.put_object(Bucket=BUCKET, Key=source.key, Body=b"other")
    async with MemoryBudget(64 * MIB).open_account(PART) as account:
        with pytest.raises(SourceChanged):
            await _store(client).copy_archive(
                NewObject(key, _allow, {}),
                source=source,
                size_bytes=len(OLD),
                account=account,
            )
    await _nothing_left(client, key)
