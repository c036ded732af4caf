"""Wording of the page and the terminal view."""

import shlex

import pytest

from asyncbuild.status.phrases import again
from asyncbuild.status.schema import SettledPush


@pytest.mark.parametrize("name", ["web", "Web Shop", "a'b", "$(x)"])
def test_the_command_that_builds_again_is_safe_to_paste(name: str) -> None:
    """A name of a repository stays one word of the shell."""
    ref = f"refs/heads/{name}"
    row = SettledPush(0.0, "e", "123456789012", name, ref, "c" * 40, "built")
    words = ["asyncbuild", "build", name, "c" * 40, "--ref", ref, "--again"]
    assert shlex.split(again(row)) == words


def test_the_command_names_the_target() -> None:
    """Of several projects that a push started, the one of the row."""
    row = SettledPush(0.0, "e", "1", "web", "r", "c" * 40, "built", project="lint")
    assert again(row).endswith(" --again --project lint")
