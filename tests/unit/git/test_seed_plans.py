"""Plans of seeds: what a manifest may say, when a seed is due, which files belong together."""

import hashlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.git.seeds.plans.pack_pair import (
    INDEX_HEAD_BYTES,
    PACK_HEAD_BYTES,
    FileEnds,
    name_of_pair,
)
from asyncbuild.git.seeds.plans.seed_due import (
    LEAST_AGE,
    RENEWAL_AGE,
    WASTE_AGE,
    KnownSeed,
    PackOnDisk,
    find_waste,
    is_due,
)
from asyncbuild.git.seeds.plans.seed_keys import SeedKeys
from asyncbuild.git.seeds.plans.seed_manifest import (
    NewerManifest,
    SeedFault,
    SeedFile,
    SeedManifest,
    SeedPack,
    decode_manifest,
    encode_manifest,
)

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
WEB = "123456789012/eu-west-1/web"


def _hexes(length: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=length, max_size=length)


_FILES = st.builds(SeedFile, _hexes(64), st.integers(1, 2**40))


@st.composite
def manifests(draw: st.DrawFn) -> SeedManifest:
    """Return any manifest that a task may write."""
    length = draw(st.sampled_from([40, 64]))
    refs = st.one_of(
        _hexes(40).map("refs/asyncbuild/refs/{}".format),
        _hexes(length).map("refs/asyncbuild/commits/{}".format),
    )
    return SeedManifest(
        WEB,
        "sha1" if length == 40 else "sha256",
        draw(st.datetimes(datetime(2026, 1, 1), datetime(2100, 1, 1))).replace(tzinfo=UTC),  # noqa: DTZ001 - the zone comes after
        tuple(draw(st.lists(st.builds(SeedPack, _FILES, _FILES), min_size=1, max_size=5))),
        draw(st.dictionaries(refs, _hexes(length), max_size=5)),
        tuple(draw(st.lists(_hexes(length), max_size=5))),
    )


@given(manifests())
def test_a_manifest_is_read_as_it_was_written(manifest: SeedManifest) -> None:
    """Else no task could take what another wrote."""
    assert decode_manifest(encode_manifest(manifest), WEB) == manifest


@given(manifests(), st.data())
def test_a_broken_manifest_is_refused_or_says_the_same(
    manifest: SeedManifest, data: st.DataObject
) -> None:
    """A byte that changes, comes or goes never makes another manifest of it."""
    body = encode_manifest(manifest)
    at = data.draw(st.integers(0, len(body) - 1))
    byte = bytes([data.draw(st.integers(0, 255))])
    broken = data.draw(
        st.sampled_from(
            [body[:at], body[:at] + byte + body[at + 1 :], body[:at] + byte + body[at:], body[at:]]
        )
    )
    with suppress(SeedFault):
        assert decode_manifest(broken, WEB) == manifest


@given(st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9), st.lists))
def test_no_json_breaks_the_reader(value: object) -> None:
    """A role that may write to the bucket cannot end the service with a manifest."""
    with pytest.raises(SeedFault):
        decode_manifest(orjson.dumps(value), WEB)


def signed(**changes: object) -> bytes:
    """Return a manifest with other values, and the right digest."""
    file = {"sha256": "0" * 64, "bytes": 9}
    told = {
        "asyncbuild": "seed",
        "version": 1,
        "repository": WEB,
        "object_format": "sha1",
        "written_at": NOW.isoformat(),
        "packs": [{"pack": file, "index": file}],
        "refs": {},
        "shallow": [],
    } | changes
    digest = hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return orjson.dumps(told | {"digest": digest})


_FILE = {"sha256": "0" * 64, "bytes": 9}


@pytest.mark.parametrize(
    "changes",
    [
        {"repository": "123456789012/eu-west-1/other"},
        {"object_format": "sha512"},
        {"written_at": "yesterday"},
        {"packs": []},
        {"packs": [{"pack": _FILE, "index": _FILE}] * 257},
        {"packs": [{"pack": _FILE | {"sha256": "../../../x"}, "index": _FILE}]},
        {"packs": [{"pack": _FILE | {"sha256": "0" * 63 + "\n"}, "index": _FILE}]},
        {"packs": [{"pack": _FILE | {"bytes": 0}, "index": _FILE}]},
        {"packs": [{"pack": _FILE | {"bytes": 2**60}, "index": _FILE}]},
        {"packs": [{"pack": _FILE | {"bytes": 1.5}, "index": _FILE}]},
        {"packs": [{"pack": _FILE | {"bytes": True}, "index": _FILE}]},
        {"refs": {"refs/heads/main": "0" * 40}},
        {"refs": {"refs/asyncbuild/refs/../../../x": "0" * 40}},
        {"refs": {f"refs/asyncbuild/refs/{'0' * 40}\n": "0" * 40}},
        {"refs": {f"refs/asyncbuild/refs/{'0' * 40}": "0" * 64}},
        {"refs": {f"refs/asyncbuild/refs/{'0' * 40}": "ref: HEAD"}},
        {"refs": {f"refs/asyncbuild/refs/{'0' * 40}": 7}},
        {"shallow": ["0" * 39]},
        {"shallow": "0" * 40},
    ],
)
def test_no_manifest_names_anything_but_contents(changes: dict[str, object]) -> None:
    """Paths, refs and ids of a hostile manifest never reach the disk, however well it is signed."""
    decode_manifest(signed(), WEB)
    with pytest.raises(SeedFault):
        decode_manifest(signed(**changes), WEB)


