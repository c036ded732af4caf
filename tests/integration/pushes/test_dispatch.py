"""Dispatch in queue order, against the stand-ins and their clock."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import orjson
import pytest
from support.codebuild import Clock, make_push, open_codebuild_client
from support.codepipeline import open_codepipeline_client
from support.codepipeline_server import (
    CodePipelineStandin,
    open_codepipeline_standin,
    pipeline_of,
)
from support.records import etag_of

from asyncbuild.builds.codebuild import CodeBuild
from asyncbuild.builds.codepipeline import CodePipeline
from asyncbuild.builds.content_ledger import ContentLedger
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.quota import MOST
from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.builds.starters import Starters
from asyncbuild.config import BuildSettings, Settings
from asyncbuild.domain.contents.known_changes import LeftOut
from asyncbuild.domain.errors import Busy, Denied, Outage, Reject, Retry
from asyncbuild.domain.model import (
    Action,
    Guard,
    Message,
    Nothing,
    Push,
    StoredArchive,
    StoredRecord,
    Target,
)
from asyncbuild.domain.reports.skipped_target import SkippedTarget
from asyncbuild.domain.results.build_result import StartedId, StartedKind
from asyncbuild.domain.tally import Tally
from asyncbuild.local.servers.aws_json import AwsError
from asyncbuild.local.servers.codebuild_server import open_codebuild_standin
from asyncbuild.local.servers.codebuild_state import CodeBuildStandin
from asyncbuild.pushes.ancestry import History, OpensSnapshots
from asyncbuild.pushes.archives import Archives
from asyncbuild.pushes.changed_content import ChangeFinder
from asyncbuild.pushes.dispatch import Dispatcher
from asyncbuild.pushes.prepare import PushPreparer
from asyncbuild.pushes.recorded_starts import RecordedStarts
from asyncbuild.pushes.staleness import Staleness
from asyncbuild.pushes.start_target import TargetStarter
from asyncbuild.pushes.work import (
    Dispatch,
    PreparedMessage,
    PreparedPush,
    ReportsSkips,
    Work,
)

KEY = "shop/main/1.zip"


class _Records:
    """A bucket that accepts no record at first.

    `refused` is a part of keys that it never accepts; `written` has the keys in order.
    """

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.full = True
        self.refused = ""
        self.read: list[str] = []
        self.written: list[str] = []

    async def put_record(self, key: str, body: bytes) -> bool:
        """Write once, or fail."""
        await self.replace_record(key, body)
        return True

    async def replace_record(self, key: str, body: bytes) -> None:
        """Write, or fail."""
        if self.full or (self.refused and self.refused in key):
            raise Outage(key)
        self.kept[key] = body
        self.written.append(key)

    async def get_record(self, key: str) -> bytes | None:
        """Read."""
        self.read.append(key)
        return self.kept.get(key)

    async def read_stored(self, key: str) -> StoredRecord | None:
        """Read with its ETag."""
        body = await self.get_record(key)
        return None if body is None else StoredRecord(body, etag_of(body))

    async def replace_stored(self, key: str, body: bytes, *, etag: str) -> str | None:
        """Write if the ETag is still that one, or fail."""
        found = self.kept.get(key)
        assert (etag_of(found) if found is not None else "") == etag, "no one else writes here"
        await self.replace_record(key, body)
        return etag_of(body)

    async def delete_record(self, key: str) -> None:
        """Do nothing; unused here."""
        raise NotImplementedError(key)

    async def iter_records(self, prefix: str, *, after: str = "") -> AsyncIterator[Any]:
        """Do nothing; unused here."""
        raise NotImplementedError(prefix, after)
        yield

    async def list_folders(self, prefix: str) -> list[str]:
        """Do nothing; unused here."""
        raise NotImplementedError(prefix)


def _tally() -> Tally:
    return Tally(max_attempts=2, pause_seconds=30)


Prepare = Callable[[Work, Push, Guard], Awaitable[PreparedPush]]
Upload = Callable[[Work, Push, Target, Guard], Awaitable[StoredArchive]]


async def _no_prepare(work: Work, push: Push, guard: Guard) -> PreparedPush:
    raise NotImplementedError(work, push, guard)


async def _no_upload(work: Work, push: Push, target: Target, guard: Guard) -> StoredArchive:
    raise NotImplementedError(work, push, target, guard)


class _Preparer(PushPreparer):
    """A preparer with a scripted result and without a repository."""

    def __init__(self, prepare: Prepare) -> None:
        self._prepare_one = prepare

    async def prepare(self, work: Work, push: Push, guard: Guard) -> PreparedPush:
        """Return the result of the function."""
        return await self._prepare_one(work, push, guard)


class _Archives(Archives):
    """A maker of archives with a scripted result and without a repository."""

    def __init__(self, upload: Upload) -> None:
        self._upload_one = upload

    async def ensure(self, work: Work, push: Push, target: Target, guard: Guard) -> StoredArchive:
        """Return the result of the function."""
        return await self._upload_one(work, push, target, guard)


class _NoHistory(History):
    """A history without repository: pushes are of branches, and newer than the head."""

    def __init__(self) -> None:
        """Create it without a mirror."""

    async def is_at_tip(self, push: Push) -> bool:  # noqa: ARG002 - as History has it
        """Return True, as for a push that was just made."""
        return True


@pytest.fixture
def clock() -> Clock:
    """Clock of the stand-in, at the time of the push."""
    return Clock(make_push().time.timestamp())


@pytest.fixture
async def standin(clock: Clock) -> AsyncIterator[CodeBuildStandin]:
    """A stand-in with one project."""
    async with open_codebuild_standin(["shop"], clock=clock) as standin:
        yield standin


@pytest.fixture
async def pipelines(clock: Clock) -> AsyncIterator[CodePipelineStandin]:
    """A stand-in with one pipeline."""
    async with open_codepipeline_standin(clock=clock) as standin:
        standin.put_pipeline(pipeline_of("deploy", variables=("EVENT_ID", "STAGE")))
        yield standin


@asynccontextmanager
async def _open_turn(
    standin: CodeBuildStandin | CodePipelineStandin,
    records: _Records,
    prepare: Prepare = _no_prepare,
    upload: Upload = _no_upload,
    results: ResultLedger | None = None,
    skips: ReportsSkips | None = None,
) -> AsyncIterator[Dispatcher]:
    """Open the dispatcher; only one service can be called."""
    async with (
        open_codebuild_client(standin.endpoint_url) as builds,
        open_codepipeline_client(standin.endpoint_url) as pipelines,
    ):
        ledger, history, settings = Ledger(records, prefix="l/"), _NoHistory(), Settings()
        contents = ContentLedger(records, prefix="l/")
        yield Dispatcher(
            ledger=ledger,
            pushes=_Preparer(prepare),
            changes=ChangeFinder(cast("OpensSnapshots", None), ledger, contents, settings),
            staleness=Staleness(ledger, history, skip_stale=settings.lanes.stale == "skip"),
            targets=TargetStarter(
                starters=Starters(CodeBuild(builds, BuildSettings()), CodePipeline(pipelines)),
                archives=_Archives(upload),
                history=history,
                traced=settings.status.traces,
            ),
            starts=RecordedStarts(contents, results),
            skips=skips,
        )


def _prepared(
    work: Work, targets: tuple[Target, ...], archives: Mapping[str, StoredArchive]
) -> PreparedMessage:
    assert work.push is not None
    return PreparedMessage(work, (PreparedPush(work.push, targets, archives),))


async def test_a_dead_letter_sent_back_finds_its_build(
    standin: CodeBuildStandin, clock: Clock
) -> None:
    """The build started and only the record was lost; an hour later the token has expired (I12)."""
    push, records = make_push(), _Records()
    target = Target(Action.BUILD, KEY, "shop")
    archive = StoredArchive("archives", KEY, size_bytes=1, etag="e")

    def ready() -> PreparedMessage:
        sent = datetime.fromtimestamp(clock.now, UTC) + timedelta(seconds=1)
        message = Message(f"m{clock.now}", "", "handle", "group", 1, sent=sent)
        return _prepared(Work(message, push), (target,), {KEY: archive})

    async with _open_turn(standin, records) as turn:
        with pytest.raises(Outage):
            await turn.dispatch(Dispatch(ready()), guard=lambda: None, tally=_tally())
        assert len(standin.started) == 1
        clock.advance(3600)
        records.full = False
        await turn.dispatch(Dispatch(ready()), guard=lambda: None, tally=_tally())
    assert len(standin.started) == 1
    (record,) = [body for key, body in records.kept.items() if "/push/" in key]
    assert standin.started[0].build.encode() in record


async def test_a_repeated_dispatch_leaves_out_started_builds(
    standin: CodeBuildStandin, clock: Clock
) -> None:
    """Two projects, the second at its limit.

    The first is not called again, not even with its token.
    """
    push, records = make_push(), _Records()
    records.full = False
    targets = tuple(Target(Action.BUILD, KEY, project) for project in ("shop", "till"))
    archive = StoredArchive("archives", KEY, size_bytes=1, etag="e")
    sent = datetime.fromtimestamp(clock.now, UTC) + timedelta(seconds=1)
    work = Work(Message("m", "", "handle", "group", 1, sent=sent), push)
    ready = _prepared(work, targets, {KEY: archive})
    async with _open_turn(standin, records) as turn:
        with pytest.raises(Reject, match="till"):  # the project does not exist
            await turn.dispatch(Dispatch(ready), guard=lambda: None, tally=_tally())
        clock.advance(3600)  # a repeated start of the first would be a second build
        with pytest.raises(Reject, match="till"):
            await turn.dispatch(
                Dispatch(ready, tried_seconds_ago=0.5), guard=lambda: None, tally=_tally()
            )
    assert [build.project for build in standin.started] == ["shop"]


@pytest.mark.parametrize("refused", ["/head/", "/push/"])
async def test_the_head_of_a_ref_is_recorded_whichever_write_failed(
    standin: CodeBuildStandin, clock: Clock, refused: str
) -> None:
    """The process ends between both writes; the next one completes them, and builds once."""
    push, records = make_push(), _Records()
    records.full, records.refused = False, refused
    ledger, ready = Ledger(records, prefix="l/"), _build_ready(clock, push, "shop")
    async with _open_turn(standin, records) as turn:
        with pytest.raises(Outage):
            await turn.dispatch(Dispatch(ready), guard=lambda: None, tally=_tally())
        records.refused = ""
        message = replace(ready.work.message, receive_count=2)
        work = replace(ready.work, message=message)
        left = await ledger.find_undone(push, ready.pushes[0].targets)
        again = replace(_with_targets(ready, left), work=work)
        await turn.dispatch(Dispatch(again), guard=lambda: None, tally=_tally())
    head = await ledger.head(push)
    assert head is not None
    assert head.event_id == push.id
    assert not await ledger.find_undone(push, ready.pushes[0].targets)
    assert len(standin.started) == 1


DEPLOY = Target(Action.PIPELINE, KEY, variables={"STAGE": "test"}, rule="deploy", pipeline="deploy")


def _ready(clock: Clock, *, version: str = "v1") -> PreparedMessage:
    """Return a push for a pipeline, in a message that was sent just now."""
    archive = StoredArchive("archives", KEY, size_bytes=1, etag="e", version_id=version)
    sent = datetime.fromtimestamp(clock.now, UTC) + timedelta(seconds=1)
    message = Message(f"m{clock.now}", "", "handle", "group", 1, sent=sent)
    return _prepared(Work(message, make_push()), (DEPLOY,), {KEY: archive})


async def test_a_dead_letter_sent_back_finds_its_execution(
    pipelines: CodePipelineStandin, clock: Clock
) -> None:
    """Its token is forgotten by then; the execution is found, and none is started (I12)."""
    records = _Records()
    async with _open_turn(pipelines, records) as turn:
        with pytest.raises(Outage):
            await turn.dispatch(Dispatch(_ready(clock)), guard=lambda: None, tally=_tally())
        clock.advance(3600)
        records.full = False
        await turn.dispatch(
            Dispatch(_ready(clock, version="v2")), guard=lambda: None, tally=_tally()
        )
    (run,) = pipelines.started
    (record,) = [orjson.loads(body) for key, body in records.kept.items() if "/push/" in key]
    assert (record["verdict"], record["pipeline"]) == ("handed-over", "deploy")
    arn = "arn:aws:codepipeline:eu-west-1:123456789012:deploy"
    assert record["execution"] == {"id": run.id, "pipeline": "deploy", "arn": arn}


async def test_a_started_pipeline_is_recorded_by_its_name(
    pipelines: CodePipelineStandin, clock: Clock
) -> None:
    """One record for each pipeline of a rule; the ref's head is known afterwards."""
    records = _Records()
    records.full = False
    async with _open_turn(pipelines, records) as turn:
        await turn.dispatch(Dispatch(_ready(clock)), guard=lambda: None, tally=_tally())
    assert pipelines.started[0].variables == {"EVENT_ID": make_push().id, "STAGE": "test"}
    (key,) = [key for key in records.kept if "/push/" in key]
    assert key.endswith("/pipeline-deploy.json")
    assert any("/head/" in key for key in records.kept)


