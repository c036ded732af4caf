"""Independent readers find in our archives what `tar` finds in git's (I9).

A reader that is missing is a failure, not a skip: without it nothing would be proved.
"""

import hashlib
import os
import stat
import subprocess
import zipfile
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from support.odd_trees import make_repository, odd_tree, read_tar
from support.zips import PART_BYTES, make_zip

from asyncbuild.zip.feeder import BLOCK_BYTES
from asyncbuild.zip.shared_memory import WHOLE_BYTES

pytestmark = pytest.mark.timeout(120)

_LIMITS = [1, 512, 10_240, WHOLE_BYTES, WHOLE_BYTES + BLOCK_BYTES, 2 * BLOCK_BYTES, PART_BYTES]
_ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}

# Names as libarchive reads them: it takes the first for a drive and the second for a folder, and
# composes the letters of the third.
_RENAMED_BY_BSDTAR = {b"a:b", b"a\\b", "combining-u\u0308".encode()}
_NAMES_OF_BSDTAR = {b"a", b"b", b"a/b", "combining-\u00fc".encode()}


@dataclass(frozen=True)
class Node:
    """One path of an extracted tree."""

    kind: str  # file, link or directory
    mode: int
    digest: str


Tree = dict[bytes, Node]


@dataclass(frozen=True)
class Archive:
    """Our archive of a tree, and the tree as `tar` extracts git's."""

    path: Path
    expected: Tree


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Return an archive of everything that git can store, made by the engine."""
    folder = tmp_path_factory.mktemp("fidelity")
    tar = read_tar(make_repository(folder / "odd.git", odd_tree(_LIMITS)))
    expected = folder / "expected"
    expected.mkdir()
    _run(["tar", "x", "--no-same-permissions", "-C", str(expected)], stdin=tar)
    path = folder / "archive.zip"
    path.write_bytes(anyio.run(_zip_of, tar))
    return Archive(path, _tree_of(expected))


async def _zip_of(tar: bytes) -> bytes:
    chunks = (tar[begin : begin + 300_000] for begin in range(0, len(tar), 300_000))
    return (await make_zip(chunks))[0]


def _run(command: list[str], *, stdin: bytes | None = None, cwd: Path | None = None) -> bytes:
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        env=_ENVIRONMENT,
        cwd=cwd,
        umask=0o022,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:].decode(errors="replace")
    return done.stdout


def _tree_of(folder: Path) -> Tree:
    tree: Tree = {}
    root = os.fsencode(folder)
    for parent, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = os.path.join(parent, name)  # noqa: PTH118 - raw bytes
            tree[path[len(root) + 1 :]] = _node_of(path)
    return tree


def _node_of(path: bytes) -> Node:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return Node("link", 0, _digest(os.readlink(path)))  # noqa: PTH115 - raw bytes
    if stat.S_ISDIR(status.st_mode):
        return Node("directory", stat.S_IMODE(status.st_mode), "")
    with open(path, "rb") as file:  # noqa: PTH123 - raw bytes
        return Node("file", stat.S_IMODE(status.st_mode), _digest(file.read()))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _assert_same(expected: Tree, found: Tree) -> None:
    missing = sorted(expected.keys() - found.keys())[:5]
    surplus = sorted(found.keys() - expected.keys())[:5]
    assert (missing, surplus) == ([], [])
    different = [name for name, node in expected.items() if found[name] != node]
    assert [(name, expected[name], found[name]) for name in different[:5]] == []


def _without(tree: Tree, names: AbstractSet[bytes]) -> Tree:
    return {name: node for name, node in tree.items() if name not in names}


def _without_modes(tree: Tree) -> Tree:
    """Return the tree as seen by a reader without the directory: links are files with a target."""
    return {
        name: Node("directory" if node.kind == "directory" else "file", 0, node.digest)
        for name, node in tree.items()
    }


def test_info_zip_restores_everything(archive: Archive, tmp_path: Path) -> None:
    """`unzip` restores names, contents, modes, links and empty directories."""
    _run(["unzip", "-q", "-^", str(archive.path), "-d", str(tmp_path)])
    _assert_same(archive.expected, _tree_of(tmp_path))


def test_bsdtar_restores_everything(archive: Archive, tmp_path: Path) -> None:
    """libarchive, able to seek, restores everything that it does not rename."""
    _run(["bsdtar", "-x", "--no-same-permissions", "-f", str(archive.path), "-C", str(tmp_path)])
    expected = _without(archive.expected, _RENAMED_BY_BSDTAR)
    found = _without(_tree_of(tmp_path), _NAMES_OF_BSDTAR)
    _assert_same(expected, found)


def test_bsdtar_reads_from_a_pipe(archive: Archive, tmp_path: Path) -> None:
    """libarchive, reading from front to back, restores names and contents."""
    _run(["bsdtar", "-x", "-f", "-", "-C", str(tmp_path)], stdin=archive.path.read_bytes())
    expected = _without(archive.expected, _RENAMED_BY_BSDTAR)
    found = _without(_tree_of(tmp_path), _NAMES_OF_BSDTAR)
    _assert_same(_without_modes(expected), _without_modes(found))


def test_seven_zip_restores_all_but_outside_links(archive: Archive, tmp_path: Path) -> None:
    """`7z` refuses to create links that lead out of a folder."""
    _run(["7z", "x", "-y", "-x!links", f"-o{tmp_path}", str(archive.path)])
    links = {name for name in archive.expected if name.partition(b"/")[0] == b"links"}
    _assert_same(_without(archive.expected, links), _tree_of(tmp_path))


def test_seven_zip_checks_every_entry(archive: Archive) -> None:
    """`7z t` finds no fault in any entry, links included."""
    assert b"Everything is Ok" in _run(["7z", "t", str(archive.path)])


def test_zipfile_reads_everything(archive: Archive) -> None:
    """Python's zipfile sees raw names, modes and contents, and every entry's CRC is correct."""
    found: Tree = {}
    with zipfile.ZipFile(archive.path) as reader:
        assert reader.testzip() is None
        for info in reader.infolist():
            raw = info.filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")
            mode = info.external_attr >> 16
            kind = {stat.S_IFLNK: "link", stat.S_IFDIR: "directory"}.get(stat.S_IFMT(mode), "file")
            digest = "" if kind == "directory" else _digest(reader.read(info))
            modes = 0 if kind == "link" else stat.S_IMODE(mode) & ~0o022
            found[raw.removesuffix(b"/")] = Node(kind, modes, digest)
    _assert_same(archive.expected, found)


@pytest.mark.parametrize("way", ["seek", "stream"])
def test_java_reads_everything(archive: Archive, way: str) -> None:
    """java.util.zip reads every entry, by ZipFile as well as by ZipInputStream."""
    source = Path(__file__).parents[2] / "support" / "ReadZip.java"
    lines = _run(["java", "-Xshare:auto", str(source), way, str(archive.path)]).split(b"\n")
    found = dict(_parse_line(line) for line in lines if line)
    expected = {
        _java_name(name + (b"/" if node.kind == "directory" else b"")): node.digest or _digest(b"")
        for name, node in archive.expected.items()
    }
    assert expected == found


def _parse_line(line: bytes) -> tuple[str, str]:
    name, digest = line.decode().split(" ")
    return bytes.fromhex(name).decode(), digest


def _java_name(raw: bytes) -> str:
    """Return the name as Java has it.

    UTF-8 if flagged, otherwise Latin-1, which changes no byte.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def test_every_entry_has_the_commits_time(archive: Archive) -> None:
    """Times are in UTC."""
    with zipfile.ZipFile(archive.path) as reader:
        assert {info.date_time for info in reader.infolist()} == {(2023, 11, 14, 22, 13, 20)}
