"""Trials of rights by calls that cannot do harm. Each says why it cannot.

`checks/judges/rights.py` judges what the answers mean.
"""

from collections.abc import Awaitable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from asyncbuild.aws.classify import errors_of
from asyncbuild.aws.error_codes import lacks_right
from asyncbuild.aws.session import Aws
from asyncbuild.checks.judges.bucket import archive_prefix
from asyncbuild.checks.judges.projects import has_fields, project_names
from asyncbuild.checks.judges.rights import Trial
from asyncbuild.config.settings import Settings, rules_of
from asyncbuild.domain.errors import StageError
from asyncbuild.domain.model import Action
from asyncbuild.domain.outcomes.outcome_event import SOURCE
from asyncbuild.queue.sqs import LOST

if TYPE_CHECKING:
    from types_aiobotocore_codebuild import CodeBuildClient
    from types_aiobotocore_codepipeline import CodePipelineClient
    from types_aiobotocore_events import EventBridgeClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

# Made up: no delivery, upload, object or build has these names.
_HANDLE = "asyncbuild-check"
_UPLOAD = "asyncbuild-check"
_KEY = "asyncbuild-check/nothing"
_BUILD = "00000000-0000-0000-0000-000000000000"
_PROJECT = "asyncbuild-check-no-such-project"

_NO_HANDLE = LOST | {""}  # servers give different answers to such a handle
_NO_UPLOAD = frozenset({"", "NoSuchUpload", "404"})
_NO_KEY = frozenset({"", "NoSuchKey", "404"})
_READS = frozenset({""})
_NO_EXECUTION = frozenset({"PipelineExecutionNotStoppableException", "PipelineNotFoundException"})

_Call = tuple[str, str, Awaitable[Any], frozenset[str], str]
"""Action, resource, call, answers that need the right, and purpose of the right."""


async def try_rights(aws: Aws, settings: Settings) -> list[Trial]:
    """Make every call whose resource the settings name; return the trials.

    Raises:
        StageError: AWS cannot be reached.
    """
    trials: list[Trial] = []
    async with (
        aws.open_sqs(pool=1) as sqs,
        aws.open_s3(pool=1) as s3,
        aws.open_codebuild(pool=1) as codebuild,
        aws.open_events(pool=1) as events,
        aws.open_codepipeline(pool=1) as codepipeline,
    ):
        for action, resource, call, allowed, why in chain(  # each call is made in its turn
            _queue_calls(sqs, settings),
            _bucket_calls(s3, settings),
            _project_calls(codebuild, settings),
            _bus_calls(events, settings),
            _stop_calls(codebuild, codepipeline, settings),
        ):
            answer, denied = await _answer(action, resource, call)
            trials.append(Trial(action, resource, answer, allowed, denied, why))
        if settings.builds.endpoint_url is None:  # other servers have no IAM policies
            trials.append(await try_any_project(codebuild))
    return trials


def _queue_calls(sqs: "SQSClient", settings: Settings) -> Iterator[_Call]:
    # SQS makes a receipt handle for one delivery: one that it did not make moves no message.
    for url, deletes, changes in (
        (
            settings.queue.url,
            "pushes that are done are deleted",
            "leases are renewed and handed back with it",
        ),
        (
            settings.results.url,
            "messages whose results are recorded are deleted",
            "what is tried again later is hidden until then",
        ),
        (
            settings.reports.url,
            "reports whose status is posted are deleted",
            "what is tried again later is hidden until then",
        ),
        (
            settings.reconcile.url,
            "rounds, and repositories that were looked at, are deleted",
            "a repository is looked at again when the event of a push has had its time",
        ),
    ):
        if not url:
            continue
        yield (
            "sqs:DeleteMessage",
            url,
            sqs.delete_message(QueueUrl=url, ReceiptHandle=_HANDLE),
            _NO_HANDLE,
            deletes,
        )
        yield (
            "sqs:ChangeMessageVisibility",
            url,
            sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=_HANDLE, VisibilityTimeout=0),
            _NO_HANDLE,
            changes,
        )


def _bucket_calls(s3: "S3Client", settings: Settings) -> Iterator[_Call]:
    bucket = settings.storage.bucket
    if not bucket:
        return
    records = settings.storage.ledger_prefix
    archives = archive_prefix(settings)
    yield (
        "s3:ListBucket",
        bucket,
        s3.list_objects_v2(Bucket=bucket, Prefix=records, MaxKeys=1),
        _READS,
        "records are listed; without it S3 says 403, not 404, of what does not exist",
    )
    # Seeds are deleted, too, which is not tried: a bucket with versions would keep a marker of it.
    seeds = (settings.storage.seed_prefix,) if settings.git.seeds else ()
    yield from _object_calls(s3, bucket, dict.fromkeys((archives, records, *seeds)))
    yield (
        "s3:AbortMultipartUpload",
        f"{bucket}/{archives}*",
        s3.abort_multipart_upload(Bucket=bucket, Key=archives + _KEY, UploadId=_UPLOAD),
        _NO_UPLOAD,
        "an upload that ends early leaves no parts behind",
    )