async def test_a_pipeline_without_permission_fails_one_push(
    pipelines: CodePipelineStandin, clock: Clock
) -> None:
    """The push is retried after a pause, then dead-lettered; the service goes on for all others."""
    denied = AwsError("AccessDeniedException", "no")
    pipelines.fail_next("StartPipelineExecution", denied, times=2)
    tally = Tally(max_attempts=2, pause_seconds=0)
    async with _open_turn(pipelines, _Records()) as turn:
        with pytest.raises(Denied, match="StartPipelineExecution"):
            await turn.dispatch(Dispatch(_ready(clock)), guard=lambda: None, tally=tally)
        with pytest.raises(Reject, match="StartPipelineExecution"):
            await turn.dispatch(
                Dispatch(_ready(clock), tried_seconds_ago=1), guard=lambda: None, tally=tally
            )


@pytest.mark.parametrize(
    "code", ["ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException"]
)
async def test_credentials_and_clocks_fail_no_push(
    pipelines: CodePipelineStandin, clock: Clock, code: str
) -> None:
    """A push waits while the service's own credentials are refused, and then starts."""
    pipelines.fail_next("StartPipelineExecution", AwsError(code, "expired"))
    async with _open_turn(pipelines, _Records()) as turn:
        with pytest.raises(Outage, match=code):
            await turn.dispatch(Dispatch(_ready(clock)), guard=lambda: None, tally=_tally())


