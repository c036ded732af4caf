"""Outcome events: their details are as the schema says, small, and tell no secret."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from asyncbuild.domain import outcomes
from asyncbuild.domain.outcomes.build_end import end_of
from asyncbuild.domain.outcomes.end_history import EndMeaning, Transition
from asyncbuild.domain.outcomes.outcome_event import (
    OutcomeEvent,
    dump_entries,
    has_outcome,
    outcome_events,
    read_entries,
)
from asyncbuild.domain.refs import REF_BYTES_MOST
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.results.build_result import (
    BuildResult,
    BuildStatus,
    StartedId,
    StartedKind,
)
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.reports.outcomes.event_bus import REQUEST_BYTES_MOST, entry_bytes, in_requests

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
SCHEMA = Path(outcomes.__file__).with_name("outcome_event.schema.json")
VALIDATOR = Draft202012Validator(orjson.loads(SCHEMA.read_bytes()))
STARTED = StartedBuild(
    of=StartedId(StartedKind.BUILD, "web", "u1"),
    record="push/x",
    event_id="event-1",
    repository=Repository.of_codecommit("123456789012", "eu-west-1", "shop"),
    ref="refs/heads/main",
    commit="c" * 40,
    rule="all",
    pushed_at=NOON,
    started_at=NOON,
    arn="arn:aws:codebuild:eu-west-1:123456789012:build/web:u1",
)
FAILED = BuildResult(
    STARTED.of,
    BuildStatus.FAILED,
    observed_at=NOON + timedelta(minutes=3),
    phase="BUILD",
    exit_code=2,
    reason="Error while executing command: deploy --password hunter2",
    started_at=NOON,
    ended_at=NOON + timedelta(minutes=2),
)


def _detail(event: OutcomeEvent) -> dict[str, Any]:
    detail: dict[str, Any] = orjson.loads(event.detail)
    VALIDATOR.validate(detail)
    return detail


def test_the_schema_is_one() -> None:
    """Consumers generate code from it."""
    Draft202012Validator.check_schema(orjson.loads(SCHEMA.read_bytes()))


def test_a_change_is_an_event_of_its_own() -> None:
    """Both have the same detail but for the id, with the end before."""
    previous = end_of(
        replace(STARTED, commit="b" * 40), replace(FAILED, status=BuildStatus.SUCCEEDED)
    )
    meaning = EndMeaning(previous=previous, transition=Transition.BROKE)
    failed, broke = outcome_events(STARTED, FAILED, meaning, with_reason=False)
    assert (failed.detail_type, broke.detail_type) == ("BuildFailed", "BuildBroke")
    detail = _detail(broke)
    assert detail["previous"]["commit"] == "b" * 40
    assert detail["duration_seconds"] == 120
    assert detail["build"]["link"].endswith("/projects/web/build/web%3Au1/?region=eu-west-1")
    assert detail | {"id": failed.id} == _detail(failed)
    assert failed.id != broke.id


def test_the_message_of_a_phase_is_told_on_request_alone() -> None:
    """It may quote a command with a secret."""
    (without,) = outcome_events(STARTED, FAILED, EndMeaning(), with_reason=False)
    (told,) = outcome_events(STARTED, FAILED, EndMeaning(), with_reason=True)
    assert "hunter2" not in without.detail
    assert _detail(told)["reason"] == FAILED.reason


@pytest.mark.parametrize("status", BuildStatus)
def test_a_stopped_build_makes_no_event(status: BuildStatus) -> None:
    """Nor does one that runs: neither says anything about the commit."""
    result = replace(FAILED, status=status)
    if status in {BuildStatus.STOPPED, BuildStatus.IN_PROGRESS}:
        assert not has_outcome(result)
        return
    (event,) = outcome_events(STARTED, result, EndMeaning(late=True), with_reason=True)
    assert _detail(event)["status"] == status


_TEXT = st.text(max_size=2_000)


@given(
    st.sampled_from(StartedKind),
    st.tuples(_TEXT, _TEXT, _TEXT, _TEXT, _TEXT),
    st.none() | st.datetimes().map(lambda time: time.replace(tzinfo=UTC)),
    st.none() | st.integers(-(2**31), 2**31),
)
def test_any_result_fits_the_schema_and_comes_back(
    kind: StartedKind, texts: tuple[str, ...], ended_at: datetime | None, exit_code: int | None
) -> None:
    """Whatever CodeBuild says; and what waits in the ledger is sent unchanged."""
    phase, reason, log_link, rule, attempt_id = texts
    started = replace(STARTED, of=replace(STARTED.of, kind=kind), rule=rule)
    result = replace(
        FAILED,
        of=started.of,
        phase=phase,
        reason=reason,
        log_link=log_link,
        attempt_id=attempt_id,
        ended_at=ended_at,
        exit_code=exit_code,
    )
    events = outcome_events(started, result, EndMeaning(), with_reason=True)
    for each in events:
        _detail(each)
    assert read_entries(orjson.loads(orjson.dumps(dump_entries(events)))) == events


def test_the_longest_event_is_far_below_the_limit_of_eventbridge() -> None:
    """Each text that others choose is at its longest, and each character an escape."""
    long = "\N{PILE OF POO}" * 100_000
    started = replace(
        STARTED,
        of=StartedId(StartedKind.BUILD, "p" * 255, "u" * 100),
        ref="refs/heads/" + "\N{PILE OF POO}" * ((REF_BYTES_MOST - 11) // 4),
        rule=long,
        event_id="e" * 200,
    )
    result = replace(FAILED, of=started.of, phase=long, reason=long, log_link=long, attempt_id=long)
    meaning = EndMeaning(previous=end_of(started, result), transition=Transition.FIXED)
    events = outcome_events(started, result, meaning, with_reason=True)
    assert all(entry_bytes(each) < REQUEST_BYTES_MOST / 2 for each in events)
    requests = list(in_requests([*events] * 20))
    assert sum(map(len, requests)) == 40
    assert all(sum(map(entry_bytes, each)) <= REQUEST_BYTES_MOST for each in requests)
    assert all(0 < len(each) <= 10 for each in requests)
