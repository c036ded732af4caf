"""The store on two servers: S3's rules that we rely on, and our promises on any server.

Each known difference of a server is a named expected failure: `both_but(ministack="...")`.
"""

import gc
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.servers import REGION
from support.wait import PATIENCE_SECONDS, wait_until
from support.wire import Call, Tap, Tapped, open_cutting_proxy, refused

from asyncbuild.aws.session import Aws
from asyncbuild.config import AwsSettings, Settings, StorageSettings
from asyncbuild.domain.errors import (
    BadCredentials,
    Busy,
    Fatal,
    LeaseLost,
    NoPermission,
    Outage,
    Reject,
    Retry,
    StageError,
)
from asyncbuild.domain.model import StoredArchive
from asyncbuild.local.servers.children import LocalServer
from asyncbuild.runtime.memory_budget import MemoryAccount, MemoryBudget
from asyncbuild.storage.parts import MIB, Body
from asyncbuild.storage.s3 import Store

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

BUCKET = "store"
PART = 5 * MIB
NAMES = ("seaweedfs", "ministack")
Waiting = Callable[[], Awaitable[None]]


def both_but(**differences: str) -> pytest.MarkDecorator:
    """Run on both servers; `ministack="accepts X"` says why the test must fail there."""
    params = [
        pytest.param(
            name,
            marks=pytest.mark.xfail(strict=True, reason=f"{name} {differences[name]}")
            if name in differences
            else (),
        )
        for name in NAMES
    ]
    return pytest.mark.parametrize("server_name", params)


both = both_but()


@pytest.fixture
def server(request: pytest.FixtureRequest, server_name: str) -> LocalServer:
    """Return the server that the test's parameter names."""
    found = request.getfixturevalue(server_name)
    assert isinstance(found, LocalServer)
    return found


@asynccontextmanager
async def open_client(endpoint_url: str, **storage: Any) -> "AsyncIterator[S3Client]":  # noqa: ANN401 - any setting
    """Open the client that the service itself would use."""
    aws = AwsSettings(region=REGION, endpoint_url=endpoint_url, max_tries=2)
    settings = Settings(aws=aws, storage=StorageSettings(addressing_style="path", **storage))
    async with Aws(settings).open_s3(pool=20) as client:
        yield client


