"""`asyncbuild check`: is the configuration whole, and could the service do its work?

Every finding says what is so, why it matters and what to do. Nothing is changed anywhere.
"""

import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from string import Formatter
from typing import TYPE_CHECKING, Any

import anyio
import orjson
from botocore.exceptions import ClientError
from rich.console import Console

from asyncbuild.aws import Aws, error_code, errors_of
from asyncbuild.config import Settings
from asyncbuild.errors import StageError
from asyncbuild.model import Action
from asyncbuild.pipeline import rules_of
from asyncbuild.queue.sqs import Queue, QueueFacts

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

# CodeBuild forgets an idempotency token after five minutes (API reference, StartBuild).
_TOKEN_LIFETIME_SECONDS = 300
_OLDEST_GIT = (2, 36)  # GIT_CONFIG_COUNT, `archive` with --end-of-options, safe.directory
_LONGEST_PROJECT_BATCH = 100


class Level(StrEnum):
    """How bad a finding is. Only `ok` and `note` leave the exit code at 0."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    what: str
    why: str = ""
    remedy: str = ""


async def run(settings: Settings, as_json: bool) -> int:  # noqa: FBT001 - called by position
    """Print the findings; the exit code is 0 only if all is well."""
    findings = [finding async for finding in iter_findings(settings)]
    bad = [each for each in findings if each.level in {Level.WARNING, Level.PROBLEM}]
    if as_json:
        document = {"well": not bad, "findings": [asdict(each) for each in findings]}
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        _show(findings, bad)
    return 1 if bad else 0


async def iter_findings(settings: Settings) -> AsyncIterator[Finding]:
    """Look at one thing after the other; what cannot be looked at is a finding, too."""
    aws = Aws(settings)
    for look in (_git, _cache, _queue, _bucket, _projects):
        async for finding in _safely(look, aws, settings):
            yield finding


_Look = Callable[[Aws, Settings], AsyncIterator[Finding]]


async def _safely(look: _Look, aws: Aws, settings: Settings) -> AsyncIterator[Finding]:
    try:
        async for finding in look(aws, settings):
            yield finding
    except StageError as error:
        yield Finding(
            Level.PROBLEM, error.reason, "the service needs it to work", error.remedy or _RETRY
        )


_RETRY = "see whether the endpoint can be reached from here, and run the check again"


# --- git and the cache ----------------------------------------------------------------------------


async def _git(_aws: Aws, _settings: Settings) -> AsyncIterator[Finding]:
    if shutil.which("git") is None:
        yield Finding(
            Level.PROBLEM, "git is not on PATH", "pushes are fetched with it", "install git"
        )
        return
    done = await anyio.run_process(["git", "version"])
    text = done.stdout.decode().split()[2]
    version = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if version < _OLDEST_GIT:
        oldest = ".".join(map(str, _OLDEST_GIT))
        yield Finding(
            Level.PROBLEM,
            f"git is {text}, older than {oldest}",
            "credentials are handed to git by GIT_CONFIG_COUNT",
            f"install git {oldest} or newer",
        )
    else:
        yield Finding(Level.OK, f"git {text}")


async def _cache(_aws: Aws, settings: Settings) -> AsyncIterator[Finding]:
    directory = settings.git.cache_directory
    existing = directory
    while not existing.exists():
        existing = existing.parent
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        yield Finding(
            Level.PROBLEM,
            f"cache directory {directory} cannot be written",
            "the bare mirrors live there",
            "set git.cache_directory to a directory that this user may write",
        )
        return
    free = shutil.disk_usage(existing).free
    if free < settings.git.cache_budget_bytes:
        yield Finding(
            Level.WARNING,
            f"{directory} has {free:,} bytes free, git.cache_budget_bytes is "
            f"{settings.git.cache_budget_bytes:,}",
            "a full disk makes fetches fail before mirrors are evicted",
            "lower git.cache_budget_bytes, or give the task more ephemeral storage",
        )
    else:
        yield Finding(Level.OK, f"cache directory {directory} can be written")


# --- the queue ------------------------------------------------------------------------------------


async def _queue(aws: Aws, settings: Settings) -> AsyncIterator[Finding]:
    url = settings.queue.url
    if not url:
        yield _empty("queue.url", "pushes come from there")
        return
    async with aws.open_sqs(pool=2) as sqs:
        queue = Queue(
            polls=sqs, control=sqs, url=url, dead_letter_url=settings.queue.dead_letter_url
        )
        facts = await queue.facts()
        for finding in queue_findings(url, facts, settings):
            yield finding
        if not facts.dead_letter_arn and not settings.queue.dead_letter_url:
            return
        dead_letter_url = await queue.find_dead_letter_queue(facts)
        dead = await Queue(polls=sqs, control=sqs, url=dead_letter_url).facts()
        if dead.fifo:
            yield Finding(Level.OK, f"dead-letter queue {dead_letter_url} is FIFO")
        else:
            yield Finding(
                Level.PROBLEM,
                f"dead-letter queue {dead_letter_url} is not FIFO",
                "pushes sent back from it must keep their group and order",
                "make it a queue whose name ends in .fifo",
            )


def queue_findings(url: str, facts: QueueFacts, settings: Settings) -> list[Finding]:
    """What the queue's own attributes tell."""
    findings = [Finding(Level.OK, f"queue {url} is FIFO")]
    if not facts.fifo:
        findings[0] = Finding(
            Level.PROBLEM,
            f"queue {url} is not FIFO",
            "builds of a repository start in the queue's order, and it has none",
            "make a queue whose name ends in .fifo, and let the rule deliver to it",
        )
    visibility = settings.queue.visibility_timeout_seconds
    if visibility >= _TOKEN_LIFETIME_SECONDS:
        findings.append(
            Finding(
                Level.WARNING,
                f"queue.visibility_timeout_seconds is {visibility}",
                f"CodeBuild forgets an idempotency token after {_TOKEN_LIFETIME_SECONDS} s; a "
                "push redelivered later than that is looked up by its recent builds instead",
                "set it well below 300, such as 120; leases are renewed while work goes on",
            )
        )
    if facts.dead_letter_arn is None and not settings.queue.dead_letter_url:
        findings.append(
            Finding(
                Level.PROBLEM,
                f"queue {url} has no dead-letter queue",
                "a push that cannot be built has to go somewhere with its reason",
                "give it a RedrivePolicy, or set queue.dead_letter_url",
            )
        )
    enough = settings.lanes.max_attempts + settings.queue.batch
    limit = facts.max_receive_count
    if limit is not None and limit < enough:
        findings.append(
            Finding(
                Level.WARNING,
                f"maxReceiveCount of queue {url} is {limit}",
                "every message of a batch spends a receive, tried or not, so the service takes "
                "one message per receive and prepares no two pushes of a repository at once",
                f"raise it to {enough} or more; the service dead-letters by itself",
            )
        )
    elif limit is not None:
        findings.append(Finding(Level.OK, f"maxReceiveCount {limit} is large enough"))
    return findings


