"""A stand-in for CodePipeline on loopback: it runs nothing, but it checks and remembers requests.

In this process: `async with open_codepipeline_standin() as standin`. As one of its own: `python -m
support.codepipeline_server --port 4700 --pipeline deploy --bucket sources`. Its rules, each with
its source (API = AWS CodePipeline API Reference, model = botocore's service model):

- A request must fit the model: members, enums, lengths, patterns; else ValidationException (API).
- An unknown pipeline is a PipelineNotFoundException (API, StartPipelineExecution, Errors).
- `clientRequestToken` is an idempotency token (model): a repeat gives the execution it gave before.
  For how long is not documented; here it is a number to set. What the same token with other
  parameters does is not documented either; here it gives the first execution.
- At the limit of executions: ConcurrentPipelineExecutionsLimitExceededException (API, Errors).
- S3_OBJECT_KEY needs AllowOverrideForS3ObjectKey in the action's configuration (user guide, "Start
  a pipeline with a source revision override"), and variables must be declared by the pipeline.
  That the call is what fails is not documented; ValidationException is the only error that fits.
- An execution tells its variables at once and its source's version when the source action has
  run (API, PipelineExecutionSummary, sourceRevisions); it does not tell its token.
- How an execution ends, and which action failed, is scripted: `pipeline_course.py`.
- A stopped execution is Stopping until its action in progress has ended, or at once Stopped if that
  is abandoned. One that is stopping already is a DuplicatedStopRequestException, one that has ended
  a PipelineExecutionNotStoppableException (API, StopPipelineExecution). That an unknown execution
  is the latter, too, is a guess: no other error is declared that fits.
- Executions are listed newest first, a hundred a page at most (API, ListPipelineExecutions).
"""

import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import click
from support.pipeline_course import (
    PipelineEnd,
    SeededPipelineEnds,
    actions_of,
    execution_event,
)

from asyncbuild.local.servers.aws_json import AwsError, Document, application, service_model
from asyncbuild.local.servers.event_sender import EventFaults, EventSender
from asyncbuild.local.servers.served import ACCOUNT, REGION, Standin, open_site

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

_ARN = f"arn:aws:codepipeline:{REGION}:{ACCOUNT}"
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Run:
    """One accepted StartPipelineExecution: epoch seconds, id, the request verbatim."""

    time: float
    id: str
    request: Document

    @property
    def revisions(self) -> dict[str, str]:
        """Return the source revisions of the request, by type."""
        return {
            each["revisionType"]: each["revisionValue"]
            for each in self.request.get("sourceRevisions", [])
        }

    @property
    def variables(self) -> dict[str, str]:
        """Return the variables of the request."""
        return {each["name"]: each["value"] for each in self.request.get("variables", [])}


