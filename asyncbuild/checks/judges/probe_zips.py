"""Small archives with features that extractors are known to fail on. Pure.

They are made of the very records that the service writes (`zip/format/records.py`), so a build
unpacks them as it would unpack a push's archive.
"""

import stat
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from asyncbuild.zip.format.central_directory import pack_attributes, pack_central
from asyncbuild.zip.format.records import (
    STORED,
    StreamedEntry,
    dos_time,
    pack_end,
    pack_local,
)

_TIME: Final = dos_time(1_767_225_600)
FILES_BEYOND_ZIP32: Final = 65_600  # the old end record counts to 65,535


@dataclass(frozen=True, slots=True)
class Member:
    """One file, link or directory.

    `streamed` adds a data descriptor, which members have that do not fit into memory; `wide` adds
    zip64 sizes to its local header and descriptor, as members of 4 GiB and more have.
    """

    name: str
    body: bytes = b""
    mode: int = stat.S_IFREG | 0o644
    streamed: bool = False
    wide: bool = False


LINKS: Final = (
    Member("links/", mode=stat.S_IFDIR | 0o755),
    Member("links/file.txt", b"file\n"),
    Member("links/run.sh", b"#!/bin/sh\n", stat.S_IFREG | 0o755),
    Member("links/folder/", mode=stat.S_IFDIR | 0o755),
    Member("links/to-file", b"file.txt", stat.S_IFLNK | 0o777),
    Member("links/to-folder", b"folder", stat.S_IFLNK | 0o777),
    Member("links/to-nothing", b"not-there", stat.S_IFLNK | 0o777),
)
DESCRIPTORS: Final = (
    Member("descriptors/first.txt", b"first\n" * 1_000, streamed=True),
    Member("descriptors/last.txt", b"last\n", streamed=True),
)
NAMES: Final = (
    Member("names/über.txt", b"u\n"),
    Member("names/価格 表.csv", b"k\n"),
)


def wide_members() -> Iterator[Member]:
    """Yield a member with zip64 sizes, and more members than the old end record can count."""
    yield Member("zip64/wide.txt", b"wide\n" * 1_000, streamed=True, wide=True)
    for number in range(FILES_BEYOND_ZIP32):
        yield Member(f"zip64/many/{number:05d}")


def pack(members: Sequence[Member]) -> bytes:
    """Return a zip archive of the members."""
    chunks: list[bytes] = []
    headers: list[bytes] = []
    offset = 0
    for member in members:
        header, packed = _pack_member(member, offset)
        headers.append(header)
        chunks.append(packed)
        offset += len(packed)
    directory = b"".join(headers)
    end = pack_end(entries=len(headers), offset=offset, nbytes=len(directory))
    return b"".join([*chunks, directory, end])


def _pack_member(member: Member, offset: int) -> tuple[bytes, bytes]:
    name = member.name.encode()
    crc = zlib.crc32(member.body)
    if not member.streamed:
        size = len(member.body)
        local = pack_local(name, STORED, _TIME, (crc, size, size))
        central = pack_central(local, pack_attributes(member.mode), offset, name)
        return central, local + member.body
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(member.body) + deflater.flush()
    streamed = StreamedEntry(
        name,
        mode=member.mode,
        time=_TIME,
        size=len(member.body),
        is_zip64=member.wide,
    )
    local = streamed.pack_local()
    central, descriptor = streamed.finish(crc=crc, compressed_size=len(deflated), offset=offset)
    return central, local + deflated + descriptor
