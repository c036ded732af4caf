"""Answers of a git that stays: taken only if nothing speaks against them."""

from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha1, sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.git.formats.batch_command import (
    QUESTION_BYTES_MOST,
    Asks,
    BatchAnswers,
    NotUnderstoodError,
    ObjectAnswer,
    ObjectQuestion,
    is_askable,
    pack_rounds,
)
from asyncbuild.git.formats.cat_file import ObjectHead

_A, _B = sha1(b"a").hexdigest(), sha256(b"b").hexdigest()  # noqa: S324 - ids of git
_CONTENTS = st.binary(max_size=40) | st.sampled_from(
    [b"\n", b"x missing\n", f"{_A} blob 3\n".encode()]
)
_KINDS = st.sampled_from(["blob", "tree", "tag", "commit"])


@st.composite
def _told(draw: st.DrawFn) -> tuple[ObjectQuestion, ObjectAnswer, bytes]:
    """Return a question, its answer, and that answer as git writes it."""
    asks = draw(st.sampled_from(list(Asks)))
    id_ = draw(st.sampled_from([_A, _B]))
    suffix = draw(st.sampled_from(["", "^{commit}", ":a dir/b"]))
    name = f"{id_}{suffix}".encode()
    if draw(st.booleans()):
        return ObjectQuestion(asks, name), ObjectAnswer(None, b""), name + b" missing\n"
    kind = "commit" if suffix == "^{commit}" else draw(_KINDS)
    content = draw(_CONTENTS)
    head = f"{id_} {kind} {len(content)}\n".encode()
    answer = ObjectAnswer(
        ObjectHead(id_, kind, len(content)), content if asks is Asks.CONTENTS else b""
    )
    return ObjectQuestion(asks, name), answer, head + (content + b"\n") * (asks is Asks.CONTENTS)


@given(st.lists(_told(), min_size=1), st.integers(1, 30))
def test_answers_are_those_that_git_writes(
    told: Sequence[tuple[ObjectQuestion, ObjectAnswer, bytes]], piece_bytes: int
) -> None:
    """Wherever the pipe cuts them, and whatever contents look like."""
    stream = b"".join(written for _, _, written in told)
    parser = BatchAnswers([question for question, _, _ in told], len(stream))
    done = [
        parser.feed(stream[begin : begin + piece_bytes])
        for begin in range(0, len(stream), piece_bytes)
    ]
    assert parser.answers == [answer for _, answer, _ in told]
    assert done == [*[False] * (len(done) - 1), True]


@given(st.lists(_told(), min_size=1), st.integers(0, 200), st.integers(0, 255))
def test_a_wrong_byte_never_moves_an_answer_to_another_question(
    told: Sequence[tuple[ObjectQuestion, ObjectAnswer, bytes]], at: int, byte: int
) -> None:
    """Each answer is the right one, one about the same object, or none; there are never more."""
    stream = bytearray(b"".join(written for _, _, written in told))
    stream[at % len(stream)] = byte
    questions = [question for question, _, _ in told]
    parser = BatchAnswers(questions, len(stream))
    with suppress(NotUnderstoodError):
        parser.feed(bytes(stream))
    assert len(parser.answers) <= len(questions)
    for question, answer in zip(questions, parser.answers, strict=False):
        if answer.head is not None and b":" not in question.name and b"^" not in question.name:
            assert answer.head.id.encode() == question.name


@pytest.mark.parametrize(
    ("name", "output"),
    [
        (_A, f"{_B} blob 1\n"),  # another object
        (_A, f"{_A[:-1]}0 blob 1\n"),
        (_A, f"{_B} missing\n"),
        (_A, f"{_A} missing\n{_A} missing\n"),  # one answer too many
        (_A, f"{_A} blob\n"),
        (_A, f"{_A} blob -1\n"),
        (_A, f"{_A} blub 1\n"),
        (_A, f"{_A} ambiguous\n"),
        (_A, f"{_A} submodule\n"),
        (_A, "fatal: not a git repository\n"),
        (_A, "\n"),
        (_A, "x" * 300),
        (f"{_A}^{{commit}}", f"{_A} blob 1\n"),
        (f"{_A}^{{commit}}", f"{_B} commit 1\n"),
    ],
)
def test_what_is_no_answer_is_refused(name: str, output: str) -> None:
    """The git is out of step, or not the one that it should be."""
    parser = BatchAnswers([ObjectQuestion(Asks.INFO, name.encode())], 0)
    with pytest.raises(NotUnderstoodError):
        parser.feed(output.encode())


def test_a_content_is_refused_before_it_comes() -> None:
    """Memory is bounded by what the caller takes (I6)."""
    parser = BatchAnswers([ObjectQuestion(Asks.CONTENTS, _A.encode())] * 2, 5)
    assert not parser.feed(f"{_A} blob 3\nabc\n".encode())
    with pytest.raises(NotUnderstoodError, match="3 bytes"):
        parser.feed(f"{_A} blob 3\n".encode())


def test_a_content_that_goes_on_is_refused() -> None:
    """Its head and its length contradict each other."""
    parser = BatchAnswers([ObjectQuestion(Asks.CONTENTS, _A.encode())], 5)
    with pytest.raises(NotUnderstoodError, match="longer"):
        parser.feed(f"{_A} blob 3\nabcd\n".encode())


@pytest.mark.parametrize("name", [b"", b"a\nb", b"a\rb", b"a\r", b"a\0b", b"a" * 3000])
def test_a_name_that_is_no_line_is_not_asked(name: bytes) -> None:
    """One question must not become two, or another (I11)."""
    assert not is_askable(ObjectQuestion(Asks.INFO, name))
    with pytest.raises(ValueError, match="cannot be asked"):
        pack_rounds([ObjectQuestion(Asks.INFO, name)])


@given(st.lists(st.binary(min_size=1, max_size=300)))
def test_rounds_fit_into_an_empty_pipe(names: Sequence[bytes]) -> None:
    """More would wait for git, while git waits for its reader."""
    asked = [ObjectQuestion(Asks.INFO, name) for name in names]
    asked = [each for each in asked if is_askable(each)]
    rounds = pack_rounds(asked)
    assert [each for _, questions in rounds for each in questions] == asked
    for packed, questions in rounds:
        assert len(packed) <= QUESTION_BYTES_MOST
        lines = [b"info " + each.name for each in questions]
        assert packed == b"".join(line + b"\n" for line in [*lines, b"flush"])
