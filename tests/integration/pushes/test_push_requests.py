"""Requests of the service's own: what each builds, what it leaves alone, and how often."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final

import orjson
import pytest
from support.events import ACCOUNT, REGION
from support.push_place import LEDGER, MAIN, Place, make_place

from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.ledger_records import Head
from asyncbuild.domain.model import TIP, Push
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.requests.push_request import PushRequest, dump_request
from asyncbuild.domain.requests.request_terms import RequestTerms
from asyncbuild.local.servers import journal
from asyncbuild.local.stack import DEAD_LETTERS, Stack, open_stack
from asyncbuild.storage.s3 import Store

pytestmark = pytest.mark.timeout(300)

_numbers = count()
PLAIN: Final = RequestTerms("schedule", as_push=True)


@pytest.fixture(scope="module")
async def stack() -> AsyncIterator[Stack]:
    """Open one stack for the module."""
    async with open_stack(["web", "lint"]) as stack:
        yield stack


@pytest.fixture
def place(stack: Stack) -> Place:
    """Return a place with a repository of its own, whose pushes build `web`."""
    return make_place(stack)


def request_for(place: Place, commit: str, terms: RequestTerms, ref: str = MAIN) -> PushRequest:
    """Return a request of this moment."""
    repository = Repository.of_codecommit(ACCOUNT, REGION, place.name)
    now = datetime.now(UTC).replace(microsecond=0)
    return PushRequest(f"request-{next(_numbers)}", repository, ref, commit, now, terms)


async def ask(
    place: Place, commit: str, terms: RequestTerms = PLAIN, *, ref: str = MAIN
) -> PushRequest:
    """Send a request."""
    request = request_for(place, commit, terms, ref)
    await place.put(dump_request(request))
    return request


def ledger_of(place: Place) -> Ledger:
    """Return the ledger of a place."""
    return Ledger(Store(place.stack.s3, place.settings.storage), prefix=LEDGER)


async def head_of(place: Place, request: PushRequest) -> Head | None:
    """Return the head of the request's ref."""
    return await ledger_of(place).head(request.push)


async def records_of(place: Place) -> list[Mapping[str, Any]]:
    """Return the records of the place's repository, oldest push first."""
    repository = Repository.of_codecommit(ACCOUNT, REGION, place.name)
    since = datetime.now(UTC) - timedelta(days=1)
    return [each async for each in ledger_of(place).iter_pushes(repository, since=since)]


def variables(place: Place) -> list[dict[str, str]]:
    """Return the variables of the builds of the place's repository, in their order."""
    started = [each.variables for each in journal.read(place.stack.journal)]
    return [each for each in started if each["REPOSITORY_NAME"] == place.name]


async def test_tip_is_built_as_a_push(place: Place) -> None:
    """A request for a ref builds its newest commit, is recorded with its terms, and is the head."""
    _, b = place.source.commits(2)
    terms = replace(PLAIN, reason="nightly", requested_by="mary")
    request = await ask(place, TIP, terms)
    asked = await place.drain()
    assert place.built() == [b]
    assert variables(place)[0]["PUSHER"] == "mary"
    assert variables(place)[0]["EVENT_ID"] == request.id
    assert asked[:2] == ["put tip", "get push"]
    (record,) = await records_of(place)
    assert record["commit"] == b
    assert record["request"]["reason"] == "nightly"
    assert record["change"] == "requested"
    head = await head_of(place, request)
    assert head is not None
    assert (head.commit, head.event_id, head.group) == (b, request.id, place.name)


async def test_a_tip_that_was_built_is_not_built_again(place: Place) -> None:
    """The nightly build of a ref that nobody pushed to costs nothing, whatever is stale."""
    place.configure(lanes={"stale": "build"})
    (a,) = place.source.commits(1)
    push = await place.push(a)
    await ask(place, TIP)
    await place.drain()
    assert place.built() == [a]
    told = (await records_of(place))[-1]
    assert told["verdict"] == "stale"
    assert told["reason"] == f"its commit was built before, as push {push.id}"


