"""Rounds through a real queue, and the command: all repositories are looked at, failures told."""

import hashlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import anyio
import orjson
import pytest
from support.listening import hearing
from support.reconcile_site import LATER, ReconcileSite, open_reconcile_site, repository_of
from support.wait import PATIENCE_SECONDS

from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.ledger_records import Head, head_record
from asyncbuild.commands.reconcile import looks_by_hand
from asyncbuild.domain.errors import Busy
from asyncbuild.domain.repository import Repository
from asyncbuild.local.stack import redrive_policy
from asyncbuild.reconcile.planning.round_messages import RoundOrder, dump_order, read_order

pytestmark = pytest.mark.timeout(300)
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
_numbers = count()


@pytest.fixture
async def site() -> AsyncIterator[ReconcileSite]:
    """Servers with a queue of rounds, and nothing in them."""
    async with open_reconcile_site(["one", "two"]) as site:
        sqs = site.stack.sqs
        fifo: Any = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        dead = (await sqs.create_queue(QueueName="reconcile-dead.fifo", Attributes=fifo))[
            "QueueUrl"
        ]
        policy: Any = {"RedrivePolicy": await redrive_policy(sqs, dead, 100)}
        made = await sqs.create_queue(QueueName="reconcile.fifo", Attributes={**fifo, **policy})
        site.configure(reconcile={"url": made["QueueUrl"], "dead_letter_url": dead})
        yield site


async def order(site: ReconcileSite, body: str = "") -> None:
    """Send a round, as the Scheduler does, or another body."""
    await site.stack.sqs.send_message(
        QueueUrl=site.settings.reconcile.url,
        MessageBody=body or dump_order(RoundOrder(site.now)),
        MessageGroupId="round",
        MessageDeduplicationId=str(next(_numbers)),
    )


async def show(site: ReconcileSite, names: list[str], *, dry_run: bool, as_json: bool) -> int:
    """Run the command."""
    return await looks_by_hand.run(site.settings, names, dry_run, as_json)


async def drain(site: ReconcileSite) -> None:
    """Consume the queue of rounds until it is empty."""
    async with site.open_consumers() as consumers:
        consumers.polling.drain()
        with anyio.fail_after(PATIENCE_SECONDS):
            await consumers.polling.run()


async def know(site: ReconcileSite, name: str) -> None:
    """Write a head, so that the ledger knows the repository."""
    prefix = site.settings.storage.ledger_prefix
    body = head_record(Head("a" * 40, site.now, "1", group=f"group-{name}"), ref="refs/heads/gone")
    await site.store.replace_record(f"{prefix}head/{repository_of(name).path}/gone.json", body)


async def test_a_round_looks_at_all_known_repositories(site: ReconcileSite) -> None:
    """One message becomes one for each; what is found is sent, and the round is on record."""
    sources = {name: site.source(name) for name in ("one", "two")}
    for name, source in sources.items():
        source.commits(1)
        await know(site, name)
    await order(site)
    await drain(site)
    assert await site.snapshot("one") is not None
    assert await site.snapshot("two") is not None
    (second,) = sources["two"].commits(1)
    await site.look("two")
    site.now += LATER
    with hearing() as lines:
        await order(site)
        await drain(site)
    assert [request.commit for _, request in await site.take_found()] == [second]
    (told,) = [line for line in lines if line["event"] == "reconcile.round"]
    assert told["repositories"] == 2
    newest = await site.ledger.read_round()
    assert newest is not None
    assert (newest.time, newest.repositories) == (site.now, 2)


async def test_old_orders_are_passed_over(site: ReconcileSite) -> None:
    """A service that was away does not make up for each round that it has missed."""
    site.source("one").commits(1)
    await know(site, "one")
    await order(site)
    await order(site, dump_order(RoundOrder(site.now, repository_of("one"))))
    site.now += timedelta(hours=7)
    await drain(site)
    assert await site.snapshot("one") is None
    assert await site.ledger.read_round() is None


async def test_a_repository_that_is_gone_is_told_once_and_is_no_dead_letter(
    site: ReconcileSite,
) -> None:
    """A thousand repositories without rights are not a thousand alarms an hour."""
    await know(site, "one")
    with hearing() as lines:
        async with site.open_consumers() as consumers:
            for _ in range(2):
                await order(site, dump_order(RoundOrder(site.now, repository_of("one"))))
            consumers.polling.drain()
            with anyio.fail_after(PATIENCE_SECONDS):
                await consumers.polling.run()
            assert await consumers.depth() == (0, 0, 0)
    failed = [line for line in lines if line["event"] == "reconcile.failed"]
    assert [line["repository"] for line in failed] == [repository_of("one").path]


