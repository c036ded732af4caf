"""Upload of one archive: parts are sent while the archive is still being made.

Bytes arrive by `feed` and are cut into parts by `send_parts`, which runs beside it. Nothing here
limits how much waits to be sent: the archive's account does, as its producer takes from it.
"""

import uuid
from collections.abc import Mapping
from contextlib import closing
from math import inf
from typing import TYPE_CHECKING, Any, Final, cast

import anyio

from asyncbuild.aws.classify import s3_errors as errors_of
from asyncbuild.config.sections import StorageSettings
from asyncbuild.domain.errors import Reject, Retry, StageError
from asyncbuild.domain.model import Account, Guard, StoredArchive
from asyncbuild.runtime.bell import Bell
from asyncbuild.storage.parts import (
    LEAST_PART_BYTES,
    MOST_PARTS,
    Body,
    Buffer,
    Piece,
    checksum_of,
    closing_on_error,
    part_bytes,
)
from asyncbuild.storage.single_part import look_at, put_single, put_unless_there

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

UPLOAD_KEY: Final = "asyncbuild-upload"  # metadata: which upload an object came from
_CLEAN_UP_SECONDS = 10.0
_SILENCE_SECONDS = 1.0


class Upload:
    """Upload of one archive; call `send_parts` and then `commit`, or else `abort`.

    Args:
        client: Client for S3.
        settings: `[storage]`.
        key: Key of the object.
        account: Account to which bytes are returned when they were sent or dropped (I6).
        metadata: ASCII; stored with the object.
    """

    def __init__(
        self,
        client: "S3Client",
        settings: StorageSettings,
        key: str,
        *,
        account: Account,
        metadata: Mapping[str, str],
    ) -> None:
        self._client = client
        self._settings = settings
        self._where: dict[str, Any] = {"Bucket": settings.bucket, "Key": key}
        self._name = f"s3://{settings.bucket}/{key}"
        self._account = account
        self._metadata = {**metadata, UPLOAD_KEY: uuid.uuid4().hex}
        self._buffer = Buffer()
        self._ended = False
        self._news = Bell()
        self._slots = anyio.Semaphore(settings.parts_in_flight)
        self._in_flight = 0
        self._held_bytes = 0
        self._sent_bytes = 0
        self._copied_bytes = 0  # by S3 itself, see `compose.py`
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []

    def feed(self, chunk: Piece) -> None:
        """Take over the next bytes of the archive."""
        self._buffer.append(chunk)
        self._held_bytes += len(chunk)
        self._news.ring()

    def end(self) -> None:
        """Mark the end of the archive's bytes."""
        self._ended = True
        self._news.ring()

    async def send_parts(self) -> None:
        """Send parts until `end` was called, several at a time.

        An archive that fits into one part is left for `commit`: one request instead of three.

        Raises:
            StageError: S3 refused, or the archive is larger than 10,000 parts can hold.
        """
        async with anyio.create_task_group() as tasks:
            while (part := await self._next_part()) is not None:
                if self._upload_id is None:
                    with closing_on_error(part):
                        await self._create()
                tasks.start_soon(self._send_part, self._next_number(), part)
                del part  # otherwise the part would be held until the next one, sent or not

    async def commit(self, guard: Guard, *, reuse: bool = False) -> StoredArchive:
        """Make the object appear, whole.

        Args:
            guard: Called right before (I4).
            reuse: Keep an object that is there with the same fingerprint, and return that. Only of
                an archive of one part, where that takes no request more.

        Raises:
            LeaseLost: From `guard`.
            StageError: S3 refused.
        """
        if self._upload_id is None:
            answer = await self._put(guard, reuse=reuse)
        else:
            answer = await self._complete(guard)
        reused = (
            answer.get("Metadata", self._metadata).get(UPLOAD_KEY) != self._metadata[UPLOAD_KEY]
        )
        size_bytes = self._sent_bytes + self._copied_bytes
        return StoredArchive(
            bucket=self._where["Bucket"],
            key=self._where["Key"],
            size_bytes=answer["ContentLength"] if reused else size_bytes,
            etag=etag_of(answer, f"write {self._name}"),
            version_id=answer.get("VersionId"),
            reused=reused,
            sent_bytes=self._sent_bytes,
            copied_bytes=self._copied_bytes,
        )

    async def abort(self) -> StageError | None:
        """Leave nothing behind (I7): no parts in the bucket, no bytes on the account.

        Its own failure is returned, not raised: it must not hide why the upload ended. The
        bucket's lifecycle rule for incomplete uploads removes what is left then.
        """
        self._account.give_back(self._held_bytes)
        self._held_bytes = 0
        self._buffer = Buffer()
        if self._upload_id is None:
            return None
        try:
            with (
                anyio.fail_after(_CLEAN_UP_SECONDS, shield=True),
                errors_of(f"abort upload to {self._name}"),
            ):
                await self._client.abort_multipart_upload(**self._where, UploadId=self._upload_id)
        except StageError as error:
            return error
        return None

    # --- parts ------------------------------------------------------------------------------------

    async def _next_part(self) -> Body | None:
        """Wait for a free slot, then for enough bytes; return None after the last part.

        A part that is too small is sent all the same if no bytes came for a second and no other
        part is being sent: its producer may be waiting for the very memory that the part holds.
        That cannot use up the 10,000 numbers: it would take hours of silence.
        """
        await self._slots.acquire()
        while True:
            wanted = part_bytes(len(self._parts) + 1, self._settings.part_bytes)
            if self._buffer.size_bytes >= wanted:
                return self._buffer.cut(wanted)
            if self._ended:
                rest = self._parts and self._buffer.size_bytes
                return self._buffer.cut(wanted) if rest else None
            with anyio.move_on_after(_SILENCE_SECONDS if self._idles else inf) as silence:
                await self._news.wait()
            if silence.cancelled_caught and self._idles:
                return self._buffer.cut(wanted)

    def _next_number(self) -> int:
        """Return the number of a part that begins now, in a slot that its sender has acquired."""
        number = len(self._parts) + 1
        if number > MOST_PARTS:
            raise Reject(
                f"upload to {self._name}: larger than {MOST_PARTS} parts can hold",
                remedy="raise storage.part_bytes",
            )
        self._parts.append({"PartNumber": number})
        self._in_flight += 1
        return number

    @property
    def _idles(self) -> bool:
        return self._in_flight == 0 and self._buffer.size_bytes >= LEAST_PART_BYTES

    async def _send_part(self, number: int, body: Body) -> None:
        checksum = self._checksum(body)
        with closing(body), errors_of(f"upload part {number} of {self._name}"):
            answer = await self._client.upload_part(
                **self._where,
                **checksum,
                UploadId=self._upload_id or "",
                PartNumber=number,
                Body=cast("Any", body),  # botocore takes any object with `read` and `seek`
            )
        etag = etag_of(answer, f"upload part {number} of {self._name}")
        self._parts[number - 1].update(ETag=etag, **checksum)
        self._sent(len(body))
        self._finish_part()

    def _finish_part(self) -> None:
        self._in_flight -= 1
        self._slots.release()
        self._news.ring()

    def _sent(self, nbytes: int) -> None:
        self._sent_bytes += nbytes
        self._held_bytes -= nbytes
        self._account.give_back(nbytes)

    def _checksum(self, body: Body) -> dict[str, Any]:
        """Return a checksum, as botocore's own joins the part first and takes ten times as long."""
        return {} if self._settings.checksum == "none" else {"ChecksumCRC32": checksum_of(body)}

    # --- the object -------------------------------------------------------------------------------

    def _attributes(self) -> dict[str, Any]:
        attributes = {"Metadata": self._metadata, "ContentType": "application/zip"}
        return {**attributes, **encryption(self._settings)}

    async def _create(self) -> None:
        """Begin the multipart upload.

        A cancelled caller waits for the answer all the same, for a while: without the answer the
        upload's id is unknown, and the upload could not be aborted.
        """
        checksum: dict[str, Any] = {}
        if self._settings.checksum == "crc32":
            checksum = {"ChecksumAlgorithm": "CRC32", "ChecksumType": "COMPOSITE"}
        shelter = anyio.CancelScope(shield=True)
        created = anyio.Event()

        async def create() -> None:
            with shelter, errors_of(f"begin upload to {self._name}"):
                answer = await self._client.create_multipart_upload(
                    **self._where, **self._attributes(), **checksum
                )
                self._upload_id = answer["UploadId"]
            created.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(create)
            try:
                await created.wait()
            finally:
                shelter.deadline = anyio.current_time() + _CLEAN_UP_SECONDS

    async def _put(self, guard: Guard, *, reuse: bool) -> Mapping[str, Any]:
        body = self._buffer.cut(self._buffer.size_bytes)
        parameters = {**self._where, **self._attributes(), **self._checksum(body)}
        put = put_unless_there if reuse else put_single
        with closing(body):
            answer = await put(self._client, parameters, body, guard=guard)
        self._sent(len(body))
        return answer

    async def _complete(self, guard: Guard) -> Mapping[str, Any]:
        guard()
        try:
            with errors_of(f"complete {self._name}"):
                return await self._client.complete_multipart_upload(
                    **self._where,
                    UploadId=self._upload_id or "",
                    MultipartUpload={"Parts": cast("Any", self._parts)},
                    MpuObjectSize=self._sent_bytes + self._copied_bytes,
                )
        except StageError:
            # The answer may have been lost on its way, and a repeated call gets NoSuchUpload. The
            # object's metadata names the upload that it came from.
            found = await look_at(self._client, self._where)
            if found.get("Metadata", {}).get(UPLOAD_KEY) != self._metadata[UPLOAD_KEY]:
                raise
            return found


def etag_of(answer: Mapping[str, Any], doing: str) -> str:
    """Return the ETag in an answer.

    Raises:
        Retry: The answer has none: S3 always names it, but some servers of its protocol do not.
    """
    etag = answer.get("ETag")
    if not etag:
        raise Retry(f"{doing}: the answer names no ETag", peer="s3")
    return str(etag)


def encryption(settings: StorageSettings) -> dict[str, str]:
    """Return the parameters of `storage.encryption`."""
    if settings.encryption == "bucket-default":
        return {}
    if settings.encryption == "aws:kms" and settings.kms_key_id:
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": settings.kms_key_id}
    return {"ServerSideEncryption": settings.encryption}
