"""Program named `git` that runs git and writes what it cost: one line of JSON each.

A line has the arguments, and the milliseconds of processor time of git and of what it started.
"""

import json
import os
import sys
import time


def main(git: str, log: str) -> int:
    """Run git with this process's arguments; return its exit code."""
    begun = time.monotonic()
    arguments = sys.argv[3:]
    pid = os.posix_spawn(git, [git, *arguments], os.environ)
    _, status, usage = os.wait4(pid, 0)
    document = {
        "arguments": arguments,
        "cpu_ms": 1000 * (usage.ru_utime + usage.ru_stime),
        "wall_ms": 1000 * (time.monotonic() - begun),
    }
    line = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(line, json.dumps(document).encode() + b"\n")
    return os.waitstatus_to_exitcode(status) & 0xFF


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
