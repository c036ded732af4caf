"""Contents of an archive, read by independent readers: Python's zipfile, and git's own tar."""

import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from support.repositories import SourceRepository


class Member(NamedTuple):
    """Mode and content of a member, equal in any archive of a commit (I9)."""

    mode: int
    content: bytes


def members_of_zip(archive: bytes) -> dict[str, Member]:
    """Return all members of a zip by name; no name may occur twice."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        infos = opened.infolist()
        members = {
            each.filename: Member(each.external_attr >> 16, opened.read(each)) for each in infos
        }
    assert len(infos) == len(members)
    return members


def members_of_commit(repository: SourceRepository, commit: str) -> dict[str, Member]:
    """Return all members that `git archive` writes for a commit."""
    members = {}
    with tarfile.open(fileobj=io.BytesIO(repository.archive(commit)), encoding="utf-8") as opened:
        for each in opened:
            if each.isdir():
                members[f"{each.name}/"] = Member(0o040000 | each.mode, b"")
            elif each.issym():
                members[each.name] = Member(0o120000 | each.mode, each.linkname.encode())
            else:
                found = opened.extractfile(each)
                assert found is not None
                members[each.name] = Member(0o100000 | each.mode, found.read())
    return members


def members_below(members: Mapping[str, Member], directory: str) -> dict[str, Member]:
    """Return the members in a directory, named as if it were the root."""
    above = f"{directory}/"
    return {
        name.removeprefix(above): member
        for name, member in members.items()
        if name.startswith(above) and name != above
    }


def live_bytes_of_zip(archive: bytes) -> int:
    """Return the length of local headers, contents, descriptors, central headers and end record."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        infos = opened.infolist()
        directory = len(archive) - opened.start_dir
    live = directory
    for each in infos:
        name, extra = struct.unpack_from("<HH", archive, each.header_offset + 26)
        descriptor = 16 if each.flag_bits & 8 else 0
        live += 30 + name + extra + each.compress_size + descriptor
    return live


def members_of_checkout(place: Path) -> dict[str, Member]:
    """Return files and directories of a working tree as archive members, without `.git`."""
    members = {}
    for path in place.rglob("*"):
        name = path.relative_to(place).as_posix()
        if ".git" in name.split("/"):
            continue
        if path.is_dir():
            members[f"{name}/"] = Member(0o040775, b"")
        else:
            program = path.stat().st_mode & stat.S_IXUSR
            members[name] = Member(0o100775 if program else 0o100664, path.read_bytes())
    return members
