"""A tree with everything that git can store and that has ever broken an archive."""

import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support.repositories import EPOCH, SourceRepository

_GITLINK = "160000"
_LINK = "120000"
_FILE = "100644"
_EXECUTABLE = "100755"


@dataclass(frozen=True)
class OddFile:
    """One path of a tree, in git's terms."""

    mode: str
    path: bytes
    content: bytes = b""


def odd_tree(limits: list[int]) -> list[OddFile]:
    """Return every oddity, with files around each of `limits` (bytes)."""
    files = [OddFile(_FILE, b"bytes/x%cy" % byte, b"%d" % byte) for byte in _bytes_of_names()]
    files += [OddFile(_FILE, name, b"named %d" % number) for number, name in enumerate(_names())]
    files += [OddFile(_LINK, b"links/%d" % n, target) for n, target in enumerate(_targets())]
    files += [
        OddFile(_FILE, b"empty"),
        OddFile(_EXECUTABLE, b"run.sh", b"#!/bin/sh\n"),
        OddFile(_EXECUTABLE, b"empty-run"),
        OddFile(_GITLINK, b"submodule", b"1" * 40),
        OddFile(_GITLINK, b"deep/er/submodule \xff", b"2" * 40),
    ]
    noise = random.Random(1)  # noqa: S311 - incompressible, not secret
    for limit in limits:
        for size in (limit - 1, limit, limit + 1):
            files.append(OddFile(_FILE, b"text/%d" % size, (b"line %d\n" * (size // 7 + 1))[:size]))
            files.append(OddFile(_FILE, b"noise/%d" % size, noise.randbytes(size)))
    return files


def _bytes_of_names() -> list[int]:
    return [byte for byte in range(1, 256) if byte != ord("/")]


def _names() -> list[bytes]:
    return [
        *(b" ", b"-rf", b"--help", b"*", b"~", b"a b", b"tail ", b".hidden", b"...", b"a\\b"),
        *(b"new\nline", b"CON", b"aux.txt", b"a:b", b"case/A", b"case/a", b"$HOME", b"%s", b"`id`"),
        "grüße/日本語/emoji-🎉.txt".encode(),
        "combining-u\u0308".encode(),
        b"latin1-\xfc",
        b"half-utf8-\xe6\x97",
        b"n" * 255,
        b"long/" + b"/".join([b"p" * 97] * 11),
        b"prefix/" + b"q" * 92,
        b"prefix/" + b"q" * 93,
        b"prefix/" + b"q" * 94,
        *(b"r" * length + b"/" + b"s" * 99 for length in (154, 155, 156)),
    ]


def _targets() -> list[bytes]:
    return [
        *(b"../empty", b"nowhere", b"/absolute/nowhere", b".", b"..", b"../links/0", b"a b\n"),
        *(b"t" * length for length in (99, 100, 101, 1000)),
        b"\xff\xfe-not-utf8",
        "grüße".encode(),
    ]


def make_repository(path: Path, files: list[OddFile]) -> SourceRepository:
    """Return a bare repository with one commit of `files`."""
    repository = SourceRepository(path)
    stream = b"commit refs/heads/main\ncommitter C <c@example.com> %d +0100\ndata 0\n" % EPOCH
    for file in files:
        quoted = b'"' + b"".join(b"\\%03o" % byte for byte in file.path) + b'"'
        if file.mode == _GITLINK:
            stream += b"M %s %s %s\n" % (file.mode.encode(), file.content, quoted)
        else:
            stream += b"M %s inline %s\ndata %d\n" % (file.mode.encode(), quoted, len(file.content))
            stream += file.content + b"\n"
    repository.git("fast-import", "--quiet", stdin=stream)
    return repository


def read_tar(repository: SourceRepository) -> bytes:
    """Return the tar of the tip of main by `git archive`, with the modes of a checkout."""
    git = ["git", "--git-dir", str(repository.path), "-c", "tar.umask=0022"]
    command = [*git, "archive", "--format=tar", "main"]
    return subprocess.run(command, check=True, capture_output=True).stdout
