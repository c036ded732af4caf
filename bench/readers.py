"""Contents of an archive as every reader of zips finds them, compared with git's.

Each reader gives names with kind, executable bit and SHA-256 of the content (of a link: its
target). What a reader cannot tell is left out of the comparison, and nothing else:

    bsdtar from a pipe   sees no modes: they are in the directory, which comes last; links are files
    java                 the same, both ways
    7z                   makes no links that lead out of a folder, so links are left to the others
"""

import hashlib
import os
import stat
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

_HERE = Path(__file__).parent
_JAVA_SOURCE = _HERE.parent / "tests" / "support" / "ReadZip.java"
_ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}


class Node(NamedTuple):
    """Kind and digest of a path: file, program, link or directory."""

    kind: str
    digest: str = ""


Tree = dict[bytes, Node]


def tree_of_commit(repository: Path, commit: str) -> Tree:
    """Return the tree that `git archive` writes."""
    command = ["git", "--git-dir", str(repository), "archive", "--format=tar", commit]
    tree: Tree = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE) as git:
        with tarfile.open(fileobj=git.stdout, mode="r|", encoding="utf-8") as tar:
            for each in tar:
                tree[os.fsencode(each.name)] = _node_of_tar(tar, each)
        if git.wait():
            raise SystemExit(f"git archive of {commit} failed")
    return tree


def _node_of_tar(tar: tarfile.TarFile, each: tarfile.TarInfo) -> Node:
    if each.isdir():
        return Node("directory")
    if each.issym():
        return Node("link", _digest(os.fsencode(each.linkname)))
    file = tar.extractfile(each)
    assert file is not None
    return Node("program" if each.mode & 0o100 else "file", _digest(file.read()))


class Readers:
    """All readers; files extracted go to `scratch`, which should be in memory."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        subprocess.run(["javac", "-d", str(scratch), str(_JAVA_SOURCE)], check=True)

    def check(self, archive: Path, expected: Tree, *, extract: bool = True) -> None:
        """Let every reader read `archive`.

        Python and Java compare entry by entry. The others write all contents into a pipe, in the
        archive's order, and with `extract` into files, which is slower.

        Raises:
            SystemExit: One of them finds anything else than `expected`, or finds fault.
        """
        whole = self._python(archive, expected)
        ways = [partial(self._java, "seek"), partial(self._java, "stream"), self._piped(whole)]
        if extract:
            ways += [self._unzip, self._seven_zip, self._bsdtar, self._bsdtar_pipe]
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(way, archive, expected) for way in ways]:
                done.result()

    def _python(self, archive: Path, expected: Tree) -> "_Whole":
        found: Tree = {}
        whole = _Whole()
        with zipfile.ZipFile(archive) as opened:
            for each in opened.infolist():
                name = each.filename.encode("utf-8" if each.flag_bits & 0x800 else "cp437")
                mode = each.external_attr >> 16
                content = opened.read(each)
                if name.rstrip(b"/") in found:
                    raise SystemExit(f"{archive} has {name!r} twice")
                found[name.rstrip(b"/")] = _node(mode, content)
                whole.add(mode, content)
        _compare("python", expected, found)
        return whole

    def _piped(self, whole: "_Whole") -> Callable[[Path, Tree], None]:
        """Return a check of all contents, one after the other."""

        def check(archive: Path, _: Tree) -> None:
            path = str(archive)
            for command, stdin, digest in (
                (["unzip", "-p", path], None, whole.all.hexdigest()),
                (["7z", "x", "-so", "-bd", path], None, whole.all.hexdigest()),
                (["bsdtar", "-xOf", path], None, whole.without_links.hexdigest()),
                (["bsdtar", "-xOf", "-"], archive, whole.all.hexdigest()),
            ):
                if _digest(_run(command, stdin=stdin)) != digest:
                    raise SystemExit(f"{command} gives other contents than git")

        return check

    def _unzip(self, archive: Path, expected: Tree) -> None:
        with self._extracted(["unzip", "-q", "-^", str(archive), "-d", "{}"]) as found:
            _compare("unzip", expected, found)

    def _seven_zip(self, archive: Path, expected: Tree) -> None:
        links = {name for name, node in expected.items() if node.kind == "link"}
        with tempfile.NamedTemporaryFile(dir=self._scratch) as listed:
            listed.write(b"".join(name + b"\n" for name in sorted(links)))
            listed.flush()
            without = [f"-x@{listed.name}"] if links else []
            command = ["7z", "x", "-y", "-bd", *without, "-o{}", str(archive)]
            with self._extracted(command) as found:
                _compare("7z", _without(expected, links), found)

    def _bsdtar(self, archive: Path, expected: Tree) -> None:
        command = ["bsdtar", "-x", "--no-same-permissions", "-f", str(archive), "-C", "{}"]
        with self._extracted(command) as found:
            _compare("bsdtar", expected, found)

    def _bsdtar_pipe(self, archive: Path, expected: Tree) -> None:
        command = ["bsdtar", "-x", "-f", "-", "-C", "{}"]
        with self._extracted(command, stdin=archive) as found:
            _compare("bsdtar from a pipe", _contents(expected), _contents(found))

    def _java(self, way: str, archive: Path, expected: Tree) -> None:
        command = ["java", "-Xshare:auto", "-cp", str(self._scratch), "ReadZip", way, str(archive)]
        found: Tree = {}
        for line in _run(command).splitlines():
            name, digest = line.split()
            path = bytes.fromhex(name.decode()).decode().encode("latin-1")
            is_directory = path.endswith(b"/")
            node = Node("directory") if is_directory else Node("file", digest.decode())
            found[path.rstrip(b"/")] = node
        _compare(f"java ({way})", _contents(expected), found)

    def _extracted(self, command: list[str], stdin: Path | None = None) -> "_Extracted":
        return _Extracted(self._scratch, command, stdin)


class _Whole:
    """Digests of all contents in an archive's order; bsdtar writes none of links."""

    def __init__(self) -> None:
        self.all = hashlib.sha256()
        self.without_links = hashlib.sha256()

    def add(self, mode: int, content: bytes) -> None:
        self.all.update(content)
        if not stat.S_ISLNK(mode):
            self.without_links.update(content)


