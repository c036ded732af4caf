"""Movements of a repository's refs, read from the records of its pushes."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.movement_records import movement_of
from asyncbuild.domain.movements import CLOCK_SKEW, Movement
from asyncbuild.domain.repository import Repository

# A record's key has the time of its event, or of its arrival, by another clock than this one.
_EARLIER: Final = timedelta(minutes=5)


async def read_movements(
    ledger: Ledger, repository: Repository, *, since: datetime
) -> Mapping[str, list[Movement]]:
    """Return the movements of refs that records since a time tell of, by ref.

    Args:
        ledger: Records of pushes.
        repository: The repository.
        since: A time by this service's clock.

    Raises:
        StageError: The store refused.
    """
    found: dict[str, list[Movement]] = {}
    async for record in ledger.iter_pushes(repository, since=since - _EARLIER):
        movement = movement_of(record)
        if movement is not None and movement.time >= since - CLOCK_SKEW:
            found.setdefault(movement.ref, []).append(movement)
    return found