@pytest.fixture
async def client(server: LocalServer) -> "AsyncIterator[S3Client]":
    """Open a client of the server, and create a bucket on it."""
    async with open_client(server.endpoint_url) as client:
        try:
            await client.head_bucket(Bucket=BUCKET)
        except ClientError:
            await client.create_bucket(
                Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
        yield client


@pytest.fixture
def key() -> str:
    """Return a key that no other test uses."""
    return f"{uuid.uuid4()}/archive with spaces, ä and +.zip"


def store_of(client: object, **storage: Any) -> Store:  # noqa: ANN401 - any setting
    """Return a store with the smallest parts that S3 allows."""
    given = {"bucket": BUCKET, "part_bytes": PART} | storage
    return Store(client, StorageSettings(**given))  # type: ignore[arg-type] # may be Tapped


def allow() -> None:
    """Guard that lets everything pass."""


def refuse() -> None:
    """Guard of a lost lease."""
    raise LeaseLost("lease lost")


def some_bytes(nbytes: int) -> bytes:
    """Return bytes without two equal stretches."""
    return random.Random(nbytes).randbytes(nbytes)  # noqa: S311 - the same in every run


async def iter_chunks(
    content: bytes, account: MemoryAccount, *, chunk_bytes: int = MIB
) -> AsyncIterator[bytes]:
    """Yield `content` like a producer: taken from the account first."""
    for begin in range(0, len(content), chunk_bytes):
        chunk = content[begin : begin + chunk_bytes]
        await account.take(len(chunk))
        yield chunk


async def put(store: Store, key: str, content: bytes, **more: Any) -> StoredArchive:  # noqa: ANN401 - of iter_chunks and the guard
    """Store `content`; check that the account ends with nothing taken, even after an error."""
    guard, reuse = more.pop("guard", allow), more.pop("reuse", False)
    budget = MemoryBudget(more.pop("budget_bytes", 64 * MIB))
    reserved = more.pop("reserved_bytes", 2 * PART + MIB)
    async with budget.open_account(reserved) as account:
        try:
            return await store.put_archive(
                key,
                iter_chunks(content, account, **more),
                account=account,
                guard=guard,
                metadata={"asyncbuild-fingerprint": "print"},
                reuse=reuse,
            )
        finally:
            assert account.held_bytes == 0, "bytes were not given back"


async def nothing_left(client: "S3Client", key: str, *, object_too: bool = True) -> None:
    """Check that neither parts of an upload nor an object are left (I7)."""
    uploads = await client.list_multipart_uploads(Bucket=BUCKET, Prefix=key)
    assert uploads.get("Uploads", []) == []
    if object_too:
        with pytest.raises(ClientError, match="404"):
            await client.head_object(Bucket=BUCKET, Key=key)


async def body_of(client: "S3Client", key: str) -> bytes:
    """Return the bytes of an object."""
    answer = await client.get_object(Bucket=BUCKET, Key=key)
    async with answer["Body"] as stream:
        return await stream.read()


# --- rules of S3 ------------------------------------------------------------------------------


@both_but(ministack="accepts parts below 5 MiB")
async def test_a_small_part_is_refused(client: "S3Client", key: str) -> None:
    """A part below 5 MiB that is not the last fails the upload, so a bad cutter is detected."""
    where: Any = {"Bucket": BUCKET, "Key": key}
    upload: Any = {"UploadId": (await client.create_multipart_upload(**where))["UploadId"]}
    parts = [
        {
            "PartNumber": number,
            "ETag": (await client.upload_part(**where, **upload, PartNumber=number, Body=b"x"))[
                "ETag"
            ],
        }
        for number in (1, 2)
    ]
    with pytest.raises(ClientError, match="EntityTooSmall"):
        await client.complete_multipart_upload(
            **where,
            **upload,
            MultipartUpload={"Parts": parts},  # type: ignore[typeddict-item]
        )


@both_but(ministack="accepts parts in any order")
async def test_parts_out_of_order_are_refused(client: "S3Client", key: str) -> None:
    """Parts listed in another order than their numbers' fail the upload."""

    async def reversed_parts(call: Call, parameters: dict[str, Any]) -> object:
        parameters["MultipartUpload"]["Parts"].reverse()
        return await call(**parameters)

    tapped = Tapped(client, complete_multipart_upload=reversed_parts)
    with pytest.raises(Retry, match="InvalidPartOrder"):
        await put(store_of(tapped), key, some_bytes(2 * PART))
    await nothing_left(client, key)


@both
@pytest.mark.parametrize(("call", "nbytes"), [("put_object", 10), ("upload_part", 2 * PART)])
async def test_a_wrong_checksum_is_refused(
    client: "S3Client", key: str, call: str, nbytes: int
) -> None:
    """Bytes changed during the transfer are detected by the server, and no object appears."""

    async def falsified(call: Call, parameters: dict[str, Any]) -> object:
        return await call(**parameters | {"ChecksumCRC32": "AAAAAA=="})

    with pytest.raises(StageError, match=r"BadDigest|InvalidRequest|XAmzContentChecksumMismatch"):
        await put(store_of(Tapped(client, **{call: falsified})), key, some_bytes(nbytes))
    await nothing_left(client, key)


# --- exact bytes ----------------------------------------------------------------------------------


@both
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    parts=st.integers(0, 2),
    extra=st.sampled_from([-1, 0, 1, 70_000]),
    chunk_bytes=st.sampled_from([4_099, 65_536, MIB, 6 * MIB]),
    checksum=st.sampled_from(["crc32", "none"]),
)
async def test_the_object_has_exactly_the_bytes(
    client: "S3Client", parts: int, extra: int, chunk_bytes: int, checksum: str
) -> None:
    """Around every boundary between parts: the same bytes, counted right."""
    content = some_bytes(max(0, parts * PART + extra))
    key = f"{uuid.uuid4()}.zip"
    store = store_of(client, checksum=checksum)
    archive = await put(store, key, content, chunk_bytes=chunk_bytes)
    assert content == await body_of(client, key)
    assert len(content) == archive.size_bytes == archive.sent_bytes
    found = await store.find(key, fingerprint="print")
    assert found is not None
    assert (archive.etag, archive.size_bytes, True) == (found.etag, found.size_bytes, found.reused)
    await nothing_left(client, key, object_too=False)


