"""What this process and those that compress say to each other, and the memory they share.

A piece of work is put into a *slot* of shared memory, and what becomes of it comes back in the same
one; messages of a few bytes say which. So contents never go through a pipe.
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

# With a run go two numbers for each of its headers. What comes back is never twice as long: of a
# member with a name of n bytes two headers of 76 + 2n, and a number, beside what it contains; that
# was in a header of 512 or, with a longer name or target than fits there, in 1,024 more.
_NUMBER: Final = "I"
REASON_BYTES: Final = 8 * 1024  # of a failure
SLOT_BYTES: Final = 2 * LONGEST_RUN_BYTES + -2 * LONGEST_RUN_BYTES % mmap.PAGESIZE

_MESSAGE: Final = Struct("<HLLLQL")
MESSAGE_BYTES: Final = _MESSAGE.size


class SlotMessageKind(IntEnum):
    """What a message is about: a piece of work, or what became of one."""

    RUN = 1
    BLOCK = 2
    LAST_BLOCK = 3
    DONE = 4
    BROKEN_TAR = 5
    REJECTED = 6
    FAILED = 7


class SlotMessage(NamedTuple):
    """About the slot number `slot`: it has `nbytes` of contents, and `more_bytes` behind them.

    `number` is where a run begins in the tar stream, or where that is broken, or how many bytes of
    a run's are central headers, or a block's CRC-32; `cut` is that of a run.
    """

    kind: SlotMessageKind
    slot: int
    nbytes: int
    more_bytes: int = 0
    number: int = 0
    cut: int = 0

    def pack(self) -> bytes:
        """As it is sent."""
        return _MESSAGE.pack(*self)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """As it was sent."""
        kind, *fields = _MESSAGE.unpack(packed)
        return cls(SlotMessageKind(kind), *fields)


class Slots:
    """`count` slots in memory that other processes can have, too: whoever has `descriptor`.

    Raises:
        OSError: There is no such memory.
    """

    def __init__(self, descriptor: int, count: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _all_bytes(count))
        self._begun = count * SLOT_BYTES  # behind the slots a byte for each

    @classmethod
    def make(cls, count: int) -> Self:
        """New ones. Memory is used by what was put into them, not before."""
        descriptor = os.memfd_create("slots")
        try:
            os.ftruncate(descriptor, _all_bytes(count))
            return cls(descriptor, count)
        except BaseException:
            os.close(descriptor)
            raise

    def fill(self, slot: int, contents: bytes | memoryview, more: bytes = b"") -> None:
        """Put a piece of work into a slot; nobody has begun with it."""
        self.put(slot, contents, more)
        self._memory[self._begun + slot] = False

    def begin(self, slot: int) -> None:
        """Whoever does the work says so: from here on the slot may not hold it any more."""
        self._memory[self._begun + slot] = True

    def has_begun(self, slot: int) -> bool:
        """Return whether it was said since the slot was filled."""
        return bool(self._memory[self._begun + slot])

    def put(self, slot: int, contents: bytes | memoryview, more: bytes = b"") -> None:
        """Have a slot hold this."""
        begin = slot * SLOT_BYTES
        end = begin + len(contents)
        if len(contents) + len(more) > SLOT_BYTES:
            raise AssertionError(f"{len(contents)} + {len(more)} bytes do not fit into a slot")
        self._memory[begin:end] = contents
        self._memory[end : end + len(more)] = more

    def contents(self, message: SlotMessage) -> bytes:
        """What the message says is there."""
        begin = message.slot * SLOT_BYTES
        return self._memory[begin : begin + message.nbytes]

    def more(self, message: SlotMessage) -> bytes:
        """What the message says is behind it."""
        begin = message.slot * SLOT_BYTES + message.nbytes
        return self._memory[begin : begin + message.more_bytes]

    def close(self) -> None:
        """Give it back."""
        self._memory.close()
        os.close(self.descriptor)


def _all_bytes(count: int) -> int:
    return count * (SLOT_BYTES + 1)


def pack_columns(*columns: Iterable[int]) -> bytes:
    """Columns of equal length, of numbers below 2**32."""
    return b"".join(array(_NUMBER, column).tobytes() for column in columns)


def unpack_columns(packed: bytes, count: int) -> Sequence[Sequence[int]]:
    """The `count` columns again."""
    numbers = array(_NUMBER, packed)
    length = len(numbers) // count
    return [numbers[column * length : (column + 1) * length] for column in range(count)]
