"""Snapshot of a repository's refs: what the last round saw, as one object of the ledger. Pure."""

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any, Final

import orjson

from asyncbuild.domain.errors import reading
from asyncbuild.domain.foreign_text import to_json
from asyncbuild.domain.git_names import is_commit
from asyncbuild.domain.refs import is_ref_name
from asyncbuild.domain.times import read_time
from asyncbuild.reconcile.planning.ref_lines import are_ref_lines

_VERSION: Final = 1
_PLAIN_MOST_BYTES: Final = 64 * 1024  # larger ones are compressed
_GZIP: Final = b"\x1f\x8b"
_READ_MOST_BYTES: Final = 256 * 1024 * 1024
_MEND: Final = "delete the object: the next round takes a new baseline, and builds nothing for it"


@dataclass(frozen=True, slots=True)
class WaitingRef:
    """Ref that was seen at a commit that no snapshot has yet: its event may still be on its way.

    Attributes:
        ref: Full name.
        commit: The commit.
        first_seen: When it was first seen there.
        since: When the ref was last seen elsewhere, or not at all.
    """

    ref: str
    commit: str
    first_seen: datetime
    since: datetime


@dataclass(frozen=True, slots=True)
class RefSnapshot:
    """Refs of a repository that are accounted for.

    Attributes:
        time: When the listing of the refs began.
        baseline: When the first listing began: what was there before is not built.
        group: Message group of the repository's pushes; empty if it is not known.
        tags: Whether tags are among the refs.
        refs: Lines of `planning/ref_lines.py`; a ref that waits is as it was before.
        waiting: Refs that differ, each by name once.
    """

    time: datetime
    baseline: datetime
    group: str
    tags: bool
    refs: bytes
    waiting: tuple[WaitingRef, ...] = ()


def dump_snapshot(snapshot: RefSnapshot) -> bytes:
    """Return a snapshot as JSON, compressed by gzip if it is long."""
    body = to_json(
        {
            "version": _VERSION,
            "time": snapshot.time,
            "baseline": snapshot.baseline,
            "group": snapshot.group,
            "tags": snapshot.tags,
            "waiting": snapshot.waiting,
            "refs": snapshot.refs.decode(),
        },
        utc_z=True,
    )
    if len(body) <= _PLAIN_MOST_BYTES:
        return body
    return gzip.compress(body, compresslevel=1, mtime=0)


def load_snapshot(key: str, body: bytes) -> RefSnapshot:
    """Return the snapshot in an object; fields that later versions add are passed over.

    Args:
        key: Key of the object, for the error.
        body: Its contents.

    Raises:
        Reject: It cannot be read.
    """
    with reading(f"snapshot {key}", remedy=_MEND):
        document = orjson.loads(_unpacked(body))
        refs = str(document["refs"]).encode()
        if document["version"] < _VERSION or not are_ref_lines(refs):
            raise ValueError
        return RefSnapshot(
            _time(document["time"]),
            _time(document["baseline"]),
            str(document["group"]),
            bool(document["tags"]),
            refs,
            _waiting(document["waiting"]),
        )


def _unpacked(body: bytes) -> bytes:
    if not body.startswith(_GZIP):
        return body
    with gzip.GzipFile(fileobj=BytesIO(body)) as file:
        plain = file.read(_READ_MOST_BYTES)
        if file.read(1):
            raise ValueError
    return plain


def _waiting(entries: Sequence[Mapping[str, Any]]) -> tuple[WaitingRef, ...]:
    waiting = []
    for each in entries:
        if not is_commit(each["commit"]) or not is_ref_name(each["ref"]):
            raise ValueError
        times = _time(each["first_seen"]), _time(each["since"])
        waiting.append(WaitingRef(each["ref"], each["commit"], *times))
    return tuple(waiting)


def _time(text: object) -> datetime:
    time = read_time(text)
    if time is None:
        raise ValueError
    return time
