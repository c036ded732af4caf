"""Unsupported versions of git and Python: one message, before anything is begun."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.wait import PATIENCE_SECONDS

from asyncbuild.git.process.version import OLDEST_GIT, parse_version

_OLD = f"git version {OLDEST_GIT[0]}.{OLDEST_GIT[1] - 1}.9"
_COMMANDS = [
    ("serve",),
    ("drain",),
    ("demo",),
    ("check",),
    ("archive", ".", "HEAD", "-o", os.devnull),
]


def _run(
    directory: Path, command: tuple[str, ...], git: str | None
) -> subprocess.CompletedProcess[str]:
    """Run a command where `git` is a program that prints this, or is missing."""
    if git is not None:
        program = directory / "git"
        program.write_text(f"#!/bin/sh\necho '{git}'\n")
        program.chmod(0o755)
    environment = {
        "PATH": str(directory),
        "HOME": str(directory),
        "ASYNCBUILD_QUEUE__URL": "https://sqs.eu-west-1.amazonaws.com/1/q.fifo",
        "ASYNCBUILD_STORAGE__BUCKET": "bucket",
        "ASYNCBUILD_AWS__ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "eu-west-1",
    }
    return subprocess.run(
        [sys.executable, "-m", "asyncbuild", *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@pytest.mark.parametrize("command", _COMMANDS, ids=lambda command: str(command[0]))
@pytest.mark.parametrize("git", [None, _OLD])
def test_another_git_is_refused(tmp_path: Path, command: tuple[str, ...], git: str | None) -> None:
    """None at all, or an older one."""
    done = _run(tmp_path, command, git)
    said = done.stdout + done.stderr
    expected = "is older than" if git else "git is not installed"
    assert said.count(expected) == 1, said
    assert "install git 2." in said
    assert "Traceback" not in said
    if command != ("check",):  # which prints more, and has its own exit code
        assert done.returncode == 69
        # A service ends with one line of its log, a command with the reason and the remedy.
        assert len(done.stderr.splitlines()) == (1 if command[0] in {"serve", "drain"} else 2)


def test_another_python_is_refused() -> None:
    """No module is loaded that it cannot read."""
    script = (
        "import sys; sys.version_info = (3, 10, 13)\n"
        "from asyncbuild.__main__ import main; sys.argv = ['asyncbuild', 'demo']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 69
    assert "Python 3.10 is older than 3.11" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("git version 2.39.5\n", (2, 39)),
        ("git version 2.39.5 (Apple Git-154)", (2, 39)),
        ("git version 2.50.0.rc1.3.g12ab", (2, 50)),
        ("git version 10.1", (10, 1)),
        ("gitt", None),
        ("", None),
    ],
)
def test_versions_of_git_are_parsed(text: str, version: tuple[int, int] | None) -> None:
    """Builds of distributions and others are included."""
    assert parse_version(text) == version
