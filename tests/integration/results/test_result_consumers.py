"""Consumers of results on real queues, a real bucket and the stand-ins."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from support.codebuild import make_push
from support.listening import hearing
from support.result_events import build_event, execution_event, sweep_message
from support.result_site import ResultSite, open_result_site
from support.wait import wait_until

from asyncbuild.domain.results.build_result import BuildStatus
from asyncbuild.local.servers.aws_json import AwsError
from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.servers.children import LocalServer
from asyncbuild.results import sweeper

RUNNING = Script(queued_seconds=0, build_seconds=3_600)


@pytest.fixture
async def site(ministack: LocalServer) -> AsyncIterator[ResultSite]:
    """Servers for results."""
    async with open_result_site(ministack) as site:
        yield site


async def test_the_end_of_a_build_is_recorded(site: ResultSite) -> None:
    """The message is deleted, the mark gone, and the event tells push and build."""
    started = await site.start_build()
    await site.tell_end(started)
    with hearing() as lines:
        async with site.open_consumers():
            result = await site.wait_result(started)
            await site.wait_empty()
    assert (result.status, result.of) == (BuildStatus.SUCCEEDED, started.of)
    assert await site.ledger.find_unfinished() == []
    (told,) = [line for line in lines if line["event"] == "result.recorded"]
    assert (told["status"], told["build_id"]) == ("succeeded", started.of.id)
    assert (told["event_id"], told["ref"]) == (started.event_id, started.ref)
    assert told["project"] == "web"


async def test_many_ends_share_requests(site: ResultSite) -> None:
    """A receive of ten costs a few calls of BatchGetBuilds, not one each."""
    started = [await site.start_build() for _ in range(20)]
    for each in started:
        await site.tell_end(each)
    async with site.open_consumers():
        for each in started:
            await site.wait_result(each)
        await site.wait_empty()
    assert site.builds.calls["BatchGetBuilds"] <= 10
    found = await site.ledger.find_results(started[0].repository, since=make_push().time)
    assert {each.result.of for each in found} == {each.of for each in started}
    assert {each.record for each in found} == {each.record for each in started}


async def test_a_build_of_another_is_never_recorded(site: ResultSite) -> None:
    """Also of an older version. Its event waits for its index, hidden; nothing is written."""
    theirs = await site.start_build(indexed=False)
    ours = await site.start_build()
    await site.tell_end(theirs)
    await site.tell_end(ours)
    async with site.open_consumers():
        await site.wait_result(ours)
        await wait_until(lambda: site.builds.calls["BatchGetBuilds"] > 0)
        await site.wait_count(1)  # it is hidden, for the next try
    assert await site.ledger.find_result(theirs) is None
    assert await site.dead_letters() == []


async def test_an_event_that_is_faster_than_the_index_is_recorded_later(site: ResultSite) -> None:
    """A build may end before the service that started it has written so."""
    started = await site.start_build(indexed=False)
    await site.tell_end(started)
    async with site.open_consumers():
        await wait_until(lambda: site.builds.calls["BatchGetBuilds"] > 0)
        build, push = site.builds.started[0], make_push(site.numbers)
        assert push.id == started.event_id
        await site.index_again(started, build.build)
        assert (await site.wait_result(started)).status is BuildStatus.SUCCEEDED
        await site.wait_empty()


async def test_a_build_of_another_is_given_up_after_ten_minutes(site: ResultSite) -> None:
    """Its message is deleted, and nothing is written."""
    theirs = await site.start_build(indexed=False)
    await site.tell_end(theirs)
    with hearing() as lines:
        async with site.open_consumers(later=601):
            await site.wait_empty()
    (told,) = [line for line in lines if line["event"] == "result.not-ours"]
    assert (told["build_id"], told["status"]) == (theirs.of.id, "succeeded")
    assert told["waited_seconds"] >= 601
    assert await site.ledger.find_result(theirs) is None
    assert await site.dead_letters() == []


async def test_a_round_finds_the_ends_that_no_event_told(
    site: ResultSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Builds that still run stay marked, for the next round."""
    monkeypatch.setattr(sweeper, "PATIENCE", timedelta(0))
    lost = [await site.start_build(), await site.start_execution("deploy", seconds=0)]
    running = await site.start_build(script=RUNNING)
    with hearing() as lines:
        async with site.open_consumers():
            await site.send(sweep_message())
            await site.wait_empty()
    (swept,) = [line for line in lines if line["event"] == "results.swept"]
    assert (swept["asked"], swept["found"], swept["unfinished"]) == (3, 2, 1)
    for each in lost:
        assert (await site.wait_result(each)).status is BuildStatus.SUCCEEDED
    assert {each.of for each in await site.ledger.find_unfinished()} == {running.of}


