"""Validity of ref names, compared with git itself.

`git check-ref-format` is asked for hundreds of names here, and for ten thousand with
`--hypothesis-profile=search`.
"""

import subprocess
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.refs import check_ref, is_ref_name

_EXAMPLES = 10_000 if settings.get_current_profile_name() == "search" else 300
# Characters that git's rules name, alone and where two rules meet.
_PIECES = st.sampled_from(
    [
        *("a", "v1", "refs", "heads", "HEAD", "é", "\udce9", "\ud83d\ude00", "-", "+", "!"),
        *(".", "..", "...", "/", "//", "@", "@{", "{", "}", ".lock", "lock", ".LOCK", "-x"),
        *("~", "^", ":", "?", "*", "[", "]", "\\", " ", "\t", "\n", "\x01", "\x1f", "\x7f", "\x80"),
    ]
)
_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_NAMES = st.builds(
    "{}{}".format,
    st.sampled_from(["", "refs/", "refs/heads/", "refs/tags/", "/", "HEAD/"]),
    st.lists(_PIECES | st.text(_CHARACTERS, max_size=3), max_size=8).map("".join),
)


def _legal(name: str) -> bool:
    raw = name.encode("utf-8", "surrogateescape")
    return subprocess.run([b"git", b"check-ref-format", raw], check=False).returncode == 0


def _is_argument(name: str) -> bool:
    """Return whether git can be given the name: it begins with no dash, and has no NUL."""
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return not name.startswith("-")


@settings(max_examples=_EXAMPLES)
@given(_NAMES.filter(_is_argument))
def test_names_are_judged_as_by_git(name: str) -> None:
    """Names that git accepts are accepted; names that git refuses are refused."""
    assert is_ref_name(name) == _legal(name)


@pytest.mark.parametrize(
    "name", ["".join(each) for length in range(1, 4) for each in product("a./@", repeat=length)]
)
def test_every_short_name_is_judged_as_by_git(name: str) -> None:
    """Dots, slashes and `@` in every order: where git's rules meet."""
    for ref in (name, f"refs/{name}", f"refs/{name}/x"):
        assert is_ref_name(ref) == _legal(ref), ref


def test_a_name_with_nul_is_refused() -> None:
    """NUL ends a string of git's."""
    assert not is_ref_name("refs/heads/a\0b")


@pytest.mark.parametrize(
    "ref",
    [
        *("", "main", "-main", "--upload-pack=x", "refs", "refs/", "refs/heads", "refs/heads/"),
        *("refs/heads/a..b", "refs/heads/a b", "refs/heads/a\nb", "refs/heads/a:b"),
        *("refs/heads/*", "refs/heads/a~1", "refs/heads/a^", "refs/heads/.a", "refs/heads/a.lock"),
        *("refs/heads/a//b", "refs/heads/a/", "refs/heads/@{u}", "refs/heads/a.", "+refs/heads/a"),
        *("/refs/heads/a", "refs/heads/\x00", "refs/heads/\ud800", "refs/heads/" + "x" * 1100),
        *("HEAD", "refs/heads/a\\b", "refs/heads/\x7f", "^refs/heads/a", None, 1, ["refs/heads/a"]),
    ],
)
def test_invalid_refs_are_rejected(ref: object) -> None:
    """Partial names, and names with another meaning in a refspec, are shown in ASCII."""
    with pytest.raises(Reject, match="ref") as caught:
        check_ref(ref)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "ref",
    [
        *("refs/heads/main", "refs/heads/-x", "refs/heads/fè/ü", "refs/tags/v1", "refs/heads/@"),
        *("refs/heads/v1./x", "refs/notes/a", "refs/heads/a.locked"),
    ],
)
def test_valid_refs_are_accepted(ref: str) -> None:
    """Slashes, dashes, letters of any language, dots before a slash."""
    assert check_ref(ref) == ref


def test_only_branches_and_tags_are_accepted() -> None:
    """Refs below other prefixes are rejected."""
    with pytest.raises(Reject, match="not below refs/heads/ or refs/tags/"):
        check_ref("refs/notes/a", below=("refs/heads/", "refs/tags/"))


@pytest.mark.parametrize(
    ("ref", "fault"),
    [
        ("main", "ref 'main' is not below refs/"),
        ("refs/heads", "ref 'refs/heads' is not a full ref name such as refs/heads/main"),
        ("refs/heads/a b", "ref 'refs/heads/a b' is not a name that git allows"),
        ("refs/heads/\ud800", r"ref 'refs/heads/\ud800' is not Unicode text"),
        ("refs/heads/" + "x" * 1_014, "ref 'refs/heads/xxx"),
    ],
)
def test_a_faulty_ref_is_named(ref: str, fault: str) -> None:
    """Its text is shown in ASCII."""
    with pytest.raises(Reject) as caught:
        check_ref(ref)
    assert caught.value.reason.startswith(fault)


def test_the_longest_ref_is_accepted() -> None:
    """The limit is 1,024 bytes, of which a letter may have two."""
    assert check_ref("refs/heads/" + "ü" * 506 + "x")
    with pytest.raises(Reject, match="is longer than 1024 bytes"):
        check_ref("refs/heads/" + "ü" * 507)