@both
async def test_a_small_archive_is_one_request(client: "S3Client", key: str) -> None:
    """An archive up to one part is sent at once; a larger one in parts."""
    tapped = Tapped(client)
    await put(store_of(tapped), key, some_bytes(PART - 1))
    assert tapped.calls == ["put_object"]
    tapped.calls.clear()
    await put(store_of(tapped), key, some_bytes(PART + 1))
    expected = [
        "create_multipart_upload",
        "upload_part",
        "upload_part",
        "complete_multipart_upload",
    ]
    assert expected == tapped.calls


@both
async def test_signed_payloads_give_the_same_object(
    server: LocalServer, client: "S3Client", key: str
) -> None:
    """With `sign_payload` botocore reads the body before it is sent; no byte is lost by that."""
    content = some_bytes(PART + 17)
    async with open_client(server.endpoint_url, sign_payload=True) as signing:
        await put(store_of(signing), key, content)
    assert content == await body_of(client, key)


@pytest.mark.parametrize("server_name", ["seaweedfs"])
async def test_sent_parts_are_freed(client: "S3Client", key: str) -> None:
    """While the next part is awaited, the memory of sent ones is free."""
    gc.collect()  # garbage of earlier tests does not count
    sent = anyio.Event()
    held: list[int] = []

    async def send(call: Call, parameters: dict[str, Any]) -> object:
        answer = await call(**parameters)
        sent.set()
        return answer

    async def iter_slowly(account: MemoryAccount) -> AsyncIterator[bytes]:
        async for chunk in iter_chunks(some_bytes(PART), account):
            yield chunk
        await sent.wait()
        await anyio.wait_all_tasks_blocked()
        held.extend(len(one) for one in gc.get_objects() if isinstance(one, Body))
        await account.take(1)
        yield b"."

    tapped = Tapped(client, upload_part=send)
    async with MemoryBudget(64 * MIB).open_account(2 * PART) as account:
        await store_of(tapped).put_archive(
            key, iter_slowly(account), account=account, guard=allow, metadata={}
        )
    assert held == []


@pytest.mark.parametrize("server_name", ["seaweedfs"])
@pytest.mark.parametrize("failing", ["put_object", "create_multipart_upload", "upload_part"])
async def test_bytes_that_could_not_be_sent_are_freed(
    client: "S3Client", key: str, failing: str
) -> None:
    """Their account has them back: the error's traceback must not keep them (I6)."""

    async def fail(call: Call, parameters: dict[str, Any]) -> object:
        raise refused("InternalError", status=500)

    content = some_bytes(PART - 1 if failing == "put_object" else 2 * PART)
    with pytest.raises(StageError) as failed:
        await put(store_of(Tapped(client, **{failing: fail})), key, content)
    assert failed.tb is not None
    bodies = [each for each in gc.get_objects() if isinstance(each, Body)]
    assert not any(each.pieces for each in bodies)


@both
async def test_parts_overtake_each_other_and_the_object_is_correct(
    client: "S3Client", key: str
) -> None:
    """Parts are sent together, never more than allowed, and assembled by number."""
    running, most = 0, 0
    others = anyio.Event()

    async def first_comes_last(call: Call, parameters: dict[str, Any]) -> object:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if parameters["PartNumber"] == 1:
            await others.wait()
        answer = await call(**parameters)
        if parameters["PartNumber"] == 4:
            others.set()
        running -= 1
        return answer

    content = some_bytes(4 * PART)
    tapped = Tapped(client, upload_part=first_comes_last)
    await put(store_of(tapped, parts_in_flight=2), key, content)
    assert content == await body_of(client, key)
    assert most == 2