def _with_targets(ready: PreparedMessage, targets: tuple[Target, ...]) -> PreparedMessage:
    return replace(ready, pushes=tuple(replace(each, targets=targets) for each in ready.pushes))


def _build_ready(clock: Clock, push: Push, *projects: str) -> PreparedMessage:
    """Return a push to build, in a message that was sent just now."""
    archive = StoredArchive("archives", KEY, size_bytes=1, etag="e")
    sent = datetime.fromtimestamp(clock.now, UTC) + timedelta(seconds=1)
    work = Work(Message("m", "", "handle", "group", 1, sent=sent), push)
    targets = tuple(Target(Action.BUILD, KEY, project) for project in projects)
    return _prepared(work, targets, {KEY: archive})


async def test_a_project_at_its_limit_delays_no_other_of_the_push(
    standin: CodeBuildStandin, clock: Clock
) -> None:
    """The project is started when there is room; the other one is not started again (I12)."""
    standin.add_project("lint")
    records, tally = _Records(), _tally()
    records.full = False
    ready = _build_ready(clock, make_push(), "shop", "lint")
    standin.fail_next("StartBuild", AwsError("AccountLimitExceededException", "full"))
    async with _open_turn(standin, records) as turn:
        with pytest.raises(Busy, match="build shop: "):
            await turn.dispatch(Dispatch(ready), guard=lambda: None, tally=tally)
        assert [build.project for build in standin.started] == ["lint"]
        clock.advance(3600)
        await turn.dispatch(Dispatch(ready, tried_seconds_ago=1), guard=lambda: None, tally=tally)
    assert [build.project for build in standin.started] == ["lint", "shop"]
    assert len([key for key in records.kept if "/push/" in key]) == 2


