"""One build for one movement of a ref, whether its event or the round comes first."""

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import count

import pytest
from support.reconcile_site import ReconcileSite, open_reconcile_site

pytestmark = pytest.mark.timeout(300)
MAIN = "refs/heads/main"
_NAMES = [f"repository-{number}" for number in range(40)]
_numbers = count()
STALE = pytest.mark.parametrize("stale", ["skip", "build"])


@pytest.fixture(scope="module")
async def opened() -> AsyncIterator[ReconcileSite]:
    """Servers for all tests of this file."""
    async with open_reconcile_site(_NAMES) as site:
        yield site


@pytest.fixture
def site(opened: ReconcileSite) -> ReconcileSite:
    """Servers, with time and settings as they were."""
    opened.begin_anew()
    return opened


@pytest.fixture
def name() -> str:
    """Name of a repository that no other test has."""
    return _NAMES[next(_numbers)]


async def begin(site: ReconcileSite, name: str, stale: str) -> tuple[list[str], str]:
    """Build a first push and take a baseline; return three commits, of which the ref is at one."""
    site.configure(lanes={"stale": stale})
    source = site.source(name)
    commits = source.commits(3)
    source.git("update-ref", MAIN, commits[0])
    await site.push(name, commits[0])
    await site.drain()
    site.now += timedelta(minutes=1)
    await site.round(name)
    site.now += timedelta(hours=1)
    return commits, source.git("rev-parse", "--git-dir")


def move(site: ReconcileSite, name: str, commit: str) -> None:
    """Move main."""
    (site.stack.directory / "remotes" / name / MAIN).write_text(f"{commit}\n")


@STALE
async def test_the_round_first_and_the_event_any_time_later(
    site: ReconcileSite, name: str, stale: str
) -> None:
    """An event that comes an hour late builds nothing a second time."""
    (first, second, _), _ = await begin(site, name, stale)
    move(site, name, second)
    pushed = site.now
    site.now += timedelta(minutes=1)
    await site.round(name)
    await site.drain()
    assert site.built(name) == [first, second]
    site.now = pushed
    event = await site.push(name, second, first)
    await site.drain()
    await site.send(event)  # and once more
    await site.drain()
    assert site.built(name) == [first, second]
    (late,) = [each for each in await site.records(name) if each["event_id"] == event]
    assert late["verdict"] == "stale"
    assert "found before its event came" in late["reason"]


@STALE
async def test_the_event_first_and_the_round_later(
    site: ReconcileSite, name: str, stale: str
) -> None:
    """A round that sends what its ledger did not know yet builds nothing a second time."""
    (first, second, _), _ = await begin(site, name, stale)
    move(site, name, second)
    pushed = site.now
    site.now += timedelta(minutes=1)
    await site.round(name)  # nothing is on record, so it is sent
    site.now, late = pushed, site.now
    await site.push(name, second, first)  # behind it in the queue
    site.now = late
    await site.drain()
    assert site.built(name) == [first, second]
    await site.round(name)
    await site.drain()
    assert site.built(name) == [first, second]


@STALE
async def test_an_event_before_the_found_push_in_the_queue(
    site: ReconcileSite, name: str, stale: str
) -> None:
    """The found push is decided in its turn, after the event."""
    (first, second, _), _ = await begin(site, name, stale)
    move(site, name, second)
    await site.push(name, second, first)
    site.now += timedelta(minutes=1)
    await site.round(name)
    await site.drain()
    assert site.built(name) == [first, second]
    found = [each for each in await site.records(name) if each["event_id"].startswith("found-")]
    assert [each["verdict"] for each in found] == ["stale"]
    assert "its event was settled before" in found[0]["reason"]