def _object_calls(s3: "S3Client", bucket: str, prefixes: Iterable[str]) -> Iterator[_Call]:
    for prefix in prefixes:
        # A part needs the same right as an object (S3 user guide, "Multipart upload API and
        # permissions"), and a part of an upload that does not exist is stored nowhere.
        yield (
            "s3:PutObject",
            f"{bucket}/{prefix}*",
            s3.upload_part(
                Bucket=bucket, Key=prefix + _KEY, UploadId=_UPLOAD, PartNumber=1, Body=b""
            ),
            _NO_UPLOAD,
            "archives, records and seeds are written",
        )
        yield (
            "s3:GetObject",
            f"{bucket}/{prefix}*",
            s3.get_object(Bucket=bucket, Key=prefix + _KEY),
            _NO_KEY,
            "archives are copied from, and records and seeds read",
        )


def _project_calls(codebuild: "CodeBuildClient", settings: Settings) -> Iterator[_Call]:
    named, _ = project_names(settings)
    for name in named:
        yield (
            "codebuild:BatchGetBuilds",
            name,
            codebuild.batch_get_builds(ids=[f"{name}:{_BUILD}"]),
            _READS,
            "a build that was started before is looked up, and how builds ended",
        )
        yield (
            "codebuild:ListBuildsForProject",
            name,
            codebuild.list_builds_for_project(projectName=name),
            _READS | {"ResourceNotFoundException"},
            "a build that was started before is looked up",
        )


def _bus_calls(events: "EventBridgeClient", settings: Settings) -> Iterator[_Call]:
    bus = settings.reports.event_bus
    if bus:
        yield (
            "events:PutEvents",
            bus,
            _put_malformed(events, bus),
            frozenset({"MalformedDetail"}),
            "outcome events are sent there",
        )


async def _put_malformed(events: "EventBridgeClient", bus: str) -> None:
    """Send an event whose detail is not JSON: EventBridge refuses it after it looked at the right.

    Source: EventBridge API reference, PutEventsResultEntry, ErrorCode.

    Raises:
        ClientError: The answer, also if it is only that of the entry.
    """
    answer = await events.put_events(
        Entries=[
            {"Source": SOURCE, "DetailType": "Check", "Detail": "malformed", "EventBusName": bus}
        ]
    )
    for entry in answer.get("Entries", ()):
        code, words = entry.get("ErrorCode"), entry.get("ErrorMessage", "")
        if code:
            raise ClientError({"Error": {"Code": code, "Message": words}}, "PutEvents")


def _stop_calls(
    codebuild: "CodeBuildClient", codepipeline: "CodePipelineClient", settings: Settings
) -> Iterator[_Call]:
    # No build and no execution has this id: nothing is stopped.
    why = "builds that a newer push has superseded are stopped"
    rules = [each for each in rules_of(settings) if each.cancel_superseded]
    builds = [each.projects for each in rules if each.action is Action.BUILD]
    for name in dict.fromkeys(chain.from_iterable(builds)):
        if has_fields(name):
            continue
        yield (
            "codebuild:StopBuild",
            name,
            codebuild.stop_build(id=f"{name}:{_BUILD}"),
            frozenset({"ResourceNotFoundException"}),
            why,
        )
    for name in dict.fromkeys(chain.from_iterable(each.pipelines for each in rules)):
        if has_fields(name):
            continue
        yield (
            "codepipeline:StopPipelineExecution",
            name,
            codepipeline.stop_pipeline_execution(pipelineName=name, pipelineExecutionId=_BUILD),
            _NO_EXECUTION,
            why,
        )


async def try_any_project(codebuild: "CodeBuildClient") -> Trial:
    """Try to start a project that does not exist: may projects be started that no rule names?"""
    action, resource = "codebuild:StartBuild", "projects of any name"
    call = codebuild.start_build(projectName=_PROJECT)
    answer, denied = await _answer(action, resource, call)
    why = "everyone who may change the rules, or name a repository, can start any project"
    allowed = frozenset({"ResourceNotFoundException"})
    return Trial(action, resource, answer, allowed, denied, why, too_wide=True)


async def _answer(action: str, resource: str, call: Awaitable[Any]) -> tuple[str, bool]:
    """Return AWS's error code, empty for success, and whether it says that a right is missing."""
    try:
        with errors_of(f"try {action} on {resource}"):
            await call
    except StageError as error:
        if error.code is None:
            raise
        return error.code, lacks_right(error.code)
    return "", False
