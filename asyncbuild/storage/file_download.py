"""Download of an object into a file, by reads of ranges side by side, hashed in their order.

Nothing is held in memory but what the connections have just read: at most `reads` times 512 KiB,
and asyncio's buffers.
"""

import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import anyio
from anyio import to_thread

from asyncbuild.aws.classify import s3_errors as errors_of
from asyncbuild.aws.classify import unreached
from asyncbuild.config.sections import MIB, StorageSettings
from asyncbuild.domain.errors import Retry
from asyncbuild.runtime.tasks import for_each, open_tasks

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_RANGE_BYTES: Final = 8 * MIB  # S3 user guide, "Performance guidelines": 8 to 16 MiB
_CHUNK_BYTES: Final = 256 * 1024  # twice, while a write joins its pieces


class OtherSize(Retry):
    """The object has another size than was expected."""


class FileDownloads:
    """Downloads of objects of `storage.bucket`.

    Args:
        client: Client for S3.
        settings: `[storage]`.
        reads: Most ranges that are read at the same time, of all downloads together.
    """

    def __init__(self, client: "S3Client", settings: StorageSettings, *, reads: int) -> None:
        self._client = client
        self._bucket = settings.bucket
        self._slots = anyio.Semaphore(reads)

    async def download(self, key: str, path: Path, *, size_bytes: int) -> str:
        """Write an object to a new file; return its SHA-256 in hexadecimal.

        Args:
            key: Key of the object.
            path: The file, which does not exist.
            size_bytes: Size that the object is expected to have, above 0.

        Raises:
            OtherSize: The object has another size.
            Retry: It does not exist.
            StageError: S3 refused, or cannot be reached.
            OSError: The file cannot be written.
        """
        begins = range(0, size_bytes, _RANGE_BYTES)
        spans = [(begin, min(begin + _RANGE_BYTES, size_bytes)) for begin in begins]
        arrived = {begin: anyio.Event() for begin in begins}
        digest = hashlib.sha256()

        async def hash_in_order(descriptor: int) -> None:
            for begin, end in spans:
                await arrived[begin].wait()
                await to_thread.run_sync(_update, digest, descriptor, begin, end)

        async def read(descriptor: int, span: tuple[int, int]) -> None:
            async with self._slots:
                await self._read(key, descriptor, span, size_bytes)
            arrived[span[0]].set()

        async with _new_file(path) as descriptor, open_tasks() as tasks:
            tasks.start_soon(hash_in_order, descriptor)
            await for_each(partial(read, descriptor), spans)
        return digest.hexdigest()

    async def _read(self, key: str, descriptor: int, span: tuple[int, int], whole: int) -> None:
        position, end = span
        doing = f"read s3://{self._bucket}/{key}"
        try:
            with errors_of(doing):
                answer: Any = await self._client.get_object(
                    Bucket=self._bucket, Key=key, Range=f"bytes={position}-{end - 1}"
                )
            stream = answer["Body"]
            async with stream:
                if not str(answer.get("ContentRange", "")).endswith(f"/{whole}"):
                    raise OtherSize(f"{doing}: it has not {whole} bytes", peer="s3")
                while position < end:
                    pieces = await _collect(stream, end - position)
                    await to_thread.run_sync(_write, descriptor, pieces, position)
                    position += sum(map(len, pieces))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unreached(doing, error, "s3") from error


async def _collect(stream: Any, most: int) -> Sequence[bytes]:  # noqa: ANN401 - aiobotocore's
    """Return the next bytes of a body, as many as one write is worth."""
    pieces: list[bytes] = []
    wanted = min(most, _CHUNK_BYTES)
    while wanted:
        piece = await stream.read(wanted)
        if not piece:
            raise Retry("an object's range ended too early", peer="s3")
        pieces.append(piece)
        wanted -= len(piece)
    return pieces


@asynccontextmanager
async def _new_file(path: Path) -> AsyncIterator[int]:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = await to_thread.run_sync(os.open, path, flags, 0o444)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(descriptor: int, pieces: Sequence[bytes], position: int) -> None:
    data = b"".join(pieces)
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, position)
        view, position = view[written:], position + written


def _update(digest: Any, descriptor: int, begin: int, end: int) -> None:  # noqa: ANN401 - hashlib's
    while begin < end:
        chunk = os.pread(descriptor, min(_CHUNK_BYTES, end - begin), begin)
        digest.update(chunk)
        begin += len(chunk)
