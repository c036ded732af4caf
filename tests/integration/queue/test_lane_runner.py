"""Calls from receive to delete on a real loop and real servers, cancelled at each await."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from botocore.exceptions import ClientError
from support.chaos import Plan, make_pushes
from support.codepipeline_server import (
    CodePipelineStandin,
    open_codepipeline_standin,
    pipeline_of,
)
from support.hanging import Calls, WatchedAws
from support.listening import hearing
from support.service import read_dead_letters, send
from support.wait import PATIENCE_SECONDS, wait_until

from asyncbuild import config
from asyncbuild.commands.serve import open_consumer
from asyncbuild.config import Settings
from asyncbuild.local.servers import journal
from asyncbuild.local.stack import BUCKET, DEAD_LETTERS, Stack, open_stack
from asyncbuild.local.verify import Pushed
from asyncbuild.local.workload import event_of
from asyncbuild.queue.consumer import Consumer

pytestmark = pytest.mark.timeout(300)

_VISIBILITY = 30  # no machine is so slow that it loses such a lease
_SHORT_VISIBILITY = 4  # for tests of its end
_CHANGES = {"receive_message", "put_object", "start_build", "delete_message", "delete_object"}
_SHORT = {"visibility_timeout_seconds": _SHORT_VISIBILITY}
_numbers = count()


@dataclass
class Rig:
    """A stack that lives as long as the module, and helpers of a single test."""

    stack: Stack
    pushes: Sequence[Pushed]

    def settings(self, **sections: Any) -> Settings:  # noqa: ANN401 - sections of settings
        """Return the stack's settings, with keys of this test's own."""
        own = self.stack.settings.model_dump(mode="json", exclude_defaults=True)
        own["queue"] |= {"visibility_timeout_seconds": _VISIBILITY, "wait_seconds": 1, "polls": 1}
        place = next(_numbers)  # no object of an earlier test is found
        own["storage"] |= {
            "key": f"{place}/{{repository}}/{{commit}}.zip",
            "ledger_prefix": f"ledger-{place}/",
        }
        own["lanes"] = {"retry_first_seconds": 0.05, "busy_most_seconds": 0.2}
        own["aws"] |= {"max_tries": 1}
        own["git"] |= {"seeds": False}  # the first fetch would ask for one
        for name, section in sections.items():
            own[name] = {**own.get(name, {}), **section} if isinstance(section, dict) else section
        return config.load(None, own)

    async def send(self, numbers: Sequence[int], **more: Any) -> list[str]:  # noqa: ANN401 - parts of an event
        """Send pushes again, with new ids; return these ids."""
        ids = []
        for number in numbers:
            event = event_of(self.pushes[number])
            event["id"] = f"{next(_numbers):08d}-0000-4000-8000-000000000000"
            event["detail"] |= more
            await self.stack.sqs.send_message(
                QueueUrl=self.stack.settings.queue.url,
                MessageBody=orjson.dumps(event).decode(),
                MessageGroupId=self.pushes[number].group,
            )
            ids.append(event["id"])
        return ids

    def built(self, ids: Sequence[str]) -> list[str]:
        """Return the built ones among these, in the order of their builds."""
        started = journal.read(self.stack.journal)
        return [each.variables["EVENT_ID"] for each in started if each.variables["EVENT_ID"] in ids]

    async def drain(self, settings: Settings) -> None:
        """Let a healthy consumer settle the rest."""
        with anyio.fail_after(120):
            while await self.stack.count_waiting():
                async with open_consumer(settings, WatchedAws(settings)) as consumer:
                    await consumer.run(drain=True)


@pytest.fixture(scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Open one stack for the module, with two repositories of twelve pushes."""
    async with open_stack(["repository-000", "repository-001"]) as stack:
        plan = Plan(repositories=2, pushes=24, big_pushes=0)
        lanes = await make_pushes(stack.directory, plan)
        yield Rig(stack, [push for lane in lanes for push in lane])


async def _run_until(consumer: Consumer, aws: WatchedAws, hung: anyio.Event | None = None) -> None:
    """Run the consumer and cancel it when a call hangs; check that it ends in time."""
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consumer.run)
            await (hung or aws.calls.hung).wait()
            await aws.calls.end_polls()
            aws.calls = Calls()
            tasks.cancel_scope.cancel()


def _tasks() -> set[asyncio.Task[Any]]:
    """Return all tasks but those of the stand-in, which serves in this process."""
    return {task for task in asyncio.all_tasks() if "RequestHandler" not in repr(task.get_coro())}


