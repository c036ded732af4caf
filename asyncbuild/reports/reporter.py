"""Reporter of commit statuses: posts one report, if it is due, and records that."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Protocol

import orjson

from asyncbuild.builds.report_ledger import KnownPost, ReportLedger
from asyncbuild.domain.errors import Busy, Denied, Reject, StageError, reading
from asyncbuild.domain.events.report_events import (
    ReportDelayed,
    ReportPassedOver,
    ReportPosted,
    ReportsOff,
)
from asyncbuild.domain.model import Message
from asyncbuild.domain.reports.report import SENT_AGAIN, PostedStatus, Report, is_due, read_report
from asyncbuild.domain.reports.token_bucket import TokenBucket
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.settling import Done, GiveUp, Hide, Settling, hidden_seconds
from asyncbuild.forges.statuses.poster_protocol import StatusPlace
from asyncbuild.forges.statuses.status_posters import HostPoster
from asyncbuild.reports.report_sender import age_seconds
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.runtime.emit import about, emit

_HOUR_SECONDS: Final = 3_600.0
_HIDDEN_MOST_SECONDS: Final = 600
_PENDING_SHARE: Final = 0.5  # of the allowance: below it only ends are posted
_GIVEN_UP_AFTER: Final = timedelta(days=2)  # a forge that was away longer is told by hand
_PENDING_FOR: Final = timedelta(minutes=10)  # an older start says little: its end is near


class FindsPosters(Protocol):
    """Finds the poster of a repository; `forges.statuses.status_posters.StatusPosters` does."""

    def find(self, repository: Repository) -> HostPoster | None:
        """Return the poster; None if the repository wants no statuses."""


@dataclass(slots=True)
class _Allowance:
    """Requests that a credential may make now, and the repositories that refuse it."""

    bucket: TokenBucket
    off_until: dict[str, float] = field(default_factory=dict)


class Reporter:
    """Posts reports, one at a time for each repository, commit and context.

    Args:
        posters: Finds the poster of a repository.
        ledger: Tells what was posted before.
        monotonic: Clock of the allowances, in seconds.
        clock: Clock of the world.
    """

    def __init__(
        self,
        posters: FindsPosters,
        ledger: ReportLedger,
        *,
        monotonic: Callable[[], float],
        clock: Clock = utc_now,
    ) -> None:
        self._posters = posters
        self._ledger = ledger
        self._monotonic = monotonic
        self._clock = clock
        self._allowances: dict[str, _Allowance] = {}

    def read(self, message: Message) -> Report:
        """Return the report in a message.

        Raises:
            Reject: It is not one, or of a version that is not known.
        """
        with reading("report"):
            return read_report(orjson.loads(message.body))

    async def settle(self, message: Message, report: Report) -> Settling:
        """Post a report if it is due; return what becomes of its message.

        Args:
            message: The message.
            report: Its report.
        """
        with about(report.identity):
            found = self._posters.find(report.repository)
            if found is None:
                return self._pass_over(report, "its host wants no commit statuses any more")
            try:
                return await self._settle(message, report, found)
            except Denied as error:
                self._turn_off(report, found, error)
                return GiveUp(str(error), error.kind)
            except Reject as error:
                return GiveUp(str(error), error.kind)
            except StageError as error:
                return self._later(message, report, found, error)

    async def _settle(self, message: Message, report: Report, found: HostPoster) -> Settling:
        known = await self._ledger.find_posted(report)
        if not is_due(report, known.posted):
            return self._pass_over(report, "a later state was posted")
        allowance, now = self._allowance(found), self._monotonic()
        off_until = allowance.off_until.get(report.repository.path, 0.0)
        # A person who sends a report again has looked at the credential.
        if now < off_until and SENT_AGAIN not in message.attributes:
            return GiveUp("the forge refuses the credential for this repository", Denied.kind)
        if not report.status.state.is_end and self._is_late(message, allowance, now):
            return self._pass_over(report, "only ends are posted now")
        wait = allowance.bucket.take(now)
        if wait > 0:
            # Others wait for the same allowance: at each step longer, or each would be received
            # hundreds of times before its turn, and the queue give it up.
            longer = hidden_seconds(message.receive_count, _HIDDEN_MOST_SECONDS)
            return Hide(min(_HIDDEN_MOST_SECONDS, max(longer, int(wait) + 1)))
        return await self._post(message, report, found, known)

    async def _post(
        self, message: Message, report: Report, found: HostPoster, known: KnownPost
    ) -> Settling:
        place = StatusPlace(report.repository, report.ref, report.commit)
        await found.poster.post(place, report.status)
        self._allowance(found).off_until.pop(report.repository.path, None)
        if not await self._ledger.record_posted(report, known, now=self._clock()):
            known = await self._ledger.find_posted(report)
            if known.posted != PostedStatus(report.status.state, report.order):
                return await self._make_good(report, found, known)
        posted = ReportPosted(
            context=report.status.context,
            state=report.status.state,
            description=report.status.description,
            attempt=report.order.attempt,
            since_sent_seconds=age_seconds(message.sent, self._clock()),
            forge=found.host.kind,
        )
        emit(posted)
        return Done()

    async def _make_good(self, report: Report, found: HostPoster, known: KnownPost) -> Settling:
        """Bring the forge up to date after another task has posted for the context meanwhile.

        Which of the two posts came last is not known, so the later state is posted once more.
        """
        if is_due(report, known.posted):
            return Hide(1)
        if known.shown is not None:
            place = StatusPlace(report.repository, report.ref, report.commit)
            await found.poster.post(place, known.shown)
        return self._pass_over(report, "a later state was posted meanwhile")

    def _later(
        self, message: Message, report: Report, found: HostPoster, error: StageError
    ) -> Settling:
        """Return when a report is tried again; a pending one is not, if its forge asks for less."""
        if isinstance(error, Busy) and error.after_seconds is not None:
            self._allowance(found).bucket.close(self._monotonic(), error.after_seconds)
            if not report.status.state.is_end:
                return self._pass_over(report, "its forge asks for a pause")
        if message.sent is not None and self._clock() - message.sent > _GIVEN_UP_AFTER:
            return GiveUp(str(error), error.kind)
        seconds = hidden_seconds(message.receive_count, _HIDDEN_MOST_SECONDS)
        if error.after_seconds is not None:
            seconds = min(_HIDDEN_MOST_SECONDS, int(error.after_seconds) + 1)
        emit(
            ReportDelayed(
                message_id=message.id,
                kind=error.kind,
                reason=str(error),
                retry_in_seconds=seconds,
            )
        )
        return Hide(seconds)

    def _is_late(self, message: Message, allowance: _Allowance, now: float) -> bool:
        if allowance.bucket.share(now) < _PENDING_SHARE:
            return True
        return message.sent is not None and self._clock() - message.sent > _PENDING_FOR

    def _turn_off(self, report: Report, found: HostPoster, error: Denied) -> None:
        """Post nothing to a repository for an hour; told once."""
        off = self._allowance(found).off_until
        path, now = report.repository.path, self._monotonic()
        if off.get(path, 0.0) <= now:
            off[path] = now + _HOUR_SECONDS
            told = ReportsOff(
                repository=report.repository.full_name, reason=str(error), seconds=_HOUR_SECONDS
            )
            emit(told)

    def _allowance(self, found: HostPoster) -> _Allowance:
        name = found.credential
        if name not in self._allowances:
            bucket = TokenBucket(found.settings.requests_per_hour, _HOUR_SECONDS)
            self._allowances[name] = _Allowance(bucket)
        return self._allowances[name]

    def _pass_over(self, report: Report, reason: str) -> Done:
        status = report.status
        emit(ReportPassedOver(context=status.context, state=status.state, reason=reason))
        return Done()
