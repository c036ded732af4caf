"""Verification in the demo and the harness: finds each kind of fault, and no other."""

import io
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.local.expected_tree import Entry, ExpectedTree, blob_id
from asyncbuild.local.servers.journal import AcceptedStart
from asyncbuild.local.verify import Expects, Findings, Pushed, compare, iter_differences


def pushed(number: int, *, group: str = "g", expects: Expects = Expects.BUILD) -> Pushed:
    """Push `number` of the repository of `group`."""
    return Pushed(
        id=f"e{number}",
        group=group,
        repository=f"repository-{group}",
        ref="refs/heads/main",
        commit=f"{number:040x}",
        directory=Path("/nowhere"),
        time=float(number),
        expects=expects,
        key=f"{number}.zip",
    )


def started(push: Pushed, *, project: str = "p", **variables: str) -> AcceptedStart:
    """The StartBuild of `push` as it should be, but for `variables`."""
    named = {
        "EVENT_ID": push.id,
        "COMMIT_ID": str(push.commit),
        "REF": push.ref,
        "REPOSITORY_NAME": push.repository,
        **variables,
    }
    request = {
        "projectName": project,
        "environmentVariablesOverride": [{"name": n, "value": v} for n, v in named.items()],
    }
    return AcceptedStart(push.time, f"{project}:{push.id}", 1, request)


PUSHES = [pushed(number, group="ab"[number % 2]) for number in range(8)]


def kinds(findings: Findings) -> dict[str, int]:
    """The number of faults of each kind that has any."""
    counts = {
        "missing": len(findings.missing),
        "duplicated": len(findings.duplicated),
        "out_of_order": len(findings.out_of_order),
        "unexpected": len(findings.unexpected),
        "wrong_content": len(findings.wrong_content),
    }
    assert sum(counts.values()) == len(findings.faults)
    return {kind: count for kind, count in counts.items() if count}


class TestCompare:
    """Builds against pushes."""

    def test_finds_nothing_when_all_is_well(self) -> None:
        """Every push once, in order: no fault, all counted."""
        findings = compare(PUSHES, [started(push) for push in PUSHES])
        assert kinds(findings) == {}
        assert (findings.pushes, findings.built) == (8, 8)

    @given(st.permutations(PUSHES))
    def test_judges_order_by_group_alone(self, order: list[Pushed]) -> None:
        """Groups may overtake each other; inside one, a build is late unless all are in order."""
        findings = compare(PUSHES, [started(push) for push in order])
        lanes = [[push for push in order if push.group == group] for group in "ab"]
        in_order = all(lane == sorted(lane, key=lambda push: push.time) for lane in lanes)
        assert in_order == (findings.out_of_order == [])
        assert kinds(findings).keys() <= {"out_of_order"}

    @given(st.sets(st.sampled_from(PUSHES)))
    def test_misses_what_was_not_built(self, left_out: set[Pushed]) -> None:
        """Each push without a build is missing, and that disturbs no order."""
        findings = compare(PUSHES, [started(push) for push in PUSHES if push not in left_out])
        assert kinds(findings) == ({"missing": len(left_out)} if left_out else {})
        assert findings.built == len(PUSHES) - len(left_out)

    @given(st.sampled_from(PUSHES), st.integers(0, 8))
    def test_finds_a_second_build(self, twice: Pushed, place: int) -> None:
        """Wherever the second build of a push comes, one of the two is a double."""
        builds = [started(push) for push in PUSHES]
        builds.insert(place, started(twice))
        assert compare(PUSHES, builds).duplicated != []

    def test_takes_another_project_for_another_build(self) -> None:
        """A push may have several targets; each is built once and in order."""
        builds = [started(push, project=project) for push in PUSHES for project in ("p", "q")]
        assert kinds(compare(PUSHES, builds)) == {}

    @pytest.mark.parametrize("expects", [Expects.UPLOAD, Expects.NOTHING])
    def test_finds_an_unexpected_build(self, expects: Expects) -> None:
        """A push that must not be built is unexpected when it is."""
        push = pushed(1, expects=expects)
        assert kinds(compare([push], [started(push)])) == {"unexpected": 1}
        assert kinds(compare([push], [])) == {}

    def test_finds_a_build_of_no_push(self) -> None:
        """A build with an id that was never sent, or with none, is unexpected."""
        assert kinds(compare([], [started(pushed(1))])) == {"unexpected": 1}
        bare = AcceptedStart(0.0, "p:1", 1, {"projectName": "p"})
        assert kinds(compare([], [bare])) == {"unexpected": 1}

    @pytest.mark.parametrize("name", ["COMMIT_ID", "REF", "REPOSITORY_NAME"])
    def test_finds_a_build_with_wrong_variables(self, name: str) -> None:
        """Variables that name another push are wrong, and the fault says how."""
        findings = compare(PUSHES[:1], [started(PUSHES[0], **{name: "other"})])
        assert kinds(findings) == {"wrong_content": 1}
        assert name in findings.wrong_content[0]


