"""Records of pushes read as movements of refs. Pure."""

from collections.abc import Mapping
from typing import Any

from asyncbuild.domain.git_names import is_commit
from asyncbuild.domain.movements import Movement
from asyncbuild.domain.times import read_time


def movement_of(record: Mapping[str, Any]) -> Movement | None:
    """Return the movement that a record tells of; None if it tells of none.

    A build beside the order of its ref moves nothing, and a record that cannot be read tells
    nothing. A deleted ref has no commit.

    Args:
        record: A record of the ledger, of any version.
    """
    ref, commit = record.get("ref"), record.get("commit", "")
    time = read_time(record.get("pushed_at")) or read_time(record.get("recorded_at"))
    request = record.get("request")
    if isinstance(request, Mapping) and not request.get("as_push"):
        return None
    if not isinstance(ref, str) or not isinstance(commit, str) or time is None:
        return None
    if commit and not is_commit(commit):
        return None
    old = record.get("old_commit")
    return Movement(
        ref,
        commit,
        time,
        str(record.get("event_id", "")),
        old if isinstance(old, str) else "",
        str(record.get("verdict", "")),
    )
