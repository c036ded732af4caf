"""Ids that come late are in the directory as if they had been there from the start."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.archive.zip import (
    STORED,
    Entry,
    dos_time,
    name_flags,
    pack_attributes,
    pack_directory,
    pack_local,
)
from asyncbuild.archiving.ids import TreeIds, add_ids

_TIME = dos_time(1_700_000_000)
_names = st.lists(st.binary(min_size=1, max_size=9), unique=True, max_size=8)
_bases = st.sampled_from([0, 0xFFFFFFFF - 60])  # with zip64 extras from the second one on


def _entries(names: list[bytes]) -> list[Entry]:
    attributes = pack_attributes(0o100644)
    return [
        (pack_local(name, name_flags(name), STORED, _TIME, 1, 5, 5), attributes, 50 * number, ())
        for number, name in enumerate(names)
    ]


@given(_names, _bases, st.sampled_from([20, 32]), st.integers(1, 100), st.data())
def test_ids_that_come_late(
    names: list[bytes], base: int, length: int, step: int, data: st.DataObject
) -> None:
    """In pieces of any length: byte for byte the directory that was made with them."""
    chosen = data.draw(st.sets(st.sampled_from(names))) if names else set()
    ids = {name: bytes([number]) * length for number, name in enumerate(sorted(chosen))}
    entries = _entries(names)
    without = pack_directory(entries, base)
    made, left, rest = b"", len(ids), b""
    for begin in range(0, len(without), step):
        headers, count, rest = add_ids(rest + without[begin : begin + step], ids, left)
        made += headers
        left -= count
    assert (pack_directory(entries, base, ids), 0) == (made + rest, left)


@pytest.mark.parametrize("digits", [40, 64])
async def test_only_files_have_ids(digits: int) -> None:
    """Lines of submodules are longer: none is taken for a file whose name looks like its end."""

    async def batches() -> AsyncIterator[list[bytes]]:
        module = b"160000 commit " + b"a" * digits + b"\tmodule"
        named_so = b"100755 blob " + b"b" * digits + b"\ta\tmodule"
        yield [named_so, module]
        yield [b"040000 tree " + b"c" * digits + b"\tx"]
        yield [b"100644 blob " + b"d" * digits + b"\tx/.gitattributes"]

    ids = TreeIds(batches())
    ids.follow(lambda: 1 << 30)
    assert {b"a\tmodule": b"\xbb" * (digits // 2)} == await ids.find([b"a\tmodule", b"module/"])
    found = await ids.find([b"x/", b"x/.gitattributes"])
    assert {b"x/.gitattributes": b"\xdd" * (digits // 2)} == found
    assert {b"x/.gitattributes": (0o100644, "d" * digits)} == ids.attributes