@both_but(seaweedfs="has no KMS")
@pytest.mark.parametrize("nbytes", [1, PART + 1])
async def test_the_object_is_encrypted_as_set(client: "S3Client", key: str, nbytes: int) -> None:
    """The kind of encryption and the KMS key reach the object, in one request or in parts."""
    store = store_of(client, encryption="aws:kms", kms_key_id="alias/archives")
    await put(store, key, some_bytes(nbytes))
    head = await client.head_object(Bucket=BUCKET, Key=key)
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/archives")


# --- memory ---------------------------------------------------------------------------------------


@both
async def test_a_slow_server_stops_the_producer(client: "S3Client", key: str) -> None:
    """While S3 accepts nothing, no more bytes are taken than the budget has (I6)."""
    served = anyio.Event()

    async def when_served(call: Call, parameters: dict[str, Any]) -> object:
        await served.wait()
        return await call(**parameters)

    content = some_bytes(40 * MIB)
    budget = MemoryBudget(20 * MIB)
    store = store_of(Tapped(client, upload_part=when_served))
    async with budget.open_account(2 * PART + MIB) as account, anyio.create_task_group() as tasks:
        chunks = iter_chunks(content, account)

        async def upload() -> None:
            await store.put_archive(key, chunks, account=account, guard=allow, metadata={})

        tasks.start_soon(upload)
        await wait_until(lambda: budget.statistics().waiting > 0)
        assert account.held_bytes == 20 * MIB
        served.set()
    assert content == await body_of(client, key)


@both
async def test_a_part_too_large_for_the_memory_leaves_early(client: "S3Client", key: str) -> None:
    """A producer that waits for the memory of an unfinished part is not left waiting."""
    content = some_bytes(13 * MIB)
    store = store_of(client, part_bytes=8 * MIB)
    with anyio.fail_after(PATIENCE_SECONDS):
        await put(store, key, content, budget_bytes=7 * MIB, reserved_bytes=6 * MIB)
    assert content == await body_of(client, key)


# --- complete or absent (I7) ---------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("InternalError", 500, Outage),
        ("NoSuchUpload", 404, Retry),
        ("SlowDown", 503, Busy),
        ("AccessDenied", 403, NoPermission),
        ("EntityTooLarge", 400, Reject),
    ],
)
async def test_a_failing_part_ends_the_upload(
    client: "S3Client", key: str, code: str, status: int, kind: type[StageError]
) -> None:
    """The error has a remedy and names the part; the other parts are deleted."""

    async def second_fails(call: Call, parameters: dict[str, Any]) -> object:
        if parameters["PartNumber"] == 2:
            raise refused(code, status=status)
        return await call(**parameters)

    with pytest.raises(kind, match=f"upload part 2 of s3://{BUCKET}/.*{code}"):
        await put(store_of(Tapped(client, upload_part=second_fails)), key, some_bytes(4 * PART))
    await nothing_left(client, key)


@pytest.mark.parametrize(
    ("status", "code", "class_"),
    [
        (400, "ExpiredToken", BadCredentials),
        (400, "KMS.DisabledException", Fatal),
        (403, "RequestTimeTooSkewed", Outage),
        (403, "InvalidAccessKeyId", BadCredentials),
        (403, "AccessDenied", NoPermission),
    ],
)
@both
async def test_a_refused_head_has_a_reason(
    client: "S3Client", key: str, status: int, code: str, class_: type[StageError]
) -> None:
    """S3's answer to HEAD has no body, hence no code: a GET is sent, whose answer has one."""

    async def head(_: Call, __: dict[str, Any]) -> object:
        raise refused(str(status), status=status)

    async def get(_: Call, __: dict[str, Any]) -> object:
        raise refused(code, status=status)

    store = store_of(Tapped(client, head_object=head, get_object=get))
    with pytest.raises(class_, match=code):
        await store.describe(key)
    with pytest.raises(class_, match=code) as caught:
        await store.find(key, fingerprint="f")
    assert ("s3:ListBucket" in caught.value.remedy) == (class_ is NoPermission)