# Calls of one push in order, between the receive and the end. Renewals and the
# next long poll run beside it and have tests of their own.
_WAY = [
    "head_object", "get_object", "get_object", "put_object",
    "get_object", "start_build", "put_object", "put_object", "put_object", "put_object",
    "delete_message",
]  # fmt: skip
_COUNTED = frozenset(_WAY)


async def test_the_calls_of_a_push_are_known(rig: Rig) -> None:
    """All calls from receive to delete are listed: the tests below hang each of them."""
    settings = rig.settings()
    ids = await rig.send([0])
    aws = WatchedAws(settings)
    async with open_consumer(settings, aws) as consumer:
        aws.calls = Calls(counted=_COUNTED)
        await consumer.run(drain=True)
    assert rig.built(ids) == ids
    assert aws.calls.names == _WAY


async def test_a_drain_ends_with_a_poll_that_was_empty_from_its_start(rig: Rig) -> None:
    """A poll that began while a group was locked does not show the messages behind the lock."""
    settings = rig.settings(queue={"batch": 1, "wait_seconds": 0})
    ids = await rig.send([0, 1])
    aws = WatchedAws(settings)
    make = aws.calls.make
    async with open_consumer(settings, aws) as consumer:

        async def come_late(name: str, call: Any) -> Any:  # noqa: ANN401 - any call
            answer = await make(name, call)
            if name == "receive_message" and not answer.get("Messages"):
                await wait_until(lambda: not consumer.statistics().lanes)
            return answer

        aws.calls.make = come_late  # type: ignore[method-assign] # an empty answer is slow
        await consumer.run(drain=True)
    assert rig.built(ids) == ids


async def _hang(
    rig: Rig, calls: Calls, *, back: bool, visibility_seconds: int = _VISIBILITY
) -> None:
    """Send two pushes; hang at the chosen call; cancel; check what is left; settle it."""
    queue = {"wait_seconds": 0, "visibility_timeout_seconds": visibility_seconds}
    settings = rig.settings(lanes={"lookahead": 1}, queue=queue)
    ids = await rig.send([0, 1])
    aws = WatchedAws(settings)
    before = _tasks()
    async with open_consumer(settings, aws) as consumer:
        aws.calls = calls
        await _run_until(consumer, aws)
    await wait_until(lambda: _tasks() <= before)
    if back:
        answer = await rig.stack.sqs.receive_message(
            QueueUrl=settings.queue.url, MaxNumberOfMessages=10, VisibilityTimeout=0
        )
        bodies = [orjson.loads(each["Body"])["id"] for each in answer.get("Messages", [])]
        gone = calls.after and calls.names[-1] == "delete_message"
        assert bodies == (ids[1:] if gone else ids)
    await rig.drain(settings)
    assert rig.built(ids) == ids


@pytest.mark.parametrize("number", range(len(_WAY)), ids=lambda n: f"{n}-{_WAY[n]}")
async def test_a_hang_at_each_call_is_cancelled(rig: Rig, number: int) -> None:
    """The consumer ends, leaves no task, and the group is received again complete and in order."""
    after = _WAY[number] in _CHANGES
    await _hang(rig, Calls(hangs_at=number, after=after, counted=_COUNTED), back=True)


# Calls for a message that is not a push, until it is dead-lettered; `after`: the server had acted.
_BURIAL = ["send_message", "put_object", "delete_message"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(len(_BURIAL)), ids=lambda n: f"{n}-{_BURIAL[n]}")
async def test_a_hang_while_dead_lettering_is_cancelled(
    rig: Rig, number: int, *, after: bool
) -> None:
    """The message is dead-lettered once, whichever call hangs, and the push behind it is built."""
    settings = rig.settings(lanes={"lookahead": 1}, queue={"wait_seconds": 0})
    text = f"no push {next(_numbers)}"
    await send(rig.stack, text, rig.pushes[0].group)
    ids = await rig.send([0])
    aws = WatchedAws(settings)
    before = _tasks()
    async with open_consumer(settings, aws) as consumer:
        aws.calls = Calls(hangs_at=number, after=after, counted=frozenset(_BURIAL))
        calls = aws.calls
        await _run_until(consumer, aws)
    assert calls.names == _BURIAL[: number + 1]
    await wait_until(lambda: _tasks() <= before)
    await rig.drain(settings)
    assert rig.built(ids) == ids
    dead = [each["Body"] for each in await read_dead_letters(rig.stack)]
    assert dead == [text]


# Calls to CodePipeline for a first start, and for one that may have happened before.
_HAND_OVER = ["get_pipeline", "start_pipeline_execution"]
_LOOK = ["get_pipeline", "list_pipeline_executions", "get_pipeline_execution"]


