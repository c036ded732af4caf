"""Compression process: takes a piece of work from its slot and puts the result there.

`zip/workers.py` starts it as `python -m asyncbuild.zip.worker` with four numbers: its socket, the
descriptor of the shared memory, the number of slots, the level. It ends when the socket is closed,
so it never outlives its parent. It has no secrets, opens nothing, and runs no event loop.
"""

import gc
import os
import socket
import sys
import traceback
from contextlib import suppress
from typing import NoReturn

from asyncbuild.domain.errors import Reject
from asyncbuild.zip.format.pack import pack_block, pack_run
from asyncbuild.zip.format.tar_headers import BrokenTar
from asyncbuild.zip.format.tar_members import Run
from asyncbuild.zip.format.tar_reader import Block
from asyncbuild.zip.shared_memory import (
    MESSAGE_BYTES,
    REASON_BYTES,
    SlotMessage,
    SlotMessageKind,
    Slots,
    pack_columns,
    unpack_columns,
)


def work(slots: Slots, message: SlotMessage, level: int) -> SlotMessage:
    """Do one piece of work; errors are reported in the answer, never raised.

    Args:
        slots: Shared memory.
        message: Names the piece.
        level: Level of compression.
    """
    slots.begin(message.slot)
    try:
        if message.kind is SlotMessageKind.RUN:
            return _pack_run(slots, message, level)
        return _pack_block(slots, message, level)
    except BrokenTar as error:
        return _refuse(slots, message, SlotMessageKind.BROKEN_TAR, error.fault, error.offset)
    except Reject as error:
        return _refuse(slots, message, SlotMessageKind.REJECTED, error.reason)
    except Exception:  # noqa: BLE001 - the process that asked raises it
        return _refuse(slots, message, SlotMessageKind.FAILED, traceback.format_exc())


def _pack_run(slots: Slots, message: SlotMessage, level: int) -> SlotMessage:
    data = slots.contents(message)
    headers, sizes = unpack_columns(slots.more(message), 2)
    packed = pack_run(Run(data, message.number, headers, sizes, len(data), message.cut), level)
    more = packed.central.packed + pack_columns(packed.central.positions)
    slots.put(message.slot, packed.data, more)
    number = len(packed.central.packed)
    return SlotMessage(SlotMessageKind.DONE, message.slot, len(packed.data), len(more), number)


def _pack_block(slots: Slots, message: SlotMessage, level: int) -> SlotMessage:
    block = Block(
        slots.contents(message), message.kind is SlotMessageKind.LAST_BLOCK, message.nbytes
    )
    packed = pack_block(block, level)
    slots.put(message.slot, packed.data)
    return SlotMessage(SlotMessageKind.DONE, message.slot, len(packed.data), number=packed.crc)


def _refuse(
    slots: Slots, message: SlotMessage, kind: SlotMessageKind, reason: str, number: int = 0
) -> SlotMessage:
    text = reason.encode("utf-8", "backslashreplace")[-REASON_BYTES:]
    slots.put(message.slot, b"", text)
    return SlotMessage(kind, message.slot, 0, len(text), number)


def main() -> NoReturn:
    """Work until the other end of the socket is closed."""
    connection, memory, count, level = map(int, sys.argv[1:])
    slots = Slots(memory, count)
    gc.disable()  # nothing here makes reference cycles
    # If the parent closes the socket in the middle of a piece, there is a reset or a broken pipe.
    with suppress(ConnectionError), socket.socket(fileno=connection) as channel:
        while packed := channel.recv(MESSAGE_BYTES):
            channel.send(work(slots, SlotMessage.unpack(packed), level).pack())
    os._exit(0)  # skip the tidying at exit: the process that closed the socket waits


if __name__ == "__main__":
    main()
