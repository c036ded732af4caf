"""The service as users run it: a process, a queue, a bucket, and signals."""

import re
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from support.malformed import malformed
from support.service import (
    Service,
    environment,
    make_pushes,
    open_service,
    read_dead_letters,
    send,
    wait_settled,
)
from support.signals import send_signal
from support.wait import PATIENCE_SECONDS

from asyncbuild.local.servers import journal
from asyncbuild.local.stack import BUCKET, Stack, open_stack
from asyncbuild.local.verify import Findings, Pushed, verify
from asyncbuild.local.workload import event_of

pytestmark = pytest.mark.timeout(400)
_OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
_NAMES = [f"repository-{number:03d}" for number in range(8)]


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    """Servers, queue, bucket and projects of this test's own."""
    async with open_stack(_NAMES) as stack:
        yield stack


async def _found(stack: Stack, pushes: Sequence[Pushed]) -> Findings:
    return await verify(pushes, journal.read(stack.journal), s3=stack.s3, bucket=BUCKET)


async def _send_all(stack: Stack, *lanes: Sequence[Pushed]) -> None:
    for push in chain.from_iterable(zip(*lanes, strict=True)):
        await stack.send(push)


async def test_drain_builds_waiting_pushes_and_ends(stack: Stack) -> None:
    """Every push once, in order, with its own tree; exit code 0; the queue is empty."""
    lanes = await make_pushes(stack, repositories=4, pushes=6)
    await _send_all(stack, *lanes)
    async with open_service(environment(stack), "drain") as service:
        assert await service.wait() == 0
    assert await stack.count_waiting() == 0
    found = await _found(stack, list(chain(*lanes)))
    assert found.faults == []
    assert found.built == 24
    named = {line["event"] for line in service.log}
    assert {"service.started", "push.upload.finished", "push.built", "service.stopped"} <= named


async def test_a_drain_leaves_seeds_for_the_next_one(stack: Stack, tmp_path: Path) -> None:
    """Each run of a task that a rule starts has an empty disk, and would clone everything."""
    ((first, second),) = await make_pushes(stack, repositories=1, pushes=2)
    sources = []
    for push in (first, second):
        await stack.send(push)
        git: dict[str, Any] = {"cache_directory": str(tmp_path / push.id), "seed_min_bytes": 1}
        git["seed_bytes_per_second"] = 40_000  # the queue is empty before the seed is written
        variables = environment(stack, git=git, queue={"wait_seconds": 0})
        async with open_service(variables, "drain") as service:
            assert await service.wait() == 0
            sources += [line["source"] for line in service.log if line["event"] == "mirror.made"]
    assert sources == ["clone", "seed"]
    found = await _found(stack, [first, second])
    assert (found.faults, found.built) == ([], 2)


async def test_one_group_for_all_repositories_is_reported(stack: Stack) -> None:
    """Pushes are built, one at a time; the log says once why it is slow, with a remedy."""
    lanes = await make_pushes(stack, repositories=2, pushes=2)
    pushes = list(chain(*lanes))
    for push in pushes:
        await send(stack, orjson.dumps(event_of(push)).decode(), "$.detail.repositoryId")
    async with open_service(environment(stack), "drain") as service:
        assert await service.wait() == 0
    (told,) = [line for line in service.log if line["event"] == "queue.grouping"]
    assert "$.detail.repositoryId" in told["reason"]
    assert "docs/accounts.md" in told["remedy"]
    assert (await _found(stack, pushes)).built == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_finishes_or_releases_in_order(stack: Stack, number: signal.Signals) -> None:
    """Stopped during the work, twice; the rest is built by the next, in order.

    When a terminal is closed, the shell and the kernel send a SIGHUP each: that is not a second
    signal.
    """
    lanes = await make_pushes(stack, repositories=3, pushes=9)
    variables = environment(stack, shutdown_grace_seconds=20)
    for begin in (0, 3):
        await _send_all(stack, *(lane[begin : begin + 3] for lane in lanes))
        async with open_service(variables) as service:
            await service.wait_logged("push.built")
            for _ in range(2 if number == signal.SIGHUP else 1):
                send_signal(service.process, number)
            assert await service.wait() == 0
            (told,) = [line for line in service.log if line["event"] == "service.stopping"]
            assert (told["signal"], told["second"]) == (number.name, False)
            assert service.log[-1]["event"] == "service.stopped"
    await _send_all(stack, *(lane[6:] for lane in lanes))
    async with open_service(variables) as service:
        await wait_settled(stack)
        service.terminate()
        assert await service.wait() == 0
    pushes = list(chain(*lanes))
    found = await _found(stack, pushes)
    assert found.faults == []
    assert found.built == 27


async def test_a_second_signal_ends_at_once(stack: Stack) -> None:
    """Long before the grace is over; messages in flight are released and built later."""
    lanes = await make_pushes(stack, repositories=1, pushes=3)
    # A poll cut off by the second signal may have received messages, invisible until their timeout.
    variables = environment(
        stack, shutdown_grace_seconds=300, queue={"visibility_timeout_seconds": 5}
    )
    async with open_service(variables) as service:
        await service.wait_logged("service.started")
        for push in lanes[0]:
            await stack.send(push)
        service.terminate()
        await service.wait_logged("service.stopping")
        with anyio.fail_after(PATIENCE_SECONDS):
            while service.process.returncode is None:
                service.terminate()  # the second signal, and any number more
                await anyio.sleep(0.01)
        assert service.process.returncode == 0
    async with open_service(variables) as service:
        await wait_settled(stack)
        service.terminate()
        assert await service.wait() == 0
    assert (await _found(stack, lanes[0])).faults == []


