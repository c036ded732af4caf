"""Requests to CodeBuild and CodePipeline to stop a build or an execution."""

from typing import TYPE_CHECKING, Final

from asyncbuild.aws.classify import codebuild_errors, codepipeline_errors
from asyncbuild.domain.errors import Retry, StageError, reading
from asyncbuild.domain.foreign_text import plain
from asyncbuild.domain.results.build_result import StartedId
from asyncbuild.results.facts.attempt_facts import AttemptFacts
from asyncbuild.results.facts.build_facts import facts_of_build
from asyncbuild.runtime.clock import Clock, utc_now

if TYPE_CHECKING:
    from types_aiobotocore_codebuild import CodeBuildClient
    from types_aiobotocore_codepipeline import CodePipelineClient

_REASON_MOST: Final = 200  # characters (API reference, StopPipelineExecution, reason)
_STOPS_ALREADY: Final = "DuplicatedStopRequestException"
# It has ended, or is between stages; or the pipeline was deleted.
_WILL_NOT_STOP: Final = frozenset(
    {"PipelineExecutionNotStoppableException", "PipelineNotFoundException"}
)


class BuildStops:
    """Stops builds and executions.

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

    async def stop_build(self, attempt: StartedId) -> AttemptFacts | None:
        """Stop a build; return its state after that, None if CodeBuild does not know it.

        A build that has ended stays as it is.

        Args:
            attempt: The build: of a build that was tried again its newest attempt.

        Raises:
            Busy: Calls are throttled, or CodeBuild cannot be reached.
            Denied: The role may not stop builds of this project.
            Reject, Retry: CodeBuild refused, or its answer cannot be read.
        """
        try:
            with codebuild_errors(f"stop build {attempt.id}"):
                answer = await self._codebuild.stop_build(id=attempt.id)
        except StageError as error:
            if error.code == "ResourceNotFoundException":
                return None
            raise
        with reading(f"the answer about build {attempt.id}", raises=Retry, peer="codebuild"):
            return facts_of_build(answer["build"], observed_at=self._clock())

    async def stop_execution(self, of: StartedId, *, reason: str) -> bool:
        """Stop an execution after the actions that it is in; return whether it will stop.

        Actions are not abandoned: that may leave a deployment half done (API reference,
        StopPipelineExecution, abandon). One that waits for an approval stops after the answer. It
        will not stop if it has ended, or if CodePipeline cannot stop it now.

        Args:
            of: The execution.
            reason: Words for the pipeline's history.

        Raises:
            Busy: Calls are throttled, the pipeline is busy, or CodePipeline cannot be reached.
            Denied: The role may not stop this pipeline.
            Reject, Retry: CodePipeline refused.
        """
        doing = f"stop execution {of.number} of pipeline {of.name}"
        try:
            with codepipeline_errors(doing):
                await self._codepipeline.stop_pipeline_execution(
                    pipelineName=of.name,
                    pipelineExecutionId=of.number,
                    abandon=False,
                    reason=plain(reason, _REASON_MOST),
                )
        except StageError as error:
            if error.code == _STOPS_ALREADY:
                return True
            if error.code in _WILL_NOT_STOP:
                return False
            raise
        return True
