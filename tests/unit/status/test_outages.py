"""Outages that pushes wait for: unreachable peers, limits, and their end."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.listening import hearing
from support.status import NOW, Clock, built, held, line, state, survey

from asyncbuild.domain.errors import Busy, Outage, Retry, StageError
from asyncbuild.domain.events.event import Emitted, LogLevel
from asyncbuild.domain.events.stage_events import PushFetchStarted, PushPrepareStarted
from asyncbuild.runtime import log as logs
from asyncbuild.runtime.emit import stage
from asyncbuild.status import phrases as wording
from asyncbuild.status.history import Chronicle
from asyncbuild.status.outages import PEERS, Outages
from asyncbuild.status.schema import Status


def _failed(
    number: int,
    *,
    event: str = "push.prepare.failed",
    level: LogLevel = "warning",
    **more: object,
) -> Emitted:
    usual = {"kind": "outage", "peer": "git", "reason": "refused", "event_id": str(number)}
    return line(event, level, **{**usual, **more})


def _look(chronicle: Chronicle, clock: Clock, *numbers: int) -> Status:
    lanes = {f"group-{n}": (held(str(n), repository=f"r{n}"),) for n in numbers}
    return survey(chronicle, clock, shown=state(lanes)).take()


def _chronicle(clock: Clock) -> Chronicle:
    chronicle = Chronicle(clock)
    chronicle.hear(line("queue.polled", messages=0, groups=0))
    return chronicle


def test_an_unreachable_git_server_is_an_outage() -> None:
    """The service is ready, with an outage aged from the first failure.

    A successful fetch ends it.
    """
    clock = Clock()
    chronicle = _chronicle(clock)
    for number in range(14):
        chronicle.hear(_failed(number % 2, repository=f"r{number % 2}"))
        clock.now += 4
    status = _look(chronicle, clock, 0, 1)
    assert (status.ready, status.state) == (True, "outage")
    assert wording.state(status) == "outage: git, 56 s"
    (outage,) = status.outages
    assert (outage.pushes, outage.repositories, outage.failures) == (2, 2, 14)
    assert wording.waits(outage) == "2 pushes of 2 repositories wait"
    chronicle.hear(line("fetch.finished", mirror="github.com/acme/web"))
    assert _look(chronicle, clock, 0, 1).state == "outage"
    chronicle.hear(line("fetch.finished", mirror="123456789012/eu-west-1/r0"))
    assert _look(chronicle, clock, 0, 1).state == "ready"


def test_forges_are_distinguished() -> None:
    """One is unreachable, another is not; the unreachable one is named."""
    clock = Clock()
    chronicle = _chronicle(clock)
    chronicle.hear(_failed(1, account="github.com"))
    assert wording.state(_look(chronicle, clock, 1)) == "outage: git at github.com, 0 s"


def test_a_limit_lasts_until_its_pushes_are_settled() -> None:
    """Other pushes get a build now and then, which does not end it for those that wait."""
    clock = Clock()
    chronicle = _chronicle(clock)
    full = {"kind": "busy", "peer": "codebuild", "reason": "AccountLimitExceededException"}
    for number in (1, 2):
        chronicle.hear(_failed(number, event="push.start.failed", level="info", **full))
    clock.now += 70
    chronicle.hear(built(event_id="1"))
    status = _look(chronicle, clock, 1, 2)
    assert wording.state(status) == "limit: CodeBuild, 1 min 10 s"
    assert wording.waits(status.outages[0]) == "1 push of 1 repository waits"
    chronicle.hear(built(event_id="2"))
    assert _look(chronicle, clock, 1, 2).state == "ready"


def test_an_unanswering_queue_makes_the_service_not_ready() -> None:
    """Without SQS nothing can be received, so the state is not-ready and not outage."""
    clock = Clock()
    chronicle = _chronicle(clock)
    chronicle.hear(line("queue.receive-failed", kind="outage", reason="cut"))
    status = _look(chronicle, clock)
    assert (status.state, [each.peer for each in status.outages]) == ("not-ready", ["sqs"])
    chronicle.hear(line("queue.polled", messages=0, groups=0))
    assert _look(chronicle, clock).state == "ready"


_KINDS = ("outage", "busy", "retry", "reject")
_STEPS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(PEERS), st.sampled_from((*_KINDS, "end"))),
    max_size=40,
)


@given(_STEPS)
def test_no_outage_outlasts_its_pushes(steps: list[tuple[int, str, str]]) -> None:
    """After any events: nothing in flight means no outage.

    A push waits for its last reported peer.
    """
    outages = Outages(Clock())
    for number, peer, kind in steps:
        if kind == "end":
            outages.hear(built(event_id=str(number)))
        else:
            outages.hear(_failed(number, peer=peer, kind=kind))
    last = {str(number): kind for number, _, kind in steps}
    ended = {number for number, kind in last.items() if kind not in {"outage", "busy"}}
    assert sum(each.pushes for each in outages.current(last.keys())) <= 2 * len(PEERS) * len(last)
    assert not any(each.pushes for each in outages.current(ended))
    assert {each.peer for each in outages.current(frozenset())} <= {"sqs"}


def test_a_failure_is_logged_once() -> None:
    """Nested stages fail together: the outermost logs, and names the innermost."""
    logs.mute()
    for error in (Outage("away", peer="git"), Busy("full", peer="codebuild"), Retry("cut")):
        inside = (stage(PushPrepareStarted()), stage(PushFetchStarted()))
        with hearing() as lines, pytest.raises(StageError), inside[0], inside[1]:
            raise error
        failed = [each for each in lines if each["event"].endswith(".failed")]
        level = "info" if error.kind == "busy" else "warning"
        assert [(each["event"], each["level"]) for each in failed] == [
            ("push.fetch.failed", "debug"),
            ("push.prepare.failed", level),
        ]
        assert {(each["stage"], each["peer"]) for each in failed} == {("push.fetch", error.peer)}
    with hearing() as lines, pytest.raises(Retry), stage(PushFetchStarted()):
        raise Retry("alone")
    assert lines[-1]["level"] == "warning"


def test_similar_warnings_are_one() -> None:
    """Other pushes, ports, times and ids are equal; different words are not."""
    clock, pick = Clock(), random.Random(1)  # noqa: S311 - repeatable, not secret
    chronicle = _chronicle(clock)
    for number in range(14):
        name = f"web-{number % 3}"
        where = f"http://127.0.0.1:{pick.randrange(65_536)}/{name}"
        commit = f"{pick.randrange(16**40):040x}"
        reason = f"fetch a/{name}: git exited with 128: cannot reach {where} for {commit}"
        chronicle.hear(_failed(number, repository=name, reason=reason, commit=commit))
        clock.now += 1
    chronicle.hear(_failed(1, reason="another"))
    assert [each.count for each in chronicle.troubles] == [1, 14]
    assert (chronicle.troubles[1].first, chronicle.troubles[1].time) == (NOW, NOW + 13)


def test_past_outages_are_remembered() -> None:
    """Start, duration and number of waiting pushes.

    One that returns within a minute is the same.
    """
    clock = Clock()
    chronicle = _chronicle(clock)
    done = line("fetch.finished", mirror="123456789012/eu-west-1/r0")
    for pause in (0.5, 30.0, 200.0):
        for number in range(3):
            chronicle.hear(_failed(number, repository=f"r{number % 2}"))
        clock.now += 65
        chronicle.hear(done)
        clock.now += pause
    status = _look(chronicle, clock)
    assert status.state != "outage"
    assert [wording.was(each) for each in status.past_outages] == [
        "git was away for 3 min 46 s; 3 pushes of 2 repositories waited",
    ]
    chronicle.hear(_failed(1))
    chronicle.hear(built(event_id="1"))  # at once: too short for a row
    assert len(_look(chronicle, clock).past_outages) == 1
    chronicle.hear(_failed(1, event="push.start.failed", kind="busy", peer="codebuild"))
    clock.now += 2
    chronicle.hear(built(event_id="1"))
    assert wording.was(_look(chronicle, clock).past_outages[0]) == (
        "CodeBuild was at its limit for 2 s; 1 push of 1 repository waited"
    )


def test_the_history_is_bounded() -> None:
    """A peer may become unreachable any number of times."""
    clock = Clock()
    chronicle = _chronicle(clock)
    for _ in range(100):
        chronicle.hear(_failed(1))
        clock.now += 70
        chronicle.hear(built(event_id="1"))
        clock.now += 70
    assert len(_look(chronicle, clock).past_outages) == 20
