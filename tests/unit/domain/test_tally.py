"""The parts of a message, each settled on its own."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.codebuild import make_push

from asyncbuild.domain.errors import Busy, Denied, Kind, Outage, Reject, Retry, StageError
from asyncbuild.domain.model import Action, Target
from asyncbuild.domain.tally import Incomplete, PendingTries, PushPart, Tally, blame
from asyncbuild.queue.lane import protocol as p
from asyncbuild.queue.lane.state_machine import Lane

PUSH = make_push()
WEB, API = (PushPart(PUSH, Target(Action.BUILD, "k", project)) for project in ("web", "api"))
_KINDS: dict[str, type[StageError]] = {
    each.__name__: each for each in (Retry, Busy, Outage, Reject, Denied)
}


def _tally(max_attempts: int = 2) -> Tally:
    return Tally(max_attempts=max_attempts, pause_seconds=30)


def test_a_part_that_fails_leaves_the_others_alone() -> None:
    """The message waits for the busy one, and is given up when that is done."""
    tally = _tally()
    tally.fail(WEB, Reject("no such project"), 0)
    tally.fail(API, Busy("full", after_seconds=7, peer="codebuild"), 0)
    error = tally.verdict(2, parts=2)
    assert isinstance(error, Busy)
    assert (str(error), error.after_seconds, error.peer) == (
        "refs/heads/main, build api: full",
        5,
        "codebuild",
    )
    assert [tally.is_due(part, 7) for part in (WEB, API)] == [False, True]
    tally.succeed(API)
    error = tally.verdict(8, parts=2)
    assert isinstance(error, Incomplete)
    assert str(error) == "refs/heads/main, build web: no such project"
    assert blame([PUSH], error) == [(PUSH, error.failures[0][1])]


def test_only_pushes_that_failed_are_blamed() -> None:
    """The others of the message were built; what could not be understood has no push."""
    other = replace(PUSH, id="e2", ref="refs/heads/other")
    tally = _tally()
    tally.give_up(Reject("ref ' ' is none"))
    tally.fail(PushPart(other), Reject("a tree and no commit"), 0)
    error = tally.verdict(0, parts=3)
    assert error is not None
    blamed = blame([PUSH, other], error)
    assert [(push, str(why)) for push, why in blamed] == [
        (other, "a tree and no commit"),
        (None, "ref ' ' is none"),
    ]
    plain = Reject("not JSON")
    assert blame([], plain) == [(None, plain)]
    assert blame([PUSH, other], plain) == [(PUSH, plain), (other, plain)]


def test_a_right_that_is_missing_is_asked_for_again_with_growing_pauses() -> None:
    """A policy takes a while to be known everywhere; then the push is given up."""
    tally, now, pauses = _tally(4), 0.0, []
    for _ in range(3):
        assert tally.is_due(WEB, now)
        tally.fail(WEB, Denied("AccessDenied"), now)
        error = tally.verdict(now, parts=1)
        assert isinstance(error, Denied)
        assert error.after_seconds
        pauses.append(error.after_seconds)
        assert not tally.is_due(WEB, now + error.after_seconds - 1)
        now += error.after_seconds
    assert pauses == [15, 30, 60]
    tally.fail(WEB, Denied("AccessDenied"), now)
    assert isinstance(tally.verdict(now, parts=1), Reject)


@pytest.mark.parametrize("kind", sorted(_KINDS))
def test_the_failure_of_a_message_with_one_part_is_its_own(kind: str) -> None:
    """The lane counts it, and the dead letter says it, as if there were no parts."""
    tally, error = _tally(), _KINDS[kind]("why")
    tally.fail(WEB, error, 0)
    assert tally.verdict(0, parts=1) is error


_SCRIPTS = st.lists(st.lists(st.sampled_from(sorted(_KINDS)), max_size=6), min_size=1, max_size=4)


class _Story:
    """A message whose parts fail as their scripts say and then work, in a real lane."""

    def __init__(self, scripts: list[list[str]], max_attempts: int) -> None:
        targets = [Target(Action.BUILD, "k", f"p{n}") for n in range(len(scripts))]
        self.left = {PushPart(PUSH, t).key: list(s) for t, s in zip(targets, scripts, strict=True)}
        self.parts = [PushPart(PUSH, target) for target in targets]
        self.tally = _tally(max_attempts)
        self.lane = Lane([p.LaneMessage(1)], p.Policy(max_attempts=max_attempts))
        self.done: Counter[tuple[str, ...]] = Counter()
        self.spent: Counter[tuple[str, ...]] = Counter()
        self.now = 0.0
        self.buried = False

    def tell(self) -> None:
        """Carry out what the lane says, to its end."""
        commands = self.lane.open()
        while not self.lane.closed:
            commands += self.lane.feed(self._carry_out(commands.pop(0)))

    def _carry_out(self, command: p.Command) -> p.Event:
        match command:
            case p.Prepare(n):
                return p.Prepared(n)
            case p.Start(n):
                return self._settle(n)
            case p.Wait(n, seconds):
                self.now += seconds
                return p.Due(n)
            case p.SendDeadLetter(n) | p.Delete(n):
                self.buried |= isinstance(command, p.SendDeadLetter)
                return p.Settled(n)
            case _:
                raise AssertionError(command)

    def _settle(self, n: int) -> p.Event:
        for part in self.parts:
            if not self.done[part.key] and self.tally.is_due(part, self.now):
                self._try(part)
        error = self.tally.verdict(self.now, parts=len(self.parts))
        if error is None:
            return p.Started(n)
        return p.Failed(n, Kind(error.kind), 1.0, error.after_seconds or 0.0)

    def _try(self, part: PushPart) -> None:
        if not self.left[part.key]:
            self.done[part.key] += 1
            self.tally.succeed(part)
            return
        kind = self.left[part.key].pop(0)
        self.spent[part.key] += kind not in {"Busy", "Outage"}
        self.tally.fail(part, _KINDS[kind](kind), self.now)


@given(scripts=_SCRIPTS, max_attempts=st.integers(1, 4))
def test_every_part_is_tried_until_it_works_or_is_given_up(
    scripts: list[list[str]], max_attempts: int
) -> None:
    """What works is done once; what is given up has had its tries; no limit counted as one (I5)."""
    story = _Story(scripts, max_attempts)
    story.tell()
    assert story.buried is (len(story.done) < len(scripts) or 0 in story.done.values())
    for part, script in zip(story.parts, scripts, strict=True):
        counted = [kind for kind in script if kind not in {"Busy", "Outage"}]
        hopeless = "Reject" in counted[:max_attempts] or len(counted) >= max_attempts
        assert story.done[part.key] == (0 if hopeless else 1)
        assert story.spent[part.key] <= max_attempts


def test_a_part_that_works_by_now_is_still_known() -> None:
    """What its first try left behind is used up: it is not told once more."""
    tally = _tally()
    assert not tally.knows(WEB)
    tally.fail(WEB, Retry("why"), 0)
    tally.succeed(WEB)
    assert tally.knows(WEB)
    assert tally.verdict(0, parts=2) is None


@given(st.floats(min_value=0, allow_nan=False), st.floats(0.1, 3_600))
def test_no_server_puts_a_part_off_for_longer_than_is_set(asked: float, most: float) -> None:
    """A `Retry-After` of 400 nines would never be due; the lane would ask and ask."""
    tally = Tally(max_attempts=2, pause_seconds=30, longest_pause_seconds=most)
    tally.fail(WEB, Busy("slow down", after_seconds=asked), 100)
    assert tally.is_due(WEB, 100 + most + 1)
    assert tally.is_due(WEB, 100 + asked + 1) or asked > most


def test_a_message_that_waited_too_long_tells_which_parts_it_waited_for() -> None:
    """What was done of it is not blamed."""
    other = replace(PUSH, id="e2", ref="refs/heads/other")
    tally = _tally()
    tally.fail(PushPart(other), Outage("away", peer="git"), 0)
    error = tally.abandon("waited for 60 s")
    assert isinstance(error, Incomplete)
    assert tally.verdict(1, parts=2) is not None
    ((push, why),) = blame([PUSH, other], error)
    assert (push, str(why), why.kind, why.peer) == (other, "waited for 60 s: away", "outage", "git")
    assert _tally().abandon("waited for 60 s") is None


def test_pauses_between_counted_tries_are_not_taken_for_waiting() -> None:
    """A tally has an end of its own; a limit has none."""
    tally = _tally()
    tally.fail(WEB, Retry("odd"), 0)
    assert type(tally.verdict(0, parts=2)) is PendingTries
    tally.fail(API, Busy("full"), 0)
    assert type(tally.verdict(0, parts=2)) is Busy