@both
@pytest.mark.parametrize("content", [b"", b"1"])
async def test_a_refused_head_stays_refused_if_get_is_answered(
    client: "S3Client", key: str, content: bytes
) -> None:
    """GET is answered, whatever the object's length: the answer to HEAD counts."""
    await client.put_object(Bucket=BUCKET, Key=key, Body=content)

    async def head(_: Call, __: dict[str, Any]) -> object:
        raise refused("403", status=403)

    with pytest.raises(NoPermission, match="403"):
        await store_of(Tapped(client, head_object=head)).describe(key)


@both
@pytest.mark.parametrize("call", ["put_object", "upload_part", "complete_multipart_upload"])
async def test_an_answer_without_etag_is_an_error(client: "S3Client", key: str, call: str) -> None:
    """S3 always sends one; another server's answer may not."""

    async def forget(make: Call, parameters: dict[str, Any]) -> object:
        answer: Any = await make(**parameters)
        return {name: value for name, value in answer.items() if name != "ETag"}

    nbytes = 1 if call == "put_object" else 2 * PART
    with pytest.raises(Retry, match="no ETag"):
        await put(store_of(Tapped(client, **{call: forget})), key, some_bytes(nbytes))
    await nothing_left(client, key, object_too=call == "upload_part")


@both
async def test_a_failing_producer_ends_the_upload(client: "S3Client", key: str) -> None:
    """Its error is raised unchanged, and no part stays."""
    uploaded = anyio.Event()

    async def tell(call: Call, parameters: dict[str, Any]) -> object:
        answer = await call(**parameters)
        uploaded.set()
        return answer

    async def broken(account: MemoryAccount) -> AsyncIterator[bytes]:
        await account.take(PART)
        yield bytes(PART)
        await uploaded.wait()
        raise Reject("no such commit")

    store = store_of(Tapped(client, upload_part=tell))
    async with MemoryBudget(64 * MIB).open_account(2 * PART) as account:
        with pytest.raises(Reject, match="no such commit"):
            await store.put_archive(key, broken(account), account=account, guard=allow, metadata={})
        assert account.held_bytes == 0
    await nothing_left(client, key)


@both
@pytest.mark.parametrize("nbytes", [10, PART + 10])
async def test_after_a_lost_lease_no_object_appears(
    client: "S3Client", key: str, nbytes: int
) -> None:
    """The guard is asked at the very end, and its refusal is final (I4)."""
    with pytest.raises(LeaseLost):
        await put(store_of(client), key, some_bytes(nbytes), guard=refuse)
    await nothing_left(client, key)


@both
@pytest.mark.parametrize(
    ("call", "nbytes"),
    [
        ("put_object", 10),
        ("create_multipart_upload", 2 * PART),
        ("upload_part", 2 * PART),
        ("complete_multipart_upload", 2 * PART),
    ],
)
@pytest.mark.parametrize("done", [False, True], ids=["unsent", "unanswered"])
async def test_a_cancellation_at_any_call_leaves_nothing(
    client: "S3Client", key: str, *, call: str, nbytes: int, done: bool
) -> None:
    """A cancelled upload aborts, whether its current call reached the server or not."""
    reached = anyio.Event()

    async def hang(call: Call, parameters: dict[str, Any]) -> None:
        if done:
            await call(**parameters)
        reached.set()
        await anyio.sleep_forever()

    async def late(call: Call, parameters: dict[str, Any]) -> object:
        """Answer after the cancellation: beginning an upload cannot be interrupted."""
        answer = await call(**parameters) if done else None
        reached.set()
        await anyio.sleep(0.05)
        return answer or await call(**parameters)

    tap: Tap = late if call == "create_multipart_upload" else hang
    store = store_of(Tapped(client, **{call: tap}))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(put, store, key, some_bytes(nbytes))
        with anyio.fail_after(PATIENCE_SECONDS):
            await reached.wait()
        tasks.cancel_scope.cancel()
    appeared = done and call in {"put_object", "complete_multipart_upload"}
    await nothing_left(client, key, object_too=not appeared)
    if appeared:
        assert some_bytes(nbytes) == await body_of(client, key)


