"""Gathering of facts from AWS for the judges. Changes nothing anywhere."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from asyncbuild.aws.classify import errors_of
from asyncbuild.aws.session import Aws
from asyncbuild.builds.codepipeline import CodePipeline
from asyncbuild.checks.build_results import look_at_results
from asyncbuild.checks.commit_reports import look_at_reports, look_at_statuses
from asyncbuild.checks.failed_questions import failed_finding
from asyncbuild.checks.judges.bucket import BucketFacts, judge_bucket
from asyncbuild.checks.judges.finding import Finding, Level
from asyncbuild.checks.judges.pipelines import judge_missing, judge_pipeline, pipelines_of
from asyncbuild.checks.judges.pipelines import judge_pattern as judge_pipeline_pattern
from asyncbuild.checks.judges.projects import judge_pattern, judge_projects, project_names
from asyncbuild.checks.judges.queues.queue import (
    judge_dead_letters,
    judge_queue,
    judge_room,
    retention_days,
)
from asyncbuild.checks.judges.rights import judge_trials
from asyncbuild.checks.local_machine import (
    look_at_cache,
    look_at_git,
    look_at_memory,
    look_at_traces,
)
from asyncbuild.checks.missed_pushes import look_at_rounds
from asyncbuild.checks.outcome_bus import look_at_bus
from asyncbuild.checks.owner_accounts import look_at_accounts
from asyncbuild.checks.trials import try_rights
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import Busy, Reject, StageError
from asyncbuild.forges.keyring import read_secret
from asyncbuild.forges.registry import references
from asyncbuild.queue.sqs import Queue

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_T = TypeVar("_T")
_LONGEST_PROJECT_BATCH = 100


async def iter_findings(settings: Settings) -> AsyncIterator[Finding]:
    """Yield the findings, one subject after the other; a failure to read one is a finding, too."""
    aws = Aws(settings)
    look = _Look(aws, settings)
    for name, findings in (
        ("machine.git", look_at_git()),
        ("machine.cache", look_at_cache(settings)),
        ("machine.memory", look_at_memory(settings)),
        ("machine.traces", look_at_traces(settings)),
        ("queue", look.queue()),
        ("results", look_at_results(aws, settings)),
        ("reports", look_at_reports(aws, settings)),
        ("reconcile", look_at_rounds(aws, settings)),
        ("reports.event_bus", look_at_bus(aws, settings)),
        ("bucket", look.bucket()),
        ("project", look.projects()),
        ("pipeline", look.pipelines()),
        ("account", look_at_accounts(aws, settings)),
        ("host", look.hosts()),
        ("status", look_at_statuses(aws, settings)),
        ("rights", look.rights()),
    ):
        async for finding in _safely(name, findings):
            yield finding


async def _safely(name: str, findings: AsyncIterator[Finding]) -> AsyncIterator[Finding]:
    try:
        async for finding in findings:
            yield finding
    except StageError as error:
        yield failed_finding(name, error)


class _Look:
    """Reader of the resources that the settings name."""

    def __init__(self, aws: Aws, settings: Settings) -> None:
        self._aws = aws
        self._settings = settings
        self._retention_days: int | None = None

    async def queue(self) -> AsyncIterator[Finding]:
        """Yield findings about the queue and its dead-letter queue."""
        url = self._settings.queue.url
        if not url:
            yield _empty("queue.url", "pushes come from there")
            return
        dead_letter_url = self._settings.queue.dead_letter_url
        async with self._aws.open_sqs(pool=2) as sqs:
            queue = Queue(polls=sqs, control=sqs, url=url, dead_letter_url=dead_letter_url)
            attributes = await queue.attributes()
            self._retention_days = retention_days(attributes)
            for finding in judge_queue(url, attributes, self._settings):
                yield finding
            facts = await queue.facts()
            if not facts.dead_letter_arn and not dead_letter_url:
                return
            found = await queue.find_dead_letter_queue(facts)
            dead_letters = Queue(polls=sqs, control=sqs, url=found)
            dead_attributes = await dead_letters.attributes()
            for finding in judge_dead_letters(found, dead_attributes):
                yield finding
            yield judge_room(url, attributes, found, dead_attributes)

    async def bucket(self) -> AsyncIterator[Finding]:
        """Yield findings about the bucket's region, versions and lifecycle rules."""
        bucket = self._settings.storage.bucket
        if not bucket:
            yield _empty("storage.bucket", "archives and the ledger are kept there")
            return
        async with self._aws.open_s3(pool=2) as s3:
            with errors_of(f"reach bucket {bucket}"):
                head: Mapping[str, Any] = await s3.head_bucket(Bucket=bucket)
            rules, rules_fault = await _ask(_lifecycle(s3, bucket))
            versioning, versioning_fault = await _ask(_versioning(s3, bucket))
        for fault in filter(None, (rules_fault, versioning_fault)):
            yield Finding(
                Level.NOTE, "bucket", fault.reason, "so nothing can be said of it", fault.remedy
            )
        region = str(head.get("BucketRegion") or self._aws.region)
        for finding in judge_bucket(
            BucketFacts(bucket, region, rules, versioning),
            self._settings,
            region=self._aws.region,
            retention_days=self._retention_days,
        ):
            yield finding

    async def projects(self) -> AsyncIterator[Finding]:
        """Yield findings about the projects that the rules name."""
        named, patterns = project_names(self._settings)
        for pattern in patterns:
            yield judge_pattern(pattern)
        if not named:
            return
        found: list[Mapping[str, Any]] = []
        missing: set[str] = set()
        async with self._aws.open_codebuild(pool=2) as codebuild:
            for start in range(0, len(named), _LONGEST_PROJECT_BATCH):
                with errors_of("look for the CodeBuild projects"):
                    answer = await codebuild.batch_get_projects(
                        names=named[start : start + _LONGEST_PROJECT_BATCH]
                    )
                found += [dict(each) for each in answer.get("projects", [])]
                missing |= set(answer.get("projectsNotFound", []))
        buildspec = self._settings.builds.buildspec
        for finding in judge_projects(
            named, found, missing, region=self._aws.region, buildspec=buildspec
        ):
            yield finding

    async def pipelines(self) -> AsyncIterator[Finding]:
        """Yield findings about the pipelines that the rules name."""
        named, patterns = pipelines_of(self._settings)
        for pattern in patterns:
            yield judge_pipeline_pattern(pattern)
        if not named:
            return
        async with self._aws.open_codepipeline(pool=2) as client:
            for name, rule in named:
                try:
                    found = await CodePipeline(client).declaration(name)
                except Reject as error:
                    yield judge_missing(error)
                    continue
                bucket = self._settings.storage.bucket
                for finding in judge_pipeline(found, rule, bucket=bucket):
                    yield finding

    async def hosts(self) -> AsyncIterator[Finding]:
        """Yield findings about the secrets of other hosts: each is read once, and none is shown."""
        for reference in references(self._settings):
            name = "host.secret"
            try:
                await read_secret(reference, self._aws)
            except StageError as error:
                yield failed_finding(name, error)
            else:
                yield Finding(Level.OK, name, f"secret {reference} can be read")
        for host in self._settings.hosts:
            if host.ssh_key and shutil.which("ssh") is None:
                yield Finding(
                    Level.PROBLEM,
                    "host.ssh",
                    "ssh is not on PATH",
                    f"{host.host} is fetched from with it",
                    "install an OpenSSH client",
                )
            if host.signature != "required":
                yield Finding(
                    Level.NOTE,
                    "host.signature",
                    f"pushes of {host.host} need no signature",
                    "anyone who can send to the queue, or to a gateway in front of it, can get any "
                    "commit of its repositories built",
                    'set webhook_secret and signature = "required"',
                )

    async def rights(self) -> AsyncIterator[Finding]:
        """Yield findings about the caller's rights, tried by calls that do no harm."""
        for finding in judge_trials(await try_rights(self._aws, self._settings)):
            yield finding


async def _ask(question: Awaitable[_T]) -> tuple[_T | None, StageError | None]:
    """Return an answer, or the error in its place: not allowed, or unknown to the server.

    Raises:
        Busy: The server cannot be reached, or not now: the next question would fail in the same
            way.
    """
    try:
        return await question, None
    except Busy:
        raise
    except StageError as error:
        return None, error


async def _lifecycle(s3: "S3Client", bucket: str) -> list[Mapping[str, Any]]:
    try:
        with errors_of(f"read the lifecycle rules of bucket {bucket}"):
            answer = await s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    except StageError as error:
        if error.code == "NoSuchLifecycleConfiguration":
            return []
        raise
    return [dict(rule) for rule in answer.get("Rules", [])]


async def _versioning(s3: "S3Client", bucket: str) -> str:
    with errors_of(f"read the versioning of bucket {bucket}"):
        answer = await s3.get_bucket_versioning(Bucket=bucket)
    return str(answer.get("Status", ""))


def _empty(name: str, why: str) -> Finding:
    variable = "ASYNCBUILD_" + name.replace(".", "__").upper()
    return Finding(
        Level.PROBLEM, name, f"{name} is empty", why, f"set it in the file or as {variable}"
    )
