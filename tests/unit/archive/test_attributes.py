"""What `.gitattributes` do to an archive: in doubt, more than they do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.archive.delta.planning.attributes import Effect, digest_of, effect_of, is_attributes

_FILE = 0o100644


@pytest.mark.parametrize(
    ("content", "effect"),
    [
        (b"", Effect.NONE),
        (
            b"* text=auto\n*.go text eol=lf\n*.png binary -diff\n*.pb.go linguist-generated",
            Effect.NONE,
        ),
        (b"* text=auto eol=lf\r\n", Effect.NONE),
        (b"*.bat eol=crlf", Effect.CONVERT),
        (b"*.bat text eol=CRLF", Effect.CONVERT),
        (b"* !eol", Effect.CONVERT),
        (b"*.c ident", Effect.CONVERT),
        (b"*.c -ident", Effect.CONVERT),
        (b"*.psd filter=lfs diff=lfs merge=lfs -text", Effect.CONVERT),
        (b"*.txt working-tree-encoding=UTF-16", Effect.CONVERT),
        (b"/tests export-ignore", Effect.CONVERT),
        (b"[attr]mine export-ignore", Effect.CONVERT),
        (b"version.go\texport-subst", Effect.SUBSTITUTE),
        (b"[attr]stamp export-subst\n*.v stamp", Effect.SUBSTITUTE),
        (b"*.c ident\nversion.go -export-subst", Effect.SUBSTITUTE),
        (b"# export-subst", Effect.SUBSTITUTE),
    ],
)
def test_the_effect_of_rules(content: bytes, effect: Effect) -> None:
    """Every attribute of gitattributes(5) that changes an entry, wherever its name stands."""
    assert effect is effect_of([_FILE], [content])
    assert effect is effect_of([_FILE] * 2, [b"* text\n", content])


def test_a_link_is_no_file_of_attributes() -> None:
    """What git makes of it differs between versions, so nothing is known."""
    assert Effect.UNKNOWN is effect_of([_FILE, 0o120000], [b"", b""])


def test_which_paths_are_attributes() -> None:
    """Files of that name in any directory, and whatever is below a directory of that name."""
    assert is_attributes(b".gitattributes")
    assert is_attributes(b"a/b/.gitattributes")
    assert is_attributes(b".gitattributes/file")
    assert not is_attributes(b"a.gitattributes")
    assert not is_attributes(b"a/.gitattributes.old")


_FILES = st.dictionaries(
    st.binary(min_size=1, max_size=8),
    st.tuples(st.sampled_from([_FILE, 0o100755]), st.just("a" * 40)),
)


@given(_FILES, _FILES)
def test_digests_are_equal_if_all_files_are(
    one: dict[bytes, tuple[int, str]], other: dict[bytes, tuple[int, str]]
) -> None:
    """In any order; another path, mode or blob makes another digest."""
    again = dict(reversed(one.items()))
    assert digest_of(one) == digest_of(again)
    assert (digest_of(one) == digest_of(other)) == (one == other)
