"""Priority of a git that computes for long; a short or a busy one keeps its own."""

import sys

import pytest

from asyncbuild.config.sections import GitSettings
from asyncbuild.git.process.command import Command, Git, ProcessKind

# Both end by themselves after a minute of processor time, at any priority.
_COMPUTE = (
    "import os, time\n"
    "while os.getpriority(os.PRIO_PROCESS, 0) < 10 and time.process_time() < 60: pass\n"
)
_TELL = (
    "print(os.getpriority(os.PRIO_PROCESS, 0), end=' ')\n"
    "try: print(*open('/proc/self/autogroup').read().split()[-2:])\n"
    "except OSError: print('nice 10')\n"
)
_IN_A_CHILD = (
    f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {_COMPUTE + _TELL!r}])"
)
_IN_AN_ORPHAN = f"import os\nif os.fork(): os._exit(0)\n{_COMPUTE}print(os.getpriority(0, 0))"
_WRITE = (
    "import os, time\n"
    "for n in range(1, 12):\n"
    "    while time.process_time() < n / 4: pass\n"
    "    left = bytes(4 << 20)\n"
    "    while left: left = left[os.write(1, left):]\n"
    "print(os.getpriority(os.PRIO_PROCESS, 0))\n"
)


async def _run(script: str, work: ProcessKind) -> bytes:
    git = Git(GitSettings(cpu_seconds=100))
    return await git.run(Command(("-c", script), "try it", program=sys.executable, work=work))


@pytest.mark.parametrize(
    ("work", "script"),
    [
        (ProcessKind.LOOK_UP, _COMPUTE + _TELL),
        (ProcessKind.STREAM, _COMPUTE + _TELL),
        (ProcessKind.FETCH, _IN_A_CHILD),
    ],
)
async def test_a_git_that_only_computes_gets_a_low_priority(work: ProcessKind, script: str) -> None:
    """Children of that git are included; its session's share is lowered with it."""
    assert await _run(script, work) == b"10 nice 10\n"


async def test_a_child_that_computes_after_its_git_gets_a_low_priority() -> None:
    """The child is found in the group, though its parent has ended."""
    assert await _run(_IN_AN_ORPHAN, ProcessKind.LOOK_UP) == b"10\n"


async def test_a_git_that_writes_as_it_computes_keeps_its_priority() -> None:
    """Long archives may take a second for each 4 MiB."""
    answer = await _run(_WRITE, ProcessKind.STREAM)
    assert answer.endswith(b"\0000\n")


async def test_a_short_git_keeps_its_priority() -> None:
    """A short git ends before its first look."""
    assert (await _run("import os\n" + _TELL, ProcessKind.LOOK_UP)).startswith(b"0 ")
