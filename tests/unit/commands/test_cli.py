"""Ends of a command: its exit code, and no output of Python's own on standard error."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# A process that sends itself Ctrl-C at the first import of a module, while the command still loads.
_INTERRUPTED_AT = """
import importlib.abc, os, signal, sys

class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv = ["asyncbuild", *{arguments!r}]
from asyncbuild.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("asyncbuild.commands.cli", ["--help"]),
        ("asyncbuild.commands.template", ["template"]),
        ("asyncbuild.commands.serve", ["serve"]),
        ("aioboto3", ["drain"]),
    ],
)
def test_ctrl_c_while_loading_exits_with_130(module: str, arguments: list[str]) -> None:
    """Shells count an interrupt as 130; no traceback is printed."""
    code = _INTERRUPTED_AT.format(module=module, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + signal.SIGINT, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("argument", ["--help", "--version", "template"])
def test_a_full_disk_under_standard_output_exits_with_74(argument: str) -> None:
    """EX_IOERR of sysexits(3), and one sentence."""
    with Path("/dev/full").open("ab") as full:
        done = subprocess.run(
            [sys.executable, "-m", "asyncbuild", argument],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        74,
        "asyncbuild: standard output cannot be written: No space left on device\n",
    )


@pytest.mark.parametrize("argument", ["--help", "--version", "template"])
def test_a_closed_standard_output_exits_with_74(argument: str) -> None:
    """Also if the command that started it gave it none (`>&-`)."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "{sys.executable}" -m asyncbuild {argument} >&-'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        74,
        "asyncbuild: standard output cannot be written: Bad file descriptor\n",
    )


@pytest.mark.parametrize(
    ("arguments", "code"), [([], 2), (["no-such-command"], 2), (["--version"], 0)]
)
def test_a_wrong_call_exits_with_2(arguments: list[str], code: int) -> None:
    """Click prints its own message."""
    done = subprocess.run(
        [sys.executable, "-m", "asyncbuild", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("variables", [["A"], ["A=1", "A=2"]])
def test_a_variable_without_a_value_or_twice_is_called_wrongly(variables: list[str]) -> None:
    """Before the configuration is read."""
    options = [each for name in variables for each in ("--variable", name)]
    done = subprocess.run(
        [sys.executable, "-m", "asyncbuild", "build", "web", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--variable NAME=VALUE, each name once" in done.stderr