@pytest.mark.parametrize("repeated", [False, True])
async def test_the_head_of_a_ref_is_read_once_and_written_once(
    standin: CodeBuildStandin, clock: Clock, *, repeated: bool
) -> None:
    """The number of targets of a push does not matter."""
    standin.add_project("lint")
    records = _Records()
    records.full = False
    ledger = Ledger(records, prefix="l/")
    before, push = make_push(1), replace(make_push(2), id="e2")
    push = replace(push, old_commit=before.commit, body_id="b" if repeated else "")
    await ledger.set_head(before)
    if repeated:
        await ledger.remember_body(replace(push, id="another"))
    records.read.clear()
    async with _open_turn(standin, records) as turn:
        ready = _build_ready(clock, push, "shop", "lint")
        await turn.dispatch(Dispatch(ready), guard=lambda: None, tally=_tally())
    assert [build.project for build in standin.started] == ["shop", "lint"]
    assert len([key for key in records.read if "/head/" in key]) == 1
    head = await ledger.head(push)
    assert head
    assert (head.event_id, head.before) == (push.id, before.commit)


@pytest.mark.parametrize(
    ("key", "version", "uploads"),
    [
        ("shop.zip", "v1", 1),
        (f"shop/{make_push().commit}.zip", None, 1),
        ("shop.zip", None, 3),  # by the next attempt it may be another push's object
    ],
)
async def test_an_archive_made_during_dispatch_is_made_once(
    standin: CodeBuildStandin, clock: Clock, key: str, version: str | None, uploads: int
) -> None:
    """While CodeBuild is at its limit the push waits, and nothing is uploaded again."""
    records, tally, made = _Records(), _tally(), list[str]()
    records.full = False
    ready = _build_ready(clock, make_push())
    ready = _with_targets(ready, (Target(Action.BUILD, key, "shop"),))

    async def upload(work: Work, push: Push, target: Target, guard: Guard) -> StoredArchive:
        made.append(target.key)
        return StoredArchive("archives", target.key, 1, f"e{len(made)}", version_id=version)

    standin.fail_next("StartBuild", AwsError("AccountLimitExceededException", "full"), times=2)
    async with _open_turn(standin, records, upload=upload) as turn:
        for waited in (None, 1.0):
            with pytest.raises(Busy):
                await turn.dispatch(
                    Dispatch(ready, tried_seconds_ago=waited), guard=lambda: None, tally=tally
                )
            clock.advance(3600)
        await turn.dispatch(Dispatch(ready, tried_seconds_ago=2), guard=lambda: None, tally=tally)
    assert made == [key] * uploads
    assert len(standin.started) == 1


