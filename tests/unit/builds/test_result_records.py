"""Records of results: what is written is read again, and nothing else is taken for one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.codebuild import make_push

from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.result_records import (
    read_result,
    read_started,
    result_record,
    started_by,
    started_record,
)
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Action, Build, Execution, Outcome, Target, Verdict
from asyncbuild.domain.results.build_result import (
    BuildResult,
    BuildStatus,
    StartedId,
    StartedKind,
)
from asyncbuild.domain.results.started_build import StartedBuild

KEYS = LedgerKeys("ledger/")
NOW = datetime(2026, 11, 1, 10, 0, tzinfo=UTC)
BUILD = Outcome(
    Verdict.BUILT,
    "rule: all",
    Target(Action.BUILD, "shop.zip", "shop", rule="all"),
    build=Build("shop:0a1b", "arn:aws:codebuild:eu-west-1:123456789012:build/shop:0a1b", 7),
    commit="c" * 40,
)


def _started(outcome: Outcome = BUILD) -> StartedBuild:
    started = started_by(make_push(), outcome, keys=KEYS, started_at=NOW)
    assert started is not None
    return started


def test_an_entry_of_the_index_is_read_as_it_was_written() -> None:
    """An entry names the record of the push, and the commit that a tag points at."""
    started = _started()
    assert started.of == StartedId(StartedKind.BUILD, "shop", "0a1b")
    assert started.record.startswith(KEYS.pushes_of(make_push().repository))
    assert started.record.endswith("/build-shop.json")
    assert started.commit == "c" * 40
    key = KEYS.started(started.of)
    assert key == "ledger/started/build/shop/0a1b.json"
    assert read_started(key, started_record(started), keys=KEYS) == started


def test_an_execution_has_an_entry_of_its_own_kind() -> None:
    """Its name is the pipeline's."""
    target = Target(Action.PIPELINE, "shop.zip", pipeline="deploy")
    execution = Execution("e-1", "deploy", "arn")
    started = _started(Outcome(Verdict.HANDED_OVER, "", target, execution=execution))
    assert KEYS.started(started.of) == "ledger/started/execution/deploy/e-1.json"
    assert started.commit == make_push().commit


@pytest.mark.parametrize("verdict", [Verdict.UPLOADED, Verdict.STALE, Verdict.IGNORED])
def test_what_starts_nothing_has_no_entry(verdict: Verdict) -> None:
    """An upload has an archive, and no build."""
    assert started_by(make_push(), Outcome(verdict, ""), keys=KEYS, started_at=NOW) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "another"),  # copied to another key
        ("record", "ledger/push/123456789012/eu-west-1/till/20261101T100000Z-e/build-shop.json"),
        ("record", 7),
        ("kind", "job"),
        ("started_at", "yesterday"),
        ("repository", None),
        ("event_id", None),
        ("ref", "main"),
        ("ref", "refs/heads/../x"),
        ("commit", "0123"),
        ("commit", "../../" + "0" * 34),
    ],
)
def test_an_entry_that_does_not_belong_to_its_key_is_refused(name: str, value: object) -> None:
    """The error names the key."""
    started = _started()
    key = KEYS.started(started.of)
    body = orjson.dumps(orjson.loads(started_record(started)) | {name: value})
    with pytest.raises(Reject, match=key):
        read_started(key, body, keys=KEYS)


_SECONDS = st.none() | st.floats(0, 1e6)
_TIMES = st.none() | st.integers(0, 10**9).map(lambda n: NOW + timedelta(seconds=n % 10**6))
_RESULTS = st.builds(
    BuildResult,
    of=st.just(StartedId(StartedKind.BUILD, "shop", "0a1b")),
    status=st.sampled_from(BuildStatus),
    observed_at=st.just(NOW),
    attempt=st.integers(1, 20),
    attempt_id=st.text(max_size=20),
    number=st.none() | st.integers(1, 10**6),
    phase=st.sampled_from(["", "BUILD"]),
    exit_code=st.none() | st.integers(0, 255),
    reason=st.text("abc äé\n", max_size=30),
    queued_seconds=_SECONDS,
    provisioning_seconds=_SECONDS,
    building_seconds=_SECONDS,
    started_at=_TIMES,
    ended_at=_TIMES,
    log_link=st.just("https://example.org/log"),
    initiator=st.just("role/asyncbuild"),
)


@given(result=_RESULTS)
def test_a_result_is_read_as_it_was_written(result: BuildResult) -> None:
    """Every field, whatever is unknown."""
    assert read_result("k", result_record(_started(), result)) == result


def test_a_result_record_names_its_push() -> None:
    """A reader of the bucket needs no second object."""
    result = BuildResult(_started().of, BuildStatus.FAILED, NOW)
    told = orjson.loads(result_record(_started(), result))
    push = make_push()
    assert told["repository"] == push.repository.segments._asdict()
    assert (told["event_id"], told["ref"], told["commit"]) == (push.id, push.ref, "c" * 40)
    assert (told["version"], told["status"], told["observed_at"]) == (
        1,
        "failed",
        "2026-11-01T10:00:00Z",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("status", "fine"), ("attempt", None), ("observed_at", ""), ("exit_code", "2"), ("phase", 1)],
)
def test_a_result_that_cannot_be_read_is_refused(name: str, value: object) -> None:
    """The error names the key."""
    result = BuildResult(_started().of, BuildStatus.FAILED, NOW)
    body = orjson.dumps(orjson.loads(result_record(_started(), result)) | {name: value})
    with pytest.raises(Reject, match="record some-key"):
        read_result("some-key", body)


def test_a_record_of_a_newer_version_with_more_fields_is_read() -> None:
    """Old and new tasks read each other's records."""
    result = BuildResult(_started().of, BuildStatus.FAILED, NOW)
    body = orjson.dumps(orjson.loads(result_record(_started(), result)) | {"cost": 5})
    assert read_result("k", body) == replace(result, reason="")
