"""Recorder of starts that also reports them."""

from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.domain.model import Outcome, Push
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.reports.report_sender import ReportSender


class ReportedStarts:
    """Records starts in the index, then reports them as pending.

    Args:
        ledger: Index of starts.
        sender: Sends reports.
    """

    def __init__(self, ledger: ResultLedger, sender: ReportSender) -> None:
        self._ledger = ledger
        self._sender = sender

    async def record_start(self, push: Push, outcome: Outcome) -> StartedBuild | None:
        """Record and report what a push has started; return it, None if it has started nothing.

        Args:
            push: The push.
            outcome: What was done for one target.

        Raises:
            StageError: The ledger refused; a report that cannot be sent is only told.
        """
        started = await self._ledger.record_start(push, outcome)
        if started is not None:
            await self._sender.send_start(started)
        return started
