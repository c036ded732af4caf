"""The last line of a service's log: every error that can end it has one."""

import subprocess
import sys

import orjson
import pytest

from asyncbuild.domain import errors
from asyncbuild.domain.errors import StageError

_SCRIPT = """
from asyncbuild.commands.exit_codes import logging_the_end
from asyncbuild.domain.errors import *
from asyncbuild.domain.errors import StageError

with logging_the_end():
    raise {what}
"""
_KINDS = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, StageError) and each is not StageError
]


def _run(what: str, **variables: str) -> tuple[int, bytes]:
    command = [sys.executable, "-c", _SCRIPT.format(what=what)]
    done = subprocess.run(command, capture_output=True, check=False, env=variables)
    assert done.stdout == b""
    return done.returncode, done.stderr


@pytest.mark.parametrize("kind", _KINDS, ids=[kind.__name__ for kind in _KINDS])
@pytest.mark.parametrize("grouped", [False, True])
def test_an_error_that_was_foreseen(kind: type[StageError], *, grouped: bool) -> None:
    """Reason, remedy and the exit code that the process has, also out of a group of tasks."""
    what = f"{kind.__name__}('no [red]way', remedy='find one')"
    code, said = _run(f"ExceptionGroup('tasks', [{what}])" if grouped else what)
    line = orjson.loads(said)
    assert (line["event"], line["level"], line["kind"]) == ("service.failed", "error", kind.kind)
    assert (line["reason"], line["remedy"]) == ("no [red]way", "find one")
    assert line["exit_code"] == code == kind.exit_code


def test_a_bug_has_its_traceback_inside() -> None:
    """One line all the same, and the exit code of software that failed."""
    code, said = _run("KeyError('x')")
    line = orjson.loads(said)
    assert (line["event"], line["kind"], line["exit_code"], code) == (
        "service.failed",
        "bug",
        70,
        70,
    )
    assert "KeyError('x')" in line["reason"]
    assert "Traceback" in line["exception"]


@pytest.mark.parametrize("format_", ["nonsense", "", "json"])
def test_a_log_format_that_is_wrong_hides_no_fault(format_: str) -> None:
    """What the environment asks for may be the very fault that is told."""
    code, said = _run("ConfigError('log.format: nonsense')", ASYNCBUILD_LOG__FORMAT=format_)
    assert (orjson.loads(said)["reason"], code) == ("log.format: nonsense", 78)
