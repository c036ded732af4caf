"""Quota of dead letters for requests without a good signature: the first of each host and hour.

Anybody who knows a webhook's address can send to it. The first few requests tell an operator what
is wrong; more of them would fill bucket and dead-letter queue. Tasks share the places: each is an
object.
"""

from datetime import UTC, datetime
from typing import Final

from asyncbuild.builds.ledger import Ledger
from asyncbuild.domain.model import Message
from asyncbuild.runtime.recent import Recent

MOST: Final = 20  # per host and hour
_REMEMBERED: Final = 64  # pairs of host and hour


class Quota:
    """Assigns the places of each host and hour."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._taken: Recent[tuple[str, str], int] = Recent(_REMEMBERED)

    async def take(self, message: Message, host: str) -> tuple[bool, bool]:
        """Take a place; return whether there was one, and whether this is the first refusal.

        The hour is that in which the message came to the queue, so no sender chooses it.

        Raises:
            StageError: The ledger could not be written.
        """
        hour = f"{message.sent or datetime.now(UTC):%Y%m%dT%H}"
        number = self._taken.get((host, hour), 0)
        before = number
        while number < MOST:
            number += 1
            if await self._ledger.take_place(host, hour, number, message):
                self._taken[host, hour] = number
                return True, False
        self._taken[host, hour] = MOST + 1
        return False, before <= MOST