async def test_a_message_that_is_no_order_is_a_dead_letter(site: ReconcileSite) -> None:
    """It is kept with its reason; it can only come from a mistake."""
    await order(site, '{"asyncbuild": "reconcile", "version": 2}')
    with hearing() as lines:
        await drain(site)
    assert [line["event"] for line in lines if "dead-lettered" in line["event"]] == [
        "reconcile.dead-lettered"
    ]


async def test_a_ref_that_waits_is_looked_at_again_by_itself(site: ReconcileSite) -> None:
    """Its message is hidden for the grace, and not for long where the grace is short."""
    source = site.source("one")
    source.commits(1)
    await know(site, "one")
    await site.look("one")
    (second,) = source.commits(1)
    site.configure(reconcile={"grace_seconds": 1})
    await order(site, dump_order(RoundOrder(site.now, repository_of("one"))))
    async with site.open_consumers() as consumers, anyio.create_task_group() as tasks:
        tasks.start_soon(consumers.polling.run)
        with anyio.fail_after(PATIENCE_SECONDS):
            while not (found := await site.take_found()):
                site.now += timedelta(seconds=1)
                await anyio.sleep(0.1)
        consumers.polling.stop()
    assert [request.commit for _, request in found] == [second]


async def test_the_command_shows_what_is_missing(
    site: ReconcileSite, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run ends with 1 and sends nothing; the other one says when a push is sent."""
    source = site.source("one")
    source.commits(1)
    await know(site, "one")
    await site.look("one")
    (second,) = source.commits(1)
    path = repository_of("one").path
    assert await show(site, [path], dry_run=True, as_json=False) == 1
    assert f"main  {source.git('rev-parse', 'main~1')[:10]} → {second[:10]}  missing" in (
        capsys.readouterr().out
    )
    assert await show(site, [path], dry_run=False, as_json=True) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = [each for each in lines if each.startswith("{")]
    assert orjson.loads(line)["fate"] == "waiting"
    site.configure(reconcile={"grace_seconds": 0})
    assert await show(site, [path], dry_run=False, as_json=False) == 0
    told = capsys.readouterr().out
    assert "missing: sent" in told
    assert "1 repositories, 1 refs" in told
    assert [request.commit for _, request in await site.take_found()] == [second]
    assert await show(site, ["123456789012/eu-west-1/none"], dry_run=False, as_json=False) == 1
    assert "none" in capsys.readouterr().err
    assert await show(site, ["one"], dry_run=True, as_json=False) == 0
    assert "0 failed" in capsys.readouterr().out
    assert await show(site, [], dry_run=True, as_json=False) == 1  # no CodeCommit lists anything
    assert "1 failed" in capsys.readouterr().out


async def test_nothing_is_sent_while_older_tasks_may_run(site: ReconcileSite) -> None:
    """A task of a version without push messages would make a dead letter of it."""
    source = site.source("one")
    source.commits(1)
    await know(site, "one")
    await site.look("one")
    (second,) = source.commits(1)
    await site.look("one")
    site.now += LATER
    prefix = site.settings.storage.ledger_prefix
    key = LedgerKeys(prefix).reads_requests
    body = (await site.store.get_record(key) or b"").replace(b"1970-01-01", b"%d-01-01" % 2999)
    await site.store.replace_record(key, body)
    with pytest.raises(Busy, match="older tasks"):
        await site.look("one")
    assert await site.take_found() == []
    await site.store.replace_record(key, body.replace(b"2999", b"1970"))
    await site.look("one")
    assert [request.commit for _, request in await site.take_found()] == [second]


def test_messages_of_a_repository_are_told_apart_by_their_round() -> None:
    """A repeated start sends nothing again, and the next round everything."""
    now = RoundOrder(time=NOON, repository=repository_of("one"))
    later = RoundOrder(time=NOON + timedelta(hours=1), repository=now.repository)
    digests = {hashlib.sha256(dump_order(each).encode()).hexdigest() for each in (now, now, later)}
    assert len(digests) == 2
    assert now.group == repository_of("one").path
    assert RoundOrder(now.time, repository_of("x" * 100)).group != now.group


def test_a_group_has_no_character_that_the_queue_refuses() -> None:
    """Names of Azure DevOps have spaces: one such repository would stop every round."""
    spaced = Repository.of_host("dev.azure.com", "acme/My Project", "My Repository")
    order = RoundOrder(NOON, spaced)
    assert re.fullmatch(r"[0-9a-f]{64}", order.group)
    assert read_order(dump_order(order)) == order
