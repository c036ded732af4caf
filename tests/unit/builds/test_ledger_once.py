"""Records are found by every delivery of an event, whichever version of the service wrote them."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.codebuild import make_push
from support.records import Records

from asyncbuild.builds.ledger import Ledger
from asyncbuild.domain.model import Action, Outcome, Push, Target, Verdict

TARGETS = (
    Target(Action.BUILD, "k", "web"),
    Target(Action.BUILD, "k", "lint"),
    Target(Action.UPLOAD, "k"),
    Target(Action.PIPELINE, "k", pipeline="deploy"),
    Target(Action.IGNORE),
)
_later = st.timedeltas(timedelta(), timedelta(days=400))


def _delivered(*, after: timedelta = timedelta(), id_: str = "72d3162e") -> Push:
    """A push whose time is that of its delivery."""
    push = make_push()
    return replace(push, id=id_, time=push.time + after, timed=False)


async def _record(ledger: Ledger, push: Push, target: Target) -> None:
    await ledger.record(push, Outcome(Verdict.BUILT, "rule: r", target))


@given(_later, _later, st.sampled_from(TARGETS), st.sampled_from(TARGETS))
async def test_another_delivery_finds_the_record(
    first: timedelta, second: timedelta, done: Target, asked: Target
) -> None:
    """Later and earlier deliveries find it, for this target and event alone."""
    ledger = Ledger(Records(), prefix="l/")
    await _record(ledger, _delivered(after=first), done)
    found = await ledger.find(_delivered(after=second), asked)
    assert (found is not None) is (asked == done)
    assert found is None or found["verdict"] == "built"
    for other in ("2d3162e", "72d3162", "x-72d3162e", "72d3162e.1"):
        assert await ledger.find(_delivered(after=second, id_=other), done) is None
    elsewhere = replace(make_push().repository, name="other")
    assert await ledger.find(replace(_delivered(), repository=elsewhere), done) is None


@given(st.timedeltas(timedelta(), timedelta(hours=23)), st.sampled_from(TARGETS))
async def test_a_record_of_the_version_before_is_found(later: timedelta, target: Target) -> None:
    """The version before wrote one record; so did a process killed between its two writes."""
    records = Records()
    ledger = Ledger(records, prefix="l/")
    first = _delivered()
    await _record(ledger, replace(first, timed=True), target)
    assert all("/push/" in key for key in records.kept)
    assert await ledger.find(_delivered(after=later), target) is not None
    for other in ("2d3162e", "72d3162", "x-72d3162e", "72d3162e.1"):
        assert await ledger.find(_delivered(after=later, id_=other), target) is None


async def test_a_redelivery_completes_records_after_a_kill() -> None:
    """After that a delivery of next year finds the record, too."""
    ledger = Ledger(Records(), prefix="l/")
    await _record(ledger, replace(_delivered(), timed=True), TARGETS[0])
    assert await ledger.find(_delivered(), TARGETS[0]) is not None
    assert await ledger.find(_delivered(after=timedelta(days=365)), TARGETS[0]) is not None


async def test_the_version_before_finds_records_of_this_one() -> None:
    """Keys did not move."""
    ledger = Ledger(Records(), prefix="l/")
    await _record(ledger, _delivered(), TARGETS[0])
    assert await ledger.find(replace(_delivered(), timed=True), TARGETS[0]) is not None


async def test_an_event_is_known_after_one_of_its_records_expired() -> None:
    """Objects of the ledger may expire at different times."""
    records = Records()
    ledger = Ledger(records, prefix="l/")
    await _record(ledger, _delivered(), TARGETS[0])
    (key,) = [key for key in records.kept if "/push/" in key]
    await records.delete_record(key)
    assert await ledger.find(_delivered(after=timedelta(hours=1)), TARGETS[0]) is not None


@pytest.mark.parametrize("target", TARGETS)
async def test_an_event_with_its_own_time_has_one_record(target: Target) -> None:
    """No other object is written, and no listing is made."""
    records = Records()
    ledger = Ledger(records, prefix="l/")
    assert await ledger.find(make_push(), target) is None
    await _record(ledger, make_push(), target)
    assert len(records.kept) == 1
    assert await ledger.find(make_push(), target) is not None
