"""Messages of the queue of results: AWS's own samples, rounds, and what is neither."""

import contextlib
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.result_events import build_event, execution_event, sweep_message

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.results.build_result import BuildStatus, StartedId, StartedKind
from asyncbuild.results.facts.result_messages import (
    OtherChange,
    StateChange,
    SweepRequest,
    read_result_message,
)

_BUILD_ARN = (
    "arn:aws:codebuild:us-west-2:123456789012:build/my-sample-project:"
    "8745a7a9-c340-456a-9166-edf953571bEX"
)
# CodeBuild user guide, "Build notifications input format reference"; phases shortened.
BUILD_SAMPLE = {
    "version": "0",
    "id": "c030038d-8c4d-6141-9545-00ff7b7153EX",
    "detail-type": "CodeBuild Build State Change",
    "source": "aws.codebuild",
    "account": "123456789012",
    "time": "2017-09-01T16:14:28Z",
    "region": "us-west-2",
    "resources": [_BUILD_ARN],
    "detail": {
        "build-status": "SUCCEEDED",
        "project-name": "my-sample-project",
        "build-id": _BUILD_ARN,
        "additional-information": {
            "build-complete": True,
            "initiator": "MyCodeBuildDemoUser",
            "build-start-time": "Sep 1, 2017 4:12:29 PM",
            "source": {
                "location": "codebuild-123456789012-input-bucket/my-input-artifact.zip",
                "type": "S3",
            },
            "phases": [
                {
                    "phase-context": [],
                    "start-time": "Sep 1, 2017 4:12:29 PM",
                    "end-time": "Sep 1, 2017 4:12:29 PM",
                    "duration-in-seconds": 0,
                    "phase-type": "SUBMITTED",
                    "phase-status": "SUCCEEDED",
                },
            ],
        },
        "current-phase": "COMPLETED",
        "current-phase-context": "[]",
        "version": "1",
    },
}
# CodePipeline user guide, "Pipeline-level event types".
EXECUTION_SAMPLE = {
    "version": "0",
    "id": "01234567-EXAMPLE",
    "detail-type": "CodePipeline Pipeline Execution State Change",
    "source": "aws.codepipeline",
    "account": "123456789012",
    "time": "2020-01-24T22:03:07Z",
    "region": "us-east-1",
    "resources": ["arn:aws:codepipeline:us-east-1:123456789012:myPipeline"],
    "detail": {
        "pipeline": "myPipeline",
        "execution-id": "12345678-1234-5678-abcd-12345678abcd",
        "start-time": "2023-10-26T13:49:39.208Z",
        "execution-trigger": {
            "trigger-type": "StartPipelineExecution",
            "trigger-detail": "arn:aws:sts::123456789012:assumed-role/Admin/my-user",
        },
        "state": "SUCCEEDED",
        "version": 3.0,
        "pipeline-execution-attempt": 1.0,
    },
}


def _read(message: Any) -> Any:  # noqa: ANN401 - any JSON
    return read_result_message(orjson.dumps(message).decode())


def test_the_documented_event_of_a_build_is_read() -> None:
    """Project and UUID come from the ARN."""
    of = StartedId(StartedKind.BUILD, "my-sample-project", "8745a7a9-c340-456a-9166-edf953571bEX")
    assert _read(BUILD_SAMPLE) == StateChange(of, BuildStatus.SUCCEEDED)


def test_the_documented_event_of_an_execution_is_read() -> None:
    """The name of the pipeline and the id of the execution stand in the detail."""
    of = StartedId(StartedKind.EXECUTION, "myPipeline", "12345678-1234-5678-abcd-12345678abcd")
    assert _read(EXECUTION_SAMPLE) == StateChange(of, BuildStatus.SUCCEEDED)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("IN_PROGRESS", BuildStatus.IN_PROGRESS),
        ("SUCCEEDED", BuildStatus.SUCCEEDED),
        ("FAILED", BuildStatus.FAILED),
        ("FAULT", BuildStatus.FAULT),
        ("TIMED_OUT", BuildStatus.TIMED_OUT),
        ("STOPPED", BuildStatus.STOPPED),
    ],
)
def test_each_status_of_a_build_is_known(word: str, status: BuildStatus) -> None:
    """The six of the API reference."""
    assert _read(build_event("web:0a1b", word)).status is status


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("STARTED", BuildStatus.IN_PROGRESS),
        ("RESUMED", BuildStatus.IN_PROGRESS),
        ("STOPPING", BuildStatus.IN_PROGRESS),
        ("SUCCEEDED", BuildStatus.SUCCEEDED),
        ("FAILED", BuildStatus.FAILED),
        ("CANCELED", BuildStatus.STOPPED),
        ("STOPPED", BuildStatus.STOPPED),
        ("SUPERSEDED", BuildStatus.STOPPED),
    ],
)
def test_each_state_of_an_execution_is_known(word: str, status: BuildStatus) -> None:
    """States of the user guide, "Detecting changes in pipeline state"."""
    assert _read(execution_event("deploy", "e-1", word)).status is status


