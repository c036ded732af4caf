"""Messages between this process and its compression processes, and the memory they share.

A piece of work is put into a *slot* of shared memory, and its result comes back in the same slot;
messages of a few bytes name the slot. So contents never go through a pipe.
"""

import mmap
import os
from array import array
from collections.abc import Iterable, Sequence
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple, Self

from asyncbuild.zip.format.tar_headers import LARGEST_UNIT_BYTES

_MIB: Final = 1024 * 1024
WHOLE_BYTES: Final = _MIB  # files up to this size are compressed whole
LONGEST_CHUNK_BYTES: Final = _MIB + _MIB // 4  # of tar, in one piece
# A run is cut from one chunk, or it is a single member with its extended headers.
LONGEST_RUN_BYTES: Final = max(LONGEST_CHUNK_BYTES, WHOLE_BYTES + LARGEST_UNIT_BYTES)

# Input is two uint32 per header: position and size. Output is never twice as long as input: a
# member with a name of n bytes costs two headers of 76 + 2n bytes and one number, plus its
# contents; its tar header had 512 bytes or, with a longer name or target than fits there, 1,024
# more.
_NUMBER: Final = "I"
REASON_BYTES: Final = 8 * 1024  # of an error's text
SLOT_BYTES: Final = 2 * LONGEST_RUN_BYTES + -2 * LONGEST_RUN_BYTES % mmap.PAGESIZE

_MESSAGE: Final = Struct("<HLLLQL")
MESSAGE_BYTES: Final = _MESSAGE.size


class SlotMessageKind(IntEnum):
    """Kind of a message: a piece of work, or the result of one."""

    RUN = 1
    BLOCK = 2
    LAST_BLOCK = 3
    DONE = 4
    BROKEN_TAR = 5
    REJECTED = 6
    FAILED = 7


class SlotMessage(NamedTuple):
    """Message about the slot number `slot`, with `nbytes` of contents and `more_bytes` behind them.

    `number` depends on the kind: the position of a run in the tar stream, the position of a fault
    in it, the length in bytes of a packed run's central headers, or a block's CRC-32. `cut` is
    `Run.cut`.
    """

    kind: SlotMessageKind
    slot: int
    nbytes: int
    more_bytes: int = 0
    number: int = 0
    cut: int = 0

    def pack(self) -> bytes:
        """Return the message as bytes."""
        return _MESSAGE.pack(*self)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Return the message that `pack` made."""
        kind, *fields = _MESSAGE.unpack(packed)
        return cls(SlotMessageKind(kind), *fields)


class Slots:
    """`count` slots in memory that every process with `descriptor` shares.

    Raises:
        OSError: The memory cannot be mapped.
    """

    def __init__(self, descriptor: int, count: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _all_bytes(count))
        self._begun = count * SLOT_BYTES  # behind the slots a byte for each

    @classmethod
    def make(cls, count: int) -> Self:
        """Create slots in new memory; pages are used only once something is written to them."""
        descriptor = os.memfd_create("slots")
        try:
            os.ftruncate(descriptor, _all_bytes(count))
            return cls(descriptor, count)
        except BaseException:
            os.close(descriptor)
            raise

    def fill(self, slot: int, contents: bytes | memoryview, more: bytes = b"") -> None:
        """Put a piece of work into a slot and mark it as not begun.

        Args:
            slot: Number of the slot.
            contents: Contents of the piece.
            more: Bytes behind the contents.
        """
        self.put(slot, contents, more)
        self._memory[self._begun + slot] = False

    def begin(self, slot: int) -> None:
        """Mark the work as begun: from here on its slot may be overwritten."""
        self._memory[self._begun + slot] = True

    def has_begun(self, slot: int) -> bool:
        """Return whether work has begun since the slot was filled."""
        return bool(self._memory[self._begun + slot])

    def put(self, slot: int, contents: bytes | memoryview, more: bytes = b"") -> None:
        """Write `contents`, and `more` behind them, into a slot.

        Args:
            slot: Number of the slot.
            contents: Contents of the piece.
            more: Bytes behind the contents.
        """
        begin = slot * SLOT_BYTES
        end = begin + len(contents)
        if len(contents) + len(more) > SLOT_BYTES:
            raise AssertionError(f"{len(contents)} + {len(more)} bytes do not fit into a slot")
        self._memory[begin:end] = contents
        self._memory[end : end + len(more)] = more

    def contents(self, message: SlotMessage) -> bytes:
        """Return a copy of the contents that the message names."""
        begin = message.slot * SLOT_BYTES
        return self._memory[begin : begin + message.nbytes]

    def more(self, message: SlotMessage) -> bytes:
        """Return a copy of the bytes behind the contents."""
        begin = message.slot * SLOT_BYTES + message.nbytes
        return self._memory[begin : begin + message.more_bytes]

    def close(self) -> None:
        """Unmap the memory and close its descriptor."""
        self._memory.close()
        os.close(self.descriptor)


def _all_bytes(count: int) -> int:
    return count * (SLOT_BYTES + 1)


def pack_columns(*columns: Iterable[int]) -> bytes:
    """Return columns of equal length, of numbers below 2**32, as bytes."""
    return b"".join(array(_NUMBER, column).tobytes() for column in columns)


def unpack_columns(packed: bytes, count: int) -> Sequence[Sequence[int]]:
    """Return the `count` columns that `pack_columns` packed."""
    numbers = array(_NUMBER, packed)
    length = len(numbers) // count
    return [numbers[column * length : (column + 1) * length] for column in range(count)]
