"""Rules with `changes_since`: what is built, what is left out, and what proves it."""

import shutil
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from support.events import ACCOUNT, REGION
from support.push_place import LEDGER, MAIN, Place, make_place
from support.result_events import build_event

from asyncbuild.aws.session import Aws
from asyncbuild.builds.content_ledger import ContentLedger
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.requests.push_request import PushRequest, dump_request
from asyncbuild.domain.requests.request_terms import RequestTerms
from asyncbuild.domain.results.build_result import (
    BuildResult,
    BuildStatus,
    StartedId,
    StartedKind,
)
from asyncbuild.local.servers import journal
from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.stack import Stack, open_stack
from asyncbuild.results.facts.attempt_facts import AttemptFacts
from asyncbuild.results.open_results import open_results
from asyncbuild.results.recorder import ResultRecorder
from asyncbuild.storage.s3 import Store

pytestmark = pytest.mark.timeout(300)

PASSED, FAILED = BuildStatus.SUCCEEDED, BuildStatus.FAILED
API: Final = {"name": "api", "action": "build", "project": "web", "changes": ["api"]}


@pytest.fixture(scope="module")
async def stack() -> AsyncIterator[Stack]:
    """Open one stack for the module."""
    async with open_stack(["web", "lint"]) as stack:
        yield stack


@pytest.fixture
def place(stack: Stack) -> Place:
    """Return a place where `web` is built of what `api` is since it passed."""
    return _follow(make_place(stack), "passed")


def _follow(place: Place, since: str, **more: Any) -> Place:  # noqa: ANN401 - settings of a rule
    place.configure(rules=[{**API, "changes_since": since, **more}])
    return _with_results(place)


def _with_results(place: Place) -> Place:
    place.settings = place.settings.model_copy(update={"results": place.stack.settings.results})
    return place


def _started(place: Place) -> list[journal.AcceptedStart]:
    entries = journal.read(place.stack.journal)
    return [each for each in entries if each.variables["REPOSITORY_NAME"] == place.name]


async def _end(
    place: Place, status: BuildStatus, *, number: int = -1, ended_at: datetime | None = None
) -> None:
    """Let a build of the place end, the last one if no other is named."""
    store = Store(place.stack.s3, place.settings.storage)
    results = ResultLedger(store, prefix=LEDGER)
    project, _, build = _started(place)[number].build.rpartition(":")
    started = await results.find_started(StartedId(StartedKind.BUILD, project, build))
    assert started is not None
    now = datetime.now(UTC)
    result = BuildResult(started.of, status, now, ended_at=ended_at or now)
    recorder = ResultRecorder(results, contents=ContentLedger(store, prefix=LEDGER))
    await recorder.record(started, AttemptFacts(result))


