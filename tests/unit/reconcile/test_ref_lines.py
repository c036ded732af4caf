"""Listings of refs: read in pieces, compared line by line, kept as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.domain.errors import Reject
from asyncbuild.reconcile.planning.ref_lines import (
    RefReader,
    are_ref_lines,
    count_refs,
    differences,
    iter_refs,
    replaced,
    without_tags,
)

IDS = ["a" * 40, "b" * 40, "c" * 64]
names = st.sampled_from(
    [f"refs/{kind}/{name}" for kind in ("heads", "tags") for name in ("a", "a-b", "a/b", "b", "ü")]
)
listings = st.dictionaries(names, st.sampled_from(IDS))


def read(output: bytes, *, tags: bool = True, size: int = 1_000) -> bytes:
    """Read an output in pieces of a size."""
    reader = RefReader(tags=tags)
    for begin in range(0, len(output), size):
        reader.feed(output[begin : begin + size])
    return reader.end()


def lines(refs: dict[str, str]) -> bytes:
    """Return refs as a server shows them, read."""
    return read("".join(f"{id_}\t{name}\n" for name, id_ in refs.items()).encode())


@given(listings, st.integers(1, 70))
def test_pieces_make_the_same_listing(refs: dict[str, str], size: int) -> None:
    """A line that two pieces share is one ref, not two damaged ones."""
    output = "".join(f"{id_}\t{name}\n" for name, id_ in refs.items()).encode()
    found = read(output, size=size)
    assert dict(iter_refs(found)) == refs
    assert are_ref_lines(found)
    assert count_refs(found) == len(refs)


@given(listings, listings)
def test_differences_are_those_of_two_dictionaries(
    old: dict[str, str], new: dict[str, str]
) -> None:
    """Each ref that differs is named once: a missed one is a push that is never found."""
    named = [
        (ref, old.get(ref, ""), new.get(ref, ""))
        for ref in sorted(old.keys() | new.keys(), key=str.encode)
        if old.get(ref) != new.get(ref)
    ]
    assert list(differences(lines(old), lines(new))) == named


@given(listings, st.dictionaries(names, st.sampled_from([*IDS, ""])))
def test_replaced_refs_are_those_of_a_dictionary(
    refs: dict[str, str], changes: dict[str, str]
) -> None:
    """A ref that waits keeps its old commit in the snapshot."""
    wanted = {name: id_ for name, id_ in (refs | changes).items() if id_}
    found = replaced(lines(refs), changes)
    assert dict(iter_refs(found)) == wanted
    assert are_ref_lines(found)


def test_other_refs_and_bad_names_are_left_out() -> None:
    """What no event could name never becomes a push (I11)."""
    shown = [
        f"{IDS[0]}\tHEAD",
        f"{IDS[0]}\trefs/heads/main",
        f"{IDS[1]}\trefs/pull/1/head",
        f"{IDS[1]}\trefs/tags/v1",
        f"{IDS[0]}\trefs/tags/v1^{{}}",
        f"{IDS[0]}\trefs/heads/a..b",
        f"{IDS[0]}\trefs/heads/" + "x" * 1_024,
        "abc\trefs/heads/short-id",
        "no tab",
        f"{IDS[0]}\trefs/heads/\udcff",
    ]
    output = "\n".join(shown).encode("utf-8", "surrogateescape") + b"\n"
    assert dict(iter_refs(read(output))) == {"refs/heads/main": IDS[0], "refs/tags/v1": IDS[1]}
    assert dict(iter_refs(read(output, tags=False))) == {"refs/heads/main": IDS[0]}
    assert without_tags(read(output)) == read(output, tags=False)
    for tags, peeled in ((True, {"refs/tags/v1": IDS[0]}), (False, {})):
        reader = RefReader(tags=tags)
        reader.feed(output)
        assert dict(iter_refs(reader.end_peeled())) == peeled


def test_a_name_that_comes_twice_is_kept_once() -> None:
    """A server that repeats itself leaves no snapshot that cannot be read."""
    shown = [(IDS[0], "refs/heads/b"), (IDS[0], "refs/heads/a"), (IDS[1], "refs/heads/b")]
    lines = read("".join(f"{id_}\t{name}\n" for id_, name in shown).encode())
    assert are_ref_lines(lines)
    assert list(iter_refs(lines)) == [("refs/heads/a", IDS[0]), ("refs/heads/b", IDS[1])]


def test_a_list_beyond_the_limit_is_refused() -> None:
    """A server cannot fill the memory of the service (I6)."""
    reader = RefReader(tags=False, bytes_most=100)
    reader.feed(b"x" * 100)
    with pytest.raises(Reject, match="longer than 100 bytes"):
        reader.feed(b"x")


@pytest.mark.parametrize(
    "damaged",
    [
        f"{IDS[0]} refs/heads/a".encode(),
        f"{IDS[0]} refs/heads/b\n{IDS[0]} refs/heads/a\n".encode(),
        f"{IDS[0]} refs/heads/a\n{IDS[0]} refs/heads/a\n".encode(),
        b"abc refs/heads/a\n",
        b"\n",
    ],
)
def test_damaged_lines_are_told(damaged: bytes) -> None:
    """Lines in another order would make every ref look new."""
    assert not are_ref_lines(damaged)
