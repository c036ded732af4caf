"""Lines of `git diff-tree`: the quick scan finds what parsing finds."""

from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.git.tree.changes import files_before, parse_changes

_MODES = st.sampled_from(["000000", "040000", "100644", "100664", "100755", "120000", "160000"])
_PATHS = st.binary(min_size=1, max_size=8).map(lambda path: path.replace(b"\0", b":"))


@given(st.lists(st.tuples(_MODES, _MODES, _PATHS)))
def test_previous_files_are_those_that_parsing_finds(told: list[tuple[str, str, bytes]]) -> None:
    """Regular files, programs and links that existed before; no directories, no submodules."""
    lines: list[bytes] = []
    for old, new, path in told:
        lines += [f":{old} {new} {'1' * 40} {'2' * 40} M".encode(), path]
    parsed = parse_changes(lines)
    found = [each.old.path for each in parsed if each.old and each.old.kind == "blob"]
    assert found == files_before(lines)
    assert len(told) == len(parsed)
