"""Upload of an open file as an object: read while it is sent, at a limited rate, never held whole.

A file of one part is one request. A larger one is sent in parts, one after the other: uploads in
the background leave the network to pushes.
"""

import base64
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
from anyio import to_thread

from asyncbuild.aws.classify import s3_errors as errors_of
from asyncbuild.config.sections import MIB, StorageSettings
from asyncbuild.domain.errors import Retry
from asyncbuild.storage.multipart import encryption, etag_of
from asyncbuild.storage.parts import MOST_PARTS

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_PART_BYTES: Final = 64 * MIB
_CHUNK_BYTES: Final = 256 * 1024
_SHORTEST_PAUSE_SECONDS: Final = 0.02
_CLEAN_UP_SECONDS: Final = 10.0


def spans_of_parts(size_bytes: int) -> list[tuple[int, int]]:
    """Return begin and end of the parts in which a file of this size is sent."""
    step = max(_PART_BYTES, -(-size_bytes // MOST_PARTS))
    begins = range(0, max(size_bytes, 1), step)
    return [(begin, min(begin + step, size_bytes)) for begin in begins]


class FileGone(Retry):
    """The file was deleted while it was sent; its space is free when it is closed."""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An open file that does not change, and the CRC-32 of each part in which it is sent."""

    descriptor: int
    size_bytes: int
    checksums: Sequence[int]

    @property
    def is_deleted(self) -> bool:
        """True if the file has no name any more."""
        return os.fstat(self.descriptor).st_nlink == 0


class SendingPace:
    """Pace of uploads, which share it.

    Args:
        bytes_per_second: Most bytes in a second; 0: no limit.
    """

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._free_at = 0.0

    async def keep(self, nbytes: int) -> None:
        """Wait until `nbytes` more may be sent."""
        if not self._rate:
            return
        now = anyio.current_time()
        self._free_at = max(self._free_at, now) + nbytes / self._rate
        if self._free_at - now > _SHORTEST_PAUSE_SECONDS:
            await anyio.sleep(self._free_at - now)


class FileUploads:
    """Uploads of files to `storage.bucket`.

    Args:
        client: Client for S3.
        settings: `[storage]`.
        pace: Pace of all of them.
    """

    def __init__(self, client: "S3Client", settings: StorageSettings, pace: SendingPace) -> None:
        self._client = client
        self._settings = settings
        self._pace = pace

    async def upload(self, key: str, file: OpenFile) -> None:
        """Write an object, replacing one that is there.

        Raises:
            FileGone: The file was deleted meanwhile.
            StageError: S3 refused, or cannot be reached.
        """
        where: dict[str, Any] = {"Bucket": self._settings.bucket, "Key": key}
        spans = spans_of_parts(file.size_bytes)
        if len(spans) > 1:
            await self._upload_parts(where, file, spans)
            return
        with errors_of(_doing(where)):
            await self._client.put_object(
                **where,
                **cast("Any", encryption(self._settings)),
                **self._checksum(file.checksums[0]),
                Body=cast("Any", _FileBody(file.descriptor, *spans[0], self._pace)),
                ContentType="application/octet-stream",
            )

    async def _upload_parts(
        self, where: dict[str, Any], file: OpenFile, spans: Sequence[tuple[int, int]]
    ) -> None:
        more: dict[str, Any] = {**encryption(self._settings)}
        if self._settings.checksum == "crc32":
            more |= {"ChecksumAlgorithm": "CRC32", "ChecksumType": "COMPOSITE"}
        with errors_of(_doing(where)):
            answer = await self._client.create_multipart_upload(
                **where, **more, ContentType="application/octet-stream"
            )
        upload = {**where, "UploadId": answer["UploadId"]}
        try:
            parts = [
                await self._upload_part(upload, number, file, span)
                for number, span in enumerate(spans, start=1)
            ]
            with errors_of(_doing(where)):
                await self._client.complete_multipart_upload(
                    **upload, MultipartUpload={"Parts": parts}
                )
        except BaseException:
            await self._abort(upload)
            raise

    async def _upload_part(
        self, upload: dict[str, Any], number: int, file: OpenFile, span: tuple[int, int]
    ) -> Any:  # noqa: ANN401 - the client's own
        if file.is_deleted:
            raise FileGone(f"{_doing(upload)}: the file was deleted")
        checksum = self._checksum(file.checksums[number - 1])
        doing = f"{_doing(upload)}, part {number}"
        with errors_of(doing):
            answer = await self._client.upload_part(
                **upload,
                **checksum,
                PartNumber=number,
                Body=cast("Any", _FileBody(file.descriptor, *span, self._pace)),
            )
        return {"PartNumber": number, "ETag": etag_of(answer, doing), **checksum}

    async def _abort(self, upload: dict[str, Any]) -> None:
        """Leave no parts; the bucket's lifecycle rule removes them if this fails."""
        with anyio.move_on_after(_CLEAN_UP_SECONDS, shield=True):
            try:
                await self._client.abort_multipart_upload(**upload)
            except Exception:  # noqa: BLE001 - it must not hide why the upload ended
                return

    def _checksum(self, value: int) -> dict[str, Any]:
        if self._settings.checksum == "none":
            return {}
        return {"ChecksumCRC32": base64.b64encode(value.to_bytes(4, "big")).decode("ascii")}


class _FileBody:
    """Stretch of a file as the body of one request, in the forms that botocore and aiohttp prefer.

    aiohttp iterates; botocore measures with `len`, rewinds with `seek` before it sends again, and
    reads only to sign.
    """

    def __init__(self, descriptor: int, begin: int, end: int, pace: SendingPace) -> None:
        self._descriptor = descriptor
        self._begin = begin
        self._end = end
        self._pace = pace
        self._position = begin

    def __len__(self) -> int:
        return self._end - self._begin

    def __bool__(self) -> bool:
        return True  # an empty body still is a body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        position = self._begin
        while position < self._end:
            wanted = min(_CHUNK_BYTES, self._end - position)
            await self._pace.keep(wanted)
            chunk = await to_thread.run_sync(os.pread, self._descriptor, wanted, position)
            if not chunk:
                msg = "the file became shorter while it was sent"
                raise OSError(msg)
            yield chunk
            position += len(chunk)

    def tell(self) -> int:
        """Return the position at which `read` goes on."""
        return self._position - self._begin

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position; return it, counted from the beginning of the stretch."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: len(self)}[whence]
        self._position = self._begin + min(max(0, start + offset), len(self))
        return self.tell()

    def read(self, size: int | None = -1) -> bytes:
        """Return the next `size` bytes, or all that follow."""
        left = self._end - self._position
        wanted = left if size is None or size < 0 else min(size, left)
        chunk = os.pread(self._descriptor, wanted, self._position)
        self._position += len(chunk)
        return chunk


def _doing(where: dict[str, Any]) -> str:
    return f"put s3://{where['Bucket']}/{where['Key']}"