class _Line:
    """Commits of one branch that are pushed, one after the other."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.tip: str | None = None

    async def push(self, files: Mapping[str, bytes | None]) -> str:
        """Push a commit, and return it."""
        commit = self.place.source.commit(files)
        await self.place.push(commit, self.tip)
        self.tip = commit
        return commit

    async def settle(self, files: Mapping[str, bytes | None]) -> bool:
        """Push a commit, settle it, and return whether it was built."""
        commit = await self.push(files)
        before = len(_started(self.place))
        await self.place.drain()
        built = [each.variables["COMMIT_ID"] for each in _started(self.place)[before:]]
        assert built in ([], [commit])
        return bool(built)


async def _reasons(place: Place) -> list[str]:
    store = Store(place.stack.s3, place.settings.storage)
    repository = Repository.of_codecommit(ACCOUNT, REGION, place.name)
    since = datetime.now(UTC) - timedelta(days=1)
    records = Ledger(store, prefix=LEDGER).iter_pushes(repository, since=since)
    return [each["reason"] async for each in records]


async def test_a_red_commit_is_built_until_it_passes(place: Place) -> None:
    """An unrelated commit never turns it green; once it has passed, one is left out."""
    line = _Line(place)
    assert await line.settle({"api/a": b"1", "docs": b"1"})
    first = line.tip or ""
    await _end(place, PASSED)
    assert await line.settle({"api/a": b"bad"})
    await _end(place, FAILED)
    assert await line.settle({"docs": b"3"})
    assert _started(place)[-1].variables["BASE_COMMIT_ID"] == first
    await _end(place, PASSED)
    green = line.tip or ""
    assert not await line.settle({"docs": b"4"})
    told = f"no rule matches: nothing changed in api since it passed at {green[:12]} (rule api)"
    assert f"rule: {told}" in await _reasons(place)


async def test_what_was_started_is_not_built_again_though_it_failed(place: Place) -> None:
    """With `started` only the content counts, not its end; results need not be there."""
    _follow(place, "started")
    place.settings = place.settings.model_copy(
        update={"results": make_place(place.stack).settings.results}
    )
    line = _Line(place)
    assert await line.settle({"api/a": b"1"})
    assert not await line.settle({"docs": b"1"})
    assert await line.settle({"api/a": b"2"})
    assert await line.settle({"api/a": b"1"})  # back: the newest start was of other content


async def test_back_to_what_passed_nothing_is_built(place: Place) -> None:
    """Unless what came in between still runs: it may pass, and then it is what passed last."""
    line = _Line(place)
    await line.settle({"api/a": b"1"})
    await _end(place, PASSED)
    assert await line.settle({"api/a": b"2"})
    assert await line.settle({"api/a": b"1"})
    await _end(place, FAILED, number=1)
    await _end(place, PASSED)
    assert not await line.settle({"api/a": b"1"})


async def test_of_two_ends_of_one_content_the_later_counts(place: Place) -> None:
    """However late the earlier is told."""
    line = _Line(place)
    assert await line.settle({"api/a": b"1"})
    passed_at = datetime.now(UTC)
    assert await line.settle({"docs": b"1"})
    await _end(place, FAILED, ended_at=passed_at + timedelta(seconds=1))
    await _end(place, PASSED, number=0, ended_at=passed_at)
    assert await line.settle({"docs": b"2"})


async def test_a_burst_is_compared_in_turn(place: Place) -> None:
    """While pushes are prepared together, those ahead are not started yet."""
    _follow(place, "started")
    line = _Line(place)
    first = await line.push({"api/a": b"1"})
    await place.drain()
    second = await line.push({"api/a": b"2"})
    third = await line.push({"api/a": b"1"})
    await line.push({"docs": b"1"})
    await place.drain()
    assert place.built() == [first, second, third]


async def test_cold_shallow_and_forced(place: Place) -> None:
    """No older commit has to be there, and none has to be an ancestor."""
    place.configure(git={"depth": 1})
    _with_results(place)
    line = _Line(place)
    await line.settle({"api/a": b"1", "docs": b"1"})
    await _end(place, PASSED)
    shutil.rmtree(Path(place.settings.git.cache_directory), ignore_errors=True)
    assert not await line.settle({"docs": b"2"})
    forced = place.source.commit({"api/a": b"1", "other": b"1"}, parent=None)
    await place.push(forced, line.tip)
    await place.drain()
    assert forced not in place.built()
    assert await line.settle({"api/a": b"2"})


async def test_a_new_branch_and_a_tag_are_built(place: Place) -> None:
    """Each ref has a history of its own: what a build does may depend on the branch."""
    _follow(place, "passed", ref=["*", "refs/tags/*"])
    line = _Line(place)
    await line.settle({"api/a": b"1"})
    await _end(place, PASSED)
    for ref in ("refs/heads/new", "refs/tags/v1"):
        place.source.git("update-ref", ref, line.tip or "")
        await _ask(place, ref, line.tip or "", RequestTerms("test", as_push=True))
    await place.drain()
    assert len(_started(place)) == 3
    await _end(place, PASSED)
    again = place.source.commit({"docs": b"1"}, branch="other", parent=line.tip)
    place.source.git("update-ref", "refs/tags/v1", again)  # the tag is moved
    await _ask(place, "refs/tags/v1", again, RequestTerms("test", as_push=True))
    await place.drain()
    assert len(_started(place)) == 3


async def _ask(place: Place, ref: str, commit: str, terms: RequestTerms) -> None:
    repository = Repository.of_codecommit(ACCOUNT, REGION, place.name)
    now = datetime.now(UTC).replace(microsecond=0)
    number = f"{ref.replace('/', '-')}-{datetime.now(UTC).timestamp()}"
    await place.put(dump_request(PushRequest(number, repository, ref, commit, now, terms)))


async def test_a_request_is_built_whatever_passed(place: Place) -> None:
    """A person asked for it. If it fails, the next push is built, too."""
    line = _Line(place)
    await line.settle({"api/a": b"1"})
    await _end(place, PASSED)
    await _ask(place, MAIN, line.tip or "", RequestTerms("build", again=True))
    await place.drain()
    assert place.built() == [line.tip, line.tip]
    await _end(place, FAILED)
    assert await line.settle({"docs": b"1"})


async def test_what_passed_is_built_while_it_is_built_once_more(place: Place) -> None:
    """The newer build may have failed, and its end be lost: the next push must not turn green."""
    line = _Line(place)
    await line.settle({"api/a": b"1"})
    await _end(place, PASSED)
    await _ask(place, MAIN, line.tip or "", RequestTerms("build", again=True))
    await place.drain()
    assert await line.settle({"docs": b"1"})
    await _end(place, PASSED)
    assert not await line.settle({"docs": b"2"})


async def test_a_changed_rule_compares_with_nothing(place: Place) -> None:
    """Its builds are others. A name, or a project beside it, changes nothing for what passed."""
    line = _Line(place)
    await line.settle({"api/a": b"1", "docs": b"1"})
    await _end(place, PASSED)
    changes: list[dict[str, Any]] = [
        {"changes": ["api", "docs"]},
        {"variables": {"STAGE": "test"}},
        {"paths": ["api"]},
    ]
    for number, changed in enumerate(changes):
        _follow(place, "passed", name=f"renamed {number}")
        assert not await line.settle({"other": b"%d" % number})
        _follow(place, "passed", **changed)
        assert await line.settle({"other": b"changed %d" % number})
    _follow(place, "passed", project=["web", "lint"])
    await line.push({"other": b"4"})
    await place.drain()
    assert [each.project for each in _started(place)[-1:]] == ["lint"]
    assert len(_started(place)) == 1 + len(changes) + 1


async def test_ends_come_by_the_queue_of_results(place: Place, stack: Stack) -> None:
    """Nothing but the event of an end is needed."""
    stack.standin.script = Script(queued_seconds=0, build_seconds=0)
    line = _Line(place)
    assert await line.settle({"api/a": b"1"})
    assert await line.settle({"docs": b"1"})
    for started in _started(place):
        event = orjson.dumps(build_event(started.build, "SUCCEEDED")).decode()
        await stack.sqs.send_message(QueueUrl=place.settings.results.url, MessageBody=event)
    async with open_results(place.settings, Aws(place.settings)) as opened:
        assert opened is not None
        opened.consumers.drain()
        await opened.consumers.run()
    assert not await line.settle({"docs": b"2"})


async def test_of_two_projects_the_failed_one_is_built(place: Place) -> None:
    """The record of the push says why the other is not."""
    _follow(place, "passed", project=["web", "lint"])
    line = _Line(place)
    await line.push({"api/a": b"1"})
    await place.drain()
    projects = [each.project for each in _started(place)]
    assert sorted(projects) == ["lint", "web"]
    await _end(place, PASSED, number=projects.index("web"))
    await _end(place, FAILED, number=projects.index("lint"))
    await line.push({"docs": b"1"})
    first = _started(place)[0].variables["COMMIT_ID"]
    await place.drain()
    assert [each.project for each in _started(place)[2:]] == ["lint"]
    told = f"web: nothing changed in api since it passed at {first[:12]} (rule api)"
    assert told in await _reasons(place)


async def test_two_rules_of_one_project(place: Place) -> None:
    """Each has its own content: the project is left out once both have passed."""
    rules = [
        {**API, "changes_since": "passed"},
        {**API, "name": "libs", "changes": ["libs"], "changes_since": "passed"},
    ]
    place.configure(rules=rules)
    line = _Line(_with_results(place))
    assert await line.settle({"api/a": b"1", "libs/b": b"1"})
    await _end(place, PASSED)
    assert await line.settle({"docs": b"1"})  # `libs` never passed by its own rule
    await _end(place, PASSED)
    assert not await line.settle({"docs": b"2"})
    assert await line.settle({"libs/b": b"bad"})
    await _end(place, FAILED)
    assert await line.settle({"docs": b"3"})


async def test_what_cannot_be_read_is_built(place: Place) -> None:
    """A record that is lost or torn hides nothing, and is replaced."""
    line = _Line(place)
    await line.settle({"api/a": b"1"})
    await _end(place, PASSED)
    bucket = place.settings.storage.bucket
    listed = await place.stack.s3.list_objects_v2(Bucket=bucket, Prefix=f"{LEDGER}passed/")
    (key,) = [each["Key"] for each in listed["Contents"] if place.name in each["Key"]]
    await place.stack.s3.put_object(Bucket=bucket, Key=key, Body=b'{"version": 1')
    assert await line.settle({"docs": b"1"})
    await _end(place, PASSED)
    await place.stack.s3.delete_object(Bucket=bucket, Key=key)
    assert await line.settle({"docs": b"2"})


async def test_a_push_is_not_left_out_by_its_own_start(place: Place) -> None:
    """Its process ended before the record: it is delivered again, and finds its build."""
    _follow(place, "started")
    line = _Line(place)
    commit = await line.push({"api/a": b"1"})
    await place.end_at("put_object", after=True, number=2)  # archive, content, head
    await place.drain()
    assert place.built() == [commit]
    assert await _reasons(place) == ["rule: api"]
    assert not await line.settle({"docs": b"1"})


async def test_requests_of_compared_pushes(place: Place) -> None:
    """Two reads and a write beside those of other pushes; a left-out one writes its record."""
    line = _Line(place)
    await line.settle({"api/a": b"1"})
    await line.push({"api/a": b"2"})
    asked = await place.drain()
    assert asked.count("get passed") == 2
    assert asked.count("put passed") == 1
    assert asked.index("put passed") < asked.index("put started")
    await _end(place, PASSED)
    await line.push({"docs": b"1"})
    assert await place.drain() == [
        *("get passed", "get push", "get passed"),
        *("put push", "delete_message"),
    ]
