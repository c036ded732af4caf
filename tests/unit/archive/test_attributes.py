"""Effect of `.gitattributes` on an archive; where in doubt, a larger effect than the real one."""

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
def test_each_attribute_has_its_effect_wherever_it_is_written(
    content: bytes, effect: Effect
) -> None:
    """Attributes of gitattributes(5) that change an entry are found anywhere in a file."""
    assert effect is effect_of([_FILE], [content])
    assert effect is effect_of([_FILE] * 2, [b"* text\n", content])


def test_the_effect_of_a_link_named_gitattributes_is_unknown() -> None:
    """Git versions differ in how they treat such a link, so its effect is UNKNOWN."""
    assert Effect.UNKNOWN is effect_of([_FILE, 0o120000], [b"", b""])


def test_attributes_files_are_found_in_any_directory() -> None:
    """Files of that name count in any directory, as do paths below a directory of that name."""
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
    """Equal sets of files have equal digests, in any order.

    Another path, mode or blob changes the digest.
    """
    again = dict(reversed(one.items()))
    assert digest_of(one) == digest_of(again)
    assert (digest_of(one) == digest_of(other)) == (one == other)
