"""Tar streams for tests: as `git archive` writes them, and malformed ones."""

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field

COMMIT = "0123456789abcdef0123456789abcdef01234567"
COMMIT_TIME = 1_700_000_000


@dataclass(frozen=True)
class File:
    """One member: a directory if its name ends in a slash, a link if it has a target."""

    name: bytes
    content: bytes = b""
    mode: int = 0o664
    target: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


def make_tar(
    files: Iterable[File], *, commit: str | None = COMMIT, kind: int = tarfile.PAX_FORMAT
) -> bytes:
    """Return a whole stream, padded to a record as `git archive` pads it."""
    stream = io.BytesIO()
    headers = {"comment": commit} if commit else {}
    with tarfile.open(
        fileobj=stream,
        mode="w",
        format=kind,
        pax_headers=headers,
        encoding="utf-8",
        errors="surrogateescape",
    ) as tar:
        for file in files:
            tar.addfile(_tar_info(file), io.BytesIO(file.content))
    return stream.getvalue()


def _tar_info(file: File) -> tarfile.TarInfo:
    member = tarfile.TarInfo(file.name.rstrip(b"/").decode("utf-8", "surrogateescape"))
    member.mode = file.mode
    member.mtime = COMMIT_TIME
    member.pax_headers = file.headers
    member.size = len(file.content)
    if file.target is not None:
        member.type = tarfile.SYMTYPE
        member.linkname = file.target.decode("utf-8", "surrogateescape")
    elif file.name.endswith(b"/"):
        member.type = tarfile.DIRTYPE
    return member


def make_header(
    name: bytes, *, size: int = 0, kind: bytes = b"0", size_field: bytes | None = None
) -> bytes:
    """Return one raw header with a correct checksum."""
    header = bytearray(512)
    header[:100] = name[:100].ljust(100, b"\0")
    header[100:108] = b"0000644\0"
    header[108:116] = header[116:124] = b"0000000\0"
    header[124:136] = size_field or b"%011o\0" % size
    header[136:148] = b"%011o\0" % COMMIT_TIME
    header[148:156] = b" " * 8
    header[156:157] = kind
    header[257:265] = b"ustar\x0000"
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)