# --- the bucket -----------------------------------------------------------------------------------


async def _bucket(aws: Aws, settings: Settings) -> AsyncIterator[Finding]:
    bucket = settings.storage.bucket
    if not bucket:
        yield _empty("storage.bucket", "archives and the ledger are kept there")
        return
    async with aws.open_s3(pool=2) as s3:
        with errors_of(f"reach bucket {bucket}"):
            head: Mapping[str, Any] = await s3.head_bucket(Bucket=bucket)
        region = head.get("BucketRegion") or aws.region
        if region != aws.region:
            yield Finding(
                Level.PROBLEM,
                f"bucket {bucket} is in {region}, CodeBuild in {aws.region}",
                "CodeBuild reads its source only from a bucket in its own region",
                f"use a bucket in {aws.region}",
            )
        else:
            yield Finding(Level.OK, f"bucket {bucket} can be reached, in {region}")
        yield await _abort_rule(s3, bucket)


async def _abort_rule(s3: "S3Client", bucket: str) -> Finding:
    rules: list[Mapping[str, Any]] = []
    try:
        with errors_of(f"read the lifecycle rules of bucket {bucket}"):
            answer = await s3.get_bucket_lifecycle_configuration(Bucket=bucket)
            rules = [dict(rule) for rule in answer.get("Rules", [])]
    except StageError as error:
        cause = error.__cause__
        code = error_code(cause) if isinstance(cause, ClientError) else ""
        if code != "NoSuchLifecycleConfiguration":
            raise
    for rule in rules:
        if rule.get("Status") == "Enabled" and "AbortIncompleteMultipartUpload" in rule:
            return Finding(Level.OK, f"bucket {bucket} aborts incomplete multipart uploads")
    return Finding(
        Level.WARNING,
        f"bucket {bucket} has no AbortIncompleteMultipartUpload rule",
        "the parts of an upload whose process was killed stay, and are paid for",
        "add a lifecycle rule that aborts incomplete uploads after one day",
    )


# --- the projects ---------------------------------------------------------------------------------


async def _projects(aws: Aws, settings: Settings) -> AsyncIterator[Finding]:
    named, patterns = _project_names(settings)
    for pattern in patterns:
        yield Finding(
            Level.NOTE,
            f"project {pattern} is named by each push",
            "whether it exists is known only when a push comes; without it the push is "
            "dead-lettered with that reason",
        )
    if not named:
        return
    async with aws.open_codebuild(pool=2) as codebuild:
        with errors_of("look for the CodeBuild projects"):
            answer = await codebuild.batch_get_projects(names=named[:_LONGEST_PROJECT_BATCH])
    missing = set(answer.get("projectsNotFound", []))
    for name in named[:_LONGEST_PROJECT_BATCH]:
        if name in missing:
            yield Finding(
                Level.PROBLEM,
                f"CodeBuild project {name} does not exist in {aws.region}",
                "pushes for it are dead-lettered",
                "create it, or correct `project` in [builds] or in the rule that names it",
            )
        else:
            yield Finding(Level.OK, f"CodeBuild project {name} exists")


def _project_names(settings: Settings) -> tuple[list[str], list[str]]:
    """Names that are the same for every push, and templates that are not."""
    templates = [
        project
        for rule in rules_of(settings)
        if rule.action is Action.BUILD
        for project in rule.projects
    ]
    fixed = [each for each in templates if not _has_fields(each)]
    return list(dict.fromkeys(fixed)), [
        each for each in dict.fromkeys(templates) if each not in fixed
    ]


def _has_fields(template: str) -> bool:
    return any(name is not None for _, name, _, _ in Formatter().parse(template))


def _empty(name: str, why: str) -> Finding:
    variable = "ASYNCBUILD_" + name.replace(".", "__").upper()
    return Finding(Level.PROBLEM, f"{name} is empty", why, f"set it in the file or as {variable}")


_MARKS = {
    Level.OK: "[green]ok[/]",
    Level.NOTE: "[blue]note[/]",
    Level.WARNING: "[yellow]warning[/]",
    Level.PROBLEM: "[red]problem[/]",
}


def _show(findings: list[Finding], bad: list[Finding]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        console.print(f"{_MARKS[finding.level]:<20} ", end="")
        console.print(finding.what, markup=False)
        for name, text in (("why", finding.why), ("remedy", finding.remedy)):
            if text:
                console.print(f"         {name}: {text}", markup=False)
    console.print("All is well." if not bad else f"{len(bad)} of {len(findings)} need attention.")
