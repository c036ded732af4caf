"""Histories of contents: what is written of builds and executions, and what cannot be read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson
import pytest
from support.codebuild import make_push
from support.records import Records

from asyncbuild.builds.content_ledger import ContentLedger
from asyncbuild.builds.content_records import history_record, read_history
from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.result_records import read_started, started_by, started_record
from asyncbuild.domain.contents.compared_content import ChangesSince, ComparedContent
from asyncbuild.domain.contents.content_history import (
    NO_HISTORY,
    RUNNING_MOST,
    ContentHistory,
    SeenContent,
)
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Action, Execution, Outcome, Target, Verdict
from asyncbuild.domain.results.build_result import (
    BuildResult,
    BuildStatus,
    StartedId,
    StartedKind,
)
from asyncbuild.domain.results.started_build import StartedBuild

_NOW: Final = datetime(2026, 11, 30, 9, 0, 0, tzinfo=UTC)
_NAME: Final = "ab" * 32
_KEYS: Final = LedgerKeys("l/")
_SINCE: Final = ChangesSince.PASSED


def _execution() -> tuple[Outcome, StartedBuild]:
    target = Target(Action.PIPELINE, "web.zip", pipeline="deploy")
    outcome = Outcome(
        Verdict.HANDED_OVER,
        "",
        target,
        execution=Execution("1-2-3", "deploy"),
        compared=ComparedContent(_NAME, "tree-1"),
    )
    started = started_by(make_push(1), outcome, keys=_KEYS, started_at=_NOW)
    assert started is not None
    return outcome, started


async def test_an_execution_that_is_tried_again_passes_in_the_end() -> None:
    """Its failed stage is repeated: the later end counts, told in any order."""
    ledger, push = ContentLedger(Records(), prefix="l/", clock=lambda: _NOW), make_push(1)
    outcome, started = _execution()
    await ledger.record_start(push, outcome)
    failed = BuildResult(started.of, BuildStatus.FAILED, _NOW, ended_at=_NOW)
    passed = replace(failed, status=BuildStatus.SUCCEEDED, ended_at=_NOW + timedelta(minutes=1))
    for ends in ([failed], [failed, passed], [failed, passed, failed]):
        for end in ends:
            await ledger.record_end(started, end)
        history = (await ledger.find(push.repository, [_NAME]))[_NAME]
        same = history.find_same(_SINCE, "tree-1")
        assert (same is not None) is (passed in ends)


async def test_what_is_compared_with_nothing_is_not_written() -> None:
    """Neither a start nor an end of a rule without the setting, or of an older version."""
    records = Records()
    ledger, (outcome, started) = ContentLedger(records, prefix="l/"), _execution()
    await ledger.record_start(make_push(1), replace(outcome, compared=None))
    result = BuildResult(started.of, BuildStatus.SUCCEEDED, _NOW)
    await ledger.record_end(replace(started, compared=None), result)
    await ledger.record_end(started, replace(result, status=BuildStatus.IN_PROGRESS))
    assert records.kept == {}


def test_the_index_keeps_what_is_compared() -> None:
    """An entry of an older version has nothing; one that leads to another key is refused."""
    _, started = _execution()
    key, body = _KEYS.started(started.of), started_record(started)
    assert read_started(key, body, keys=_KEYS) == started
    document = orjson.loads(body)
    document["compared"]["history"] = "../../push/x"
    with pytest.raises(Reject):
        read_started(key, orjson.dumps(document), keys=_KEYS)
    del document["compared"]
    assert read_started(key, orjson.dumps(document), keys=_KEYS).compared is None


def test_a_record_is_read_as_it_was_written() -> None:
    """With all its parts; a damaged one, or one of a later version, is refused."""
    of = StartedId(StartedKind.BUILD, "web", "1")
    seen = SeenContent("tree-1", "a" * 40, "event", _NOW)
    history = NO_HISTORY.begin(seen, of, now=_NOW).end(seen, of, is_passed=True)
    history = history.begin(replace(seen, digest="tree-2"), replace(of, number="2"), now=_NOW)
    history = replace(history, failed_at=_NOW - timedelta(days=1))
    push = make_push(1)
    body = history_record(history, repository=push.repository, ref=push.ref, of=of)
    assert read_history("k", body) == history
    for damaged in (body[:-3], body.replace(b'"version":1', b'"version":2'), b"{}", b"[]"):
        with pytest.raises(Reject):
            read_history("k", damaged)


def test_a_pass_that_does_not_count_ends_no_wait() -> None:
    """A build that was started before it may still pass, and be the newest pass."""
    seen = SeenContent("tree-1", "a" * 40, "event", _NOW)
    other = replace(seen, digest="tree-2")
    first, second, third = (StartedId(StartedKind.BUILD, "web", each) for each in "123")
    history = NO_HISTORY.begin(seen, first, now=_NOW).end(seen, first, is_passed=True)
    history = history.begin(other, second, now=_NOW).begin(other, third, now=_NOW)
    late = replace(other, at=_NOW - timedelta(seconds=1))
    history = history.end(late, third, is_passed=True)
    assert history.find_same(_SINCE, "tree-1") is None
    assert history.end(other, second, is_passed=False).find_same(_SINCE, "tree-1") == seen


def test_too_many_unfinished_builds_leave_no_pass() -> None:
    """The record stays small, and what it no longer knows is built."""
    seen = SeenContent("tree-1", "a" * 40, "event", _NOW)
    first = StartedId(StartedKind.BUILD, "web", "first")
    history: ContentHistory = NO_HISTORY.begin(seen, first, now=_NOW)
    history = history.end(seen, first, is_passed=True)
    for number in range(RUNNING_MOST + 1):
        assert history.find_same(_SINCE, "tree-1")
        history = history.begin(seen, replace(first, number=str(number)), now=_NOW)
    assert history.find_same(_SINCE, "tree-1") is None
    assert len(history.running) == RUNNING_MOST
