"""Trees that can be archived with their `.gitattributes` as files; where in doubt, none."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.git.formats.gitattributes import (
    DOUBTFUL,
    TreeListing,
    are_readable,
    digest_of,
    holds_doubtful,
    parse_alike,
)

_BLOB = "1" * 40
_FINE = [
    b"a", b".gitignore", b".github/workflows/x.yml", b".gitmodules", b"a/.gitkeep", b".git-blame",
    b"...", b"..a", b"a.git/x", b"a b", b"\xff", "grüße/日本語".encode(), b"x~", b"~x",
]  # fmt: skip
_DOUBTFUL = [
    b"..", b".", b"../a", b"a/..", b"a/./b", b"/a", b"a//b", b"a/", b".git", b"a/.GIT/config",
    b".git ", b".git.", b".git:x", b"git~1", b"a/GIT~1", b"x\\..\\y", b"x\\.git", b".gitmodules ",
    b".g\xe2\x80\x8cit", b"\xef\xbb\xbf.git", b"GI7EBA~1",
]  # fmt: skip


def _line(path: bytes, mode: bytes = b"100644") -> bytes:
    return b"%s blob %s\t%s\0" % (mode, _BLOB.encode(), path)


def _change(path: bytes, modes: bytes = b"100644 100644") -> bytes:
    return b":%s %s %s M\0%s\0" % (modes, _BLOB.encode(), _BLOB.encode(), path)


def _listing(*lines: bytes, size: int = 10_000) -> TreeListing:
    listing, text = TreeListing(), b"".join(lines)
    for begin in range(0, len(text), size):
        listing.feed(text[begin : begin + size])
    return listing


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_attributes_files_are_found_in_a_listing(size: int) -> None:
    """The output may be cut anywhere."""
    lines = [_line(b"a"), _line(b".gitattributes"), _line(b"d/\n/.gitattributes", b"100755")]
    listing = _listing(*lines, _line(b"not.gitattributes"), size=size)
    assert listing.usable
    assert listing.files == {b".gitattributes": _BLOB, b"d/\n/.gitattributes": _BLOB}
    assert listing.paths == 4


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize("path", _FINE)
def test_ordinary_paths_are_accepted(path: bytes, size: int) -> None:
    """Trees and changes may contain them; links are accepted, too, unless git refuses them."""
    assert _listing(_line(b"a"), _line(path), _line(b"z"), size=size).usable
    assert {("k", "t")} == parse_alike(b"k t\n" + _change(path), [("k", "t")])
    assert (path != b".gitmodules") == _listing(_line(path, b"120000")).usable


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize("path", _DOUBTFUL)
def test_paths_that_git_may_refuse_are_not_used(path: bytes, size: int) -> None:
    """The paths may be anywhere in a tree or among changes."""
    assert not _listing(_line(b"a"), _line(path), _line(b"z"), size=size).usable
    assert not _listing(_line(b"d/" + path), size=size).usable
    for changes in (_change(path), _change(b"a") + _change(b"d/" + path) + _change(b"z")):
        assert set() == parse_alike(b"k t\n" + changes, [("k", "t")])


_WORDS = b"120000 ,.git,.GIT,modules,Modules,.gitmodules,\xe2\x80\x8c,\xe2,\xef\xbb\xbf".split(b",")
_pieces = st.sampled_from([*_WORDS, *(bytes([each]) for each in b"/\t\0\\.a-~1 :")])


_LINK = re.compile(rb"120000 [^\0]*\0?[^\0]*\.gitmodules", re.IGNORECASE)


@given(text=st.lists(_pieces, max_size=9).map(b"".join))
def test_the_quick_scan_finds_what_the_patterns_find(text: bytes) -> None:
    """Input is composed of pieces that matter to the patterns."""
    doubtful = DOUBTFUL.search(text) is not None or _LINK.search(text) is not None
    assert doubtful == holds_doubtful(text)


@pytest.mark.parametrize("piece", _WORDS + _FINE + _DOUBTFUL)
def test_a_long_name_is_scanned_in_linear_time(piece: bytes) -> None:
    """A name of a megabyte that repeats the searched text, or half of it, is scanned in time.

    A scan that starts again at every position takes hours: longer than a test may.
    """
    for name in (piece * (2**20 // len(piece)), (piece + b" ") * (2**20 // (len(piece) + 1))):
        listing = _listing(_line(name), size=2**21)
        assert listing.paths == 1 + name.count(b"\0")


@pytest.mark.parametrize(
    "lines",
    [
        _line(b".gitattributes", b"120000"),
        _line(b".gitattributes", b"160000"),
        _line(b".gitattributes/x"),
        _line(b".gitattributes") * 2,
    ],
)
def test_odd_attributes_are_not_used(lines: bytes) -> None:
    """Links, submodules, directories, the same path twice."""
    assert not _listing(lines).usable


@pytest.mark.parametrize("path", [b".gitattributes", b"a/.gitattributes", b".gitattributes/x"])
def test_trees_with_other_attributes_are_not_alike(path: bytes) -> None:
    """Any change of an attributes file counts."""
    assert set() == parse_alike(b"k t\n" + _change(b"a") + _change(path), [("k", "t")])


def test_each_pair_of_trees_is_distinguished() -> None:
    """No change, a change, an unknown tree, other attributes, a path like a header."""
    answer = b"k1 same\n" + b"k1 small\n" + _change(b"a") + b"k2 other\n"
    answer += _change(b".gitattributes") + b"k2 last\n" + _change(b"k2 never\n")
    asked = [("k1", "same"), ("k1", "small"), ("k9", "gone"), ("k2", "other"), ("k2", "last")]
    expected = {("k1", "same"), ("k1", "small"), ("k2", "last")}
    assert expected == parse_alike(answer, [*asked, ("k2", "never")])


def test_a_link_at_gitmodules_is_not_used() -> None:
    """Git refuses it; a file there is fine, even after another link."""
    assert set() == parse_alike(
        b"k t\n" + _change(b"a/.gitmodules", b"100644 120000"), [("k", "t")]
    )
    assert {("k", "t")} == parse_alike(b"k t\n" + _change(b".gitmodules"), [("k", "t")])


def test_contents_that_git_reads_in_two_ways_are_refused() -> None:
    """Git skips a byte order mark in a file only, and stops at a zero byte in a blob only."""
    assert are_readable([b"", b"* text\r\n"])
    assert not are_readable([b"* text\n", b"* t\0ext"])
    assert not are_readable([b"* text\n", b"\xef\xbb\xbf* text"])


_files = st.dictionaries(st.binary(max_size=5), st.binary(max_size=5), max_size=3)


@given(one=_files, other=_files, subtree=st.sampled_from(["", "a"]))
def test_only_equal_files_have_equal_digests(
    one: dict[bytes, bytes], other: dict[bytes, bytes], subtree: str
) -> None:
    """The order of files does not matter."""
    turned = dict(reversed(one.items()))
    assert digest_of(one, subtree) == digest_of(turned, subtree)
    assert (one == other) == (digest_of(one, subtree) == digest_of(other, subtree))
    assert digest_of(one, "a") != digest_of(one, "b")
