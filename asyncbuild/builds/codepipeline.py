"""Start of pipeline executions for S3 objects, once per push and pipeline (I12).

The pipeline gets the object's key and version, so the execution runs what was pushed, whatever is
uploaded afterwards. Two mechanisms ensure that it is started once. The first is
`clientRequestToken`, an idempotency token (model). It is not documented how long it is remembered;
it is trusted as long as CodeBuild's. After that only a search helps (`find_recent`). The API does
not return the token of an execution, but its variables and its source's version: a pipeline that
declares the variable EVENT_ID shows exactly which push it runs.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from asyncbuild.aws.classify import codepipeline_errors as errors_of
from asyncbuild.builds.requests.start_build import EVENT_ID, is_of
from asyncbuild.builds.requests.start_pipeline import (
    Declaration,
    declaration_of,
    parameters_of,
    source_of,
)
from asyncbuild.domain.errors import Busy, Reject
from asyncbuild.domain.model import Execution, Guard, HandOver

if TYPE_CHECKING:
    from types_aiobotocore_codepipeline import CodePipelineClient
    from types_aiobotocore_codepipeline.type_defs import (
        ListPipelineExecutionsInputTypeDef,
        PipelineExecutionSummaryTypeDef,
    )

_LONGEST_PAGE = 100  # model: ListPipelineExecutions, maxResults
# A source action that has not reported its version after this long is not waited for any more.
_SOURCE_TELLS_WITHIN = timedelta(minutes=10)


class CodePipeline:
    """Starts executions of pipelines, and finds executions that were started before."""

    def __init__(self, client: "CodePipelineClient") -> None:
        self._client = client

    async def start(self, request: HandOver, *, guard: Guard) -> Execution:
        """Start an execution, or return the one that the same request has started before.

        Raises:
            LeaseLost: `guard` raised it; nothing was started (I4).
            Busy: The pipeline is busy or has as many executions as it may, or calls are throttled.
            Reject: The pipeline does not exist, or cannot take the archive; the error tells what to
                change.
            Denied: The role may not read or start this pipeline.
            Outage, Retry: CodePipeline did not answer, or not as it should.
        """
        pipeline = await self.declaration(request.pipeline)
        parameters = parameters_of(request, pipeline)
        guard()
        with errors_of(f"start pipeline {request.pipeline}"):
            try:
                answer = await self._client.start_pipeline_execution(**parameters)
            except self._client.exceptions.PipelineNotFoundException as error:
                raise _no_pipeline(request.pipeline) from error
            except self._client.exceptions.ConflictException as error:
                # The API reference tells callers to repeat the request later.
                raise Busy(
                    f"pipeline {request.pipeline} is busy: ConflictException",
                    peer="codepipeline",
                    code="ConflictException",
                ) from error
        return Execution(answer["pipelineExecutionId"], request.pipeline, pipeline.arn)

    async def find_recent(self, request: HandOver, *, since: datetime) -> Execution | None:
        """Return the first execution started for this push at or after `since`, if any.

        A later one with its variables is a copy that another user has started. If the pipeline
        declares EVENT_ID, each execution since then is compared, with one call each. If not, only
        the newest one is, and only if it runs this very version: an older one may be another push's
        of the same commit.

        Raises:
            Busy: The newest execution does not tell yet what it runs; or as for `start`.
            Reject, Denied, Outage, Retry: As for `start`.
        """
        pipeline = await self.declaration(request.pipeline)
        if EVENT_ID in pipeline.variables:
            found = await self._find_by_event(request, since)
        else:
            source = source_of(pipeline, bucket=request.bucket, source_action=request.source_action)
            found = await self._find_by_version(request, source.action, since)
        return Execution(found, request.pipeline, pipeline.arn) if found else None

    async def declaration(self, pipeline: str) -> Declaration:
        """Return how the pipeline is declared now: it may have been changed since the last push.

        Raises:
            Reject: The pipeline does not exist.
            Busy, Denied, Outage, Retry: As for `start`.
        """
        with errors_of(f"read how pipeline {pipeline} is declared"):
            try:
                return declaration_of(await self._client.get_pipeline(name=pipeline))
            except self._client.exceptions.PipelineNotFoundException as error:
                raise _no_pipeline(pipeline) from error

    async def _find_by_event(self, request: HandOver, since: datetime) -> str | None:
        found = None
        async for summary in self._iter_started(request.pipeline, since):
            id_ = summary["pipelineExecutionId"]
            with errors_of(f"look at execution {id_} of pipeline {request.pipeline}"):
                answer = await self._client.get_pipeline_execution(
                    pipelineName=request.pipeline, pipelineExecutionId=id_
                )
            listed = answer["pipelineExecution"].get("variables", [])
            told = {each.get("name", ""): each.get("resolvedValue", "") for each in listed}
            if is_of(told, request.variables):
                found = id_
        return found

    async def _find_by_version(self, request: HandOver, action: str, since: datetime) -> str | None:
        async for summary in self._iter_started(request.pipeline, since):
            versions = {
                revision.get("revisionId")
                for revision in summary.get("sourceRevisions", [])
                if revision["actionName"] == action
            }
            if versions:
                return summary["pipelineExecutionId"] if request.version_id in versions else None
            young = datetime.now(UTC) - summary["startTime"] < _SOURCE_TELLS_WITHIN
            if summary.get("status") == "InProgress" and young:
                raise Busy(
                    f"execution {summary['pipelineExecutionId']} of pipeline {request.pipeline} "
                    "does not tell yet whether it runs this push",
                    remedy=f"declare the variable {EVENT_ID} in the pipeline, and it tells at once",
                )
        return None

    async def _iter_started(
        self, pipeline: str, since: datetime
    ) -> AsyncIterator["PipelineExecutionSummaryTypeDef"]:
        """Yield executions that StartPipelineExecution began at or after `since`, newest first."""
        wanted: ListPipelineExecutionsInputTypeDef = {
            "pipelineName": pipeline,
            "maxResults": _LONGEST_PAGE,
        }
        while True:
            with errors_of(f"look through the executions of pipeline {pipeline}"):
                page = await self._client.list_pipeline_executions(**wanted)
            summaries = page.get("pipelineExecutionSummaries", [])
            for summary in sorted(summaries, key=lambda each: each["startTime"], reverse=True):
                if summary["startTime"] < since:
                    return
                if summary.get("trigger", {}).get("triggerType") == "StartPipelineExecution":
                    yield summary
            if not page.get("nextToken"):
                return
            wanted["nextToken"] = page["nextToken"]


def _no_pipeline(pipeline: str) -> Reject:
    return Reject(
        f"pipeline {pipeline} does not exist in this account and region",
        remedy="create it, or correct `pipeline` in the rule that names it",
        code="PipelineNotFoundException",
    )
