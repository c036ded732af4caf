"""Answers about builds, batches and executions: times, failures, links, attempts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncbuild.domain.results.build_result import BuildStatus, StartedId, StartedKind
from asyncbuild.results.facts.attempt_facts import (
    GONE_AFTER,
    RETRY_SHOWS_WITHIN,
    read_build_id,
    result_of_gone,
)
from asyncbuild.results.facts.build_facts import REASON_MOST, facts_of_batch, facts_of_build
from asyncbuild.results.facts.execution_facts import facts_of_execution

BEGUN = datetime(2026, 11, 1, 10, 0, tzinfo=UTC)
NOW = BEGUN + timedelta(hours=1)
ARN = "arn:aws:codebuild:eu-west-1:123456789012:build/"


def _at(seconds: float) -> datetime:
    """Return a time in another zone, as botocore does, which takes the local one."""
    return (BEGUN + timedelta(seconds=seconds)).astimezone()


def _phase(kind: str, begin: float, end: float | None, status: str = "SUCCEEDED") -> dict[str, Any]:
    told: dict[str, Any] = {"phaseType": kind, "startTime": _at(begin), "contexts": []}
    if end is not None:
        # Whole seconds, as CodeBuild adds them up: not what the durations are taken from.
        told |= {"endTime": _at(end), "phaseStatus": status, "durationInSeconds": int(end - begin)}
    return told


def _build(**more: object) -> dict[str, Any]:
    return {
        "id": "web:0a1b",
        "arn": f"{ARN}web:0a1b",
        "buildNumber": 12,
        "buildStatus": "SUCCEEDED",
        "startTime": _at(0),
        "endTime": _at(100.25),
        "initiator": "asyncbuild-service/1234",
        "logs": {"deepLink": "https://console.aws.amazon.com/cloudwatch/home#logEvent:x"},
        "phases": [
            _phase("SUBMITTED", 0, 0.5),
            _phase("QUEUED", 0.5, 3.5),
            _phase("PROVISIONING", 3.5, 20.25),
            _phase("DOWNLOAD_SOURCE", 20.25, 22),
            _phase("BUILD", 22, 99),
            _phase("FINALIZING", 99, 100.25),
            {"phaseType": "COMPLETED", "startTime": _at(100.25)},
        ],
        **more,
    }


def test_a_build_that_passed() -> None:
    """The parts of its time add up to the whole."""
    facts = facts_of_build(_build(), observed_at=NOW)
    result = facts.result
    assert result.of == StartedId(StartedKind.BUILD, "web", "0a1b")
    assert (result.status, result.attempt, result.attempt_id) == (
        BuildStatus.SUCCEEDED,
        1,
        "web:0a1b",
    )
    assert (result.number, result.observed_at) == (12, NOW)
    parts = (result.queued_seconds, result.provisioning_seconds, result.building_seconds)
    assert parts == (3.5, 16.75, 80.0)
    assert result.total_seconds == 100.25
    assert result.started_at == BEGUN
    assert result.started_at.tzinfo is UTC
    assert (result.phase, result.exit_code, result.reason) == ("", None, "")
    assert result.log_link.endswith("#logEvent:x")
    assert result.initiator == "asyncbuild-service/1234"
    assert (facts.previous, facts.next, facts.batch, facts.retries_left) == (None, None, "", 0)


def _failing(message: str, *, code: str = "COMMAND_EXECUTION_ERROR") -> dict[str, Any]:
    phases = _build()["phases"]
    failed = _phase("BUILD", 22, 99, "FAILED")
    failed["contexts"] = [{"statusCode": code, "message": message}]
    after = _phase("POST_BUILD", 99, 99, "FAILED")
    phases[4:5] = [failed, after]
    return _build(buildStatus="FAILED", phases=phases)


@pytest.mark.parametrize(
    ("message", "exit_code"),
    [
        ("Error while executing command: make test. Reason: exit status 2", 2),
        ("Error while executing command: exit status 3 || false. Reason: exit status 127", 127),
        ("Error while executing command: make\ntest. Reason: exit status 1\n", 1),
        ("stat /codebuild/output/src/buildspec.yml: no such file or directory", None),
        ("", None),
    ],
)
def test_a_build_that_failed(message: str, exit_code: int | None) -> None:
    """The first phase that failed is named, with its message in one line."""
    result = facts_of_build(_failing(message), observed_at=NOW).result
    assert (result.status, result.phase) == (BuildStatus.FAILED, "BUILD")
    assert result.exit_code == exit_code
    assert result.reason == (" ".join(message.split()) or "COMMAND_EXECUTION_ERROR")


def test_a_long_message_is_cut_and_a_hostile_one_made_plain() -> None:
    """The message is the user's text; the exit code at its end is found all the same."""
    message = f"Error \x1b[31m{'x' * 9_000}. Reason: exit status 9"
    result = facts_of_build(_failing(message), observed_at=NOW).result
    assert len(result.reason) == REASON_MOST
    assert "\x1b" not in result.reason
    assert result.exit_code == 9


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ([], (None, None, None)),
        ([_phase("SUBMITTED", 0, 1), _phase("QUEUED", 1, None)], (None, None, None)),
        ([_phase("QUEUED", 1, 9), _phase("PROVISIONING", 9, None)], (9, None, None)),
        ([_phase("PROVISIONING", 9, 12), _phase("BUILD", 12, None)], (9, 3, None)),
    ],
)
def test_parts_that_are_not_over_are_unknown(
    phases: list[dict[str, Any]], expected: tuple[float | None, ...]
) -> None:
    """A running build has no end."""
    running = _build(buildStatus="IN_PROGRESS", phases=phases)
    del running["endTime"]
    result = facts_of_build(running, observed_at=NOW).result
    assert (
        result.queued_seconds,
        result.provisioning_seconds,
        result.building_seconds,
    ) == expected
    assert (result.status, result.ended_at) == (BuildStatus.IN_PROGRESS, None)