async def test_malformed_messages_delay_no_push(stack: Stack) -> None:
    """Bad ones between good ones, in the same groups: each is dead-lettered with its reason."""
    lanes = await make_pushes(stack, repositories=4, pushes=5)
    bad = malformed(80)
    sent = iter(bad)
    for push in chain.from_iterable(zip(*lanes, strict=True)):
        for text in (next(sent), next(sent), next(sent), next(sent)):
            await send(stack, text, push.group)
        await stack.send(push)
    async with open_service(environment(stack), "drain") as service:
        assert await service.wait(240) == 0
    found = await _found(stack, list(chain(*lanes)))
    assert found.faults == []
    assert found.built == 20
    dead = await read_dead_letters(stack)
    assert sorted(message["Body"] for message in dead) == sorted(bad)
    for message in dead:
        assert message["MessageAttributes"]["Reason"]["StringValue"]
        assert message["MessageAttributes"]["ErrorKind"]["StringValue"] == "reject"


async def test_a_faulty_configuration_is_reported_and_ends(stack: Stack) -> None:
    """Exit code 78, one message with every fault."""
    variables = {**environment(stack), "ASYNCBUILD_CONSUMERS": "none", "ASYNCBUILD_NOPE": "1"}
    async with open_service(variables) as service:
        assert await service.wait() == 78
    line = _last_words(service, 78)
    assert "consumers" in line["reason"]
    assert "ASYNCBUILD_NOPE" in line["reason"]


async def test_a_missing_queue_is_reported_and_ends(stack: Stack) -> None:
    """Exit code 78 as of `check`, the queue's name and a remedy."""
    url = stack.settings.queue.url.replace("pushes", "nothing")
    async with open_service(environment(stack, queue={"url": url})) as service:
        assert await service.wait() == 78
    line = _last_words(service, service.process.returncode)
    assert url in line["reason"]
    assert line["remedy"]


@pytest.mark.parametrize("gone", ["bucket", "queue"])
async def test_a_resource_deleted_while_serving_is_in_the_last_line(
    stack: Stack, gone: str
) -> None:
    """One line of the log has the resource, the remedy and the exit code."""
    ((push,),) = await make_pushes(stack, repositories=1, pushes=1)
    async with open_service(environment(stack)) as service:
        await service.wait_logged("service.started")
        if gone == "queue":
            await stack.sqs.delete_queue(QueueUrl=stack.settings.queue.url)
        else:
            await _empty_bucket(stack)
            await stack.s3.delete_bucket(Bucket=BUCKET)
            await stack.send(push)
        code = await service.wait()
    line = _last_words(service, code)
    assert (BUCKET if gone == "bucket" else stack.settings.queue.url) in line["reason"]
    assert "create it" in line["remedy"]


async def _empty_bucket(stack: Stack) -> None:
    """Delete what the service wrote when it started."""
    listed = await stack.s3.list_objects_v2(Bucket=BUCKET)
    for each in listed.get("Contents", ()):
        await stack.s3.delete_object(Bucket=BUCKET, Key=each["Key"])


def _last_words(service: Service, code: int | None) -> Mapping[str, Any]:
    """Return the last line, which the filter in docs/operations.md selects."""
    assert code
    (line,) = [line for line in service.log if line["event"] == "service.failed"]
    assert line == service.log[-1]
    assert [line["event"] for line in service.log if line["event"] == "text"] == []
    assert line["exit_code"] == code
    (pattern,) = re.findall(r"--filter-pattern '([^']+)'", _OPERATIONS.read_text("utf-8"))
    wanted = re.fullmatch(r"\{ \$\.level = \"(\w+)\" \|\| \$\.level = \"(\w+)\" \}", pattern)
    assert wanted
    assert line["level"] in wanted.groups()
    return line


async def test_check_reports_success_or_each_fault(stack: Stack) -> None:
    """Exit code 0 with a lifecycle rule and a project, 1 without; each finding has a reason."""
    variables = environment(stack, builds={"project": "repository-000"})
    variables["ASYNCBUILD_GIT__CACHE_BUDGET_BYTES"] = "1000000"
    async with open_service(variables, "check", "--json") as service:
        document = orjson.loads(await service.read())
        assert await service.wait() == 1
    bad = [each for each in document["findings"] if each["level"] in {"warning", "problem"}]
    assert [each["what"] for each in bad] == [
        f"bucket {BUCKET} has no AbortIncompleteMultipartUpload rule"
    ]
    assert all(each["why"] and each["remedy"] for each in bad)
    await stack.s3.put_bucket_lifecycle_configuration(
        Bucket=BUCKET,
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "abort",
                    "Status": "Enabled",
                    "Filter": {"Prefix": ""},
                    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
                }
            ]
        },
    )
    async with open_service(variables, "check") as service:
        assert await service.wait() == 0
