"""The last line of a service's log: every error that can end it has one."""

import subprocess
import sys

import orjson
import pytest

from asyncbuild.domain import errors
from asyncbuild.domain.errors import StageError

_SCRIPT = """
from asyncbuild.commands.last_line import logging_the_end
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
def test_an_expected_error_is_one_line(kind: type[StageError], *, grouped: bool) -> None:
    """Reason, remedy and exit code are in it, also if a group of tasks raised the error."""
    what = f"{kind.__name__}('no [red]way', remedy='find one')"
    code, said = _run(f"ExceptionGroup('tasks', [{what}])" if grouped else what)
    line = orjson.loads(said)
    assert (line["event"], line["level"], line["kind"]) == ("service.failed", "error", kind.kind)
    assert (line["reason"], line["remedy"]) == ("no [red]way", "find one")
    assert line["exit_code"] == code == kind.exit_code


def test_a_bug_is_one_line_with_its_traceback() -> None:
    """The exit code is that of a software failure."""
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
def test_an_invalid_log_format_hides_no_error(format_: str) -> None:
    """The invalid format may be the very error that is reported."""
    code, said = _run("ConfigError('log.format: nonsense')", ASYNCBUILD_LOG__FORMAT=format_)
    assert (orjson.loads(said)["reason"], code) == ("log.format: nonsense", 78)
