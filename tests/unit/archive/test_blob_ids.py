"""Blob ids that arrive late are in the central directory as if known from the start."""

from collections.abc import AsyncGenerator

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.archive.blob_ids import add_ids, open_tree_ids
from asyncbuild.domain.errors import Retry
from asyncbuild.zip.format.central_directory import CentralHeaders, pack_attributes, pack_central
from asyncbuild.zip.format.records import (
    STORED,
    dos_time,
    pack_local,
)

_TIME = dos_time(1_700_000_000)
_names = st.lists(st.binary(min_size=1, max_size=9), unique=True, max_size=8)
_bases = st.sampled_from([0, 0xFFFFFFFF - 60])  # with zip64 extras from the second one on


def _header(name: bytes, offset: int) -> bytes:
    local = pack_local(name, STORED, _TIME, (1, 5, 5))
    return pack_central(local, pack_attributes(0o100644), offset, name)


@given(_names, _bases, st.sampled_from([20, 32]), st.integers(1, 100), st.data())
def test_late_ids_give_the_same_directory(
    names: list[bytes], base: int, length: int, step: int, data: st.DataObject
) -> None:
    """A directory filled in later, in pieces, is byte for byte the one made with the ids."""
    chosen = data.draw(st.sets(st.sampled_from(names))) if names else set()
    ids = {name: bytes([number]) * length for number, name in enumerate(sorted(chosen))}
    headers = CentralHeaders.of([_header(name, 50 * number) for number, name in enumerate(names)])
    assert headers.names() == names
    without = headers.moved(base)
    made, left, rest = b"", len(ids), b""
    for begin in range(0, len(without), step):
        named, count, rest = add_ids(rest + without[begin : begin + step], ids, left)
        made += named
        left -= count
    expected = headers.with_ids(ids.get(name, b"") for name in names).moved(base)
    assert (expected, 0) == (made + rest, left)


@pytest.mark.parametrize("digits", [40, 64])
async def test_only_files_have_ids(digits: int) -> None:
    """Lines of submodules are longer.

    None is taken for a file whose name looks like the end of such a line.
    """

    async def batches() -> AsyncGenerator[list[bytes], None]:
        module = b"160000 commit " + b"a" * digits + b"\tmodule"
        named_so = b"100755 blob " + b"b" * digits + b"\ta\tmodule"
        yield [named_so, module]
        yield [b"040000 tree " + b"c" * digits + b"\tx"]
        yield [b"100644 blob " + b"d" * digits + b"\tx/.gitattributes"]

    async with open_tree_ids(batches) as ids:
        assert await ids.find_early() == {}
        assert [b"\xbb" * (digits // 2), b""] == await ids.find([b"a\tmodule", b"module/"])
        assert [b"", b"\xdd" * (digits // 2)] == await ids.find([b"x/", b"x/.gitattributes"])
        assert {b"x/.gitattributes": (0o100644, "d" * digits)} == ids.attributes


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 7), st.integers(1, 9))
async def test_each_name_has_its_own_id_where_entries_are_left_out(
    kept: list[bool], batch: int, run: int
) -> None:
    """Each name has the id of its own line, however the tree and the archive are cut."""
    lines = [b"100644 blob %040x\t%d" % (number, number) for number in range(len(kept))]

    async def batches() -> AsyncGenerator[list[bytes], None]:
        for begin in range(0, len(lines), batch):
            yield lines[begin : begin + batch]

    asked = [number for number, stays in enumerate(kept) if stays]
    found: list[bytes] = []
    async with open_tree_ids(batches) as ids:
        ids.follow(lambda: 1 << 30)
        for begin in range(0, len(asked), run):
            found += await ids.find([b"%d" % number for number in asked[begin : begin + run]])
        early = await ids.find_early()
        with pytest.raises(Retry, match="does not at this place"):
            await ids.find([b"elsewhere"])
    names = [b"%d" % number for number in asked]
    assert {name: int(name) for name in names[: len(early)]} == {
        name: int.from_bytes(each) for name, each in early.items()
    }
    assert asked[len(early) :] == [int.from_bytes(each) for each in found]


async def test_a_listing_that_fails_fails_each_lookup() -> None:
    """The error of the listing is raised to each caller that asks for an id."""

    async def batches() -> AsyncGenerator[list[bytes], None]:
        yield [b"100644 blob %040x\ta" % 1]
        raise Retry("gone")

    async with open_tree_ids(batches) as ids:
        await ids.find_early()
        assert [(1).to_bytes(20)] == await ids.find([b"a"])
        with pytest.raises(Retry, match="gone"):
            await ids.find([b"b"])


async def test_git_is_asked_at_once_for_the_ids_of_an_archive_that_will_be_large() -> None:
    """Git lists ids at once, so that no member comes before its id, however short the archive."""

    async def batches() -> AsyncGenerator[list[bytes], None]:
        yield [b"100644 blob %040x\ta" % 1]

    async with open_tree_ids(batches, at_once=True) as ids:
        ids.follow(lambda: 0)
        await anyio.wait_all_tasks_blocked()
        assert [(1).to_bytes(20)] == await ids.find([b"a"])
        assert await ids.find_early() == {}


async def test_git_is_not_asked_for_the_ids_of_a_small_archive() -> None:
    """Small archives carry no ids, so the listing would be unused."""

    async def batches() -> AsyncGenerator[list[bytes], None]:
        raise AssertionError
        yield []

    async with open_tree_ids(batches) as ids:
        assert await ids.find([b"a"]) == ()