async def test_few_unsigned_ignored_events_are_recorded(
    standin: CodeBuildStandin,
) -> None:
    """The bucket does not fill with a stranger's pings; each signed one has its record."""
    records = _Records()
    records.full = False
    async with _open_turn(standin, records) as turn:
        for host in ("", "git.example", "other.example"):
            for n in range(MOST + 5):
                sent = datetime(2026, 11, 1, 10, 0, n, tzinfo=UTC)
                event = Nothing(f"{host}{n}", "a ping", unverified=host)
                work = Work(Message(f"{host}-{n}", "", "handle", "group", 1, sent=sent), event)
                await turn.dispatch(
                    Dispatch(PreparedMessage(work)), guard=lambda: None, tally=_tally()
                )
    for host, count in (("", MOST + 5), ("git.example", MOST), ("other.example", MOST)):
        assert len([key for key in records.kept if f"Z-{host}-" in key]) == count


async def test_a_later_push_of_the_ref_in_one_message_waits_for_the_earlier_one(
    standin: CodeBuildStandin, clock: Clock
) -> None:
    """One of another ref does not (I3)."""
    first = make_push(1)
    second, other = (
        replace(make_push(2), id="e2"),
        replace(make_push(3), id="e3", ref="refs/heads/other"),
    )
    each = [_build_ready(clock, push, "shop") for push in (first, second, other)]
    work = replace(each[0].work, more=(second, other))
    ready = PreparedMessage(work, tuple(one.pushes[0] for one in each))
    records, tally = _Records(), _tally()
    records.full = False
    standin.fail_next("StartBuild", AwsError("AccountLimitExceededException", "full"))
    async with _open_turn(standin, records) as turn:
        with pytest.raises(Busy):
            await turn.dispatch(Dispatch(ready), guard=lambda: None, tally=tally)
        assert [each.variables["EVENT_ID"] for each in standin.started] == ["e3"]
        await turn.dispatch(Dispatch(ready, tried_seconds_ago=1), guard=lambda: None, tally=tally)
    assert [each.variables["EVENT_ID"] for each in standin.started] == ["e3", first.id, "e2"]


