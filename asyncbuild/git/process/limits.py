"""Limits of one git process, set on its pid by prlimit(2), and the errors for reaching one.

The kernel enforces them, also while this process is busy or stopped.
"""

import resource
import signal

from asyncbuild.domain.errors import Reject
from asyncbuild.git.formats.error_classes import GitFailed, GitFault, find_fault
from asyncbuild.git.formats.process_kinds import SMALL, ProcessKind
from asyncbuild.runtime.child import Child

_NO_STACK = "unable to create thread"  # git index-pack, if a thread's stack does not fit
_WRITTEN_BYTES_A_SECOND = 4 * 1024 * 1024  # even a slow `git archive` of small files writes this


def launcher(work: ProcessKind, memory_bytes: int) -> list[bytes]:
    """Return what sets the limit of memory before git begins, for kinds that may take much at once.

    Set on the pid it comes too late on a busy machine: git archive had read 48 MiB before.
    """
    if not memory_bytes or work in SMALL:
        return []
    return [
        b"/bin/sh",
        b"-c",
        b'ulimit -S -d "$0" && exec "$@"',
        b"%d" % (memory_bytes // 1024),
    ]


class OutOfMemory(GitFailed):
    """A git reached its limit of memory; it may succeed with more."""

    def __init__(self, doing: str, most_bytes: int) -> None:
        super().__init__(
            f"{doing}: git needs more than {most_bytes} bytes of memory, its share of "
            "git.memory_budget_bytes",
            fault=GitFault.MEMORY,
            remedy="raise git.memory_budget_bytes",
        )


class ProcessLimits:
    """Limits of a process that was just started.

    No core file: a crash would write memory with secrets in it to a disk. Processor time that grows
    with what git writes: a long archive may take long, while attributes that match names for hours
    write nothing.

    Memory is limited by RLIMIT_DATA, since RLIMIT_AS would count the packs that git maps.

    Args:
        child: The process.
        cpu_seconds: Processor time before it writes anything; 0: no limit.
        memory_bytes: Memory of its own, and of each of its children; 0: no limit.
    """

    def __init__(self, child: Child, cpu_seconds: int, memory_bytes: int = 0) -> None:
        self._child = child
        self._cpu_seconds = cpu_seconds
        self._allowed_seconds = cpu_seconds
        self._written_bytes = 0
        self._memory_bytes = memory_bytes
        child.limit(resource.RLIMIT_CORE, 0)
        if memory_bytes:
            child.limit(resource.RLIMIT_DATA, memory_bytes)
        if cpu_seconds:
            child.limit(resource.RLIMIT_CPU, cpu_seconds)

    @property
    def earned_seconds(self) -> float:
        """Processor time in seconds that the output so far is worth."""
        return self._written_bytes / _WRITTEN_BYTES_A_SECOND

    def note_output(self, nbytes: int) -> None:
        """Allow more processor time for `nbytes` more of output."""
        self._written_bytes += nbytes
        allowed = self._cpu_seconds + self._written_bytes // _WRITTEN_BYTES_A_SECOND
        if self._cpu_seconds and allowed > self._allowed_seconds:
            self._allowed_seconds = allowed
            self._child.limit(resource.RLIMIT_CPU, allowed)

    def check(self, code: int, doing: str) -> None:
        """Raise if an exit code shows that the process reached its processor time.

        Raises:
            Reject: It did; the same commit would again.
        """
        if self._cpu_seconds and code == -signal.SIGXCPU:
            raise Reject(
                f"{doing}: git took {self._allowed_seconds} s of processor time for "
                f"{self._written_bytes} bytes, the most by git.cpu_seconds = {self._cpu_seconds}",
                remedy="simplify the patterns of its .gitattributes, or raise git.cpu_seconds",
            )

    def check_memory(self, said: str, doing: str) -> None:
        """Raise if standard error shows that git reached its limit of memory.

        Raises:
            OutOfMemory: It did.
        """
        if self._memory_bytes and (
            find_fault(said, remote=False) is GitFault.MEMORY or _NO_STACK in said
        ):
            raise OutOfMemory(doing, self._memory_bytes)
