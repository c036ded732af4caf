"""Options of archives: which words are taken, and that other options are another archive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.domain.archive_options import (
    WHOLE,
    ArchiveOptions,
    ExportAttributes,
    Submodules,
    check_pathspec,
    check_subtree,
    parse_options,
)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("services/api", "services/api"),
        ("services/api/", "services/api"),
        ("-rf", "-rf"),
        (":(exclude)x", ":(exclude)x"),
        ("*", "*"),
        ("grüße/日本", "grüße/日本"),
        ("...", "..."),
    ],
)
def test_a_subtree_is_taken_literally(given_: str, expected: str) -> None:
    """Nothing in it is magic."""
    assert expected == check_subtree(given_)


_OUTSIDE = [
    *("", "/", "/etc", "..", "../x", "a/../b", "a/..", ".", "./a", "a//b", "a/./b"),
    *(".git", "a/.git/config", ".GIT/x", "a\nb", "a\0b", "a\x7f", "\udc80", "a" * 256, "ab/" * 400),
]


@pytest.mark.parametrize("path", _OUTSIDE)
def test_what_leads_out_of_the_tree_is_refused(path: str) -> None:
    """As a subtree and as a pathspec, and behind magic, too."""
    with pytest.raises(ValueError, match="such as"):
        check_subtree(path)
    for magic in ("", ":(exclude)", ":!", ":^:", ":(glob,icase)"):
        with pytest.raises(ValueError, match="such as"):
            check_pathspec(magic + path)


def test_an_exclamation_mark_excludes() -> None:
    """To git it is a plain name, which is hardly meant; that has another way to be said."""
    assert check_pathspec("!docs") == ":(exclude)docs"
    assert check_pathspec("!docs/") == ":(exclude)docs"
    assert check_pathspec(":(literal)!x") == ":(literal)!x"
    for wrong in ("!", "!/x", "!../x"):
        with pytest.raises(ValueError, match="such as"):
            check_pathspec(wrong)


@pytest.mark.parametrize(
    "pathspec",
    [
        *("src", "src/", "*.py", "-x", "--", "a b", "[ab]?", ":!docs", ":^docs", ":!:docs"),
        *(
            ":(exclude)docs",
            ":(glob)**/x",
            ":(literal)*",
            ":(literal):x",
            ":(icase, exclude)README",
        ),
    ],
)
def test_pathspecs_of_git(pathspec: str) -> None:
    """They are passed on as they are."""
    assert pathspec == check_pathspec(pathspec)


@pytest.mark.parametrize(
    "pathspec",
    [
        *(":", ":/", ":/src", ":x", ":(top)src", ":(attr:export-ignore)", ":(prefix:3)x"),
        *(":(glob,literal)x", ":(exclude", ":!/x", ":!!../x"),
    ],
)
def test_other_magic_is_refused(pathspec: str) -> None:
    """Not left to git, which would say so in the middle of an upload."""
    with pytest.raises(ValueError, match=r"magic|cannot be both|begins|empty"):
        check_pathspec(pathspec)


_OPTIONS = st.builds(
    ArchiveOptions,
    subtree=st.sampled_from(["", "a", "a/b"]),
    paths=st.lists(st.sampled_from(["a", "b", ":!a"])).map(tuple),
    export_attributes=st.sampled_from(ExportAttributes),
    submodules=st.sampled_from(Submodules),
)


@given(_OPTIONS, _OPTIONS)
def test_only_equal_archives_have_equal_digests(one: ArchiveOptions, other: ArchiveOptions) -> None:
    """The order of pathspecs, and saying one twice, makes no other archive."""

    def meaning(options: ArchiveOptions) -> object:
        words = options.subtree, options.export_attributes, options.submodules
        return *words, frozenset(options.paths)

    assert (meaning(one) == meaning(other)) == (one.digest == other.digest)
    assert (meaning(one) == meaning(WHOLE)) == (one.digest == "")


def test_a_fault_on_the_command_line_names_its_option() -> None:
    """And the value."""
    with pytest.raises(ValueError, match=r"--subtree '\.\./x' has an empty part"):
        parse_options(subtree="../x", paths=(), ignore_export_attributes=False)
    with pytest.raises(ValueError, match=r"--path ':/' begins with a colon"):
        parse_options(subtree="", paths=(":/",), ignore_export_attributes=False)