@STALE
async def test_a_push_back_to_an_older_commit_is_a_push(
    site: ReconcileSite, name: str, stale: str
) -> None:
    """Both ways: told by an event after a found push, and found after an event."""
    (first, second, third), _ = await begin(site, name, stale)
    move(site, name, second)
    site.now += timedelta(minutes=1)
    await site.round(name)  # second is found
    await site.drain()
    await site.push(name, third, second)
    move(site, name, third)
    await site.drain()
    site.now += timedelta(minutes=1)
    await site.push(name, second, third)  # back, told by its event
    move(site, name, second)
    await site.drain()
    assert site.built(name) == [first, second, third, second]
    await site.round(name)
    site.now += timedelta(minutes=1)
    await site.push(name, third, second)
    move(site, name, third)
    await site.drain()
    await site.round(name)
    move(site, name, second)  # back again, and no event tells
    await site.round(name)
    await site.drain()
    assert site.built(name) == [first, second, third, second, third, second]


@STALE
async def test_three_events_that_come_late_end_where_the_ref_is(
    site: ReconcileSite, name: str, stale: str
) -> None:
    """There, elsewhere and back before the round: what was built last is where the ref is."""
    (first, second, third), _ = await begin(site, name, stale)
    moves = [(second, first), (third, second), (second, third)]
    events = []
    for commit, old in moves:
        site.now += timedelta(minutes=1)
        events.append(await site.push(name, commit, old))
    await _take(site)
    move(site, name, second)
    site.now += timedelta(minutes=1)
    await site.round(name)
    await site.drain()
    assert site.built(name) == [first, second]
    for event in events:
        await site.send(event)
        await site.drain()
    assert site.built(name)[-1] == second


@STALE
async def test_a_ref_that_moved_on_is_not_built_out_of_order(
    site: ReconcileSite, name: str, stale: str
) -> None:
    """A found push whose successor is ahead of it in the queue is left out."""
    (first, second, third), _ = await begin(site, name, stale)
    move(site, name, second)
    site.now += timedelta(minutes=1)
    found_at = site.now + timedelta(minutes=11)
    site.now += timedelta(minutes=30)
    await site.push(name, third, second)
    site.now = found_at - timedelta(minutes=11)
    await site.round(name)
    move(site, name, third)
    await site.drain()
    assert site.built(name) == [first, third]


@STALE
async def test_a_day_that_is_sent_again_changes_nothing(
    site: ReconcileSite, name: str, stale: str
) -> None:
    """Replays of an archive of events, and redeliveries of webhooks, are harmless."""
    (first, second, third), _ = await begin(site, name, stale)
    move(site, name, second)
    await site.push(name, second, first)
    await site.drain()
    site.now += timedelta(minutes=1)
    move(site, name, third)
    lost = await site.push(name, third, second)
    await _take(site)
    await site.round(name)
    await site.drain()
    built = site.built(name)
    assert built == [first, second, third]
    for event_id in [each for each in site.events if each != lost]:
        await site.send(event_id)
    await site.send(lost)
    await site.drain()
    await site.round(name)
    await site.drain()
    assert site.built(name) == built


async def test_ignored_and_rejected_pushes_are_not_sent_again(
    site: ReconcileSite, name: str
) -> None:
    """What was decided stays decided, also if nothing was built."""
    (first, second, third), _ = await begin(site, name, "skip")
    site.configure(rules=[{"ref": ["*"], "action": "build", "project": "no-such-project"}])
    move(site, name, second)
    await site.push(name, second, first)
    await site.drain()
    assert (second, "rejected") in await site.verdicts(name)
    site.now += timedelta(minutes=1)
    await site.round(name)
    assert await site.take_found() == []
    site.configure(
        rules=[{"ref": ["*"], "action": "build", "changes": ["elsewhere"]}],
    )
    move(site, name, third)
    site.now += timedelta(minutes=1)
    await site.push(name, third, second)
    await site.drain()
    assert (third, "ignored") in await site.verdicts(name)
    await site.round(name)
    assert await site.take_found() == []


async def _take(site: ReconcileSite) -> None:
    """Lose what is in the queue of pushes."""
    answer = await site.stack.sqs.receive_message(
        QueueUrl=site.settings.queue.url, MaxNumberOfMessages=10
    )
    for each in answer["Messages"]:
        await site.stack.sqs.delete_message(
            QueueUrl=site.settings.queue.url, ReceiptHandle=each["ReceiptHandle"]
        )
