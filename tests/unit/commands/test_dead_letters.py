"""`dead-letters list` prints two lines for each dead letter, whatever it contains."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from support.status import COMMIT

from asyncbuild.commands import dead_letters
from asyncbuild.commands.dead_letter_queue import DeadLetter
from asyncbuild.domain.model import Change, Push
from asyncbuild.domain.repository import Repository


def _letter(name: str, ref: str, reason: str, attempts: str, *, is_push: bool) -> DeadLetter:
    push = Push(
        id="event",
        repository=Repository.of_codecommit("123456789012", "eu-west-1", name),
        ref=f"refs/heads/{ref}",
        commit=COMMIT,
        change=Change.UPDATED,
        time=datetime(2026, 11, 23, tzinfo=UTC),
    )
    return DeadLetter(
        id="e7873814-eef1-4c2f-8d3f-0a4d2b1c9e55",
        body="",
        group="g",
        receipt_handle="h",
        sent=datetime(2026, 11, 23, 4, 49, 5, tzinfo=UTC),
        reason=reason,
        kind="reject",
        attempts=attempts,
        pushes=(push,) if is_push else (),
    )


_LETTERS = st.lists(
    st.builds(
        _letter,
        st.text(min_size=1, max_size=100),
        st.text(min_size=1, max_size=100),
        st.text(max_size=400),
        st.sampled_from(["", "1", "3"]),
        is_push=st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@given(_LETTERS)
def test_a_dead_letter_takes_two_lines_of_80_columns(letters: list[DeadLetter]) -> None:
    """No line is wider than the terminal, none contains control codes.

    A line with the count ends the list.
    """
    lines = dead_letters.lines_of(letters, 80)
    assert len(lines) == 2 * len(letters) + 1
    assert all(cell_len(line) <= 80 and line.isprintable() for line in lines)
    assert lines[-1].startswith(f"{len(letters)} in all")
    assert all(line.startswith("e7873814-eef1  2026-11-23 04:49:05 UTC  ") for line in lines[:-1:2])


@pytest.mark.parametrize("width", [80, 300])
def test_the_lines_name_the_push_and_the_reason(width: int) -> None:
    """Both are printed whole where they fit."""
    reason = f"CodeBuild project web does not exist (create it, or correct it {'x' * 60})"
    lines = dead_letters.lines_of([_letter("web", "main", reason, "2", is_push=True)], width)
    assert lines[0] == "e7873814-eef1  2026-11-23 04:49:05 UTC  web main 0123456789"
    assert lines[1].startswith("    reject after 2 tries: CodeBuild project web does not exist")
    assert (reason in lines[1]) == (width == 300)
    assert lines[1].endswith("project web does not exist") == (width == 80)
    fetch = (
        "fetch https://git/web: git exited with 128: fatal: remote: repository not found" + " " * 9
    )
    lines = dead_letters.lines_of([_letter("web", "main", fetch, "1", is_push=True)], 80)
    assert lines[1].strip() == "reject: remote: repository not found"
