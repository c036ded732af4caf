"""The central directory while it grows: in memory as long as it is small, then in a file (I6)."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from types import TracebackType
from typing import Any, Final, Self

import anyio
from aiofiles import tempfile

from asyncbuild.domain.errors import Retry

_SPOOL_BYTES: Final = 512 * 1024
READ_BYTES: Final = 512 * 1024  # at most in one piece


class DirectorySpool:
    """Buffer that is written piece by piece and read once, at the end, in order.

    Its methods raise `Retry` if the file system of temporary files is full or fails.
    """

    def __init__(self) -> None:
        self.nbytes = 0
        self._recent: list[bytes] = []
        self._recent_bytes = 0
        self._file: Any = None  # aiofiles gives its temporary files no type
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):  # closing a nameless file takes no time
            await self._resources.aclose()

    async def append(self, packed: bytes) -> None:
        """Put `packed` at the end."""
        self.nbytes += len(packed)
        self._recent.append(packed)
        self._recent_bytes += len(packed)
        if self._recent_bytes >= _SPOOL_BYTES:
            with _file_errors():
                await self._spill()

    async def read(self) -> AsyncIterator[bytes]:
        """Yield all bytes, in pieces of up to `READ_BYTES`."""
        if self._file is not None:
            with _file_errors():
                await self._spill()
                await self._file.seek(0)
            while True:
                with _file_errors():
                    piece: bytes = await self._file.read(READ_BYTES)
                if not piece:
                    return
                yield piece
        packed = b"".join(self._recent)
        for begin in range(0, len(packed), READ_BYTES):
            yield packed[begin : begin + READ_BYTES]

    async def _spill(self) -> None:
        if self._file is None:
            self._file = await self._resources.enter_async_context(tempfile.TemporaryFile())
        await self._file.write(b"".join(self._recent))
        self._recent.clear()
        self._recent_bytes = 0


@contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Retry(
            f"The directory of a large archive could not be kept in a temporary file: {error}",
            remedy="make room in the file system that TMPDIR names",
        ) from error
