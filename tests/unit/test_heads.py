"""Which push of a ref is the newest one built."""

from dataclasses import replace
from datetime import timedelta

from support.codebuild import make_push
from support.records import Records

from asyncbuild.builds.ledger import Ledger


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
