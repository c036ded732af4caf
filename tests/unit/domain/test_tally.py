"""The parts of a message, each settled independently."""

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


def test_a_failing_part_leaves_the_others_alone() -> None:
    """The message waits for the busy part, and is dead-lettered after that."""
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


def test_only_failed_pushes_are_blamed() -> None:
    """Other pushes of the message were built; a part that cannot be read has no push."""
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


def test_a_missing_right_is_retried_with_growing_pauses() -> None:
    """A policy takes a while to take effect everywhere; then the push is dead-lettered."""
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
def test_the_failure_of_a_message_with_one_part_is_the_parts_own(kind: str) -> None:
    """The lane counts it, and the dead letter contains it, as if there were no parts."""
    tally, error = _tally(), _KINDS[kind]("why")
    tally.fail(WEB, error, 0)
    assert tally.verdict(0, parts=1) is error


_SCRIPTS = st.lists(st.lists(st.sampled_from(sorted(_KINDS)), max_size=6), min_size=1, max_size=4)


class _Story:
    """A message whose parts fail as scripted and then work, in a real lane."""

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
        """Carry out the lane's commands to its end."""
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
def test_every_part_is_tried_until_it_works_or_is_dead_lettered(
    scripts: list[list[str]], max_attempts: int
) -> None:
    """Each part works once or uses up its attempts; no limit counts as an attempt (I5)."""
    story = _Story(scripts, max_attempts)
    story.tell()
    assert story.buried is (len(story.done) < len(scripts) or 0 in story.done.values())
    for part, script in zip(story.parts, scripts, strict=True):
        counted = [kind for kind in script if kind not in {"Busy", "Outage"}]
        hopeless = "Reject" in counted[:max_attempts] or len(counted) >= max_attempts
        assert story.done[part.key] == (0 if hopeless else 1)
        assert story.spent[part.key] <= max_attempts


def test_a_part_that_works_now_is_still_known() -> None:
    """Results of its first attempt are used up, and not reported twice."""
    tally = _tally()
    assert not tally.knows(WEB)
    tally.fail(WEB, Retry("why"), 0)
    tally.succeed(WEB)
    assert tally.knows(WEB)
    assert tally.verdict(0, parts=2) is None


@given(st.floats(min_value=0, allow_nan=False), st.floats(0.1, 3_600))
def test_no_server_delays_a_part_for_longer_than_the_setting(asked: float, most: float) -> None:
    """A `Retry-After` of 400 nines would never be due."""
    tally = Tally(max_attempts=2, pause_seconds=30, longest_pause_seconds=most)
    tally.fail(WEB, Busy("slow down", after_seconds=asked), 100)
    assert tally.is_due(WEB, 100 + most + 1)
    assert tally.is_due(WEB, 100 + asked + 1) or asked > most


def test_a_message_that_waited_too_long_names_the_parts_it_waited_for() -> None:
    """Parts that are done are not blamed."""
    other = replace(PUSH, id="e2", ref="refs/heads/other")
    tally = _tally()
    tally.fail(PushPart(other), Outage("away", peer="git"), 0)
    error = tally.abandon("waited for 60 s")
    assert isinstance(error, Incomplete)
    assert tally.verdict(1, parts=2) is not None
    ((push, why),) = blame([PUSH, other], error)
    assert (push, str(why), why.kind, why.peer) == (other, "waited for 60 s: away", "outage", "git")
    assert _tally().abandon("waited for 60 s") is None


def test_pauses_between_counted_attempts_are_not_waiting() -> None:
    """Counted attempts end by their number; waiting for a limit has no such end."""
    tally = _tally()
    tally.fail(WEB, Retry("odd"), 0)
    assert type(tally.verdict(0, parts=2)) is PendingTries
    tally.fail(API, Busy("full"), 0)
    assert type(tally.verdict(0, parts=2)) is Busy


OTHER = replace(PUSH, id="e2", ref="refs/heads/other")


def test_an_unreadable_part_is_reported_once_and_is_one_attempt() -> None:
    """Parts that were tried more often decide the number of attempts."""
    tally = _tally()
    for reason in ("ref 1", "ref 2", "ref 1"):
        tally.give_up(Reject(reason))
    error = tally.verdict(0, parts=3)
    assert isinstance(error, Incomplete)
    assert (str(error), error.attempts) == ("ref 1; ref 2", 1)
    assert [part for part, _ in error.failures] == [None, None]
    for _ in range(2):
        tally.fail(API, Retry("odd"), 0)
    error = tally.verdict(0, parts=3)
    assert isinstance(error, Incomplete)
    assert error.attempts == 2


@pytest.mark.parametrize("kind", [Retry, Denied, Busy, Outage])
def test_an_abandoned_part_is_not_tried_again(kind: type[StageError]) -> None:
    """Its error tells the time waited, and a remedy. Parts rejected before keep their errors."""
    tally = _tally()
    tally.fail(WEB, kind("away", remedy="look there", peer="git"), 0)
    tally.fail(API, Reject("no such project"), 0)
    error = tally.abandon("waited for 60 s")
    assert isinstance(error, Incomplete)
    (web, why), (api, other) = error.failures
    assert (web, api, str(other)) == (WEB, API, "no such project")
    assert type(why) is (Outage if kind is Outage else Busy)
    assert (why.reason, why.remedy, why.peer) == ("waited for 60 s: away", "look there", "git")
    assert not tally.has_pending(PUSH)
    assert not tally.is_due(WEB, 1e9)
    assert isinstance(tally.verdict(1e9, parts=2), Incomplete)