async def test_pushes_of_one_message_that_failed_to_prepare_wait_for_no_other(
    standin: CodeBuildStandin, clock: Clock
) -> None:
    """Each is prepared again in its turn; its first failure is not reported twice."""
    first, second = (replace(make_push(n), id=f"e{n}", ref=f"refs/heads/{n}") for n in (1, 2))
    later: dict[str, list[Busy | None]] = {
        "e1": [None],
        "e2": [Busy("fetch"), None],
    }  # results of preparing them again
    records, tally = _Records(), _tally()
    records.full = False

    async def prepare(work: Work, push: Push, guard: Guard) -> PreparedPush:
        failure = later[push.id].pop(0) if later[push.id] else None
        if failure is not None:
            raise failure
        (ready,) = _build_ready(clock, push, "shop").pushes
        targets = await Ledger(records, prefix="l/").find_undone(push, ready.targets)
        return replace(ready, targets=targets)

    def failed(push: Push) -> PreparedPush:
        return PreparedPush(push, failed=Retry("fetch"))

    work = _build_ready(clock, first, "shop").work
    ready = PreparedMessage(replace(work, more=(second,)), (failed(first), failed(second)))
    async with _open_turn(standin, records, prepare) as turn:
        for waited in (None, 1.0):
            with pytest.raises((Busy, Retry), match="fetch"):
                await turn.dispatch(
                    Dispatch(ready, tried_seconds_ago=waited), guard=lambda: None, tally=tally
                )
        await turn.dispatch(Dispatch(ready, tried_seconds_ago=2), guard=lambda: None, tally=tally)
    assert [each.variables["EVENT_ID"] for each in standin.started] == ["e1", "e2"]


