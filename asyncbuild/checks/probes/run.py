"""Runner of all probes, one after the other; it removes what they made, however they end."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from asyncbuild.aws.session import Aws
from asyncbuild.checks.judges.probe_answer import Answer
from asyncbuild.checks.judges.zip_listing import PROBES
from asyncbuild.checks.probes import conditions, end_events, extractor
from asyncbuild.checks.probes import event_rule as events
from asyncbuild.checks.probes import git_server as codecommit
from asyncbuild.checks.probes.made import ProbeRun, make_name
from asyncbuild.config.settings import Settings
from asyncbuild.domain.repository import Repository
from asyncbuild.runtime.signals import open_until_signal


@dataclass(frozen=True, slots=True)
class Subjects:
    """Resources of the account's owner that the probes may use; empty for those they may not.

    Attributes:
        project: A CodeBuild project whose builds may run; its role reads the bucket.
        repository: A CodeCommit repository that may be read: NAME, or ACCOUNT/NAME where the
            account is one of `[[accounts]]`.
    """

    project: str = ""
    repository: str = ""


async def iter_answers(
    settings: Settings, subjects: Subjects, made: ProbeRun
) -> AsyncIterator[Answer]:
    """Yield the answers of all probes that the subjects allow.

    Args:
        settings: The whole configuration.
        subjects: Resources that the probes may use.
        made: Record of what the probes make.
    """
    aws = Aws(settings)
    for answers in (
        events.iter_answers(aws, made),
        _ask_bucket(aws, settings, made),
        _ask_project(aws, settings, subjects.project, made),
        _ask_repository(aws, settings, subjects.repository),
    ):
        async for answer in answers:
            yield answer


async def _ask_bucket(aws: Aws, settings: Settings, made: ProbeRun) -> AsyncIterator[Answer]:
    if settings.storage.bucket:
        async for answer in conditions.iter_answers(aws, settings, made):
            yield answer
        return
    for question in conditions.QUESTIONS:
        yield question.unknown("name the bucket in the configuration")


async def _ask_project(
    aws: Aws, settings: Settings, project: str, made: ProbeRun
) -> AsyncIterator[Answer]:
    if project and settings.storage.bucket:
        builds = extractor.iter_answers(aws, settings, project, made)
        async for answer in end_events.iter_answers(aws, settings, project, made, builds):
            yield answer
        return
    why = "name a project with --project, and the bucket in the configuration"
    for asked in (each for probe in PROBES for each in probe.asked):
        yield asked.question.unknown(why)
    yield end_events.SOURCE.unknown(why)


async def _ask_repository(aws: Aws, settings: Settings, named: str) -> AsyncIterator[Answer]:
    if named:
        account, _, name = named.rpartition("/")
        own = codecommit.OWN_ACCOUNT
        repository = Repository.of_codecommit(account or own, aws.region or "", name)
        async for answer in codecommit.iter_answers(aws, settings, repository):
            yield answer
        return
    for question in codecommit.QUESTIONS:
        yield question.unknown("name a repository with --repository")


@asynccontextmanager
async def open_made() -> AsyncIterator[ProbeRun]:
    """Open a run with a new name; SIGTERM and SIGHUP, like Ctrl-C, end it and undo its work."""
    made = ProbeRun(make_name())
    async with open_until_signal(signal.SIGINT) as codes:  # which cancels by itself
        yield made
    if codes:
        made.interrupted = codes[-1]
