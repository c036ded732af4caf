"""Finder of the entry of a build in the index of starts, and of its newest attempt."""

from typing import Final, Protocol

from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.domain.errors import Retry
from asyncbuild.domain.results.build_result import StartedId, StartedKind
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.results.facts.attempt_facts import AttemptFacts
from asyncbuild.runtime.recent import Recent

_REMEMBERED_MOST: Final = 10_000  # builds whose earlier attempts are remembered
_ATTEMPTS_MOST: Final = 20  # CodeBuild makes ten (API reference, autoRetryLimit)


class AsksBuilds(Protocol):
    """Asks for the state of a build; `results.build_questions.BuildQuestions` does."""

    async def ask(self, of: StartedId) -> AttemptFacts | None:
        """Return its state now; None if its service does not know it. Raises StageError."""


class ResultFinder:
    """Finds builds in the index of starts, also by their later attempts.

    Args:
        ledger: Index of starts.
        questions: Asks for the states of builds.
    """

    def __init__(self, ledger: ResultLedger, questions: AsksBuilds) -> None:
        self._ledger = ledger
        self._questions = questions
        self._earlier: Recent[StartedId, tuple[StartedId, ...]] = Recent(_REMEMBERED_MOST)

    async def find_start(self, of: StartedId) -> StartedBuild | None:
        """Return a build of the index; None if it is not in it.

        Raises:
            StageError: The index could not be read.
        """
        return await self._ledger.find_started(of)

    async def find_first(self, of: StartedId) -> StartedBuild | None:
        """Return the build of the index of which CodeBuild made `of` as a later attempt, if any.

        Raises:
            StageError: Index or builds could not be read.
        """
        for each in await self._earlier_attempts(of):
            started = await self._ledger.find_started(each)
            if started is not None:
                return started
        return None

    async def find_newest(self, of: StartedId) -> AttemptFacts | None:
        """Return the newest attempt of a build; None if its service does not know it.

        Raises:
            Retry: CodeBuild names a later attempt that it does not show yet.
            StageError: It could not be asked for.
        """
        facts = await self._questions.ask(of)
        return facts and await self.follow(facts)

    async def follow(self, facts: AttemptFacts) -> AttemptFacts:
        """Return the newest attempt of a build, beginning with any of them.

        Raises:
            Retry: CodeBuild names a later attempt that it does not show yet.
            StageError: It could not be asked for.
        """
        for _ in range(_ATTEMPTS_MOST):
            if facts.next is None:
                break
            later = await self._questions.ask(facts.next)
            if later is None:
                told = f"build {facts.next.id}, the next attempt of {facts.result.attempt_id}"
                raise Retry(f"{told}, cannot be seen yet", peer="codebuild")
            facts = later
        return facts

    async def _earlier_attempts(self, of: StartedId) -> tuple[StartedId, ...]:
        """Return the attempts before a build, the last one first.

        A build of a batch has none: its batch decides.
        """
        known = self._earlier.get(of)
        if known is not None or of.kind is not StartedKind.BUILD:
            return known or ()
        found: list[StartedId] = []
        facts = await self._questions.ask(of)
        if facts is None:  # it may be too new to be seen yet
            return ()
        while facts is not None and not facts.batch and facts.previous is not None:
            if facts.previous in found or len(found) == _ATTEMPTS_MOST:
                break
            found.append(facts.previous)
            facts = await self._questions.ask(facts.previous)
        self._earlier[of] = tuple(found)
        return tuple(found)