@pytest.mark.parametrize("stale", ["skip", "build"])
async def test_an_event_after_the_tip_is_not_built_again(place: Place, stale: str) -> None:
    """A late event of the push that a request has built finds it done, whatever is stale."""
    place.configure(lanes={"stale": stale})
    a, b = place.source.commits(2)
    place.source.git("update-ref", MAIN, a)
    await ask(place, TIP)  # nothing of the ref is known before it
    await place.drain()
    await place.push(a, age_seconds=5)
    await place.drain()
    assert place.built() == [a]
    place.source.git("update-ref", MAIN, b)
    await ask(place, TIP)
    await place.drain()
    await place.push(b, a, age_seconds=5)
    await place.drain()
    assert place.built() == [a, b]
    assert [each["verdict"] for each in await records_of(place)].count("stale") == 2


@pytest.mark.parametrize("stale", ["skip", "build"])
async def test_a_push_back_to_a_tip_is_built(place: Place, stale: str) -> None:
    """Its event is newer than the request, whatever is stale."""
    place.configure(lanes={"stale": stale})
    a, b = place.source.commits(2)
    place.source.git("update-ref", MAIN, a)
    await ask(place, TIP)
    await place.drain()
    await place.push(b, a, age_seconds=-2)
    await place.push(a, b, age_seconds=-4)
    await place.drain()
    assert place.built() == [a, b, a]


async def test_a_commit_is_built_beside_the_order(place: Place) -> None:
    """An old commit on request leaves the head alone: the next push is built, and is not stale."""
    a, b, c = place.source.commits(3)
    await place.push(b, a)
    await place.drain()
    request = await ask(place, a, RequestTerms("build"))
    await place.push(c, b)
    await place.drain()
    assert place.built() == [b, a, c]
    head = await head_of(place, request)
    assert head is not None
    assert (head.commit, head.before) == (c, b)


async def test_again_builds_the_tip_once_more(place: Place) -> None:
    """The same commit twice, each under an event id of its own, and the head stays the push's."""
    (a,) = place.source.commits(1)
    push = await place.push(a)
    await place.drain()
    requests = [await ask(place, TIP, RequestTerms("build", again=True)) for _ in range(2)]
    await place.drain()
    assert place.built() == [a, a, a]
    head = await head_of(place, requests[0])
    assert head is not None
    assert head.event_id == push.id


async def test_a_request_delivered_twice_is_one_build(place: Place) -> None:
    """SQS forgets a deduplication id after five minutes; the record does not (I12)."""
    (a,) = place.source.commits(1)
    request = request_for(place, TIP, RequestTerms("build", again=True))
    for _ in range(2):
        await place.put(dump_request(request))
        await place.drain()
    assert place.built() == [a]


async def test_a_tip_stays_what_it_was_at_the_first_try(place: Place) -> None:
    """A process that died after the start is followed by one that builds the same commit."""
    (a,) = place.source.commits(1)
    await ask(place, TIP)
    await place.end_at("start_build", after=True)
    place.source.commit({"later": b"1"})
    await place.drain()
    assert place.built() == [a]
    (record,) = await records_of(place)
    assert record["commit"] == a


async def test_annotated_tag_is_peeled(place: Place) -> None:
    """A tag's tip is its object; the build has the commit."""
    (a,) = place.source.commits(1)
    place.source.git("-c", "user.name=x", "-c", "user.email=x@y", "tag", "-am", "x", "v1", a)
    place.configure(rules=[{"action": "build", "project": "web", "ref": ["refs/tags/*"]}])
    await ask(place, TIP, ref="refs/tags/v1")
    await place.drain()
    assert place.built() == [a]
    assert variables(place)[0]["TAG_ID"] == place.source.git("rev-parse", "v1")


async def test_a_deleted_ref_is_nothing_to_do(place: Place) -> None:
    """The record says why nothing was built."""
    place.source.commits(1)
    await ask(place, TIP, ref="refs/heads/gone")
    await place.drain()
    assert place.built() == []
    (record,) = await records_of(place)
    assert record["verdict"] == "ignored"
    assert record["reason"] == "refs/heads/gone does not exist: it was deleted, or never pushed"


