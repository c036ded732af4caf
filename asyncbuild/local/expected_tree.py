"""Contents of a commit according to git, for comparison with an archive of it.

Normally from `git ls-tree`. Where a `.gitattributes` may make an archive differ from the tree
(export-ignore, export-subst, line ends), from `git archive --format=tar`, read with `tarfile`.
"""

import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Literal, cast

import anyio
import anyio.to_thread

from asyncbuild.domain.errors import Fatal
from asyncbuild.git.formats.tree_lines import split_line

Kind = Literal["file", "executable", "link", "directory"]

_KINDS: dict[bytes, Kind] = {
    b"100644": "file",
    b"100755": "executable",
    b"120000": "link",
    b"040000": "directory",
    b"160000": "directory",  # a submodule, which git archives as an empty directory
}
_CHUNK_BYTES = 1024 * 1024

# The user's own configuration does not affect git here, and git never asks for a password.
GIT_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One path: its kind, and the id that git gives its content (none for a directory)."""

    kind: Kind
    content: str = ""


@dataclass(frozen=True, slots=True)
class ExpectedTree:
    """Entries by path; `filled` are the directories that are not empty."""

    entries: dict[bytes, Entry]
    filled: frozenset[bytes]
    hash_name: str = "sha1"


class LocalGitFailed(Fatal):
    """Git ended with an error; `said` is its whole standard error."""

    def __init__(self, reason: str, said: str) -> None:
        super().__init__(reason)
        self.said = said


async def run_git(*arguments: str, directory: Path | None = None, given: bytes = b"") -> bytes:
    """Run git; return its standard output.

    Args:
        arguments: Arguments of git.
        directory: Working directory; None for the current one.
        given: Standard input.

    Raises:
        LocalGitFailed: Git failed; the reason is in git's own words.
        Fatal: Git is missing.
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath), **GIT_ENVIRONMENT}
    # Names in git are UTF-8, whatever this machine's locale; paths are returned as they were given.
    command = [b"git", *(each.encode("utf-8", "surrogateescape") for each in arguments)]
    try:
        done = await anyio.run_process(
            command, input=given, cwd=directory, check=False, env=environment
        )
    except FileNotFoundError as error:
        raise Fatal("git is not installed", remedy="install git, or put it on PATH") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        lines = said.splitlines()
        fatal = [line for line in lines if line.startswith("fatal: ")]  # hints may surround it
        raise LocalGitFailed(f"git {arguments[0]} failed: {(fatal or lines)[-1]}", said)
    return done.stdout


def blob_id(chunks: Iterable[bytes], size_bytes: int, hash_name: str = "sha1") -> str:
    """Return the id that git gives a blob of this content (git-hash-object).

    Args:
        chunks: The content.
        size_bytes: Its size.
        hash_name: `sha1` or `sha256`.
    """
    digest = hashlib.new(hash_name, b"blob %d\0" % size_bytes, usedforsecurity=False)
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def iter_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the rest of `file` in chunks."""
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


async def read_tree(directory: Path, commit: str) -> ExpectedTree:
    """Return the entries that an archive of `commit` of the repository at `directory` must contain.

    Raises:
        Fatal: Git cannot read the commit.
    """
    listing = await run_git("ls-tree", "-r", "-t", "-z", "--full-tree", commit, directory=directory)
    entries = {}
    for line in listing.split(b"\0")[:-1]:
        mode, _, id_, _, path = split_line(line)
        kind = _KINDS[mode]
        entries[path] = Entry(kind, "" if kind == "directory" else id_.decode())
    hash_name = "sha256" if len(commit) == hashlib.sha256().digest_size * 2 else "sha1"
    if any(path.rsplit(b"/", 1)[-1] == b".gitattributes" for path in entries):
        archive = await run_git("archive", "--format=tar", commit, directory=directory)
        entries = await anyio.to_thread.run_sync(_read_tar, archive, hash_name)
    return ExpectedTree(entries, frozenset(_iter_parents(entries)), hash_name)


def _iter_parents(paths: Iterable[bytes]) -> Iterator[bytes]:
    for path in paths:
        if b"/" in path:
            yield path.rsplit(b"/", 1)[0]


def _read_tar(archive: bytes, hash_name: str) -> dict[bytes, Entry]:
    entries: dict[bytes, Entry] = {}
    with tarfile.open(fileobj=BytesIO(archive), encoding="utf-8") as tar:
        for member in tar:
            path = member.name.encode("utf-8", "surrogateescape")
            if member.isdir():
                entries[path] = Entry("directory")
            elif member.issym():
                target = member.linkname.encode("utf-8", "surrogateescape")
                entries[path] = Entry("link", blob_id([target], len(target), hash_name))
            else:
                file = cast("IO[bytes]", tar.extractfile(member))
                kind: Kind = "executable" if member.mode & 0o111 else "file"
                entries[path] = Entry(kind, blob_id(iter_chunks(file), member.size, hash_name))
    return entries