@both
async def test_a_failing_abort_is_noted_beside_the_reason(client: "S3Client", key: str) -> None:
    """The error stays the one that ended the upload; parts that may be left are its note."""

    async def deny(call: Call, parameters: dict[str, Any]) -> object:
        raise refused("AccessDenied", status=403)

    store = store_of(Tapped(client, abort_multipart_upload=deny))
    with pytest.raises(LeaseLost) as caught:
        await put(store, key, some_bytes(PART + 1), guard=refuse)
    assert "abort upload to" in caught.value.__notes__[0]
    upload = (await client.list_multipart_uploads(Bucket=BUCKET, Prefix=key))["Uploads"][0]
    await client.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload["UploadId"])


# --- connections that are cut ---------------------------------------------------------------------


@both
async def test_a_part_whose_connection_was_cut_is_sent_again(
    server: LocalServer, client: "S3Client", key: str
) -> None:
    """The body is rewound and sent again, complete."""
    content = some_bytes(2 * PART + 5)
    async with (
        open_cutting_proxy(server.endpoint_url, cut_request=b"PUT ") as url,
        open_client(url) as cut,
    ):
        await put(store_of(cut), key, content)
    assert content == await body_of(client, key)


@both
async def test_an_object_whose_completion_was_not_answered_is_found(
    server: LocalServer, client: "S3Client", key: str
) -> None:
    """The answer is lost on the network; the call is repeated, and the object exists."""
    content = some_bytes(2 * PART)
    safe_key = key.partition("/")[0]
    async with (
        open_cutting_proxy(
            server.endpoint_url, lose_answer=f"POST /{BUCKET}/{safe_key}?uploadId".encode()
        ) as url,
        open_client(url) as cut,
    ):
        tapped = Tapped(cut)
        archive = await put(store_of(tapped), safe_key, content)
    assert content == await body_of(client, safe_key)
    head = await client.head_object(Bucket=BUCKET, Key=safe_key)
    assert (head["ETag"], len(content)) == (archive.etag, archive.size_bytes)


@both
@pytest.mark.parametrize(
    "error",
    [refused("NoSuchUpload", status=404), ConnectionClosedError(endpoint_url="http://s3")],
    ids=["repeated", "unanswered"],
)
async def test_a_completion_that_seemed_to_fail_is_looked_up(
    client: "S3Client", key: str, error: Exception
) -> None:
    """After a final error a HEAD shows whether the object exists."""

    async def unheard(call: Call, parameters: dict[str, Any]) -> object:
        await call(**parameters)
        raise error

    content = some_bytes(PART + 1)
    store = store_of(Tapped(client, complete_multipart_upload=unheard))
    archive = await put(store, key, content)
    head = await client.head_object(Bucket=BUCKET, Key=key)
    assert (head["ETag"], len(content)) == (archive.etag, archive.size_bytes)


@both
async def test_a_completion_names_its_parts(client: "S3Client", key: str) -> None:
    """S3 can check the object: every part with its checksum, and the total size."""
    said: dict[str, Any] = {}

    async def listen(call: Call, parameters: dict[str, Any]) -> object:
        said.update(parameters)
        return await call(**parameters)

    store = store_of(Tapped(client, complete_multipart_upload=listen))
    await put(store, key, some_bytes(2 * PART + 7))
    assert said["MpuObjectSize"] == 2 * PART + 7
    assert [part["PartNumber"] for part in said["MultipartUpload"]["Parts"]] == [1, 2, 3]
    assert all(part["ChecksumCRC32"] for part in said["MultipartUpload"]["Parts"])