def test_all_failed_parts_of_a_push_are_reported_with_its_name() -> None:
    """One sentence names all parts; a push with one failed part has that part's own error."""
    tally = _tally()
    no_web, no_api, no_tree = Reject("no web"), Reject("no api"), Reject("no tree")
    tally.fail(WEB, no_web, 0)
    tally.fail(API, no_api, 0)
    tally.fail(PushPart(OTHER), no_tree, 0)
    error = tally.verdict(0, parts=3)
    assert error is not None
    (first, told), (second, own) = blame([PUSH, OTHER], error)
    assert (first, second) == (PUSH, OTHER)
    assert isinstance(told, Reject)
    expected = "refs/heads/main, build web: no web; refs/heads/main, build api: no api"
    assert str(told) == expected
    assert own is no_tree
    assert str(error) == f"{expected}; refs/heads/other: no tree"


def test_only_a_push_with_parts_left_to_try_is_pending() -> None:
    """Neither a push that works nor one that was dead-lettered."""
    tally = _tally()
    tally.give_up(Reject("ref ' ' is none"))
    tally.fail(PushPart(OTHER), Reject("no tree"), 0)
    assert not tally.has_pending(PUSH)
    tally.fail(WEB, Busy("full"), 0)
    assert (tally.has_pending(PUSH), tally.has_pending(OTHER)) == (True, False)
    tally.succeed(WEB)
    assert not tally.has_pending(PUSH)


_TARGETS = [
    Target(Action.BUILD, "k", "web", rule="r"),
    Target(Action.BUILD, "k", "api", rule="r"),
    Target(Action.PIPELINE, "k", pipeline="web", rule="r"),
    Target(Action.PIPELINE, "k", pipeline="deploy", rule="r"),
    Target(Action.UPLOAD, "k", rule="r"),
    Target(Action.UPLOAD, "other", rule="r"),
    Target(Action.UPLOAD, rule="r", fault="too long"),
    Target(Action.UPLOAD, rule="r2", fault="too long"),
    None,
]


def test_each_part_of_a_message_fails_on_its_own() -> None:
    """Projects, pipelines, keys, rules without a key, and the push as a whole; by push."""
    parts = [PushPart(push, target) for push in (PUSH, OTHER) for target in _TARGETS]
    for failed in parts:
        tally = _tally()
        tally.fail(failed, Reject("no"), 0)
        assert [part for part in parts if not tally.is_due(part, 0)] == [failed]
        assert [part for part in parts if tally.knows(part)] == [failed]


def test_a_part_is_named_after_what_it_starts() -> None:
    """An upload after its rule, a push after its ref."""
    names = [PushPart(PUSH, target).name.removeprefix("refs/heads/main") for target in _TARGETS]
    assert names == [
        *(", build web", ", build api", ", pipeline web", ", pipeline deploy"),
        *(", upload r", ", upload r", ", upload r", ", upload r2", ""),
    ]


def test_pauses_for_a_missing_right_stop_growing() -> None:
    """The tenth is the longest: four hours with the usual half minute."""
    tally = _tally(14)
    for tries in range(1, 14):
        tally.fail(WEB, Denied("AccessDenied", remedy="allow it", peer="codebuild"), 1_000)
        error = tally.verdict(1_001, parts=1)
        assert isinstance(error, Denied)
        assert error.after_seconds == 30 * 2.0 ** (min(tries, 10) - 2) - 1
        assert tally.is_due(WEB, 1_001 + error.after_seconds)
        assert not tally.is_due(WEB, 1_000.5 + error.after_seconds)
    assert isinstance(late := tally.verdict(1e6, parts=1), Denied)
    assert late.after_seconds == 0
    tally.fail(WEB, Denied("AccessDenied", remedy="allow it", peer="codebuild"), 1_000)
    error = tally.verdict(1_001, parts=1)
    assert type(error) is Reject
    assert (error.reason, error.remedy, error.peer) == ("AccessDenied", "allow it", "codebuild")


@given(
    failures=st.lists(
        st.tuples(st.sampled_from([Retry, Denied, Busy, Outage]), st.integers(0, 900)),
        min_size=2,
        max_size=5,
    ),
    now=st.integers(0, 1_000),
)
def test_the_lane_waits_until_the_first_part_is_due(
    failures: list[tuple[type[StageError], int]], now: int
) -> None:
    """A wait asked for by a server is at most five minutes; a pause of ours is not a limit."""
    tally = _tally(9)
    due = []
    for number, (kind, seconds) in enumerate(failures):
        part = PushPart(PUSH, Target(Action.BUILD, "k", f"p{number}"))
        tally.fail(part, kind(f"why {number}", after_seconds=seconds, peer=f"peer {number}"), 0)
        due.append(15 if kind is Denied else min(seconds, 300))
        assert tally.is_due(part, due[-1])
        assert not tally.is_due(part, due[-1] - 0.5)
    error = tally.verdict(now, parts=len(failures))
    limits = [(kind, f"peer {n}") for n, (kind, _) in enumerate(failures) if issubclass(kind, Busy)]
    kind, peer = limits[0] if limits else (PendingTries, "")
    assert error is not None
    assert (type(error), error.peer) == (kind, peer)
    assert error.after_seconds == max(0, min(due) - now)
    assert str(error).count("; ") == len(failures) - 1
    assert all(f"build p{number}: why {number}" in str(error) for number in range(len(failures)))


def test_a_part_that_waits_among_several_is_reported_with_its_name() -> None:
    """The part is reported as `PendingTries`: the tally counts attempts, so the lane must not."""
    tally = _tally()
    tally.fail(WEB, Retry("odd"), 0)
    error = tally.verdict(0, parts=2)
    assert (type(error), str(error)) == (PendingTries, "refs/heads/main, build web: odd")
    tally.fail(API, Reject("no"), 0)
    error = tally.verdict(0, parts=1)  # a part that is known by now, and one of the push before
    assert type(error) is PendingTries
