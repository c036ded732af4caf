"""`asyncbuild build`: send a request to the queue of pushes, and wait for what it starts."""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import anyio
import orjson

from asyncbuild.aws.accounts import AccountCredentials
from asyncbuild.aws.caller import find_caller
from asyncbuild.aws.classify import sqs_errors
from asyncbuild.aws.session import Aws
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.builds.service_mark import ServiceMark
from asyncbuild.commands.build.build_outcome import (
    Record,
    WaitEnd,
    describe_record,
    name_of_target,
)
from asyncbuild.commands.build.build_subject import (
    DONE,
    BuildSubject,
    SubjectFinder,
    find_repository,
)
from asyncbuild.commands.build.build_told import BuildTold, fields_of
from asyncbuild.commands.build.build_watch import BuildWatch
from asyncbuild.commands.build.service_stage import open_stage
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import ConfigError, NoPermission, Reject
from asyncbuild.domain.model import TIP, Verdict
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.requests.push_request import PushRequest, dump_request, read_request
from asyncbuild.domain.requests.request_fields import check_variable
from asyncbuild.domain.requests.request_terms import RequestTerms
from asyncbuild.forges.codecommit_api import CodeCommitApi
from asyncbuild.storage.s3 import Store

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

_SOURCE: Final = "build"
_CONNECTIONS: Final = 16
_RIGHTS: Final = (
    "attach the managed policy of the stack's output OperatorPolicyArn to your role: "
    'docs/deploy.md, "People"'
)


@dataclass(frozen=True, slots=True)
class BuildWish:
    """Arguments of `asyncbuild build`, as `build_command.build` names them."""

    repository: str
    what: str | None
    ref: str
    projects: Sequence[str]
    variables: Mapping[str, str]
    again: bool
    reason: str
    wait: bool
    timeout_minutes: float
    as_json: bool

    @property
    def terms(self) -> RequestTerms:
        """Terms of the request, without who asks."""
        return RequestTerms(
            source=_SOURCE,
            reason=self.reason,
            projects=tuple(self.projects),
            variables=self.variables,
            again=self.again,
        )

    @property
    def looks_back(self) -> bool:
        """True if a build that was made before is as good as a new one."""
        return not (self.again or self.variables)


@dataclass(frozen=True, slots=True)
class BuildDesk:
    """Services that the command uses."""

    settings: Settings
    aws: Aws
    ledger: Ledger
    results: ResultLedger
    mark: ServiceMark
    sqs: "SQSClient"


async def run(settings: Settings, wish: BuildWish) -> int:
    """Ask for a build, or say that it was built before; return the exit code.

    Raises:
        ConfigError: A setting is missing; or no task of the service reads requests yet.
        Busy: Older tasks may still run.
        Reject: The words name nothing, or are not legal; or the message group is not known.
        StageError: S3 or SQS refused, or cannot be reached.
    """
    _require(settings, wish)
    try:
        return await _run(settings, wish)
    except NoPermission as error:
        raise NoPermission(
            error.reason, remedy=_RIGHTS, peer=error.peer, code=error.code
        ) from error


async def _run(settings: Settings, wish: BuildWish) -> int:
    now = datetime.now(UTC)
    async with _open_desk(settings) as desk:
        repository = await find_repository(desk.ledger, wish.repository)
        subject = await SubjectFinder(desk.ledger, repository, now).find(wish.what, wish.ref)
        done = _done_before(subject, wish)
        if done:
            return await _tell_done(desk, wish, done)
        await desk.mark.require(now)
        request = await _request(desk, wish, repository, subject)
        await _send(desk, request, await _find_group(desk, repository))
        return await _follow(desk, wish, request)


def _require(settings: Settings, wish: BuildWish) -> None:
    if not settings.storage.bucket:
        raise ConfigError("storage.bucket is empty", remedy="the ledger is kept there; set it")
    if not settings.queue.url:
        raise ConfigError("queue.url is empty", remedy="the request goes there; set it")
    if wish.wait and not settings.results.url:
        raise ConfigError(
            "results.url is empty, so the service does not learn how builds end",
            remedy="leave --wait out, or give the service a queue of results: docs/results.md",
        )


