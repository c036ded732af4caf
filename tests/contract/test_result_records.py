"""Records of results on two S3 servers: the conditions that keep a newer state."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from botocore.exceptions import ClientError
from support.codebuild import make_push
from support.servers import REGION

from asyncbuild.aws.session import Aws
from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.builds.result_records import started_by
from asyncbuild.config import AwsSettings, Settings, StorageSettings
from asyncbuild.domain.model import Action, Build, Outcome, Target, Verdict
from asyncbuild.domain.results.build_result import BuildResult, BuildStatus
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.local.servers.children import LocalServer
from asyncbuild.storage.s3 import Store

BUCKET = "results"
NOW = datetime(2026, 11, 1, 10, 0, tzinfo=UTC)


@pytest.fixture(params=["seaweedfs", "ministack"])
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[ResultLedger]:
    """A ledger below a prefix of its own, on each server."""
    server = request.getfixturevalue(request.param)
    assert isinstance(server, LocalServer)
    aws = AwsSettings(region=REGION, endpoint_url=server.endpoint_url, max_tries=2)
    storage = StorageSettings(bucket=BUCKET, addressing_style="path")
    async with Aws(Settings(aws=aws, storage=storage)).open_s3(pool=20) as client:
        try:
            await client.head_bucket(Bucket=BUCKET)
        except ClientError:
            await client.create_bucket(
                Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
        prefix = f"{uuid.uuid4().hex}/"
        found = ResultLedger(Store(client, storage), prefix=prefix)
        found.prefix = prefix  # type: ignore[attr-defined] # for the test's own keys
        yield found


async def _start(ledger: ResultLedger) -> StartedBuild:
    target = Target(Action.BUILD, "k", "web", rule="r")
    outcome = Outcome(Verdict.BUILT, "", target, build=Build("web:0a1b"))
    await ledger.record_start(make_push(), outcome)
    (mark,) = await ledger.find_unfinished()
    started = await ledger.find_started(mark.of)
    assert started is not None
    keys = LedgerKeys(ledger.prefix)  # type: ignore[attr-defined] # as above
    assert started_by(make_push(), outcome, keys=keys, started_at=started.started_at) == started
    return started


async def test_a_result_is_written_once_and_never_goes_back(ledger: ResultLedger) -> None:
    """A beginning, its end, the same again, and what would lead back."""
    started = await _start(ledger)
    running = BuildResult(started.of, BuildStatus.IN_PROGRESS, NOW)
    failed = BuildResult(started.of, BuildStatus.FAILED, NOW + timedelta(seconds=9))
    again = replace(running, attempt=2)
    passed = replace(again, status=BuildStatus.SUCCEEDED)
    assert await ledger.record_result(started, running) is True
    assert await ledger.record_result(started, failed) is True
    for older in (running, failed, replace(failed, status=BuildStatus.STOPPED)):
        assert await ledger.record_result(started, older) is False
    assert await ledger.find_result(started) == failed
    assert await ledger.record_result(started, again) is True
    assert await ledger.record_result(started, passed) is True
    assert await ledger.record_result(started, failed) is False
    assert await ledger.find_result_of(started.of) == passed
    await ledger.finish(started.of)
    await ledger.finish(started.of)
    assert await ledger.find_unfinished() == []


async def test_of_writers_at_the_same_moment_the_newest_state_stays(ledger: ResultLedger) -> None:
    """Ten consumers with states of three attempts; each learns whether its own was written."""
    started = await _start(ledger)
    states = [
        BuildResult(started.of, status, NOW + timedelta(seconds=second), attempt)
        for attempt in (1, 2, 3)
        for second, status in enumerate((BuildStatus.IN_PROGRESS, BuildStatus.FAILED))
    ]
    async with anyio.create_task_group() as tasks:
        for each in (states[4], *states, states[5], states[0], states[2]):
            tasks.start_soon(ledger.record_result, started, each)
    assert await ledger.find_result(started) == states[5]


async def test_an_unreadable_result_is_replaced(ledger: ResultLedger) -> None:
    """A record that stayed would keep every later state out."""
    started = await _start(ledger)
    keys = LedgerKeys(ledger.prefix)  # type: ignore[attr-defined] # as above
    await ledger._records.replace_record(keys.result(started.record), b"{}")
    failed = BuildResult(started.of, BuildStatus.FAILED, NOW)
    assert await ledger.record_result(started, failed) is True
    (found,) = await ledger.find_results(started.repository, since=make_push().time)
    assert (found.record, found.result) == (started.record, failed)


async def test_results_are_found_from_a_time_on(ledger: ResultLedger) -> None:
    """A listing of one repository, in order of its pushes."""
    started = await _start(ledger)
    failed = BuildResult(started.of, BuildStatus.FAILED, NOW)
    await ledger.record_result(started, failed)
    time = make_push().time
    assert await ledger.find_results(started.repository, since=time + timedelta(seconds=1)) == []
    found = await ledger.find_results(started.repository, since=time)
    assert [each.record for each in found] == [started.record]
