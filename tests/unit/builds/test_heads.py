"""Which push of a ref is the newest one built."""

import re
from dataclasses import replace
from datetime import timedelta

import orjson
import pytest
from support.codebuild import make_push
from support.records import Records
from support.webhooks import message

from asyncbuild.builds.ledger import Ledger
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Action, Outcome, Target, Verdict
from asyncbuild.domain.repository import Repository


async def test_the_newest_is_never_lowered() -> None:
    """A forced old push is built, and those between it and the newest are stale all the same."""
    ledger = Ledger(Records(), prefix="ledger/")
    newest = make_push(3)
    forced = replace(make_push(1), time=newest.time - timedelta(hours=1), old_commit="0" * 40)
    await ledger.set_head(newest)
    await ledger.set_head(forced)
    head = await ledger.head(forced)
    assert head is not None
    assert head.commit == newest.commit


async def test_a_push_that_follows_the_newest_is_the_newest() -> None:
    """Whatever its clock says: ancestry decides."""
    ledger = Ledger(Records(), prefix="ledger/")
    first = make_push(1)
    second = replace(make_push(2), time=first.time - timedelta(seconds=1), old_commit=first.commit)
    for push in (first, second):
        await ledger.set_head(push)
        head = await ledger.head(push)
        assert head is not None
        assert head.commit == push.commit


async def test_a_push_that_is_built_in_part_is_compared_with_what_was_built_before_it() -> None:
    """Compared with itself it would have changed nothing, and what is left would not be built."""
    records = Records()
    ledger = Ledger(records, prefix="ledger/")
    first, second = make_push(1), make_push(2)
    assert await ledger.find_built_before(first) == ""
    await ledger.set_head(first)
    assert await ledger.find_built_before(first) == ""
    assert await ledger.find_built_before(second) == first.commit
    for _ in range(2):  # once for each of its targets
        await ledger.set_head(second)
        assert await ledger.find_built_before(second) == first.commit
    (key,) = records.kept
    written = orjson.loads(records.kept[key])
    del written["before"]  # as the version before this one has it
    records.kept[key] = orjson.dumps(written)
    assert await ledger.find_built_before(second) == ""
    assert await ledger.find_built_before(make_push(3)) == second.commit


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" * 2_000,
        b"[]",
        b'{"commit": 1}',
        b'{"commit": "--output=x", "time": "2026-11-01T00:00:00Z", "event_id": "e"}',
        b'{"commit": "%s", "time": "0001-01-01T00:00:00+14:00", "event_id": "e"}' % (b"1" * 40),
        b'{"commit": "%s", "time": "2026-11-01T00:00:00Z", "event_id": null}' % (b"1" * 40),
        b'{"commit": "%s", "time": "2026-11-01T00:00:00Z", "event_id": "e", "before": "-x"}'
        % (b"1" * 40),
    ],
)
async def test_a_head_that_cannot_be_read_rejects_and_is_written_again(body: bytes) -> None:
    """The reason names the object; what is built then puts it right."""
    records = Records()
    ledger = Ledger(records, prefix="ledger/")
    push = make_push(1)
    await ledger.set_head(push)
    (key,) = [each for each in records.kept if "/head/" in each]
    records.kept[key] = body
    with pytest.raises(Reject, match=re.escape(key)):
        await ledger.head(push)
    await ledger.set_head(push)
    head = await ledger.head(push)
    assert head is not None
    assert head.commit == push.commit


async def test_a_record_that_cannot_be_read_rejects_its_push_alone() -> None:
    """And says where it is; a listing of all tells of it and goes on."""
    records = Records()
    ledger = Ledger(records, prefix="ledger/")
    first, second = make_push(1), make_push(2)
    target = Target(Action.BUILD, "key", "web")
    for push in (first, second):
        await ledger.record(push, Outcome(Verdict.BUILT, "", target))
    (key,) = [each for each in records.kept if first.id in each]
    records.kept[key] = b"\xff"
    with pytest.raises(Reject, match=re.escape(key)):
        await ledger.find(first, target)
    assert await ledger.find(second, target)
    since = first.time - timedelta(days=1)
    found = [each async for each in ledger.iter_pushes(first.repository, since=since)]
    assert sorted(str(each["verdict"]) for each in found) == ["built", "unreadable"]


async def test_a_mark_that_leads_elsewhere_is_not_followed() -> None:
    """It names a record of the push's own repository, or rejects."""
    records = Records()
    ledger = Ledger(records, prefix="ledger/")
    push = replace(make_push(1), timed=False)
    target = Target(Action.BUILD, "key", "web")
    await ledger.record(push, Outcome(Verdict.BUILT, "", target))
    (key,) = [each for each in records.kept if "/once/" in each]
    records.kept = {key: b'{"record": "archives/secret.zip"}', "archives/secret.zip": b"{}"}
    with pytest.raises(Reject, match=re.escape(key)):
        await ledger.find(push, target)


async def test_a_foreign_object_among_the_tries_is_no_try() -> None:
    """Only numbers are."""
    records = Records()
    ledger = Ledger(records, prefix="ledger/")
    sent = message("{}")
    await ledger.mark_try(sent, 2)
    (key,) = records.kept
    records.kept |= {f"{key}/x": b"", key.removesuffix("2") + "²": b"", f"{key}.zip": b""}
    assert await ledger.find_tries(sent) == {2}


async def test_a_force_is_of_one_repository() -> None:
    """Also where another one has the same event id; one of a version before names no repository."""
    records = Records()
    ledger = Ledger(records, prefix="ledger/")
    mine = replace(make_push(1), repository=Repository.of_host("github.com", "acme", "web"))
    other = replace(mine, repository=Repository.of_host("github.com", "evil", "web"))
    await ledger.force(mine)
    assert await ledger.is_forced(mine)
    assert not await ledger.is_forced(other)
    records.kept = {f"ledger/force/{mine.id}.json": b"{}"}
    assert await ledger.is_forced(mine)


async def test_a_body_is_remembered_for_its_repository_under_another_id() -> None:
    """The event itself, when its message comes again, is no repetition."""
    ledger = Ledger(Records(), prefix="ledger/")
    push = replace(make_push(1), body_id="d1")
    again = replace(push, id="another")
    assert not await ledger.find_repeated(again)
    await ledger.remember_body(push)
    assert await ledger.find_repeated(again) == push.id
    assert not await ledger.find_repeated(push)
    elsewhere = replace(again, repository=Repository.of_host("github.com", "evil", "web"))
    assert not await ledger.find_repeated(elsewhere)
    assert not await ledger.find_repeated(replace(again, body_id=""))