@asynccontextmanager
async def _open_desk(settings: Settings) -> AsyncIterator[BuildDesk]:
    aws = Aws(settings)
    async with aws.open_s3(pool=_CONNECTIONS) as s3, aws.open_sqs(pool=1) as sqs:
        store, prefix = Store(s3, settings.storage), settings.storage.ledger_prefix
        yield BuildDesk(
            settings,
            aws,
            Ledger(store, prefix=prefix),
            ResultLedger(store, prefix=prefix),
            ServiceMark(store, prefix=prefix),
            sqs,
        )


def _done_before(subject: BuildSubject, wish: BuildWish) -> list[Record]:
    """Return the records of what is asked for, if all of it was done before and that counts."""
    if any(each.get("verdict") == Verdict.REJECTED for each in subject.records):
        return []  # a part was given up: the service knows what of it is to be done
    done = [each for each in subject.records if each.get("verdict") in DONE]
    if wish.projects:
        done = [each for each in done if name_of_target(each) in wish.projects]
    missing = set(wish.projects) - {name_of_target(each) for each in done}
    return done if wish.looks_back and not missing else []


async def _tell_done(desk: BuildDesk, wish: BuildWish, done: Sequence[Record]) -> int:
    """Tell what was done before; wait for its end if that is asked for; return the exit code."""
    event_id = str(done[0].get("event_id"))
    told = BuildTold(done[0], as_json=wish.as_json)
    told.tell(f"built before, as push {event_id} (--again builds it once more)")
    for each in done:
        told.tell(describe_record(each))
    async with open_stage(desk.settings) as stage:
        watch = BuildWatch(desk.ledger, desk.results, stage, told.tell)
        if wish.wait:
            with anyio.move_on_after(wish.timeout_minutes * 60):
                await watch.follow_records(done)
        elif desk.settings.results.url:
            await watch.look(done)
    end = watch.end
    return told.finish(watch, WaitEnd.SENT if end is WaitEnd.UNFINISHED and not wish.wait else end)


async def _request(
    desk: BuildDesk, wish: BuildWish, repository: Repository, subject: BuildSubject
) -> PushRequest:
    """Return the request, checked as the service will check it."""
    for name, value in wish.variables.items():
        check_variable(name, value)  # before JSON replaces what is not text
    terms = replace(wish.terms, requested_by=await find_caller(desk.aws, desk.settings))
    plain = subject.commit == TIP and terms.is_plain
    request = PushRequest(
        id=f"build-{uuid.uuid4().hex}",
        repository=repository,
        ref=subject.ref,
        commit=subject.commit,
        time=datetime.now(UTC).replace(microsecond=0),
        terms=replace(terms, as_push=plain),
    )
    return read_request(orjson.loads(dump_request(request)))


async def _find_group(desk: BuildDesk, repository: Repository) -> str:
    """Return the message group of the repository: a wrong one breaks the order of its builds."""
    group = await desk.ledger.find_group(repository)
    if not group and not repository.is_foreign:
        credentials = AccountCredentials(desk.aws, desk.settings)
        group = await CodeCommitApi(desk.aws, credentials, desk.settings).find_id(repository)
    if not group:
        raise Reject(
            f"the message group of {repository.path} is not known: no push of it was built since "
            "groups are recorded",
            remedy="push to it once; the service then records the group of that push",
        )
    return group


async def _send(desk: BuildDesk, request: PushRequest, group: str) -> None:
    url = desk.settings.queue.url
    with sqs_errors(f"send a request for {request.repository.path} to queue {url}"):
        await desk.sqs.send_message(
            QueueUrl=url,
            MessageBody=dump_request(request).decode(),
            MessageGroupId=group,
            MessageDeduplicationId=request.id,
        )


async def _follow(desk: BuildDesk, wish: BuildWish, request: PushRequest) -> int:
    """Tell that a request was sent; wait for its end if that is asked for; return the exit code."""
    told = BuildTold(fields_of(request), as_json=wish.as_json)
    commit = "its newest commit" if request.commit == TIP else f"commit {request.commit}"
    told.tell(f"asked for {commit} of {request.ref} of {request.repository.path}")
    told.tell(f"as request {request.id}")
    async with open_stage(desk.settings) as stage:
        watch = BuildWatch(desk.ledger, desk.results, stage, told.tell)
        if not wish.wait:
            told.tell(f"its end: {told.question}")
            return told.finish(watch, WaitEnd.SENT)
        try:
            with anyio.move_on_after(wish.timeout_minutes * 60):
                await watch.follow(request.push)
        except anyio.get_cancelled_exc_class():
            told.say_goes_on()
            raise
    return told.finish(watch, watch.end)