CONTENTS: dict[str, tuple[int, bytes]] = {
    "dir/": (stat.S_IFDIR | 0o755, b""),
    "dir/a.txt": (stat.S_IFREG | 0o644, b"text\n"),
    "dir/run.sh": (stat.S_IFREG | 0o755, b"#!/bin/sh\n"),
    "dir/link": (stat.S_IFLNK | 0o777, b"a.txt"),
    "größe": (stat.S_IFREG | 0o644, b""),
    "submodule/": (stat.S_IFDIR | 0o755, b""),
}
TREE = ExpectedTree(
    entries={
        b"dir": Entry("directory"),
        b"dir/a.txt": Entry("file", blob_id([b"text\n"], 5)),
        b"dir/run.sh": Entry("executable", blob_id([b"#!/bin/", b"sh\n"], 10)),
        b"dir/link": Entry("link", blob_id([b"a.txt"], 5)),
        "größe".encode(): Entry("file", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
        b"submodule": Entry("directory"),
    },
    filled=frozenset({b"dir"}),
)


def zipped(contents: dict[str, tuple[int, bytes]]) -> io.BytesIO:
    """A zip with these names, modes and contents."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, (mode, content) in contents.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            archive.writestr(member, content)
    return file


class TestDifferences:
    """A zip against the tree it was made of."""

    def test_are_none_when_it_holds_the_tree(self) -> None:
        """Names, modes, links, empty directories and contents agree."""
        assert list(iter_differences(zipped(CONTENTS), TREE)) == []

    def test_leave_out_directories_that_hold_something(self) -> None:
        """Their files imply them; an empty one has to be named."""
        implied = {name: each for name, each in CONTENTS.items() if name != "dir/"}
        assert list(iter_differences(zipped(implied), TREE)) == []
        without = {name: each for name, each in CONTENTS.items() if name != "submodule/"}
        assert list(iter_differences(zipped(without), TREE)) == ["submodule is not there"]

    @pytest.mark.parametrize(
        ("name", "wrong", "fault"),
        [
            ("dir/a.txt", None, "dir/a.txt is not there"),
            ("größe", None, "größe is not there"),
            ("dir/a.txt", (stat.S_IFREG | 0o644, b"Text\n"), "dir/a.txt has other content"),
            ("dir/run.sh", (stat.S_IFREG | 0o644, b"#!/bin/sh\n"), "is file instead of executable"),
            ("dir/a.txt", (stat.S_IFREG | 0o755, b"text\n"), "is executable instead of file"),
            ("dir/link", (stat.S_IFREG | 0o644, b"a.txt"), "is file instead of link"),
            ("dir/link", (stat.S_IFLNK | 0o777, b"b.txt"), "dir/link has other content"),
            ("more", (stat.S_IFREG | 0o644, b""), "more is there and should not be"),
            ("empty/", (stat.S_IFDIR | 0o755, b""), "empty is there and should not be"),
        ],
    )
    def test_name_what_is_wrong(
        self, name: str, wrong: tuple[int, bytes] | None, fault: str
    ) -> None:
        """Each single difference is found, and nothing else is."""
        changed = {**CONTENTS, **({name: wrong} if wrong else {})}
        if wrong is None:
            del changed[name]
        (difference,) = iter_differences(zipped(changed), TREE)
        assert fault in difference

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_find_an_entry_that_comes_twice(self) -> None:
        """Two entries of one name are a fault, equal or not."""
        file = zipped(CONTENTS)
        with zipfile.ZipFile(file, "a") as archive:
            member = zipfile.ZipInfo("dir/a.txt")
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, b"text\n")
        assert list(iter_differences(file, TREE)) == ["dir/a.txt is there twice"]

    @pytest.mark.parametrize(
        "breaking",
        [
            lambda content: content[:0],
            lambda content: content[: len(content) // 2],
            lambda content: content.replace(b"text\n", b"Text\n"),
        ],
        ids=["empty", "cut short", "bytes changed"],
    )
    def test_say_when_it_cannot_be_read(self, breaking: Callable[[bytes], bytes]) -> None:
        """A zip that is none, or whose checksum is wrong, is one fault."""
        file = io.BytesIO(breaking(zipped(CONTENTS).getvalue()))
        (difference,) = iter_differences(file, TREE)
        assert difference.startswith("no zip that can be read")
