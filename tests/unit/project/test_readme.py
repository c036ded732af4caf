"""Claims of README.md: exit codes, prices, the oldest git."""

import re
from pathlib import Path

from asyncbuild.commands import exit_codes as endings
from asyncbuild.domain import errors
from asyncbuild.git.process.version import OLDEST_GIT_TEXT

_ROOT = Path(__file__).parents[3]
_README = (_ROOT / "README.md").read_text("utf-8")


def _codes() -> set[int]:
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    of_errors = {each.exit_code for each in classes if issubclass(each, errors.StageError)}
    return of_errors | {
        endings.INTERRUPTED,
        endings._EX_IOERR,
        endings.NOT_BUILT,
        0,
        1,
        2,
        129,
        143,
    }


def test_every_exit_code_is_in_the_table() -> None:
    """The codes of our errors, of a full disk and of signals; and no other."""
    rows = re.findall(r"^\| ([\d, ]+) \| \S", _README, re.MULTILINE)
    assert {int(code) for row in rows for code in row.split(",")} == _codes()


def test_the_prices_are_those_of_the_model() -> None:
    """The row of docs/cost.md with the sum, which another test compares with the model."""
    cost = (_ROOT / "docs" / "cost.md").read_text("utf-8")
    (row,) = re.findall(r"^\| \*\*asyncbuild, a month\*\* \|(.*)\|$", cost, re.MULTILINE)
    assert re.findall(r"\$(\d+)", _README) == re.findall(r"\d+", row)


def test_the_oldest_git_is_the_one_that_is_required() -> None:
    """The first screen names it."""
    assert f"git {OLDEST_GIT_TEXT} and Python 3.11 or newer" in _README[:2_000]