@both
async def test_a_completion_that_never_arrived_is_a_failure(client: "S3Client", key: str) -> None:
    """An older object at the same key is not mistaken for the new one."""
    await put(store_of(client), key, b"old")

    async def cut(call: Call, parameters: dict[str, Any]) -> object:
        raise ConnectionClosedError(endpoint_url="http://s3")

    with pytest.raises(Outage, match="complete s3://"):
        await put(
            store_of(Tapped(client, complete_multipart_upload=cut)), key, some_bytes(PART + 1)
        )
    await nothing_left(client, key, object_too=False)
    assert await body_of(client, key) == b"old"


# --- look-ups, and missing things -----------------------------------------------------------------


@both
async def test_only_an_archive_with_the_fingerprint_is_found(client: "S3Client", key: str) -> None:
    """No object, another fingerprint, no fingerprint: none is reused."""
    store = store_of(client)
    assert await store.find(key, fingerprint="print") is None
    await put(store, key, b"bytes")
    assert await store.find(key, fingerprint="other") is None
    assert await store.find(key, fingerprint="print") is not None
    await store.replace_record(key, b"{}")
    assert await store.find(key, fingerprint="print") is None


@both
@pytest.mark.parametrize("nbytes", [1, PART + 1])
async def test_a_missing_bucket_is_fatal(client: "S3Client", key: str, nbytes: int) -> None:
    """No push can be served without the bucket; the error says so."""
    store = store_of(client, bucket="no-such-bucket")
    with pytest.raises(Fatal, match=r"NoSuchBucket.*create it"):
        await put(store, key, some_bytes(nbytes))


