"""Bodies of the ledger's objects about builds that a newer push may stop, as JSON. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.ledger_records import Head, dump_record, read_record
from asyncbuild.domain.errors import reading
from asyncbuild.domain.model import Push
from asyncbuild.domain.repository import decode_repository
from asyncbuild.domain.results.build_result import StartedId, StartedKind
from asyncbuild.domain.results.running_build import RunningBuild, Superseder
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.domain.times import read_time

_VERSION: Final = 1
_MEND: Final = "delete the object: then no newer push stops this build"


def running_of(started: StartedBuild, push: Push, head: Head) -> RunningBuild:
    """Return the entry for a build that was just started.

    Args:
        started: The build.
        push: Its push.
        head: Head of the ref, which is this push.
    """
    return RunningBuild(
        of=started.of,
        event_id=started.event_id,
        repository=started.repository,
        ref=started.ref,
        rule=started.rule,
        commit=started.commit,
        position=head.position,
        is_ordered=push.timed and head.follows_by_time,
    )


def running_record(build: RunningBuild) -> bytes:
    """Return the entry as `read_running` reads it."""
    by = build.superseded_by
    told: dict[str, object] = {
        "version": _VERSION,
        "kind": build.of.kind,
        "name": build.of.name,
        "id": build.of.number,
        "event_id": build.event_id,
        "repository": build.repository.segments._asdict(),
        "ref": build.ref,
        "rule": build.rule,
        "commit": build.commit,
        "position": build.position,
        "ordered": build.is_ordered,
    }
    if by is not None:
        told |= {
            "superseded_by": by.event_id,
            "superseded_by_commit": by.commit,
            "superseded_at": by.since,
            "told": build.is_told,
            "refused": build.is_refused,
        }
    return dump_record(told)


def read_running(key: str, body: bytes, *, keys: LedgerKeys) -> RunningBuild:
    """Return the entry in an object's body.

    Args:
        key: Key of the object.
        body: Its contents.
        keys: Keys of the ledger: the entry must be that of its key.

    Raises:
        Reject: The object cannot be read, or does not belong to its key; the reason names the key.
    """
    told = read_record(key, body)
    with reading(f"record {key}", remedy=_MEND):
        segments = {name: _text(told["repository"], name) for name in _SEGMENTS}
        build = RunningBuild(
            of=StartedId(StartedKind(told["kind"]), _text(told, "name"), _text(told, "id")),
            event_id=_text(told, "event_id"),
            repository=decode_repository(**segments),
            ref=_text(told, "ref"),
            rule=_text(told, "rule"),
            commit=_text(told, "commit"),
            position=int(told["position"]),
            is_ordered=told["ordered"] is True,
            superseded_by=_superseder(told),
            is_told=told.get("told") is True,
            is_refused=told.get("refused") is True,
        )
        if keys.running(build.repository, build.ref, build.of, rule=build.rule) != key:
            raise ValueError
        return build


_SEGMENTS: Final = ("account", "region", "name")


def _superseder(told: Mapping[str, Any]) -> Superseder | None:
    if "superseded_by" not in told:
        return None
    since = read_time(told["superseded_at"])
    if since is None:
        raise ValueError
    return Superseder(_text(told, "superseded_by"), _text(told, "superseded_by_commit"), since)


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told[name]
    if not isinstance(value, str):
        raise TypeError
    return value
