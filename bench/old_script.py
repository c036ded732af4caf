"""The way before asyncbuild: for each push a shallow clone, a work tree, `zip -r`, one upload.

The repository lies on the same machine and is packed well, and the upload is one request of curl:
all of it kinder than it was.
"""

import subprocess
import tempfile
import time
from pathlib import Path

from cpu import cpu_seconds

_SCRIPT = """
set -e
git clone -q --depth 10 --branch main "file://$1" tree
cd tree
rm -rf .git
zip -q -r ../archive.zip .
cd ..
curl -sS --fail --output /dev/null -T archive.zip "$2"
stat -c %s archive.zip
"""


class OldScript:
    """A run of the old script on any commit of a repository."""

    def __init__(self, repository: Path, scratch: Path) -> None:
        self._remote = scratch / "remote.git"
        self._scratch = scratch
        command = ["git", "init", "-q", "--bare", "--initial-branch=main", str(self._remote)]
        subprocess.run(command, check=True)
        alternates = self._remote / "objects" / "info" / "alternates"
        alternates.write_text(f"{repository.resolve()}/objects\n")

    def run(self, commit: str, endpoint: str, bucket: str) -> tuple[int, float, float]:
        """Return the size of the archive, CPU and wall seconds."""
        command = ["git", "--git-dir", str(self._remote), "update-ref", "refs/heads/main", commit]
        subprocess.run(command, check=True)
        with tempfile.TemporaryDirectory(dir=self._scratch) as place:
            cpu, wall = cpu_seconds(), time.perf_counter()
            done = subprocess.run(
                ["bash", "-c", _SCRIPT, "-", str(self._remote), f"{endpoint}/{bucket}/old.zip"],
                cwd=place,
                stdout=subprocess.PIPE,
                check=True,
            )
            wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
        return int(done.stdout), cpu, wall