@pytest.fixture
async def pipelines(rig: Rig) -> AsyncIterator[CodePipelineStandin]:
    """Open a pipeline on the rig's bucket, which keeps versions meanwhile."""
    async with open_codepipeline_standin() as standin:
        standin.put_pipeline(pipeline_of("deploy", bucket=BUCKET, variables=("EVENT_ID",)))
        for state in ("Enabled", "Suspended"):
            await rig.stack.s3.put_bucket_versioning(
                Bucket=BUCKET,
                VersioningConfiguration={"Status": state},
            )
            if state == "Enabled":
                yield standin


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(len(_HAND_OVER)), ids=lambda n: f"{n}-{_HAND_OVER[n]}")
async def test_a_hang_while_starting_a_pipeline_is_cancelled(
    rig: Rig, pipelines: CodePipelineStandin, number: int, *, after: bool
) -> None:
    """Each push runs its pipeline once, in order, whichever call hangs."""
    first = Calls(hangs_at=number, after=after, counted=frozenset(_HAND_OVER))
    await _hang_handing_over(rig, pipelines, first)


@pytest.mark.parametrize("number", range(len(_LOOK)), ids=lambda n: f"{n}-{_LOOK[n]}")
async def test_a_hang_while_looking_for_an_execution_is_cancelled(
    rig: Rig, pipelines: CodePipelineStandin, number: int
) -> None:
    """One was started without an answer; the search for it hangs as well."""
    first = Calls(hangs_at=1, after=True, counted=frozenset(_HAND_OVER))
    second = Calls(hangs_at=number, counted=frozenset(_LOOK))
    await _hang_handing_over(rig, pipelines, first, second)


async def _hang_handing_over(rig: Rig, pipelines: CodePipelineStandin, *hung: Calls) -> None:
    """Send two pushes; one consumer after the other hangs and is cancelled.

    Another settles them.
    """
    settings = rig.settings(
        lanes={"lookahead": 1},
        queue={"wait_seconds": 0},
        pipelines={"endpoint_url": pipelines.endpoint_url},
        rules=[{"action": "pipeline", "pipeline": "deploy"}],
    )
    ids = await rig.send([0, 1])
    before = _tasks()
    for calls in hung:
        aws = WatchedAws(settings)
        async with open_consumer(settings, aws) as consumer:
            aws.calls = calls
            await _run_until(consumer, aws)
    await wait_until(lambda: _tasks() <= before)
    await rig.drain(settings)
    assert [run.variables["EVENT_ID"] for run in pipelines.started] == ids


@pytest.mark.parametrize("after", [False, True])
async def test_a_hang_in_the_receive_is_cancelled(rig: Rig, *, after: bool) -> None:
    """Messages received but not seen become visible when their time-out ends."""
    counted = frozenset({"receive_message"})
    calls = Calls(hangs_at=0, after=after, counted=counted)
    await _hang(rig, calls, back=False, visibility_seconds=_SHORT_VISIBILITY)


async def test_a_hang_in_a_renewal_is_cancelled(rig: Rig) -> None:
    """The consumer waits a little for the answer, then releases all the same."""
    rig.stack.standin.running_limit = 0
    try:
        counted = frozenset({"change_message_visibility_batch"})
        settings = rig.settings(queue=_SHORT)
        ids = await rig.send([0, 1])
        aws = WatchedAws(settings)
        aws.calls = Calls(hangs_at=0, after=True, counted=counted)
        before = _tasks()
        async with open_consumer(settings, aws) as consumer:
            await _run_until(consumer, aws)
        await wait_until(lambda: _tasks() <= before)
    finally:
        rig.stack.standin.running_limit = None
    await rig.drain(settings)
    assert rig.built(ids) == ids


