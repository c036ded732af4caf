"""A content that is being fetched: a private file until its hash proves the content."""

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Self

import aiohttp
import anyio
from anyio import to_thread

from asyncbuild.git.content.lfs.stored_file import (
    CHUNK_BYTES,
    MissingContent,
    chunks_of,
    open_private,
)
from asyncbuild.runtime.write_all import write_all

_PARTIAL: Final = 206
_SILENCE: Final = "silence"
_RANGE: Final = re.compile(r"bytes (\d{1,20})-\d{1,20}/(?:\*|\d{1,20})")


class AnswerCutOff(Exception):
    """An answer ended before the content did; `useful` if it is worth going on at once."""

    def __init__(self, reason: str, *, useful: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.useful = useful


class ContentMismatch(Exception):
    """The bytes received are not the content; `resumed` if an earlier try contributed to them."""

    def __init__(self, reason: str, *, resumed: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.resumed = resumed


@dataclass(slots=True)
class PartialContent:
    """The bytes of a content that are here so far.

    They are kept for the next try only if the server named a total length, and that is the
    content's; everything else that a server may send is deleted.

    Attributes:
        missing: The content.
        size: Number of bytes that are here.
    """

    missing: MissingContent
    size: int = field(default=0)

    @classmethod
    async def open(cls, missing: MissingContent) -> Self:
        """Return what an earlier try left."""
        size = await to_thread.run_sync(_length, missing.part)
        return cls(missing, size if size < missing.pointer.size else 0)

    async def discard(self) -> None:
        """Delete the bytes, to begin again."""
        await to_thread.run_sync(lambda: self.missing.part.unlink(missing_ok=True))
        self.size = 0

    async def keep(self, answer: aiohttp.ClientResponse, doing: str) -> None:
        """Write and hash the answer; publish the file once it is the content.

        Args:
            answer: Answer of the server.
            doing: What the request is for, for people.

        Raises:
            Broken: The answer ended before the content did.
            Wrong: The answer is something else.
            OSError: The file cannot be written.
        """
        resumed, wanted = self.size > 0, self.missing.pointer
        begin = self.size if answer.status == _PARTIAL else 0
        said = _RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        if answer.status == _PARTIAL and said is not None and int(said[1]) != begin:
            await self.discard()
            raise ContentMismatch(
                f"{doing}: it is another part than was asked for", resumed=resumed
            )
        promised = answer.content_length
        if promised is not None and begin + promised != wanted.size:
            await self.discard()
            told = f"{doing}: it has {begin + promised} bytes, and its pointer says {wanted.size}"
            raise ContentMismatch(told, resumed=resumed)
        size, digest, why = await self._write(answer, begin)
        if why is not None and size < wanted.size:
            if promised is None:
                await self.discard()
            reason = f"{doing}: {why} after {size} of {wanted.size} bytes"
            self.size = size
            useful = size > begin and promised is not None and why != _SILENCE
            raise AnswerCutOff(reason, useful=useful)
        if size != wanted.size or digest.hexdigest() != wanted.oid:
            await self.discard()
            raise ContentMismatch(f"{doing}: what came is not object {wanted.oid}", resumed=resumed)
        await to_thread.run_sync(_publish, self.missing)

    async def _write(
        self, answer: aiohttp.ClientResponse, begin: int
    ) -> tuple[int, Any, str | None]:
        """Return number and digest of the bytes here, and why the answer ended early, if it did."""
        # Shielded, because a thread that is cancelled while it opens a file would leave it open.
        with anyio.CancelScope(shield=True):
            file, digest = await to_thread.run_sync(_open_part, self.missing.part, begin)
        size = begin
        with file:
            try:
                async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                    size += len(chunk)
                    if size > self.missing.pointer.size:
                        break
                    await to_thread.run_sync(_append, file, digest, chunk)
            except TimeoutError:
                return size, digest, _SILENCE
            except aiohttp.ClientError:
                return size, digest, "it broke off"
        return size, digest, None


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _open_part(path: Path, begin: int) -> tuple[IO[bytes], Any]:
    """Return the file that a content grows in, and the digest of what is there already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    file = open_private(path, keep=begin > 0)
    for chunk in chunks_of(file):
        digest.update(chunk)
    return file, digest


def _append(file: IO[bytes], digest: Any, chunk: bytes) -> None:  # noqa: ANN401 - hashlib's own
    write_all(file.write, chunk)
    digest.update(chunk)


def _publish(missing: MissingContent) -> None:
    missing.target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(missing.part, missing.target)  # noqa: PTH105 - replaces what is there
