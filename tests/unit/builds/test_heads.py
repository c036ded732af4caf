"""The ledger's head of a ref: the newest push that was built."""

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
from asyncbuild.domain.model import TIP, Action, Outcome, Target, Verdict
from asyncbuild.domain.repository import Repository


async def test_the_head_of_a_ref_is_never_lowered() -> None:
    """A forced old push is built, and pushes between it and the head are still stale."""
    ledger = Ledger(Records(), prefix="ledger/")
    newest = make_push(3)
    forced = replace(make_push(1), time=newest.time - timedelta(hours=1), old_commit="0" * 40)
    await ledger.set_head(newest)
    await ledger.set_head(forced)
    head = await ledger.head(forced)
    assert head is not None
    assert head.commit == newest.commit


async def test_a_push_whose_old_commit_is_the_head_becomes_the_head() -> None:
    """Ancestry decides, not the clock of the event."""
    ledger = Ledger(Records(), prefix="ledger/")
    first = make_push(1)
    second = replace(make_push(2), time=first.time - timedelta(seconds=1), old_commit=first.commit)
    for push in (first, second):
        await ledger.set_head(push)
        head = await ledger.head(push)
        assert head is not None
        assert head.commit == push.commit


async def test_a_partly_built_push_is_compared_with_the_head_before_it() -> None:
    """Compared with itself it would have changed nothing, and other targets would not be built."""
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
    del written["before"]  # records of the version before lack it
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
async def test_an_unreadable_head_rejects_the_push_and_is_rewritten(body: bytes) -> None:
    """The reason names the object; the next push that is built rewrites it."""
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


async def test_an_unreadable_record_rejects_its_push_alone() -> None:
    """The reason names its key; a listing of all records warns and goes on."""
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


async def test_a_reference_to_another_repositorys_record_is_rejected() -> None:
    """A reference has to name a record of the push's own repository."""
    records = Records()
    ledger = Ledger(records, prefix="ledger/")
    push = replace(make_push(1), timed=False)
    target = Target(Action.BUILD, "key", "web")
    await ledger.record(push, Outcome(Verdict.BUILT, "", target))
    (key,) = [each for each in records.kept if "/once/" in each]
    records.kept = {key: b'{"record": "archives/secret.zip"}', "archives/secret.zip": b"{}"}
    with pytest.raises(Reject, match=re.escape(key)):
        await ledger.find(push, target)


async def test_a_foreign_object_among_the_attempts_is_not_counted() -> None:
    """Only objects named by a number count."""
    records = Records()
    ledger = Ledger(records, prefix="ledger/")
    sent = message("{}")
    await ledger.mark_try(sent, 2)
    (key,) = records.kept
    records.kept |= {f"{key}/x": b"", key.removesuffix("2") + "²": b"", f"{key}.zip": b""}
    assert await ledger.find_tries(sent) == {2}


async def test_a_force_mark_applies_to_one_repository() -> None:
    """Another repository may have the same event id.

    A mark of an older version names no repository.
    """
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
    """The event itself is not taken for a repetition when its message is received again."""
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


async def test_group_is_read_both_ways() -> None:
    """During an upgrade one version writes heads with the group, the other without."""
    records = Records()
    ledger = Ledger(records, prefix="ledger/")
    old, new = make_push(1), replace(make_push(2), ref="refs/heads/other")
    await ledger.set_head(old)
    (key,) = records.kept
    written = orjson.loads(records.kept[key])
    del written["group"]
    records.kept[key] = orjson.dumps(written)
    head = await ledger.head(old)
    assert head is not None
    assert head.group == ""
    assert await ledger.find_group(old.repository) == ""
    await ledger.set_head(new, group="1234")
    assert await ledger.find_group(old.repository) == "1234"
    records.kept[key] = b"{"
    assert await ledger.find_group(old.repository) == "1234"
    other = Repository.of_codecommit("123456789012", "eu-west-1", "another")
    assert await ledger.find_group(other) == ""


async def test_group_is_that_of_the_newest_head() -> None:
    """A repository that was made again under its name has another group than before."""
    ledger = Ledger(Records(), prefix="ledger/")
    for number, (name, group) in enumerate((("z", "1"), ("a", "old"), ("m", "new"))):
        push = replace(make_push(number), ref=f"refs/heads/{name}")
        await ledger.set_head(push, group=group)
    assert await ledger.find_group(make_push().repository) == "new"


async def test_tip_of_a_request_is_fixed_once() -> None:
    """Later tries, of any process, build the commit that the first one saw."""
    records = Records()
    ledger = Ledger(records, prefix="ledger/")
    push = replace(make_push(1), commit=TIP)
    seen = push.time + timedelta(seconds=3)
    first = await ledger.fix_tip(push, "a" * 40, seen_at=seen)
    second = await ledger.fix_tip(push, "b" * 40, seen_at=seen + timedelta(hours=1))
    assert (first.commit, first.time) == (second.commit, second.time) == ("a" * 40, seen)
    (key,) = records.kept
    records.kept[key] = b"{}"
    with pytest.raises(Reject, match=re.escape(key)):
        await ledger.fix_tip(push, "b" * 40, seen_at=seen)