@both_but(ministack="does not check who calls")
async def test_a_wrong_secret_is_the_services_fault(
    server: LocalServer, client: "S3Client", key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names what to correct, even after a HEAD, whose answer has no body."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    async with open_client(server.endpoint_url) as stranger:
        with pytest.raises(BadCredentials, match="secret access key"):
            await store_of(stranger).find(key, fingerprint="print")
        with pytest.raises(BadCredentials, match="secret access key"):
            await put(store_of(stranger), key, b"bytes")


# --- records --------------------------------------------------------------------------------------


@both
async def test_records_are_written_read_listed_and_removed(client: "S3Client") -> None:
    """The life of some records, listed in pages of two."""

    async def by_two(call: Call, parameters: dict[str, Any]) -> object:
        return await call(**parameters, MaxKeys=2)

    prefix = f"{uuid.uuid4()}/"
    store = store_of(Tapped(client, list_objects_v2=by_two))
    keys = [f"{prefix}{name}" for name in "abcde"]
    for key in reversed(keys):
        assert await store.put_record(key, key.encode())
        assert not await store.put_record(key, b"again")
        assert key.encode() == await store.get_record(key)
    listed = [record async for record in store.iter_records(prefix)]
    assert keys == [record.key for record in listed]
    assert {len(keys[0])} == {record.size_bytes for record in listed}
    await store.replace_record(keys[0], b"new")
    assert await store.get_record(keys[0]) == b"new"
    for key in keys:
        await store.delete_record(key)
        await store.delete_record(key)
        assert await store.get_record(key) is None
    assert [record async for record in store.iter_records(prefix)] == []


@both
async def test_one_of_many_writers_wins(client: "S3Client", key: str) -> None:
    """Sixteen write the same record at once: one of them gets True, and the bytes are its own."""
    store = store_of(client)
    winners: list[int] = []

    async def write(number: int) -> None:
        if await store.put_record(key, str(number).encode()):
            winners.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(16):
            tasks.start_soon(write, number)
    assert len(winners) == 1
    assert str(winners[0]).encode() == await store.get_record(key)


@both
async def test_a_conflict_between_writers_is_retried(client: "S3Client", key: str) -> None:
    """409 does not say which one wins; only a second call does."""
    answers = [refused("ConditionalRequestConflict", status=409)] * 2

    async def conflict(call: Call, parameters: dict[str, Any]) -> object:
        if answers:
            raise answers.pop()
        return await call(**parameters)

    assert await store_of(Tapped(client, put_object=conflict)).put_record(key, b"{}")
    assert await store_of(client).get_record(key) == b"{}"


@both
async def test_a_record_written_by_its_own_first_try_counts_as_written(
    server: LocalServer, client: "S3Client", key: str
) -> None:
    """The answer is lost and the call is repeated: it is refused because of our own record."""
    lose = f"PUT /{BUCKET}/".encode()
    async with (
        open_cutting_proxy(server.endpoint_url, lose_answer=lose) as url,
        open_client(url) as cut,
    ):
        assert await store_of(cut).put_record(key, b"mine")
        assert not await store_of(cut).put_record(key, b"mine"), "the same bytes of another writer"


# --- archives of one part whose key may be taken --------------------------------------------------


async def _put_reusing(store: Store, key: str, content: bytes) -> tuple[StoredArchive, int]:
    """Store `content` unless there is an archive with its fingerprint; count the guard's calls."""
    asked: list[None] = []
    archive = await put(store, key, content, guard=lambda: asked.append(None), reuse=True)
    return archive, len(asked)


@both
async def test_an_archive_whose_key_is_free_is_one_request(client: "S3Client", key: str) -> None:
    """One write, and no question before or after it."""
    tapped = Tapped(client)
    archive, asked = await _put_reusing(store_of(tapped), key, b"bytes")
    assert (tapped.calls, asked, archive.reused) == (["put_object"], 1, False)
    assert await body_of(client, key) == b"bytes"


@both
@pytest.mark.parametrize("fingerprint", ["print", "other", None])
async def test_only_an_archive_with_the_fingerprint_is_kept(
    client: "S3Client", key: str, fingerprint: str | None
) -> None:
    """An archive of another format, or a foreign object, is replaced."""
    metadata = {"asyncbuild-fingerprint": fingerprint} if fingerprint else {}
    there = await client.put_object(Bucket=BUCKET, Key=key, Body=b"old", Metadata=metadata)
    tapped = Tapped(client)
    archive, asked = await _put_reusing(store_of(tapped), key, b"the new bytes")
    kept = fingerprint == "print"
    assert archive.reused is kept
    assert (archive.etag == there["ETag"]) is kept
    assert await body_of(client, key) == (b"old" if kept else b"the new bytes")
    assert archive.size_bytes == len(b"old" if kept else b"the new bytes")
    writes = 1 if kept else 2
    assert tapped.calls == ["put_object", "head_object", "put_object"][: writes + 1]
    assert asked == writes  # I4: before each


@both
async def test_an_archive_written_by_its_own_first_try_is_not_reused(
    server: LocalServer, client: "S3Client", key: str
) -> None:
    """The answer is lost and the call is repeated: the object that is there is this one."""
    lose = f"PUT /{BUCKET}/".encode()
    async with (
        open_cutting_proxy(server.endpoint_url, lose_answer=lose) as url,
        open_client(url) as cut,
    ):
        archive, _ = await _put_reusing(store_of(cut), key, b"mine")
    head = await client.head_object(Bucket=BUCKET, Key=key)
    assert (archive.etag, archive.size_bytes, archive.reused) == (head["ETag"], 4, False)


@both
@pytest.mark.parametrize("code", ["NotImplemented", "ConditionalRequestConflict"])
async def test_an_archive_is_written_without_the_condition_where_that_fails(
    client: "S3Client", key: str, code: str
) -> None:
    """A server may not know it, or another writer be at it: then it is written as ever."""

    async def lack(call: Call, parameters: dict[str, Any]) -> object:
        if "IfNoneMatch" in parameters:
            assert parameters["Body"].read()
            raise refused(code, status=501)
        return await call(**parameters)

    archive, _ = await _put_reusing(store_of(Tapped(client, put_object=lack)), key, b"bytes")
    assert not archive.reused
    assert await body_of(client, key) == b"bytes"
