"""Archives composed of ranges that S3 copies on its side and of bytes that are sent.

Copies and uploads are parts of one multipart upload, several at a time (S3 API reference,
UploadPartCopy). Every copy names the ETag of its source, so that a source which is deleted or
overwritten meanwhile ends the upload and never gets into an archive.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from anyio.abc import TaskGroup

from asyncbuild.aws.classify import s3_errors as errors_of
from asyncbuild.config.sections import StorageSettings
from asyncbuild.domain.errors import NoPermission, Retry
from asyncbuild.domain.model import Account, ByteRange, Guard
from asyncbuild.runtime.tasks import open_tasks
from asyncbuild.storage.multipart import Upload, etag_of
from asyncbuild.storage.parts import LEAST_PART_BYTES, MOST_PART_BYTES, Body, part_bytes

# The source is another object or missing; or the server cannot copy, or not under a condition.
_GONE: Final = frozenset(
    {
        *("PreconditionFailed", "NoSuchKey", "NoSuchVersion", "InvalidRange", "404", "412", "416"),
        *("InvalidObjectState", "ObjectNotInActiveTierError"),
        *("NotImplemented", "MethodNotAllowed"),
    }
)
_READ_BYTES: Final = 1024 * 1024


class SourceChanged(Retry):
    """The copy source changed: deleted, overwritten, or no longer readable or copyable."""


# Variant of `errors_of` for calls that read or copy a source.
source_errors = partial(
    errors_of, instead={NoPermission: SourceChanged, **dict.fromkeys(_GONE, SourceChanged)}
)


@dataclass(frozen=True, slots=True)
class CopySource:
    """An object in the bucket, as it was when it had this ETag."""

    key: str
    etag: str


@dataclass(frozen=True, slots=True)
class NewObject:
    """An object that is to appear in the bucket.

    Attributes:
        key: Its key.
        guard: Called right before the object is made to appear (I4).
        metadata: ASCII; kept beside the object.
    """

    key: str
    guard: Guard
    metadata: Mapping[str, str]


Piece = ByteRange | AsyncIterator[bytes]


class _Stream(Protocol):
    async def read(self, amount: int) -> bytes:
        """Return up to `amount` bytes; none at the end."""


class Composition(Upload):
    """Upload of one archive in pieces; call `send` and then `commit`, or else `abort`."""

    async def send(self, pieces: Sequence[Piece], source: CopySource) -> None:
        """Copy and send all pieces, several parts at a time.

        Raises:
            SourceChanged: A copy was refused.
            StageError: S3 refused, or the pieces raised it.
        """
        async with open_tasks() as tasks:
            await self._create()
            for piece in pieces:
                if isinstance(piece, ByteRange):
                    await self._flush(tasks)
                    await self._slots.acquire()
                    tasks.start_soon(self._copy_part, self._next_number(), piece, source)
                else:
                    await self._send_all(tasks, piece, last=piece is pieces[-1])
            await self._flush(tasks)

    async def _send_all(
        self, tasks: TaskGroup, chunks: AsyncIterator[bytes], *, last: bool
    ) -> None:
        """Send all bytes that fill parts; where a copy may follow, keep enough for one more part.

        The last bytes of a delta are its central directory, which is made while it is sent. So they
        go in parts of the least length: the first leaves early, and the connection is not idle.

        Args:
            tasks: Owner of the tasks that send parts.
            chunks: The bytes.
            last: Whether no piece follows.
        """
        first_bytes = LEAST_PART_BYTES if last else self._settings.part_bytes
        kept_bytes = 0 if last else LEAST_PART_BYTES
        async for chunk in chunks:
            self.feed(chunk)
            wanted = part_bytes(len(self._parts) + 1, first_bytes)
            while self._buffer.size_bytes >= wanted + kept_bytes:
                await self._start_part(tasks, wanted)

    async def _flush(self, tasks: TaskGroup) -> None:
        if self._buffer.size_bytes:
            await self._start_part(tasks, self._buffer.size_bytes)

    async def _start_part(self, tasks: TaskGroup, nbytes: int) -> None:
        await self._slots.acquire()
        body: Body = self._buffer.cut(nbytes)
        tasks.start_soon(self._send_part, self._next_number(), body)

    async def _copy_part(self, number: int, part: ByteRange, source: CopySource) -> None:
        with source_errors(f"copy part {number} of {self._name} from {source.key}"):
            answer = await self._client.upload_part_copy(
                **self._where,
                **copy_parameters(self._settings, source),
                UploadId=self._upload_id or "",
                PartNumber=number,
                CopySourceRange=f"bytes={part.begin}-{part.end - 1}",
            )
        found = answer.get("CopyPartResult", {})
        self._parts[number - 1]["ETag"] = etag_of_copy(found, f"copy part {number} of {self._name}")
        if self._settings.checksum == "crc32" and "ChecksumCRC32" in found:
            self._parts[number - 1]["ChecksumCRC32"] = found["ChecksumCRC32"]
        self._copied_bytes += len(part)
        self._finish_part()


def copy_parameters(settings: StorageSettings, source: CopySource) -> Any:  # noqa: ANN401 - parameters of two calls
    """Return the parameters of CopyObject and UploadPartCopy that name the source."""
    return {
        "CopySource": {"Bucket": settings.bucket, "Key": source.key},
        "CopySourceIfMatch": source.etag,
    }


def etag_of_copy(result: Mapping[str, Any], doing: str) -> str:
    """Return the ETag in the answer to a copy.

    Raises:
        SourceChanged: The answer has none, and without it the upload cannot be completed.
    """
    try:
        return etag_of(result, doing)
    except Retry as error:
        raise SourceChanged(error.reason, peer=error.peer) from error


def cut_whole(size_bytes: int) -> Iterator[ByteRange]:
    """Yield an object of any size as ranges of equal length, none of them too long for a part."""
    pieces = -(-size_bytes // MOST_PART_BYTES)
    for number in range(pieces):
        yield ByteRange(size_bytes * number // pieces, size_bytes * (number + 1) // pieces)


async def cut_out(
    stream: _Stream, span: Sequence[ByteRange], account: Account
) -> AsyncIterator[bytes]:
    """Yield the ranges of a span, out of a stream that begins with the first of them.

    Args:
        stream: Body of an answer to GetObject.
        span: Ranges in order; bytes between them are dropped.
        account: Account that pays for the bytes (I6).

    Raises:
        Retry: The stream ended too early.
    """
    position: int | None = None
    for each in span:
        position = each.begin if position is None else position
        while position < each.end:
            wanted = min(
                _READ_BYTES, (each.begin if position < each.begin else each.end) - position
            )
            await account.take(wanted)
            chunk = await stream.read(wanted)
            if not chunk:
                account.give_back(wanted)
                raise Retry("an archive's range ended too early")
            account.give_back(wanted - len(chunk))
            if position >= each.begin:
                yield chunk
            else:
                account.give_back(len(chunk))
            position += len(chunk)