def test_a_build_that_timed_out_in_the_queue_was_queued_all_its_time() -> None:
    """A queued build has no other phase."""
    phases = [_phase("SUBMITTED", 0, 1), _phase("QUEUED", 1, 100.25, "TIMED_OUT")]
    build = _build(buildStatus="TIMED_OUT", phases=phases)
    result = facts_of_build(build, observed_at=NOW).result
    assert (result.queued_seconds, result.phase) == (100.25, "QUEUED")


def test_a_stopped_build_names_no_failed_phase() -> None:
    """Someone stopped it; nothing of it failed."""
    phases = [_phase("PROVISIONING", 1, 2), _phase("BUILD", 2, 3, "STOPPED")]
    result = facts_of_build(_build(buildStatus="STOPPED", phases=phases), observed_at=NOW).result
    assert (result.status, result.phase) == (BuildStatus.STOPPED, "")


def _retry(number: int, limit: int, **more: str) -> dict[str, Any]:
    config = {"autoRetryLimit": limit, "autoRetryNumber": number, **more}
    return _failing("exit status 1") | {"autoRetryConfig": config}


def test_attempts_lead_to_each_other() -> None:
    """CodeBuild numbers them from 0, and names the neighbours by ARN."""
    retry = _retry(1, 3, previousAutoRetry=f"{ARN}web:00", nextAutoRetry=f"{ARN}web:22")
    facts = facts_of_build(retry, observed_at=NOW)
    assert facts.result.attempt == 2
    assert facts.previous == StartedId(StartedKind.BUILD, "web", "00")
    assert facts.next == StartedId(StartedKind.BUILD, "web", "22")
    assert facts.retries_left == 2
    root = StartedId(StartedKind.BUILD, "web", "00")
    assert facts.result_of(root).of == root
    assert facts.result_of(root).attempt_id == "web:0a1b"


@pytest.mark.parametrize(
    ("build", "after", "expected"),
    [
        (_retry(0, 2), timedelta(0), True),
        (_retry(0, 2), RETRY_SHOWS_WITHIN, False),
        (_retry(2, 2), timedelta(0), False),
        (_retry(0, 2, nextAutoRetry=f"{ARN}web:22"), timedelta(0), False),
        (_failing("x"), timedelta(0), False),
        (_build(autoRetryConfig={"autoRetryLimit": 2, "autoRetryNumber": 0}), timedelta(0), False),
    ],
)
def test_a_failed_build_with_retries_left_may_be_tried_again(
    build: dict[str, Any], after: timedelta, *, expected: bool
) -> None:
    """A failure is no end for a while, until its next attempt would have shown."""
    facts = facts_of_build(build, observed_at=NOW)
    assert facts.may_be_retried(BEGUN + timedelta(seconds=100.25) + after) is expected


def test_a_build_of_a_batch_names_the_batch() -> None:
    """The batch decides."""
    arn = "arn:aws:codebuild:eu-west-1:123456789012:build-batch/web:bb"
    facts = facts_of_build(_build(buildBatchArn=arn), observed_at=NOW)
    assert facts.batch == arn
    assert read_build_id(arn) == StartedId(StartedKind.BATCH, "web", "bb")


def test_a_batch_has_a_status_and_a_number_of_its_own() -> None:
    """API reference, BuildBatch."""
    batch = {
        "id": "web:bb",
        "buildBatchStatus": "FAILED",
        "buildBatchNumber": 3,
        "startTime": _at(0),
        "endTime": _at(60),
        "phases": [
            _phase("SUBMITTED", 0, 1),
            {**_phase("IN_PROGRESS", 1, 50, "FAILED"), "contexts": [{"message": "one failed"}]},
        ],
    }
    result = facts_of_batch(batch, observed_at=NOW).result
    assert result.of == StartedId(StartedKind.BATCH, "web", "bb")
    assert (result.status, result.number, result.reason) == (BuildStatus.FAILED, 3, "one failed")
    assert result.total_seconds == 60