@pytest.mark.parametrize("command", ["fetch", "archive"])
async def test_a_hang_in_git_is_cancelled(
    rig: Rig, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hanging git is ended with all its children."""
    flag = tmp_path / "hung"
    wrapper = tmp_path / "git"
    wrapper.write_text(
        f'#!/bin/sh\nfor a in "$@"; do [ "$a" = {command} ] && touch {flag} && exec sleep 1000\n'
        f'done\nPATH="${{PATH#*:}}" exec git "$@"\n'
    )
    wrapper.chmod(0o755)
    settings = rig.settings(git={"cache_directory": str(tmp_path / "cache")})
    ids = await rig.send([2, 3])
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        aws = WatchedAws(settings)
        before = _tasks()
        async with open_consumer(settings, aws) as consumer:
            hung = anyio.Event()
            async with anyio.create_task_group() as tasks:

                async def wait_flag() -> None:
                    while not flag.exists():  # noqa: ASYNC110 - created by another process
                        await anyio.sleep(0.02)
                    hung.set()

                tasks.start_soon(wait_flag)
                await _run_until(consumer, aws, hung)
        await wait_until(lambda: _tasks() <= before)
    await rig.drain(settings)
    assert rig.built(ids) == ids


class TestLease:
    """Renewals on a real queue."""

    async def test_a_lease_survives_a_throttle_and_a_cut_connection(self, rig: Rig) -> None:
        """Two renewals fail, the work outlasts the time-out, and nothing is lost or built twice."""
        settings = rig.settings(queue=_SHORT)
        ids = await rig.send([0, 1, 2])
        failures = [_throttle(), ConnectionResetError("cut")]

        def fail(name: str) -> None:
            if name == "change_message_visibility_batch" and failures:
                raise failures.pop(0)

        aws = WatchedAws(settings)
        aws.calls = Calls(fails=fail)
        rig.stack.standin.running_limit = 0
        async with open_consumer(settings, aws) as consumer, anyio.create_task_group() as tasks:
            begun = anyio.current_time()
            tasks.start_soon(consumer.run)
            await anyio.sleep(_SHORT_VISIBILITY * 1.5)  # longer than the time-out: that is the test
            await wait_until(lambda: not failures)
            assert rig.built(ids) == []
            rig.stack.standin.running_limit = None
            await _wait_built(rig, ids)
            consumer.stop()
        assert rig.built(ids) == ids
        assert await rig.stack.count_waiting() == 0
        assert "start_build" in aws.calls.names
        # Only long polls of a second each.
        most = 15 + (anyio.current_time() - begun) / settings.queue.wait_seconds
        assert aws.calls.names.count("receive_message") <= most

    async def test_hanging_renewals_end_the_work_in_time(self, rig: Rig) -> None:
        """No answer to any renewal: before the time-out is over the work is cancelled (I4)."""
        settings = rig.settings(queue=_SHORT)
        ids = await rig.send([0])
        aws = WatchedAws(settings)

        async def hang(name: str, call: Any) -> Any:  # noqa: ANN401 - any call
            asked_at = anyio.current_time()
            if name == "change_message_visibility_batch":
                await anyio.sleep_forever()
            if name == "start_build":
                starts.append(asked_at)
            answer = await call()
            if name == "receive_message" and answer.get("Messages"):
                deliveries.append(asked_at)
            return answer

        deliveries: list[float] = []
        starts: list[float] = []
        aws.calls = Calls()
        aws.calls.make = hang  # type: ignore[method-assign] # every renewal hangs
        rig.stack.standin.running_limit = 0
        async with open_consumer(settings, aws) as consumer, anyio.create_task_group() as tasks:
            tasks.start_soon(consumer.run)
            await wait_until(lambda: len(deliveries) > 1 and bool(starts))
            consumer.expire()
        rig.stack.standin.running_limit = None
        # Attempts of the first delivery end with its lease; those of the second follow.
        ends_at = deliveries[0] + _SHORT_VISIBILITY
        assert [n for n in starts if ends_at - _SHORT_VISIBILITY / 20 < n < ends_at] == []
        await rig.drain(settings)
        assert rig.built(ids) == ids

    async def test_a_lost_lease_commits_nothing(self, rig: Rig) -> None:
        """Another consumer has the message: the first one starts nothing and deletes nothing."""
        settings = rig.settings(queue={"wait_seconds": 0, **_SHORT})
        ids = await rig.send([0, 1])
        aws = WatchedAws(settings)
        aws.calls = Calls(hangs_at=0, counted=frozenset({"head_object"}))
        async with open_consumer(settings, aws) as consumer, anyio.create_task_group() as tasks:
            tasks.start_soon(consumer.run)
            await aws.calls.hung.wait()
            await (
                aws.calls.end_polls()
            )  # the consumer that lost its messages does not get them again
            stolen = await _steal(rig, aws.calls)
            await wait_until(lambda: not consumer.statistics().lanes)
            assert rig.built(ids) == []
            assert await rig.stack.count_waiting() == 2
            tasks.cancel_scope.cancel()
        await _release(rig, stolen)
        await rig.drain(settings)
        assert rig.built(ids) == ids


class TestFairness:
    """Consumers are shared among repositories."""

    async def test_a_long_backlog_delays_others_only_by_the_work_in_flight(self, rig: Rig) -> None:
        """Five hundred pushes of one repository wait; another's single push goes between."""
        settings = rig.settings(consumers=2, queue={"batch": 10, "polls": 2})
        hot = [await rig.send([n % 12]) for n in range(500)]
        order = [id_ for ids in hot for id_ in ids]
        async with (
            open_consumer(settings, WatchedAws(settings)) as consumer,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(consumer.run)
            await wait_until(lambda: len(rig.built(order)) >= 3)
            (single,) = await rig.send([13])
            before = len(rig.built(order))  # it can be received from here on
            await _wait_built(rig, [single])
            between = rig.built([*order, single]).index(single) - before
            consumer.stop()
        in_flight = settings.queue.batch * 2  # this delivery, and one that may come before
        assert between <= in_flight
        await rig.stack.sqs.purge_queue(QueueUrl=settings.queue.url)

    async def test_one_message_is_received_where_redrive_allows_no_more(self, rig: Rig) -> None:
        """One clear warning is logged."""
        settings = rig.settings()
        await _set_max_receive_count(rig, 3)
        try:
            ids = await rig.send([0, 1, 2])
            aws = WatchedAws(settings)
            aws.calls = Calls()
            with hearing() as lines:
                async with open_consumer(settings, aws) as consumer:
                    await consumer.run(drain=True)
        finally:
            await _set_max_receive_count(rig, 20)
        assert {len(messages) for messages in aws.calls.received()} == {1}
        assert rig.built(ids) == ids
        (warning,) = [each for each in lines if each["event"] == "queue.one-message-per-receive"]
        assert "maxReceiveCount" in warning["remedy"]


async def test_a_message_too_long_for_the_dead_letter_queue_is_reported_until_it_fits(
    rig: Rig,
) -> None:
    """Each attempt warns.

    With the limit raised it is dead-lettered, and the push behind it built.
    """
    settings = rig.settings(lanes={"retry_most_seconds": 0.05})
    group = rig.pushes[0].group
    await rig.stack.sqs.send_message(
        QueueUrl=settings.queue.url, MessageBody="x" * 1_500, MessageGroupId=group
    )
    ids = await rig.send([0])
    await _set_most_bytes(rig, 1024)

    def warned() -> list[dict[str, Any]]:
        return [each for each in lines if each["event"] == "push.not-settled"]

    with hearing() as lines:
        try:
            async with (
                open_consumer(settings, WatchedAws(settings)) as consumer,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(consumer.run)
                await wait_until(lambda: len(warned()) > 1)
                await _set_most_bytes(rig, 1024 * 1024)
                await _wait_built(rig, ids)
                consumer.stop()
        finally:
            await _set_most_bytes(rig, 1024 * 1024)
    assert {(each["step"], each["kind"]) for each in warned()} == {("dead-letter", "retry")}
    assert "set MaximumMessageSize" in warned()[0]["reason"]
    assert "x" * 1_500 in [letter["Body"] for letter in await read_dead_letters(rig.stack)]


async def _set_most_bytes(rig: Rig, most: int) -> None:
    found = await rig.stack.sqs.get_queue_url(QueueName=DEAD_LETTERS)
    await rig.stack.sqs.set_queue_attributes(
        QueueUrl=found["QueueUrl"], Attributes={"MaximumMessageSize": str(most)}
    )


def _throttle() -> Exception:
    answer: Any = {"Error": {"Code": "RequestThrottled", "Message": "Rate exceeded"}}
    return ClientError(answer, "ChangeMessageVisibilityBatch")


async def _wait_built(rig: Rig, ids: Sequence[str]) -> None:
    await wait_until(lambda: set(rig.built(ids)) == set(ids))


async def _steal(rig: Rig, calls: Calls) -> Sequence[Any]:
    """Deliver messages in flight again, as after a lapse: the old handles are stale then."""
    url = rig.stack.settings.queue.url
    (messages,) = calls.received()
    await _release(rig, messages)
    answer = await rig.stack.sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=600
    )
    assert len(answer["Messages"]) == len(messages)
    return answer["Messages"]


async def _release(rig: Rig, messages: Sequence[Any]) -> None:
    for each in reversed(messages):
        await rig.stack.sqs.change_message_visibility(
            QueueUrl=rig.stack.settings.queue.url,
            ReceiptHandle=each["ReceiptHandle"],
            VisibilityTimeout=0,
        )


async def _set_max_receive_count(rig: Rig, count: int) -> None:
    url = rig.stack.settings.queue.url
    answer = await rig.stack.sqs.get_queue_attributes(
        QueueUrl=url, AttributeNames=["RedrivePolicy"]
    )
    policy = {**orjson.loads(answer["Attributes"]["RedrivePolicy"]), "maxReceiveCount": count}
    attributes: Any = {"RedrivePolicy": orjson.dumps(policy).decode()}
    await rig.stack.sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
