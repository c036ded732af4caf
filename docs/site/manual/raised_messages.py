"""Messages of all errors that the code raises, read from its source."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from asyncbuild.domain import errors
from asyncbuild.domain.errors import StageError

# `GitFailed` is made by git's process, and classified where it is caught.
ERRORS = {name for name, each in vars(errors).items() if isinstance(each, type)} | {"GitFailed"}


@dataclass(frozen=True, slots=True)
class Raised:
    """An error as the source has it; `…` stands for a value.

    Attributes:
        error: Name of the class.
        reason: The message.
        remedy: What the operator is told to do; empty where there is nothing.
    """

    error: str
    reason: str
    remedy: str

    @property
    def exit_code(self) -> int | None:
        """Exit code of a command that the error ends; None of an error that ends none."""
        class_: object = getattr(errors, self.error, None)
        if isinstance(class_, type) and issubclass(class_, StageError):
            return class_.exit_code
        return None


@cache
def all_raised(source: Path) -> tuple[Raised, ...]:
    """Return every error below a folder of modules, in the order of the files."""
    return tuple(_iter_raised(source))


def _iter_raised(source: Path) -> Iterator[Raised]:
    for path in sorted(source.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", "")
                if name in ERRORS:
                    given = {each.arg: each.value for each in node.keywords}
                    remedy = _text_of(given["remedy"]) if "remedy" in given else ""
                    yield Raised(name, _text_of(node.args[0]), remedy)


def _text_of(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return re.sub("…+", "…", "".join(_text_of(value) for value in node.values))
    if isinstance(node, ast.BinOp):
        return _text_of(node.left) + _text_of(node.right)
    return "…"
