"""Questions to CodeBuild and CodePipeline about builds, many at once where the API takes many."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from asyncbuild.aws.classify import codebuild_errors, codepipeline_errors
from asyncbuild.domain.errors import Denied, Reject, Retry, StageError, reading
from asyncbuild.domain.results.build_result import StartedId, StartedKind
from asyncbuild.results.facts.attempt_facts import AttemptFacts
from asyncbuild.results.facts.build_facts import facts_of_batch, facts_of_build
from asyncbuild.results.facts.execution_facts import facts_of_execution
from asyncbuild.runtime.batching import Batcher
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.runtime.tasks import for_each

if TYPE_CHECKING:
    from types_aiobotocore_codebuild import CodeBuildClient
    from types_aiobotocore_codepipeline import CodePipelineClient
    from types_aiobotocore_codepipeline.type_defs import ListActionExecutionsInputTypeDef

_MOST: Final = 100  # ids of one call (API reference, BatchGetBuilds, BatchGetBuildBatches)
_PAGES_MOST: Final = 30  # of a hundred actions each: a pipeline has a thousand (quotas)
_GONE: Final = frozenset({"PipelineExecutionNotFoundException", "PipelineNotFoundException"})

Answer = AttemptFacts | StageError
Answers = Mapping[StartedId, Answer]


class BuildQuestions:
    """Asks for states of builds, batches and executions; simultaneous questions share a call.

    Args:
        codebuild: Client for CodeBuild.
        codepipeline: Client for CodePipeline.
        clock: Clock.
    """

    def __init__(
        self,
        codebuild: "CodeBuildClient",
        codepipeline: "CodePipelineClient",
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._codebuild = codebuild
        self._codepipeline = codepipeline
        self._clock = clock
        self._builds: Batcher[StartedId, Answer] = Batcher(self._ask_builds)
        self._batches: Batcher[StartedId, Answer] = Batcher(self._ask_batches)

    async def ask(self, of: StartedId) -> AttemptFacts | None:
        """Return the state of a build now; None if its service does not know it.

        Raises:
            Busy: Calls are throttled, or the service cannot be reached.
            Denied: The role may not ask.
            Reject, Retry: The service refused, or its answer cannot be read.
        """
        if of.kind is StartedKind.EXECUTION:
            return await self._ask_execution(of)
        together = self._builds if of.kind is StartedKind.BUILD else self._batches
        answer = await together.get(of)
        if isinstance(answer, StageError):
            raise answer
        return answer

    async def ask_all(self, ofs: Sequence[StartedId]) -> Answers:
        """Return the states of all of them now, without those that their services do not know.

        An error takes the place of each answer that it prevented.
        """
        builds = [each for each in ofs if each.kind is StartedKind.BUILD]
        batches = [each for each in ofs if each.kind is StartedKind.BATCH]
        executions = [each for each in ofs if each.kind is StartedKind.EXECUTION]
        told = await for_each(self._try_execution, executions)
        pairs = zip(executions, told, strict=True)
        return {
            **await self._ask_builds(builds),
            **await self._ask_batches(batches),
            **{each: answer for each, answer in pairs if answer is not None},
        }

    async def _ask_builds(self, ofs: Sequence[StartedId]) -> Answers:
        async def call(ids: list[str]) -> Sequence[Mapping[str, Any]]:
            return (await self._codebuild.batch_get_builds(ids=ids)).get("builds", [])

        return await self._ask_in_parts(call, facts_of_build, ofs)

    async def _ask_batches(self, ofs: Sequence[StartedId]) -> Answers:
        async def call(ids: list[str]) -> Sequence[Mapping[str, Any]]:
            return (await self._codebuild.batch_get_build_batches(ids=ids)).get("buildBatches", [])

        return await self._ask_in_parts(call, facts_of_batch, ofs)

    async def _try_execution(self, of: StartedId) -> Answer | None:
        try:
            return await self._ask_execution(of)
        except StageError as error:
            return error

    async def _ask_execution(self, of: StartedId) -> AttemptFacts | None:
        observed_at = self._clock()
        try:
            with codepipeline_errors(f"look at execution {of.number} of pipeline {of.name}"):
                answer = await self._codepipeline.get_pipeline_execution(
                    pipelineName=of.name, pipelineExecutionId=of.number
                )
        except StageError as error:
            if error.code in _GONE:
                return None
            raise
        execution: Mapping[str, Any] = answer["pipelineExecution"]
        ended = execution.get("status") not in {"InProgress", "Stopping"}
        actions = await self._find_actions(of) if ended else []
        with _reading(of, "codepipeline"):
            return facts_of_execution(of, execution, actions, observed_at=observed_at)

    async def _find_actions(self, of: StartedId) -> Sequence[Mapping[str, Any]]:
        """Return the actions of an execution, for its times, what failed and what was tried again.

        Empty if the role may not list them: the state is known all the same.
        """
        wanted: ListActionExecutionsInputTypeDef = {
            "pipelineName": of.name,
            "filter": {"pipelineExecutionId": of.number},
        }
        found: list[Mapping[str, Any]] = []
        for _ in range(_PAGES_MOST):
            try:
                with codepipeline_errors(f"list the actions of execution {of.number} of {of.name}"):
                    answer = await self._codepipeline.list_action_executions(**wanted)
            except Denied:
                return []
            found += answer.get("actionExecutionDetails", [])
            if not answer.get("nextToken"):
                break
            wanted["nextToken"] = answer["nextToken"]
        return found

    async def _ask_in_parts(
        self,
        call: Callable[[list[str]], Awaitable[Sequence[Mapping[str, Any]]]],
        facts_of: Callable[..., AttemptFacts],
        ofs: Sequence[StartedId],
    ) -> Answers:
        """Ask about any number of builds; an error counts for the builds of its call alone."""
        answers: dict[StartedId, Answer] = {}
        waiting = [ofs[n : n + _MOST] for n in range(0, len(ofs), _MOST)]
        while waiting:
            part = waiting.pop()
            observed_at = self._clock()
            try:
                with codebuild_errors(f"ask about {len(part)} builds, such as {part[0].id}"):
                    found = await call([each.id for each in part])
            except StageError as error:
                parts = _split(part, error)
                waiting += parts
                if not parts:
                    answers.update(dict.fromkeys(part, error))
                continue
            by_id = {each.get("id"): each for each in found}
            for of in part:
                if of.id in by_id:
                    answers[of] = _read(of, by_id[of.id], facts_of, observed_at)
        return answers


def _split(part: Sequence[StartedId], error: StageError) -> list[Sequence[StartedId]]:
    """Return the builds of a failed call in smaller parts; empty if that cannot help.

    One build can make the whole call fail. Rights are given by project, so after a missing right
    each project is asked about in a call of its own, and after another refusal each build.
    """
    names = sorted({each.name for each in part})
    if not isinstance(error, Reject | Denied) or len(part) == 1:
        return []
    if len(names) > 1:
        return [[each for each in part if each.name == name] for name in names]
    return [] if isinstance(error, Denied) else [[each] for each in part]


def _read(
    of: StartedId,
    document: Mapping[str, Any],
    facts_of: Callable[..., AttemptFacts],
    observed_at: datetime,
) -> Answer:
    try:
        with _reading(of, "codebuild"):
            return facts_of(document, observed_at=observed_at)
    except StageError as error:
        return error


def _reading(of: StartedId, peer: str) -> AbstractContextManager[None]:
    return reading(f"the answer about {of.kind} {of.id}", raises=Retry, peer=peer)
