"""Compression process as its parent sees it: the child, its socket and its environment."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from typing import Any, Final

import anyio

from asyncbuild.domain.errors import Busy
from asyncbuild.runtime.child import Child, ChildFiles
from asyncbuild.zip.future import PendingPiece
from asyncbuild.zip.shared_memory import SlotMessage, Slots

_MODULE: Final = "asyncbuild.zip.worker"
_END_SECONDS: Final = 5.0  # for the piece in flight, before it is killed
_ENVIRONMENT: Final = (  # needed to start a Python like this one; no secret (I10)
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHOME",
    "PYTHONPLATLIBDIR",
    "PYTHONPYCACHEPREFIX",
)

AnyPending = PendingPiece[Any]  # of a run or of a block


@dataclass(eq=False, slots=True)
class Worker:
    """One process, this end of its socket, and by slot the work that it has in flight."""

    child: Child
    channel: socket.socket
    in_flight: dict[int, tuple[SlotMessage, AnyPending]] = field(default_factory=dict)

    def take(self, message: SlotMessage, pending: AnyPending) -> bool:
        """Send it one more piece of work; return False if it has ended.

        Raises:
            Busy: Its socket holds no more messages.
        """
        try:
            self.channel.send(message.pack())
        except ConnectionError:
            return False
        except BlockingIOError as error:
            raise Busy(
                f"A process that compresses has {len(self.in_flight)} pieces of work in flight "
                "already",
                remedy="allow as many processes as archive.threads says",
            ) from error
        self.in_flight[message.slot] = message, pending
        return True

    async def end(self) -> int:
        """Close the socket, kill a process that does not end in time, and return its exit code."""
        self.channel.close()
        with anyio.CancelScope(shield=True), closing(self.child):
            with anyio.move_on_after(_END_SECONDS):
                await self.child.wait()
            if self.child.returncode is None:
                with suppress(ProcessLookupError):
                    os.kill(self.child.pid, SIGKILL)
            await self.child.wait()
        return self.child.returncode or 0


def start_worker(slots: Slots, count: int, level: int) -> Worker:
    """Start one process.

    Args:
        slots: Memory that is shared with it.
        count: Number of slots.
        level: Level of compression.

    Raises:
        OSError: It cannot be started.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ExitStack() as undo, theirs, Path(os.devnull).open("r+b", buffering=0) as null:
        undo.callback(ours.close)
        ours.setblocking(False)  # noqa: FBT003 - no other way to say it
        stderr = sys.__stderr__ or null
        numbers = (theirs.fileno(), slots.descriptor, count, level)
        child = Child(
            [os.fsencode(part) for part in (sys.executable, "-P", "-m", _MODULE)]
            + [b"%d" % number for number in numbers],
            _environment(),
            ChildFiles(
                stdin=null.fileno(),
                stdout=null.fileno(),
                stderr=stderr.fileno(),
                others=(theirs.fileno(), slots.descriptor),
            ),
            program=_python(),
        )
        undo.pop_all()
    return Worker(child, ours)


def _python() -> str:
    """Return the path of this interpreter, also if its name does not lead to it any more.

    It may have been replaced meanwhile, or lie where this user may not go.
    """
    return sys.executable if os.access(sys.executable, os.X_OK) else "/proc/self/exe"


def _environment() -> dict[str, str]:
    """Return the environment in which it imports the same modules as this process."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}  # noqa: PTH109 - what sys.path means by it


@contextmanager
def starting() -> Iterator[None]:
    """Raise `Busy` if this machine refuses a process or its memory."""
    try:
        yield
    except OSError as error:
        raise Busy(
            f"A process that compresses cannot be started: {error.strerror or error}",
            remedy="allow more processes, more open files or more memory",
        ) from error
