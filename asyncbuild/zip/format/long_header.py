"""Search for the name of a member whose extended header is too long to keep. Pure.

`git archive` writes a path or a link target that does not fit into a header in front of it,
whatever its length. A header that is too long is skipped, up to the header with the member's name.
"""

from typing import Final

from asyncbuild.domain.errors import Reject
from asyncbuild.zip.format.tar_headers import (
    BELONGS_TO_NEXT,
    BLOCK_BYTES,
    GNU_LINK,
    GNU_NAME,
    KIND,
    LARGEST_EXTENSION_BYTES,
    PAX,
    check_header,
    measure_extension,
    name_of,
)

_KEPT_BYTES: Final = 16 * 1024  # of skipped contents: short records, and the start of the long one
_SHOWN: Final = 64


class TooLong:
    """Skips extended headers up to their member, and then rejects the member.

    Args:
        offset: Position in the stream of the next header, in bytes.
    """

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._header = b""
        self._rest = 0  # of the contents to skip
        self._begin = b""  # the first bytes of those contents
        self._kind = 0
        self._told: dict[str, tuple[bytes, int]] = {}  # beginning and length of each known field

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream.

        Raises:
            Reject: The member that is too long, once its name is known.
            BrokenTar: A header is damaged.
        """
        position = 0
        while position < len(data):
            if self._rest:
                taken = data[position : position + self._rest]
                self._begin += taken[: _KEPT_BYTES - len(self._begin)]
                self._rest -= len(taken)
                if not self._rest:
                    self._note()
            else:
                taken = data[position : position + BLOCK_BYTES - len(self._header)]
                self._header += taken
                if len(self._header) == BLOCK_BYTES:
                    self._look()
            position += len(taken)

    def _look(self) -> None:
        header, self._header = self._header, b""
        check_header(header, self._offset)
        if header[KIND] not in BELONGS_TO_NEXT:
            raise self._refusal(header)
        size = measure_extension(header, self._offset)
        self._kind, self._begin = header[KIND], b""
        self._rest = size + -size % BLOCK_BYTES
        self._offset += BLOCK_BYTES + self._rest
        if self._kind in (GNU_NAME, GNU_LINK):
            self._told["path" if self._kind == GNU_NAME else "linkpath"] = (b"", size - 1)

    def _note(self) -> None:
        begin = self._begin
        if self._kind != PAX:
            name = "path" if self._kind == GNU_NAME else "linkpath"
            self._told[name] = (begin.partition(b"\0")[0], self._told[name][1])
            return
        while begin:
            digits, space, rest = begin.partition(b" ")
            key, equals, value = rest.partition(b"=")
            if not (space and equals and digits.isdigit() and len(digits) < _SHOWN):
                return
            length = int(digits)
            if length <= len(digits):
                return
            nbytes = length - len(digits) - len(key) - len(b" =\n")
            self._told[key.decode(errors="replace")] = (value[:nbytes], nbytes)
            begin = begin[length:]

    def _refusal(self, header: bytes) -> Reject:
        short = name_of(header)
        path, path_bytes = self._told.get("path", (short, len(short)))
        _, target_bytes = self._told.get("linkpath", (b"", 0))
        shown = repr(path[:_SHOWN].decode(errors="backslashreplace"))
        shown += "..." if path_bytes > _SHOWN else ""
        if target_bytes > path_bytes:
            return Reject(
                f"The link {shown} has a target of {target_bytes} bytes; an archive is made of "
                f"links of up to about {LARGEST_EXTENSION_BYTES}",
                remedy="commit it as a file: no system has links that long, so it most likely is "
                "a file that was committed with the mode of a link (120000)",
            )
        return Reject(f"The path {shown} has {path_bytes} bytes; a zip file holds up to 65535")