@dataclass(slots=True)
class CodePipelineStandin(Standin[Run]):
    """State of the stand-in, and settings that a test may change.

    `started` holds every accepted StartPipelineExecution. An execution's source action takes
    `source_seconds`, the whole of it `run_seconds`. `end` is that of executions started from now
    on; `watchers` are functions called with every new one, and again when it is stopped. `stopped`
    holds every accepted StopPipelineExecution.
    """

    end: PipelineEnd | SeededPipelineEnds = field(default_factory=PipelineEnd)
    watchers: list[Callable[[Run], None]] = field(default_factory=list)
    stopped: list[Document] = field(default_factory=list)

    source_seconds: float = 1.0
    run_seconds: float = 10.0
    token_seconds: float = 300.0
    actions_a_page: int = _PAGE
    _pipelines: dict[str, Document] = field(default_factory=dict)
    _ends: dict[str, PipelineEnd] = field(default_factory=dict)
    _stops: dict[str, float] = field(default_factory=dict)

    def put_pipeline(self, pipeline: Document) -> None:
        """Create a pipeline, or replace its declaration."""
        self._pipelines[pipeline["name"]] = {"version": 1, **pipeline}

    async def answer(self, operation: str, members: Document) -> Document:
        """Answer one request that fits the service model.

        Raises:
            AwsError: the answer is no.
        """
        self.note_call(operation)
        told: Document
        match operation:
            case "CreatePipeline":
                told = self._create(members["pipeline"])
            case "GetPipeline":
                pipeline = self._pipeline(members["name"])
                arn = f"{_ARN}:{pipeline['name']}"
                told = {"pipeline": pipeline, "metadata": {"pipelineArn": arn}}
            case "StartPipelineExecution":
                told = {"pipelineExecutionId": self._start(members).id}
            case "StopPipelineExecution":
                told = {"pipelineExecutionId": self._stop(members).id}
            case "ListPipelineExecutions":
                told = self._list(members)
            case "GetPipelineExecution":
                told = {"pipelineExecution": self._get(members)}
            case "ListActionExecutions":
                told = self._page_of_actions(members)
            case _:
                raise AwsError("UnknownOperationException", f"{operation} has no stand-in")
        return told

    def _create(self, pipeline: Document) -> Document:
        name = pipeline["name"]
        if name in self._pipelines:
            message = f"A pipeline with the name '{name}' already exists in account"
            raise AwsError("PipelineNameInUseException", message)
        self.put_pipeline(pipeline)
        return {"pipeline": self._pipelines[name]}

    def _pipeline(self, name: str) -> Document:
        if name not in self._pipelines:
            message = f"Account '{ACCOUNT}' does not have a pipeline with name '{name}'"
            raise AwsError("PipelineNotFoundException", message)
        return self._pipelines[name]

    def _start(self, request: Document) -> Run:
        pipeline, now = self._pipeline(request["name"]), self.clock()
        token = request.get("clientRequestToken")
        for run in self._of(request["name"]):
            known = run.request.get("clientRequestToken")
            if token and token == known and now - run.time < self.token_seconds:
                return run
        _check_start(request, pipeline)
        running = [run for run in self._of(request["name"]) if now < self.ends_at(run)]
        if self.running_limit is not None and len(running) >= self.running_limit:
            message = "The pipeline has reached the limit for concurrent pipeline executions."
            raise AwsError("ConcurrentPipelineExecutionsLimitExceededException", message)
        run = Run(now, str(uuid.uuid4()), request)
        end = self.end
        key = f"{request['name']}/{len(self.started)}"
        self._ends[run.id] = end.draw(key) if isinstance(end, SeededPipelineEnds) else end
        self.started.append(run)
        self.tell_started()
        for watch in self.watchers:
            watch(run)
        return run

    def _stop(self, members: Document) -> Run:
        name = members["pipelineName"]
        pipeline, now = self._pipeline(name), self.clock()
        runs = {run.id: run for run in self._of(name)}
        run = runs.get(members["pipelineExecutionId"])
        status = "" if run is None else self.status_of(run)
        abandon = members.get("abandon", False)
        if status == "Stopping" and not abandon:
            message = "The pipeline execution is already in a Stopping state"
            raise AwsError("DuplicatedStopRequestException", message)
        if run is None or status not in {"InProgress", "Stopping"}:
            message = f"Execution {members['pipelineExecutionId']} is not in progress"
            raise AwsError("PipelineExecutionNotStoppableException", message)
        each = self.run_seconds / sum(len(stage["actions"]) for stage in pipeline["stages"])
        waits = 0.0 if abandon else each - (now - run.time) % each
        self._stops[run.id] = now + waits
        self.stopped.append(members)
        for watch in self.watchers:
            watch(run)
        return run

    def _of(self, pipeline: str) -> list[Run]:
        return [run for run in self.started if run.request["name"] == pipeline]

    def _list(self, members: Document) -> Document:
        self._pipeline(members["pipelineName"])
        first, most = int(members.get("nextToken", "0")), members.get("maxResults", _PAGE)
        runs = self._of(members["pipelineName"])[::-1]
        more = {"nextToken": str(first + most)} if first + most < len(runs) else {}
        summaries = [self._summary(run) for run in runs[first : first + most]]
        return {"pipelineExecutionSummaries": summaries, **more}

    def _summary(self, run: Run) -> Document:
        known = self.clock() >= run.time + self.source_seconds
        revisions = [
            {"actionName": each["actionName"], "revisionId": each["revisionValue"]}
            for each in run.request.get("sourceRevisions", [])
            if each["revisionType"] == "S3_OBJECT_VERSION_ID"
        ]
        return {
            "pipelineExecutionId": run.id,
            "status": self.status_of(run),
            "startTime": run.time,
            "lastUpdateTime": self.clock(),
            "sourceRevisions": revisions if known else [],
            "trigger": {
                "triggerType": "StartPipelineExecution",
                "triggerDetail": f"arn:aws:sts::{ACCOUNT}:assumed-role/asyncbuild/task",
            },
            "executionMode": "SUPERSEDED",
        }

    def _get(self, members: Document) -> Document:
        name = members["pipelineName"]
        declared = self._pipeline(name).get("variables", [])
        run = self._run(name, members["pipelineExecutionId"])
        own = {each["name"]: each.get("defaultValue", "") for each in declared}
        values = {**own, **run.variables}
        return {
            "pipelineName": name,
            "pipelineVersion": 1,
            "pipelineExecutionId": run.id,
            "status": self.status_of(run),
            "variables": [{"name": key, "resolvedValue": value} for key, value in values.items()],
        }

    def _page_of_actions(self, members: Document) -> Document:
        begin = int(members.get("nextToken", 0))
        end = begin + self.actions_a_page
        actions = self._list_actions(members)
        more = {"nextToken": str(end)} if end < len(actions) else {}
        return {"actionExecutionDetails": actions[begin:end], **more}

    def _list_actions(self, members: Document) -> list[Document]:
        name = members["pipelineName"]
        pipeline = self._pipeline(name)
        run = self._run(name, members["filter"]["pipelineExecutionId"])
        if self.status_of(run) in {"InProgress", "Stopping"}:
            return []
        until = run.time + self.run_seconds
        made = actions_of(run.id, pipeline, self._ends[run.id], begun=run.time, until=until)
        stopped_at = self._stops.get(run.id, float("inf"))
        return [each for each in made if each["startTime"] < stopped_at]

    def _run(self, pipeline: str, id_: str) -> Run:
        for run in self._of(pipeline):
            if run.id == id_:
                return run
        message = f"No execution {id_} of pipeline {pipeline}"
        raise AwsError("PipelineExecutionNotFoundException", message)

    def status_of(self, run: Run) -> str:
        """Return the status of an execution now."""
        stops = run.id in self._stops
        if self.clock() < self.ends_at(run):
            return "Stopping" if stops else "InProgress"
        return "Stopped" if stops else self._ends[run.id].status

    def ends_at(self, run: Run) -> float:
        """Return when an execution ends, in epoch seconds."""
        return self._stops.get(run.id, run.time + self.run_seconds)