@pytest.mark.parametrize(
    "change",
    [
        {"buildStatus": "ON_FIRE"},
        {"buildStatus": None},
        {"id": "no-build"},
        {"startTime": "yesterday"},
        {"buildNumber": "twelve"},
    ],
)
def test_an_answer_that_does_not_fit_the_model_is_refused(change: dict[str, Any]) -> None:
    """The caller makes a `Retry` of it."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        facts_of_build(_build(**change), observed_at=NOW)


EXECUTION = StartedId(StartedKind.EXECUTION, "deploy", "e-1")


def _action(name: str, begin: float, end: float, status: str = "Succeeded") -> dict[str, Any]:
    return {
        "stageName": "Test",
        "actionName": name,
        "startTime": _at(begin),
        "lastUpdateTime": _at(end),
        "status": status,
    }


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("InProgress", BuildStatus.IN_PROGRESS),
        ("Stopping", BuildStatus.IN_PROGRESS),
        ("Succeeded", BuildStatus.SUCCEEDED),
        ("Failed", BuildStatus.FAILED),
        ("Cancelled", BuildStatus.STOPPED),
        ("Stopped", BuildStatus.STOPPED),
        ("Superseded", BuildStatus.STOPPED),
    ],
)
def test_each_state_of_an_execution_means_one_of_a_build(
    status: str, expected: BuildStatus
) -> None:
    """API reference, PipelineExecution, status."""
    facts = facts_of_execution(EXECUTION, {"status": status}, [], observed_at=NOW)
    assert facts.result.status is expected
    assert (facts.result.started_at, facts.result.phase) == (None, "")


def test_a_failed_execution_names_the_action_that_failed_last() -> None:
    """An earlier failure of a stage that was tried again does not count."""
    failed = _action("unit", 30, 70, "Failed")
    failed["output"] = {
        "executionResult": {
            "externalExecutionUrl": "https://console.aws.amazon.com/codebuild/x",
            "errorDetails": {
                "code": "JobFailed",
                "message": "Build terminated\nwith state: FAILED",
            },
        }
    }
    actions = [failed, _action("lint", 10, 20, "Failed"), _action("source", 0, 5)]
    result = facts_of_execution(EXECUTION, {"status": "Failed"}, actions, observed_at=NOW).result
    assert result.phase == "Test/unit"
    assert result.reason == "Build terminated with state: FAILED"
    assert result.log_link.endswith("codebuild/x")
    assert (result.started_at, result.ended_at) == (BEGUN, BEGUN + timedelta(seconds=70))


@pytest.mark.parametrize(
    ("status", "again", "attempt"),
    [
        ("Failed", [], 1),
        ("Succeeded", [_action("unit", 30, 40), _action("lint", 30, 40)], 2),
        ("Failed", [_action("unit", 30, 40, "InProgress")], 1),
        ("Succeeded", [_action("unit", 30, 40, "Failed"), _action("unit", 50, 60)], 3),
        (
            "Succeeded",
            [_action("unit", 30, 40)]
            + [_action("go", n, n + 1) | {"stageName": "Deploy"} for n in (50, 60)],
            3,
        ),
    ],
)
def test_each_retry_of_a_stage_is_an_attempt(
    status: str, again: list[dict[str, Any]], attempt: int
) -> None:
    """So a later end replaces an earlier one, in the ledger and at the forge."""
    actions = [*again, _action("unit", 10, 20, "Failed"), _action("lint", 10, 20, "Failed")]
    facts = facts_of_execution(EXECUTION, {"status": status}, actions, observed_at=NOW)
    assert facts.result.attempt == attempt


def test_a_build_that_is_gone_is_a_fault() -> None:
    """No state of it is known; its time to live is over."""
    of = StartedId(StartedKind.BUILD, "web", "0a1b")
    result = result_of_gone(of, None, started_at=BEGUN, now=NOW)
    assert (result.status, result.started_at, result.observed_at) == (BuildStatus.FAULT, BEGUN, NOW)
    assert "does not know it" in result.reason
    running = replace(result, status=BuildStatus.IN_PROGRESS, attempt=2, attempt_id="web:22")
    last = result_of_gone(of, running, started_at=BEGUN, now=NOW)
    assert (last.status, last.attempt, last.attempt_id) == (BuildStatus.FAULT, 2, "web:22")
    assert timedelta(hours=8 + 36) < GONE_AFTER  # queued and running, at most
