"""History of a rule's content on one ref: the newest start, the newest pass, and what still runs.

Content is what the rule's `changes` match in a tree, known by its digest. A pass counts for the
very content that passed, so an older pass that is told late cannot hide a newer failure. A push
without a known start or pass to compare with is built.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from asyncbuild.domain.contents.compared_content import ChangesSince
from asyncbuild.domain.results.build_result import StartedId, StartedKind

RUNNING_MOST: Final = 16
# CodeBuild queues a build for 8 hours and lets it run for 36 (quotas): an end that is not told by
# then is not told at all.
RUNS_FOR: Final = timedelta(hours=48)


@dataclass(frozen=True, slots=True)
class SeenContent:
    """Content that was started, or that passed.

    Attributes:
        digest: Digest of the content.
        commit: The commit that had it.
        event_id: Id of the push.
        at: When it was pushed; of a pass, when its build ended.
    """

    digest: str
    commit: str
    event_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RunningContent:
    """Content of a build or execution that has not ended, as far as is known.

    Attributes:
        of: The build or execution.
        digest: Digest of its content.
        event_id: Id of its push.
        since: When it was started.
    """

    of: StartedId
    digest: str
    event_id: str
    since: datetime


@dataclass(frozen=True, slots=True)
class ContentHistory:
    """Starts and ends of one project or pipeline for one rule on one ref.

    Attributes:
        started: Content of the newest push that started it.
        passed: Content that passed last; None also if the same content failed after that.
        failed_at: End of the newest build that did not pass.
        running: Those that were started since `passed`, in the order of their starts.
    """

    started: SeenContent | None = None
    passed: SeenContent | None = None
    failed_at: datetime | None = None
    running: tuple[RunningContent, ...] = ()

    def newest(self, since: ChangesSince) -> SeenContent | None:
        """Return what pushes are compared with; None if there is nothing, or nothing is known."""
        return self.passed if since is ChangesSince.PASSED else self.started

    def is_of(self, event_id: str) -> bool:
        """Return whether a push has started, or may have started, something itself."""
        own = (self.started, self.passed, *self.running)
        return any(each is not None and each.event_id == event_id for each in own)

    def find_same(self, since: ChangesSince, digest: str) -> SeenContent | None:
        """Return the newest start or pass if its content is this one; None if it has to be built.

        While another content runs that was started after the pass, the pass may soon be another.
        While the same content runs that was started after the pass had ended, it may soon fail, or
        has failed and that is not known. Builds of it that ran side by side are not waited for:
        on a busy branch there is always one.
        """
        newest = self.newest(since)
        if newest is None or newest.digest != digest:
            return None
        if since is ChangesSince.PASSED and any(
            each.digest != digest or each.since > newest.at for each in self.running
        ):
            return None
        return newest

    def begin(
        self, started: SeenContent, of: StartedId, *, now: datetime, is_newest: bool = True
    ) -> "ContentHistory":
        """Return the history after a start.

        The newest start never goes back, as the head of a ref: an older push that was forced does
        not replace it. Too many builds that have not ended leave no pass to compare with.

        Args:
            started: What was started.
            of: Its build or execution.
            now: The time.
            is_newest: Whether it can be the newest start of its ref; not a build beside the order.
        """
        newer = is_newest and (self.started is None or started.at >= self.started.at)
        running = self.without_lost(now).running
        passed = self.passed
        if all(each.of != of for each in running):
            running = (*running, RunningContent(of, started.digest, started.event_id, now))
        if len(running) > RUNNING_MOST:
            running, passed = running[-RUNNING_MOST:], None
        return replace(
            self, started=started if newer else self.started, passed=passed, running=running
        )

    def end(self, ended: SeenContent, of: StartedId, *, is_passed: bool) -> "ContentHistory":
        """Return the history after an end; of two ends the later one counts, however they come.

        Args:
            ended: What has ended; `at` is the time of the end.
            of: Its build or execution.
            is_passed: Whether it passed.
        """
        others = tuple(each for each in self.running if each.of != of)
        if not is_passed:  # a failed stage of an execution may be tried again, and pass
            may_pass = of.kind is StartedKind.EXECUTION
            return replace(self._fail(ended), running=self.running if may_pass else others)
        is_later = self.passed is None or ended.at > self.passed.at
        # A pass that is told after a later failure is left out: the failure may be of its content.
        if not is_later or (self.failed_at is not None and ended.at <= self.failed_at):
            return replace(self, running=others)
        ids = [each.of for each in self.running]
        if of in ids:  # what was started before this pass is not waited for
            return replace(self, passed=ended, running=self.running[ids.index(of) + 1 :])
        if self.passed is not None and self.passed.digest == ended.digest:
            return replace(self, passed=ended)
        # One that was not waited for has passed last, and what was started after it is not known.
        return replace(self, passed=None, failed_at=ended.at)

    def _fail(self, ended: SeenContent) -> "ContentHistory":
        failed_at = max(self.failed_at or ended.at, ended.at)
        passed = self.passed
        if passed is not None and passed.digest == ended.digest and ended.at >= passed.at:
            passed = None
        return replace(self, passed=passed, failed_at=failed_at)

    def without_lost(self, now: datetime) -> "ContentHistory":
        """Return the history without builds whose ends can come no more."""
        running = tuple(each for each in self.running if now - each.since < RUNS_FOR)
        return replace(self, running=running)


NO_HISTORY: Final = ContentHistory()