def test_a_manifest_of_a_newer_version_is_left_alone() -> None:
    """An old task beside new ones must not replace what it does not understand."""
    with pytest.raises(NewerManifest):
        decode_manifest(signed(version=2, packs="of another kind"), WEB)


def known(**changes: object) -> KnownSeed:
    """Return a seed of 1,000 bytes that is an hour old."""
    at = NOW - timedelta(hours=1)
    values = {"written_at": at, "since": at, **changes}
    return KnownSeed('"e"', "sha1", size_bytes=1_000, **values)  # type: ignore[arg-type] # as named


def due(known_seed: KnownSeed, *fetched: int, object_format: str = "sha1") -> bool:
    """Return whether a mirror with these packs since then, and old ones, is to be written."""
    packs = [PackOnDisk(5_000, NOW - timedelta(hours=2))]
    packs += [PackOnDisk(each, NOW - timedelta(minutes=1)) for each in fetched]
    return is_due(packs, known_seed, object_format=object_format, share=0.25, now=NOW)


def test_a_seed_is_due_when_a_share_of_it_was_fetched_since() -> None:
    """Older packs count for nothing: they are in the seed, or another task's are in their place."""
    assert not due(known())
    assert not due(known(), 125, 125)
    assert due(known(), 125, 126)
    assert not due(known(since=NOW), 10_000)


def test_a_young_seed_stays_and_an_old_one_is_renewed() -> None:
    """Uploads are bounded, and no lifecycle rule deletes a seed in use."""
    young = NOW - LEAST_AGE + timedelta(seconds=1)
    assert not due(known(written_at=young), 10_000)
    assert due(known(written_at=NOW - LEAST_AGE), 10_000)
    assert not due(known(written_at=NOW - RENEWAL_AGE + timedelta(seconds=1)))
    assert due(known(written_at=NOW - RENEWAL_AGE))


def test_without_a_usable_seed_one_is_due() -> None:
    """None, an unreadable one, one of other objects; but not in place of a newer version's."""
    assert due(KnownSeed())
    assert due(KnownSeed('"unreadable"'))
    assert due(known(), object_format="sha256")
    assert not due(KnownSeed('"newer"', newer=True))


def test_waste_is_old_and_unnamed() -> None:
    """A pack whose manifest is on its way, or that a task may be taking, stays."""
    keys = SeedKeys("seeds/", WEB)
    pack = SeedPack(SeedFile("a" * 64, 1), SeedFile("b" * 64, 2))
    manifest = SeedManifest(WEB, "sha1", NOW, (pack,), {}, ())
    old, new = NOW - WASTE_AGE - timedelta(seconds=1), NOW - WASTE_AGE
    objects = [
        (keys.pack(pack), old),
        (keys.index(pack), old),
        (f"{keys.packs}{'c' * 64}.pack", old),
        (f"{keys.packs}{'d' * 64}.pack", new),
    ]
    assert find_waste(objects, keys.named_by(manifest), NOW) == [f"{keys.packs}{'c' * 64}.pack"]


def ends(count: int = 3, *, size: int = 20) -> tuple[FileEnds, FileEnds]:
    """Return the ends of a pack and an index of so many objects."""
    number = count.to_bytes(4, "big")
    own = bytes(range(size))
    pack = FileEnds(b"PACK\0\0\0\2" + number, own, 1_000)
    head = b"\xfftOc\0\0\0\2" + bytes(INDEX_HEAD_BYTES - 12) + number
    index_bytes = INDEX_HEAD_BYTES + count * (size + 8) + 2 * size
    return pack, FileEnds(head, own + bytes(size), index_bytes)


def test_a_pair_has_the_name_that_git_gives_it() -> None:
    """Git finds a pack by its index's name."""
    pack, index = ends()
    assert len(pack.head) == PACK_HEAD_BYTES
    assert name_of_pair(pack, index, "sha1") == f"pack-{bytes(range(20)).hex()}"
    assert name_of_pair(*ends(size=32), "sha256") == f"pack-{bytes(range(32)).hex()}"


@pytest.mark.parametrize(
    ("pack", "index"),
    [
        (FileEnds(b"PACK\0\0\0\3\0\0\0\3", bytes(range(20)), 1_000), ends()[1]),
        (FileEnds(b"", b"", 0), ends()[1]),
        (ends()[0], FileEnds(b"", b"", 0)),
        (ends(4)[0], ends(3)[1]),
        (ends()[0], ends(size=32)[1]),
        (ends(size=32)[0], ends(size=32)[1]),
        (FileEnds(ends()[0].head, b"x" * 20, 1_000), ends()[1]),
        (ends()[0], FileEnds(ends()[1].head, ends()[1].tail, ends()[1].size_bytes - 1)),
        (ends()[0], FileEnds(ends()[1].head, ends()[1].tail, ends()[1].size_bytes + 25)),
    ],
)
def test_what_does_not_belong_together_is_refused(pack: FileEnds, index: FileEnds) -> None:
    """Git would trust an index, and read other objects, or outside the file."""
    with pytest.raises(SeedFault):
        name_of_pair(pack, index, "sha1")
