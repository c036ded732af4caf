"""Options of archives: accepted words, and a digest for each set of options."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.domain.archive_options import (
    WHOLE,
    ArchiveOptions,
    ExportAttributes,
    Lfs,
    Submodules,
    check_pathspec,
    check_subtree,
    parse_options,
    place_pathspecs,
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
    """Pathspec magic has no effect in it."""
    assert expected == check_subtree(given_)


_OUTSIDE = [
    *("", "/", "/etc", "..", "../x", "a/../b", "a/..", ".", "./a", "a//b", "a/./b"),
    *(".git", "a/.git/config", ".GIT/x", "a\nb", "a\0b", "a\x7f", "\udc80", "a" * 256, "ab/" * 400),
]


@pytest.mark.parametrize("path", _OUTSIDE)
def test_paths_that_leave_the_tree_are_refused(path: str) -> None:
    """Subtrees and pathspecs are refused, behind magic, too."""
    with pytest.raises(ValueError, match="such as"):
        check_subtree(path)
    for magic in ("", ":(exclude)", ":!", ":^:", ":(glob,icase)"):
        with pytest.raises(ValueError, match="such as"):
            check_pathspec(magic + path)


def test_an_exclamation_mark_alone_is_refused() -> None:
    """To git it is a plain name, which is hardly meant; exclusion is written in another way."""
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
def test_pathspecs_of_git_are_accepted(pathspec: str) -> None:
    """Their text is passed on unchanged."""
    assert pathspec == check_pathspec(pathspec)


@pytest.mark.parametrize(
    "pathspec",
    [
        *(":", ":/", ":/src", ":x", ":(top)src", ":(attr:export-ignore)", ":(prefix:3)x"),
        *(":(glob,literal)x", ":(exclude", ":!/x", ":!!../x"),
    ],
)
def test_other_magic_is_refused(pathspec: str) -> None:
    """Git would refuse it only in the middle of an upload."""
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
    """Neither the order of pathspecs nor a repeated one makes another archive."""

    def meaning(options: ArchiveOptions) -> object:
        words = options.subtree, options.export_attributes, options.submodules
        return *words, frozenset(options.paths)

    assert (meaning(one) == meaning(other)) == (one.digest == other.digest)
    assert (meaning(one) == meaning(WHOLE)) == (one.digest == "")


def test_a_fault_on_the_command_line_names_its_option() -> None:
    """The value is named, too."""
    with pytest.raises(ValueError, match=r"--subtree '\.\./x' has an empty part"):
        parse_options(subtree="../x", paths=(), ignore_export_attributes=False)
    with pytest.raises(ValueError, match=r"--path ':/' begins with a colon"):
        parse_options(subtree="", paths=(":/",), ignore_export_attributes=False)


def test_no_options_are_the_whole_archive() -> None:
    """Each option sets its own field; no option is on by default."""
    assert parse_options(subtree="", paths=(), ignore_export_attributes=False) == WHOLE
    asked = parse_options(
        subtree="a/", paths=("b/", "!c"), ignore_export_attributes=True, submodules=True, lfs=True
    )
    assert asked == ArchiveOptions(
        "a", ("b/", ":(exclude)c"), ExportAttributes.IGNORE, Submodules.INCLUDE, Lfs.CONTENT
    )


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("", "is empty"),
        ("/", "is empty"),
        ("/etc", "begins at the root of a file system"),
        ("a//b", "has an empty part, or . or .."),
        ("a/../b", "has an empty part, or . or .."),
        ("a/.Git/b", "leads into .git, which no tree has"),
        ("a\x1fb", "has a control character"),
        ("a\x7f", "has a control character"),
        ("\ud800", "is not Unicode text"),
        ("a\udfffb", "is not Unicode text"),
        ("ü" * 128, "is too long"),
        ("a/" * 512 + "b", "is too long"),
    ],
)
def test_a_faulty_path_is_named(path: str, fault: str) -> None:
    """Subtrees and pathspecs have the same faults."""
    with pytest.raises(ValueError, match=rf"^{re.escape(fault)}; name a directory"):
        check_subtree(path)
    with pytest.raises(ValueError, match=rf"^{re.escape(fault)}; write a pathspec"):
        check_pathspec(path)


@pytest.mark.parametrize("path", ["a" * 255, "ü" * 127 + "x", "a/" * 511 + "ab", "\ue000", "a b"])
def test_the_longest_paths_are_accepted(path: str) -> None:
    """255 bytes in a name and 1,024 characters in all."""
    assert check_subtree(path) == check_pathspec(path) == path


@pytest.mark.parametrize(
    ("pathspec", "fault"),
    [
        (":(top)x", "has the magic 'top'; there are exclude, glob, icase, literal"),
        (":(attr:a,glob,top)x", "has the magic 'attr:a, top'; there are exclude, glob, icase, "),
        (":(glob,literal)x", "cannot be both glob and literal; leave one out"),
        (":x", "begins with a colon, which is magic; write :(exclude)…"),
    ],
)
def test_faulty_magic_is_named(pathspec: str, fault: str) -> None:
    """The error lists the words that exist."""
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}"):
        check_pathspec(pathspec)


@pytest.mark.parametrize(
    ("subtree", "pathspecs", "placed"),
    [
        ("", ["a", ":!b"], ["a", ":!b"]),
        ("s", [], [":(literal)s"]),
        ("s", [":!b"], [":(literal)s", ":(exclude,prefix:2)s/b"]),
        ("s", ["a", ":!b"], [":(prefix:2)s/a", ":(exclude,prefix:2)s/b"]),
        ("s", [":!b", "a"], [":(exclude,prefix:2)s/b", ":(prefix:2)s/a"]),
        ("ü/t", [":(icase, glob)*.py"], [":(glob,icase,prefix:5)ü/t/*.py"]),
        ("s", ["!x", ":(literal,)y"], [":(exclude,prefix:2)s/x", ":(literal,prefix:2)s/y"]),
    ],
)
def test_pathspecs_of_a_subtree_begin_in_it(
    subtree: str, pathspecs: list[str], placed: list[str]
) -> None:
    """The prefix is counted in bytes; exclusions alone exclude from the subtree."""
    assert place_pathspecs(subtree, pathspecs) == placed


def test_digests_never_change() -> None:
    """Digests are in keys: archives made before an upgrade are found after it."""
    digests = [
        ArchiveOptions(subtree="a").digest,
        ArchiveOptions(paths=("b", "a", "b")).digest,
        ArchiveOptions(submodules=Submodules.INCLUDE).digest,
        ArchiveOptions(export_attributes=ExportAttributes.IGNORE).digest,
        ArchiveOptions(lfs=Lfs.CONTENT).digest,
    ]
    assert digests == [
        "6a856303cdb7",
        "b838605e465a",
        "d4377b56a77e",
        "c2bbc395272f",
        "c1107fc46aa8",
    ]
