"""Real git repositories for tests, made quickly and identical each time."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "LC_ALL": "C",
    "GIT_AUTHOR_NAME": "A U Thor",
    "GIT_AUTHOR_EMAIL": "author@example.com",
    "GIT_COMMITTER_NAME": "C O Mitter",
    "GIT_COMMITTER_EMAIL": "committer@example.com",
}
EPOCH = 1_700_000_000


class SourceRepository:
    """A bare repository that pushes come from. Commits are a minute apart."""

    def __init__(self, path: Path, *, object_format: str = "sha1") -> None:
        self.path = path
        self._time = EPOCH
        path.parent.mkdir(parents=True, exist_ok=True)
        self._run(
            *("init", "--quiet", "--bare", "--initial-branch=main"),
            *(f"--object-format={object_format}", "--template=", str(path)),
        )

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run git in the repository and return what it prints, stripped."""
        return self._run("--git-dir", str(self.path), *arguments, stdin=stdin).decode().strip()

    def commit(
        self,
        files: Mapping[str, bytes | str | None],
        *,
        branch: str = "main",
        parent: str | None = "tip",
        message: str = "a change",
    ) -> str:
        """Commit `files` (None deletes one) on top of the branch's tip, or of `parent`.

        Text is the id of a submodule's commit.

        `parent=None` begins a history of its own, as a force push may.
        """
        tip = self.tip(branch) if parent == "tip" else parent
        if not tip:
            self.git("update-ref", "-d", f"refs/heads/{branch}")
        stream = self._commit(files, branch, tip, message)
        self.git("fast-import", "--quiet", "--force", stdin=stream)
        return self.tip(branch) or ""

    def commits(self, count: int, *, branch: str = "main") -> list[str]:
        """Add a line of `count` small commits, in one go."""
        tip = self.tip(branch)
        stream = b""
        for number in range(count):
            files = {f"{branch}.txt": f"{number}\n".encode()}
            stream += self._commit(files, branch, tip if number == 0 else None, "a change")
        self.git("fast-import", "--quiet", stdin=stream)
        return self.git("rev-list", "--reverse", f"-{count}", f"refs/heads/{branch}").splitlines()

    def _commit(
        self, files: Mapping[str, bytes | str | None], branch: str, parent: str | None, message: str
    ) -> bytes:
        """Return one command of git-fast-import(1).

        Without a parent it follows the branch's last commit.
        """
        self._time += 60
        lines = [
            f"commit refs/heads/{branch}",
            f"committer C O Mitter <committer@example.com> {self._time} +0000",
        ]
        stream = "\n".join(lines).encode() + _data(message.encode())
        if parent:
            stream += f"from {parent}\n".encode()
        for name, content in files.items():
            if content is None:
                stream += f"D {name}\n".encode()
            elif isinstance(content, str):
                stream += f"M 160000 {content} {name}\n".encode()
            else:
                stream += f"M 100644 inline {name}".encode() + _data(content)
        return stream

    def tip(self, branch: str) -> str | None:
        """Return the commit that a branch points at."""
        try:
            return self.git("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")
        except subprocess.CalledProcessError:
            return None

    def tag(self, name: str, commit: str) -> str:
        """Make an annotated tag and return the id of its object."""
        self._run(
            *("--git-dir", str(self.path), "tag", "--annotate", "--message=a tag"),
            *("--end-of-options", name, commit),
        )
        return self.git("rev-parse", f"refs/tags/{name}")

    def delete(self, ref: str) -> None:
        """Delete a ref."""
        self.git("update-ref", "-d", ref)

    def archive(self, commit: str) -> bytes:
        """Return the output of `git archive`, read from the source itself."""
        return self._run("--git-dir", str(self.path), "archive", "--format=tar", commit)

    def _run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        date = {
            "GIT_AUTHOR_DATE": f"{self._time} +0000",
            "GIT_COMMITTER_DATE": f"{self._time} +0000",
        }
        return subprocess.run(
            ["git", *arguments],
            input=stdin,
            env=_ENVIRONMENT | date,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        ).stdout


def _data(content: bytes) -> bytes:
    """Return git-fast-import(1)'s data command."""
    return f"\ndata {len(content)}\n".encode() + content + b"\n"
