"""Lookup in the ledger of results that another task recorded, for builds that a reader sees."""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from asyncbuild.domain.errors import StageError
from asyncbuild.domain.results.build_result import BuildResult, StartedId
from asyncbuild.runtime.tasks import for_each
from asyncbuild.status.history import Chronicle
from asyncbuild.status.results.shown import is_end, shown_record, started_id

FindResult = Callable[[StartedId], Awaitable[BuildResult | None]]
"""Function that returns the recorded result of a build; None if there is none."""

EVERY_SECONDS: Final = 10.0
MOST: Final = 16  # asked for at a time: two small reads each


class ResultLookup:
    """Asks for the results of shown builds without an end, some at a time, in turns.

    Args:
        chronicle: History whose rows are completed.
        find: Returns a recorded result.
        clock: Clock in seconds.
    """

    def __init__(
        self,
        chronicle: Chronicle,
        find: FindResult,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._chronicle = chronicle
        self._find = find
        self._clock = clock
        self._asked_at: dict[StartedId, float] = {}
        self._last = float("-inf")

    async def refresh(self) -> None:
        """Complete rows; do nothing if it asked less than ten seconds ago.

        A ledger that cannot be read changes nothing: the page must not fail with it.
        """
        now = self._clock()
        unended = [
            of
            for row in self._chronicle.settled
            if not is_end(row.result) and (of := started_id(row)) is not None
        ]
        if not unended or now - self._last < EVERY_SECONDS:
            return
        self._last = now
        self._asked_at = {of: self._asked_at.get(of, float("-inf")) for of in unended}
        # Those never asked for come first; the sort keeps their order, newest first.
        chosen = sorted(unended, key=lambda of: self._asked_at[of])[:MOST]
        self._asked_at |= dict.fromkeys(chosen, now)
        await for_each(self._ask, chosen)

    async def _ask(self, of: StartedId) -> None:
        try:
            result = await self._find(of)
        except StageError:
            return
        if result is not None:
            self._chronicle.show_result(of.id, shown_record(result))