class _Extracted:
    """Files that a command extracts into a folder, which exists only inside the block."""

    def __init__(self, scratch: Path, command: list[str], stdin: Path | None) -> None:
        self._folder = tempfile.TemporaryDirectory(dir=scratch)
        self._command = [word.replace("{}", self._folder.name) for word in command]
        self._stdin = stdin

    def __enter__(self) -> Tree:
        _run(self._command, stdin=self._stdin)
        return dict(_iter_nodes(self._folder.name.encode()))

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _iter_nodes(root: bytes) -> Iterator[tuple[bytes, Node]]:
    for parent, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = os.path.join(parent, name)  # noqa: PTH118 - raw bytes
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                content = os.readlink(path)  # noqa: PTH115 - raw bytes
            elif stat.S_ISDIR(mode):
                content = b""
            else:
                with open(path, "rb") as file:  # noqa: PTH123 - raw bytes
                    content = file.read()
            yield path[len(root) + 1 :], _node(mode, content)


def _node(mode: int, content: bytes) -> Node:
    if stat.S_ISDIR(mode):
        return Node("directory")
    kind = "link" if stat.S_ISLNK(mode) else "program" if mode & 0o100 else "file"
    return Node(kind, _digest(content))


def _contents(tree: Tree) -> Tree:
    """Return the tree without modes; links are files with their target as content."""
    return {
        name: node if node.kind == "directory" else Node("file", node.digest)
        for name, node in tree.items()
    }


def _without(tree: Tree, names: set[bytes]) -> Tree:
    return {name: node for name, node in tree.items() if name not in names}


def _compare(reader: str, expected: Tree, found: Tree) -> None:
    if expected == found:
        return
    names = [name for name in expected | found if expected.get(name) != found.get(name)]
    shown = [(name, expected.get(name), found.get(name)) for name in sorted(names)[:3]]
    raise SystemExit(f"{reader} finds {len(names)} other entries than git: {shown}")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _run(command: list[str], *, stdin: Path | None = None) -> bytes:
    """Run a command; `stdin` goes through a pipe, which cannot seek."""
    done = subprocess.run(
        command,
        input=stdin.read_bytes() if stdin else b"",
        capture_output=True,
        env=_ENVIRONMENT,
        umask=0o022,
        check=False,
    )
    if done.returncode:
        words = done.stderr[-1000:].decode(errors="replace")
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {words}")
    return done.stdout
