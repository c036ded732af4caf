"""Messages of the queue of rounds: a round over all repositories, or over one. Pure.

The Scheduler sends `{"asyncbuild": "reconcile", "version": 1, "time": "…"}`, which tells rounds
apart by its time. A message for one repository has the field `repository` beside that.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from asyncbuild.domain.errors import Reject, reading, show
from asyncbuild.domain.foreign_text import to_json
from asyncbuild.domain.git_names import check_repository
from asyncbuild.domain.repository import Repository, decode_repository
from asyncbuild.domain.times import read_time

KIND: Final = "reconcile"
_VERSION: Final = 1
# Of all groups that SQS takes (SQS API reference, SendMessage, MessageGroupId) those without
# punctuation that no path has: names of Azure DevOps have spaces, which it refuses.
_GROUP: Final = re.compile(r"[A-Za-z0-9._~/-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RoundOrder:
    """Order for a round: of all repositories, or of one.

    Attributes:
        time: The scheduled time of the round.
        repository: The repository; None for all of them.
    """

    time: datetime
    repository: Repository | None = None

    @property
    def group(self) -> str:
        """Message group: one for each repository."""
        path = self.repository.path if self.repository else "round"
        if _GROUP.fullmatch(path):
            return path
        return hashlib.sha256(path.encode()).hexdigest()


def dump_order(order: RoundOrder) -> str:
    """Return the body of an order's message."""
    document: dict[str, object] = {"asyncbuild": KIND, "version": _VERSION, "time": order.time}
    if order.repository is not None:
        document["repository"] = order.repository.segments._asdict()
    return to_json(document, utc_z=True).decode()


def read_order(body: str) -> RoundOrder:
    """Return the order in a message's body.

    Raises:
        Reject: It is none, or of a later version.
    """
    with reading("message of the queue of rounds"):
        document = orjson.loads(body)
        kind, version = document["asyncbuild"], document["version"]
        if kind != KIND or version != _VERSION:
            raise Reject(f"asyncbuild is {show(kind)}, and version {show(version)}, not 1")
        time = read_time(document["time"])
        if time is None:
            raise Reject(f"time is {show(document['time'])}, not an ISO 8601 time")
        return RoundOrder(time, _repository(document.get("repository")))


def _repository(segments: Mapping[str, Any] | None) -> Repository | None:
    if segments is None:
        return None
    account, region, name = (str(segments[each]) for each in ("account", "region", "name"))
    return check_repository(decode_repository(account, region, name))