@asynccontextmanager
async def open_execution_events(
    standin: CodePipelineStandin,
    client: "SQSClient",
    queue_url: str,
    *,
    faults: EventFaults | None = None,
) -> AsyncIterator[EventSender]:
    """Send the ends of all executions of a stand-in while inside; keys are their ids.

    Args:
        standin: The stand-in.
        client: Client of the queue's service.
        queue_url: The queue that a rule of EventBridge would send to.
        faults: Faults of the delivery; none by default.
    """
    sender = EventSender(client, queue_url, standin.clock, faults or EventFaults())

    def schedule(run: Run) -> None:
        at, name = standin.ends_at(run), run.request["name"]
        sender.schedule(
            at, run.id, lambda: execution_event(name, run.id, standin.status_of(run), time=at)
        )
        if standin.status_of(run) == "Stopping":
            now = standin.clock()
            sender.schedule(
                now, f"-{run.id}", lambda: execution_event(name, run.id, "Stopping", time=now)
            )

    standin.watchers.append(schedule)
    async with sender.sending():
        yield sender
    standin.watchers.remove(schedule)


def _check_start(request: Document, pipeline: Mapping[str, Any]) -> None:
    """Refuse requests that the service model accepts and CodePipeline does not."""
    actions = {each["name"]: each for stage in pipeline["stages"] for each in stage["actions"]}
    for revision in request.get("sourceRevisions", []):
        action = actions.get(revision["actionName"])
        if action is None or action["actionTypeId"]["category"] != "Source":
            message = f"{revision['actionName']} is no source action of the pipeline"
            raise AwsError("ValidationException", message)
        allowed = action.get("configuration", {}).get("AllowOverrideForS3ObjectKey") == "true"
        if revision["revisionType"] == "S3_OBJECT_KEY" and not allowed:
            message = f"Action {revision['actionName']} does not allow overriding the S3 object key"
            raise AwsError("ValidationException", message)
    declared = {each["name"]: each for each in pipeline.get("variables", [])}
    given = {each["name"] for each in request.get("variables", [])}
    without = {name for name, each in declared.items() if "defaultValue" not in each} - given
    if given - declared.keys() or without:
        names = sorted(given - declared.keys()) or sorted(without)
        raise AwsError("ValidationException", f"Pipeline variables {names}: not declared, or unset")