async def test_a_round_leaves_young_builds_to_their_events(site: ResultSite) -> None:
    """Builds that are younger than ten minutes are not asked for."""
    started = await site.start_build()
    running = await site.start_build(script=RUNNING)
    run = await site.start_execution("deploy", seconds=0)
    with hearing() as lines:
        async with site.open_consumers():
            await site.send(sweep_message())
            await site.wait_empty()
        assert len(await site.ledger.find_unfinished()) == 3
        async with site.open_consumers(later=601):
            await site.send(sweep_message())
            assert (await site.wait_result(started)).status is BuildStatus.SUCCEEDED
            assert (await site.wait_result(run)).status is BuildStatus.SUCCEEDED
            await site.wait_empty()
    young, old = [line for line in lines if line["event"] == "results.swept"]
    assert (young["asked"], young["found"], young["unfinished"]) == (0, 0, 3)
    assert (old["asked"], old["found"], old["unfinished"]) == (3, 2, 1)
    assert old["oldest_seconds"] >= 601
    assert [each.of for each in await site.ledger.find_unfinished()] == [running.of]
    told = [line for line in lines if line["event"] == "result.recorded"]
    assert all(line["by_sweep"] for line in told)
    assert site.builds.calls["BatchGetBuilds"] == 1


async def test_the_end_of_an_execution_is_recorded(site: ResultSite) -> None:
    """The state comes from CodePipeline, and not from an event, which then waits for its own."""
    run = await site.start_execution("deploy", seconds=0)
    await site.send(execution_event("deploy", run.of.number, "FAILED"))
    async with site.open_consumers():
        result = await site.wait_result(run)
    assert await site.count(site.url) == 1
    async with site.open_consumers(later=601):
        await site.wait_empty()
    assert result.status is BuildStatus.SUCCEEDED


async def test_a_malformed_message_becomes_a_dead_letter(site: ResultSite) -> None:
    """The letter has the reason and delays no other; a well-formed other event is deleted."""
    bodies = ["hello", "{}", '{"source":"aws.s3","detail-type":"x"}']
    started = await site.start_build()
    for body in bodies:
        await site.send(body)
    other = build_event("web:0a", "SUCCEEDED") | {"detail-type": "CodeBuild Build Phase Change"}
    await site.send(other)
    await site.tell_end(started)
    with hearing() as lines:
        async with site.open_consumers():
            await site.wait_result(started)
            await site.wait_empty()
    letters = await site.dead_letters()
    assert sorted(each["Body"] for each in letters) == sorted(bodies)
    for each in letters:
        assert each["MessageAttributes"]["Reason"]["StringValue"].startswith("message is")
    assert len([line for line in lines if line["event"] == "result.dead-lettered"]) == 3


@pytest.mark.parametrize("code", ["AccessDeniedException", "InternalError"])
async def test_a_failing_codebuild_is_told_once_and_asked_again(
    site: ResultSite, code: str
) -> None:
    """No result is lost: the message stays until the result is recorded."""
    site.builds.fail_next("BatchGetBuilds", AwsError(code, "no"))
    started = await site.start_build()
    await site.tell_end(started)
    with hearing() as lines:
        async with site.open_consumers() as consumers:
            await wait_until(lambda: bool(consumers.statistics().failing))
            assert (await site.wait_result(started)).status is BuildStatus.SUCCEEDED
            await site.wait_empty()
            await wait_until(lambda: not consumers.statistics().failing)
    told = [line for line in lines if line["event"] == "result.delayed"]
    assert len(told) == 1
    assert code in told[0]["reason"]
    assert told[0]["build_id"] == started.of.id


async def test_two_services_record_a_doubled_event_once(site: ResultSite) -> None:
    """Old and new tasks, or two of one version: the record is written once."""
    started = [await site.start_build() for _ in range(10)]
    for each in started * 2:
        await site.tell_end(each)
    with hearing() as lines:
        async with site.open_consumers(), site.open_consumers():
            for each in started:
                await site.wait_result(each)
            await site.wait_empty()
    told = [line["build_id"] for line in lines if line["event"] == "result.recorded"]
    assert sorted(told) == sorted(each.of.id for each in started)


async def test_a_stop_finishes_what_was_received(site: ResultSite) -> None:
    """Receiving ends, and no message stays in flight."""
    async with site.open_consumers() as consumers:
        consumers.stop()
    started = await site.start_build()
    await site.tell_end(started)
    assert consumers.statistics().stopping
    assert consumers.statistics().in_flight == 0
    assert await site.ledger.find_result(started) is None


async def test_a_drain_ends_when_the_queue_is_empty(site: ResultSite) -> None:
    """All results are recorded by then."""
    started = [await site.start_build() for _ in range(25)]
    for each in started:
        await site.tell_end(each)
    async with site.open_consumers() as consumers:
        consumers.drain()
    for each in started:
        assert await site.ledger.find_result(each) is not None
