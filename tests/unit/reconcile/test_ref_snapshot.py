"""Snapshots: what one version writes, another reads."""

from datetime import UTC, datetime, timedelta
from random import Random

import orjson
import pytest

from asyncbuild.domain.errors import Reject
from asyncbuild.reconcile.planning.ref_snapshot import (
    RefSnapshot,
    WaitingRef,
    dump_snapshot,
    load_snapshot,
)

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
A, B = "a" * 40, "b" * 64
SNAPSHOT = RefSnapshot(
    time=NOON,
    baseline=NOON - timedelta(days=1),
    group="group",
    tags=True,
    refs=f"{A} refs/heads/main\n{B} refs/tags/ü\n".encode(),
    waiting=(WaitingRef("refs/heads/x", A, NOON, NOON - timedelta(hours=1)),),
)


def test_what_is_written_is_read() -> None:
    """The next round continues where this one ended."""
    assert load_snapshot("key", dump_snapshot(SNAPSHOT)) == SNAPSHOT


def test_form_of_version_1_is_kept() -> None:
    """Tasks of two versions share snapshots during an upgrade."""
    assert orjson.loads(dump_snapshot(SNAPSHOT)) == {
        "version": 1,
        "time": "2026-11-30T12:00:00Z",
        "baseline": "2026-11-29T12:00:00Z",
        "group": "group",
        "tags": True,
        "waiting": [
            {
                "ref": "refs/heads/x",
                "commit": A,
                "first_seen": "2026-11-30T12:00:00Z",
                "since": "2026-11-30T11:00:00Z",
            }
        ],
        "refs": f"{A} refs/heads/main\n{B} refs/tags/ü\n",
    }


def test_fields_of_later_versions_are_passed_over() -> None:
    """A later version may add what it likes, and this one still reads the refs."""
    document = orjson.loads(dump_snapshot(SNAPSHOT))
    later = document | {"version": 2, "more": [1]}
    assert load_snapshot("key", orjson.dumps(later)) == SNAPSHOT


def test_100_000_refs_are_small() -> None:
    """One repository of many refs does not cost a fortune each round."""
    random = Random(1)  # noqa: S311 - repeatable, not secret
    refs = b"".join(
        b"%s refs/heads/feature/%06d\n" % (random.randbytes(20).hex().encode(), number)
        for number in range(100_000)
    )
    many = RefSnapshot(NOON, NOON, "", tags=False, refs=refs)
    body = dump_snapshot(many)
    assert len(body) < 4_000_000 < len(refs)
    assert load_snapshot("key", body) == many


@pytest.mark.parametrize(
    "change",
    [
        {"time": "yesterday"},
        {"version": 0},
        {"version": "1"},
        {"refs": "x"},
        {"refs": f"{A} refs/heads/b\n{A} refs/heads/a\n"},
        {"waiting": [{"ref": "main"}]},
        {"waiting": [{"ref": "main", "commit": A, "first_seen": NOON, "since": NOON}]},
        {"waiting": 1},
        {"baseline": None},
    ],
    ids=str,
)
def test_a_damaged_snapshot_is_refused(change: dict[str, object]) -> None:
    """A snapshot that cannot be read never makes old tips into pushes."""
    document = orjson.loads(dump_snapshot(SNAPSHOT)) | change
    with pytest.raises(Reject, match="snapshot key cannot be read") as caught:
        load_snapshot("key", orjson.dumps(document))
    assert "delete the object" in caught.value.remedy


@pytest.mark.parametrize("body", [b"", b"\x1f\x8b", b"[]", b"{}", b"\x1f\x8b\x08garbage"])
def test_other_bytes_are_refused(body: bytes) -> None:
    """A torn or foreign object ends in a reason."""
    with pytest.raises(Reject, match="cannot be read"):
        load_snapshot("key", body)