def pipeline_of(name: str, *, bucket: str = "archives", variables: tuple[str, ...] = ()) -> Any:  # noqa: ANN401 - PipelineDeclaration
    """Return a pipeline that can be started with an archive.

    An S3 source that takes another key.
    """
    return {
        "name": name,
        "roleArn": f"arn:aws:iam::{ACCOUNT}:role/pipeline",
        "artifactStore": {"type": "S3", "location": "artifacts"},
        "pipelineType": "V2",
        "executionMode": "SUPERSEDED",
        "variables": [{"name": each, "defaultValue": "none"} for each in variables],
        "stages": [
            {"name": "Source", "actions": [_source(bucket)]},
            {"name": "Deploy", "actions": [_DEPLOY]},
        ],
    }


def _source(bucket: str) -> Document:
    return {
        "name": "Archive",
        "actionTypeId": {"category": "Source", "owner": "AWS", "provider": "S3", "version": "1"},
        "configuration": {
            "S3Bucket": bucket,
            "S3ObjectKey": "none.zip",
            "PollForSourceChanges": "false",
            "AllowOverrideForS3ObjectKey": "true",
        },
        "outputArtifacts": [{"name": "source"}],
    }


_DEPLOY: Document = {
    "name": "Deploy",
    "actionTypeId": {"category": "Build", "owner": "AWS", "provider": "CodeBuild", "version": "1"},
    "configuration": {"ProjectName": "deploy"},
    "inputArtifacts": [{"name": "source"}],
}


@asynccontextmanager
async def open_codepipeline_standin(
    *, port: int = 0, clock: Callable[[], float] = time.time
) -> AsyncIterator[CodePipelineStandin]:
    """Serve on 127.0.0.1 while inside; port 0 takes a free one. The endpoint is in the value."""
    standin = CodePipelineStandin(clock=clock)
    model = service_model("codepipeline")
    app = application(model, standin.answer, misfit="ValidationException")
    async with open_site(app, port=port) as standin.endpoint_url:
        yield standin


@click.command()
@click.option("--port", default=0, show_default="a free one", help="Port on 127.0.0.1.")
@click.option("--pipeline", "pipelines", multiple=True, help="One that exists. Repeatable.")
@click.option("--bucket", default="archives", show_default=True, help="Which they read.")
@click.option("--variable", "variables", multiple=True, help="One that they declare. Repeatable.")
def main(*, port: int, pipelines: tuple[str, ...], bucket: str, variables: tuple[str, ...]) -> None:
    """Serve a stand-in for CodePipeline until SIGINT or SIGTERM; prints its endpoint."""

    async def serve() -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with open_codepipeline_standin(port=port) as standin:
                for name in pipelines:
                    standin.put_pipeline(pipeline_of(name, bucket=bucket, variables=variables))
                click.echo(standin.endpoint_url)
                async for _ in signals:
                    return

    anyio.run(serve)


if __name__ == "__main__":
    main()
