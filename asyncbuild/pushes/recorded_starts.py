"""Recorder of what pushes start: its content first, then its entry in the index of starts."""

from asyncbuild.builds.content_ledger import ContentLedger
from asyncbuild.domain.model import Outcome, Push
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.pushes.work import RecordsStarts


class RecordedStarts:
    """Records starts for later pushes, and for results.

    Args:
        contents: Histories of contents.
        results: Index of starts; None if no results are asked for.
    """

    def __init__(self, contents: ContentLedger, results: RecordsStarts | None) -> None:
        self._contents = contents
        self._results = results

    async def record_start(self, push: Push, outcome: Outcome) -> StartedBuild | None:
        """Record what a push has started; return its entry in the index, None if it has none.

        No end is recorded of a build that is not in the index, so its content is recorded before.

        Args:
            push: The push.
            outcome: What was done for one target.

        Raises:
            StageError: It could not be recorded.
        """
        await self._contents.record_start(push, outcome)
        return None if self._results is None else await self._results.record_start(push, outcome)