async def test_projects_and_variables_are_those_of_the_request(place: Place) -> None:
    """One of two projects is built, with a variable of the rule replaced and one added."""
    rule = {"action": "build", "project": ["web", "lint"], "variables": {"STAGE": "test", "X": "1"}}
    place.configure(rules=[rule])
    place.source.commits(1)
    terms = RequestTerms("build", projects=("lint",), variables={"STAGE": "live", "Y": "a\nb"})
    await ask(place, TIP, terms)
    await place.drain()
    (built,) = variables(place)
    assert {name: built[name] for name in ("STAGE", "X", "Y")} == {
        "STAGE": "live",
        "X": "1",
        "Y": "a\nb",
    }
    (start,) = [
        each
        for each in journal.read(place.stack.journal)
        if each.variables["REPOSITORY_NAME"] == place.name
    ]
    assert start.project == "lint"


async def test_rules_with_changes_do_not_restrict_a_request(place: Place) -> None:
    """A build of the newest commit again has no changes, and is wanted all the same."""
    place.configure(rules=[{"action": "build", "project": "web", "changes": ["src"]}])
    (a,) = place.source.commits(1)
    b = place.source.commit({"src/a": b"1"})
    await place.push(b, a)
    await ask(place, TIP, RequestTerms("build", again=True))
    await place.drain()
    assert place.built() == [b, b]


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        (
            RequestTerms("build", projects=("other",)),
            "names project other, which the rules do not start for refs/heads/main of 1234567890",
        ),
        (RequestTerms("build", variables={"LD_PRELOAD": "x"}), "sets variable LD_PRELOAD, which"),
    ],
)
async def test_what_is_not_possible_is_a_dead_letter_with_the_possibilities(
    place: Place, terms: RequestTerms, reason: str
) -> None:
    """The sender reads what could be asked for."""
    place.configure(builds={"request_variables": ["STAGE", "DEPLOY_*"]})
    place.source.commits(1)
    await ask(place, TIP, terms)
    await place.drain()
    assert place.built() == []
    (record,) = await records_of(place)
    assert record["verdict"] == "rejected"
    assert reason in record["reason"]
    assert "possible are web" in record["reason"] or "add it to that setting" in record["reason"]


async def test_requests_keep_their_place_in_the_order(place: Place) -> None:
    """A request stands where it was sent, between the pushes before and after it (I2)."""
    a, b, c = place.source.commits(3)
    await place.push(a)
    await ask(place, b, RequestTerms("build"))
    await place.push(c, b)
    await place.drain()
    assert place.built() == [a, b, c]


async def test_a_request_is_neither_covered_nor_covers(place: Place) -> None:
    """With `lanes.superseded` a build that a person asked for is built, and hides no push."""
    place.configure(lanes={"superseded": "skip"})
    a, b, c = place.source.commits(3)
    for commit, terms in (("push", None), (a, RequestTerms("build")), (TIP, PLAIN)):
        if terms is None:
            await place.push(b, a)
        else:
            await ask(place, commit, terms)
    await place.drain()
    assert place.built() == [b, a, c]


async def test_a_found_push_covers_older_ones(place: Place) -> None:
    """A request that stands for a push of a known commit is one in every way."""
    place.configure(lanes={"superseded": "skip"})
    a, b = place.source.commits(2)
    await place.push(a)
    await ask(place, b, replace(PLAIN, source="reconcile"))
    await place.drain()
    assert place.built() == [b]


async def test_a_faulty_request_names_its_fault(place: Place) -> None:
    """It becomes a dead letter, and the pushes behind it are built."""
    (a,) = place.source.commits(1)
    document = orjson.loads(dump_request(request_for(place, TIP, PLAIN)))
    await place.put(orjson.dumps(document | {"version": 7}))
    await place.push(a)
    await place.drain()
    assert place.built() == [a]
    queue = await place.stack.sqs.get_queue_url(QueueName=DEAD_LETTERS)
    answer = await place.stack.sqs.receive_message(
        QueueUrl=queue["QueueUrl"],
        MaxNumberOfMessages=10,
        MessageAttributeNames=["All"],
        WaitTimeSeconds=1,
    )
    reasons = [each["MessageAttributes"]["Reason"]["StringValue"] for each in answer["Messages"]]
    assert any("version of the push message is 7 (this service reads" in each for each in reasons)


async def test_the_group_of_a_repository_is_known_from_its_heads(place: Place) -> None:
    """What sends to the queue later must use the group of the pushes (I2)."""
    (a,) = place.source.commits(1)
    push: Push = await place.push(a)
    assert await ledger_of(place).find_group(push.repository) == ""
    await place.drain()
    assert await ledger_of(place).find_group(push.repository) == place.name