def test_a_batch_is_told_from_a_build() -> None:
    """Its ARN says so."""
    event = build_event("web:0a1b", "FAILED")
    event["detail"]["build-id"] = "arn:aws-cn:codebuild:cn-north-1:123456789012:build-batch/web:0a"
    assert _read(event).of == StartedId(StartedKind.BATCH, "web", "0a")


def test_a_request_for_a_round_is_read() -> None:
    """Its time may be missing, or no time."""
    at = datetime(2026, 11, 1, 10, 0, tzinfo=UTC)
    assert read_result_message(sweep_message(at)) == SweepRequest(at)
    assert _read({"asyncbuild": "sweep", "version": 2}) == SweepRequest(None)
    assert _read({"asyncbuild": "sweep", "scheduled_time": "<time>"}) == SweepRequest(None)


@pytest.mark.parametrize(
    "message",
    [
        {**BUILD_SAMPLE, "detail-type": "CodeBuild Build Phase Change"},
        {**EXECUTION_SAMPLE, "detail-type": "CodePipeline Stage Execution State Change"},
        build_event("web:0a1b", "ON_FIRE"),
        execution_event("deploy", "e-1", "PAUSED"),
    ],
)
def test_a_well_formed_event_of_another_kind_asks_for_nothing(message: Any) -> None:  # noqa: ANN401
    """A well-formed event is not a fault of its sender, and deleted."""
    assert isinstance(_read(message), OtherChange)


def _with(**detail: object) -> Any:  # noqa: ANN401 - any JSON
    return {**BUILD_SAMPLE, "detail": {**BUILD_SAMPLE["detail"], **detail}}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ([1], "not an object"),
        ({}, "source None"),
        ({**BUILD_SAMPLE, "source": "aws.s3"}, r"source 'aws\.s3'"),
        ({**BUILD_SAMPLE, "source": ["aws.codebuild"]}, r"source \['aws\.codebuild'\]"),
        ({**BUILD_SAMPLE, "source": {}}, r"source \{\}"),
        ({**BUILD_SAMPLE, "detail-type": None}, "not an event"),
        ({**BUILD_SAMPLE, "detail": None}, "has no detail"),
        (_with(**{"build-id": None}), "build-id"),
        (_with(**{"build-id": "arn:aws:codebuild:eu-west-1:1:build/web:0a"}), "build-id"),
        (_with(**{"build-id": "../../push/x:0a"}), "build-id"),
        (_with(**{"build-id": "web:0a/../.."}), "build-id"),
        (_with(**{"build-status": None}), "no state"),
        (execution_event("..", "e-1", "FAILED"), "names no execution"),
        (execution_event("a/b", "e-1", "FAILED"), "names no execution"),
        (execution_event("deploy", "../x", "FAILED"), "names no execution"),
        ({"asyncbuild": "reboot"}, "reboot"),
        ({"asyncbuild": None}, "cannot do"),
    ],
)
def test_anything_else_is_refused_with_a_reason(message: Any, why: str) -> None:  # noqa: ANN401
    """Names that would leave their place in the ledger are refused, too (I11)."""
    with pytest.raises(Reject, match=why):
        _read(message)


def test_a_body_that_is_not_json_is_refused() -> None:
    """The reason shows its beginning."""
    with pytest.raises(Reject, match="not JSON"):
        read_result_message("hello")


_WORDS = ["aws.codebuild", "aws.codepipeline", "web:0a", "SUCCEEDED", "sweep"]
_WORDS += [str(BUILD_SAMPLE["detail-type"]), str(EXECUTION_SAMPLE["detail-type"])]
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5) | st.sampled_from(_WORDS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
_NAMES = ("build-id", "build-status", "pipeline", "execution-id", "state")
_details = st.fixed_dictionaries({}, optional=dict.fromkeys(_NAMES, _json))


@given(
    st.fixed_dictionaries(
        {"source": _json, "detail-type": _json, "detail": _details | _json},
        optional={"asyncbuild": _json, "scheduled_time": _json},
    )
)
def test_a_message_is_read_or_refused_whatever_it_says(message: Any) -> None:  # noqa: ANN401
    """Any other error would spoil the messages that were received with it."""
    with contextlib.suppress(Reject):
        _read(message)