@pytest.mark.parametrize("refused", ["", "/started/", "/unfinished/", "/head/", "/push/"])
async def test_a_start_is_in_the_index_before_its_push_is_recorded(
    standin: CodeBuildStandin, clock: Clock, refused: str
) -> None:
    """The process ends at any write; the next delivery finds the build, and writes the rest."""
    push, records = make_push(), _Records()
    records.full, records.refused = False, refused
    results, ready = ResultLedger(records, prefix="l/"), _build_ready(clock, push, "shop")
    async with _open_turn(standin, records, results=results) as turn:
        if refused:
            with pytest.raises(Outage):
                await turn.dispatch(Dispatch(ready), guard=lambda: None, tally=_tally())
            assert not [key for key in records.kept if "/push/" in key]
            records.refused = ""
            clock.advance(3600)  # the token has expired
            message = replace(ready.work.message, receive_count=2)
            ready = replace(ready, work=replace(ready.work, message=message))
        await turn.dispatch(Dispatch(ready), guard=lambda: None, tally=_tally())
    (build,) = standin.started
    kinds = [key.split("/")[1] for key in records.written]
    assert kinds[-1] == "push"
    assert set(kinds[:-1]) == {"started", "unfinished", "head"}
    started = await results.find_started(
        StartedId(StartedKind.BUILD, "shop", build.build.partition(":")[2])
    )
    assert started is not None
    assert started.record in records.kept
    assert (started.event_id, started.commit, started.ref) == (push.id, push.commit, push.ref)
    assert (started.repository, started.pushed_at) == (push.repository, push.time)


async def test_an_execution_of_a_pipeline_is_in_the_index(
    pipelines: CodePipelineStandin, clock: Clock
) -> None:
    """Its key has the pipeline's name and the id of the execution."""
    records = _Records()
    records.full = False
    results = ResultLedger(records, prefix="l/")
    async with _open_turn(pipelines, records, results=results) as turn:
        await turn.dispatch(Dispatch(_ready(clock)), guard=lambda: None, tally=_tally())
    (run,) = pipelines.started
    started = await results.find_started(StartedId(StartedKind.EXECUTION, "deploy", run.id))
    assert started is not None
    assert started.rule == "deploy"
    assert f"l/unfinished/execution/deploy/{run.id}" in records.kept


async def test_without_a_queue_of_results_nothing_more_is_written(
    standin: CodeBuildStandin, clock: Clock
) -> None:
    """Exactly the two requests that a push has always cost: its head and its record."""
    records = _Records()
    records.full = False
    async with _open_turn(standin, records) as turn:
        ready = _build_ready(clock, make_push(), "shop")
        await turn.dispatch(Dispatch(ready), guard=lambda: None, tally=_tally())
    assert [key.split("/")[1] for key in records.written] == ["head", "push"]


class _Skips:
    """A queue of reports; `before` has the number of records there were at each report."""

    def __init__(self, records: _Records) -> None:
        self.told: list[tuple[str, str | None]] = []
        self.before: list[int] = []
        self._records = records

    async def send_skips(self, push: Push, skipped: Sequence[SkippedTarget]) -> None:
        """Keep them."""
        self.told += [(push.id, each.project) for each in skipped]
        self.before.append(len(self._records.written))


@pytest.mark.parametrize(
    ("ref", "stale", "projects"),
    [
        ("refs/heads/main", "", ["web"]),
        ("refs/tags/v1", "", []),  # its object need not be a commit
        ("refs/heads/main", "it was forced away", []),
    ],
)
async def test_what_was_left_out_is_reported_before_the_record(
    standin: CodeBuildStandin, clock: Clock, ref: str, stale: str, projects: list[str]
) -> None:
    """A process that dies in between reports it again: the push is not done yet."""
    push, records = make_push(ref=ref), _Records()
    records.full = False
    skips, ready = _Skips(records), _build_ready(clock, push, "shop")
    (prepared,) = ready.pushes
    left_out = (SkippedTarget("web", LeftOut(("web",)), project="web"),)
    ignored = (Target(Action.IGNORE, rule="no rule matches"),)
    prepared = replace(prepared, targets=ignored, skipped=left_out, stale=stale)
    ready = replace(ready, pushes=(prepared,))
    async with _open_turn(standin, records, skips=skips) as turn:
        await turn.dispatch(Dispatch(ready), guard=lambda: None, tally=_tally())
    assert skips.told == [(push.id, each) for each in projects]
    assert not any(skips.before)
    assert records.written
