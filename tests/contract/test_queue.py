"""Rules of SQS FIFO that asyncbuild relies on, each tested through the service's port.

Runs on ministack and on the model in memory; where one of them differs from AWS's documentation it
says so here, by name. Sources: API = SQS API Reference; guide = SQS Developer Guide.
"""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import aioboto3
import anyio
import orjson
import pytest
from aiobotocore.config import AioConfig
from support.listening import hearing
from support.servers import REGION
from support.sqs_model import FifoModel, ModelClient, Refused
from support.wait import PATIENCE_SECONDS

from asyncbuild.domain.errors import Fatal, Kind, LeaseLost, Retry, StageError
from asyncbuild.domain.model import Message
from asyncbuild.local.servers.children import LocalServer
from asyncbuild.queue.sqs import Queue

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

_LONG, _SHORT = 60, 1


@dataclass
class Port:
    """A queue under test and its dead-letter queue, as a consumer and from outside."""

    name: str
    queue: Queue
    client: "SQSClient"
    url: str
    dead_letter_url: str
    model: FifoModel | None = None

    async def send(self, body: str, group: str = "g", deduplication: str | None = None) -> None:
        """Send one message to the queue."""
        await self.client.send_message(
            QueueUrl=self.url,
            MessageBody=body,
            MessageGroupId=group,
            MessageDeduplicationId=deduplication or uuid.uuid4().hex,
        )

    async def receive(self, most: int = 10, seconds: int = _LONG) -> list[Message]:
        """Receive messages as a consumer does, through the `Queue` under test."""
        return await self.queue.receive(most=most, wait_seconds=0, visibility_seconds=seconds)

    async def expired(self) -> None:
        """Let visibility timeouts of `_SHORT` run out."""
        if self.model is not None:
            self.model.now += _SHORT
            return
        await anyio.sleep(_SHORT)  # the server uses real time, and raises no event

    async def received_again(self) -> list[Message]:
        """Return the next messages, as soon as there are any."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while True:
                if found := await self.receive():
                    return found
                await anyio.sleep(0.05)

    async def dead_letters(self) -> list[Any]:
        """Return the dead-letter queue's messages, as botocore shows them."""
        call: Any = {
            "QueueUrl": self.dead_letter_url,
            "MaxNumberOfMessages": 10,
            "VisibilityTimeout": 0,
            "MessageAttributeNames": ["All"],
            "MessageSystemAttributeNames": ["MessageGroupId"],
        }
        if self.model is not None:
            call["ReceiveRequestAttemptId"] = ""
        answer = await self.client.receive_message(**call)
        return list(answer.get("Messages", []))


_names = count()


@asynccontextmanager
async def _open_ministack_port(server: LocalServer) -> AsyncIterator[Port]:
    session = aioboto3.Session(region_name=REGION)
    config = AioConfig(retries={"total_max_attempts": 1})
    async with session.client("sqs", endpoint_url=server.endpoint_url, config=config) as client:
        fifo: Any = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        name = f"contract-{next(_names)}"
        dead = await client.create_queue(QueueName=f"{name}-dead.fifo", Attributes=fifo)
        arn = f"arn:aws:sqs:{REGION}:000000000000:{name}-dead.fifo"
        policy = {"deadLetterTargetArn": arn, "maxReceiveCount": 7}
        fifo["RedrivePolicy"] = orjson.dumps(policy).decode()
        made = await client.create_queue(QueueName=f"{name}.fifo", Attributes=fifo)
        url, dead_url = made["QueueUrl"], dead["QueueUrl"]
        queue = Queue(polls=client, control=client, url=url, dead_letter_url=dead_url)
        yield Port("ministack", queue, client, url, dead_url)


def _model_port() -> Port:
    url, dead_url = "http://model/queue.fifo", "http://model/dead.fifo"
    model = FifoModel(max_receive_count=7)
    model.dead_letters = FifoModel()
    arn = "arn:aws:sqs:eu-west-1:000000000000:dead.fifo"
    facts = {"RedrivePolicy": {"deadLetterTargetArn": arn, "maxReceiveCount": 7}}
    client = cast("SQSClient", ModelClient({url: model, dead_url: model.dead_letters}, facts))
    queue = Queue(polls=client, control=client, url=url, dead_letter_url=dead_url)
    return Port("model", queue, client, url, dead_url, model)


@pytest.fixture(params=["ministack", "model"])
async def port(request: pytest.FixtureRequest) -> AsyncIterator[Port]:
    """Open a new queue on each of the two."""
    if request.param == "model":
        yield _model_port()
        return
    async with _open_ministack_port(request.getfixturevalue("ministack")) as port:
        yield port


def differs(request: pytest.FixtureRequest, port: Port, server: str, why: str) -> None:
    """Expect a known difference of one server from AWS's documentation."""
    if port.name == server:
        request.applymarker(pytest.mark.xfail(reason=f"{server}: {why}", strict=True))


def bodies(messages: list[Message]) -> list[str]:
    """Return the bodies, in the order received."""
    return [message.body for message in messages]


class TestReceive:
    """Order, group lock, attributes."""

    async def test_returns_a_group_in_order_with_its_attributes(self, port: Port) -> None:
        """Sequence numbers grow, counts begin at one, the time is that of sending (API)."""
        for n in range(12):
            await port.send(f"b{n}", "web")
        messages = await port.receive()
        assert [f"b{n}" for n in range(10)] == bodies(messages)
        sequences = [message.sequence for message in messages]
        assert sequences == sorted(set(sequences))
        assert {("web", 1)} == {(each.group, each.receive_count) for each in messages}
        assert all(each.sent is not None and each.sent.year >= 2026 for each in messages)
        assert len({each.receipt_handle for each in messages}) == 10

    async def test_locks_a_group_and_no_other(self, port: Port) -> None:
        """While messages of a group are in flight no later one is received (guide)."""
        await port.send("a1", "a")
        await port.send("a2", "a")
        assert bodies(await port.receive(most=1)) == ["a1"]
        await port.send("b1", "b")
        assert bodies(await port.receive()) == ["b1"]
        assert await port.receive() == []

    async def test_goes_on_after_the_delete(self, port: Port) -> None:
        """A deleted head makes way for the next."""
        await port.send("a1")
        await port.send("a2")
        (head,) = await port.receive(most=1)
        await port.queue.delete(head)
        assert bodies(await port.receive()) == ["a2"]

    async def test_counts_every_delivery_of_every_message(self, port: Port) -> None:
        """Tried or not: each message of a batch has spent a receive (guide, DLQ)."""
        for n in range(3):
            await port.send(f"b{n}")
        await port.receive(seconds=_SHORT)
        await port.expired()
        messages = await port.received_again()
        assert [(m.body, m.receive_count) for m in messages] == [("b0", 2), ("b1", 2), ("b2", 2)]

    async def test_accepts_a_deduplication_id_once(self, port: Port) -> None:
        """A repeat is dropped even after the first was deleted (API, SendMessage)."""
        await port.send("one", deduplication="d")
        (message,) = await port.receive()
        await port.queue.delete(message)
        await port.send("two", deduplication="d")
        assert await port.receive() == []

    async def test_moves_a_message_received_too_often(self, port: Port) -> None:
        """`maxReceiveCount` deliveries, then the dead-letter queue (guide, DLQ)."""
        await port.send("often")
        for _ in range(7):
            (message,) = await port.receive()
            await port.queue.release([message])
        assert await port.receive() == []
        assert [each["Body"] for each in await port.dead_letters()] == ["often"]

    async def test_repeats_an_attempt(self, port: Port, request: pytest.FixtureRequest) -> None:
        """An equal ReceiveRequestAttemptId returns the same messages again (API)."""
        differs(request, port, "ministack", "takes no notice of ReceiveRequestAttemptId")
        await port.send("a1")
        call: Any = {
            "QueueUrl": port.url,
            "MaxNumberOfMessages": 10,
            "VisibilityTimeout": _LONG,
            "MessageSystemAttributeNames": [],
            "ReceiveRequestAttemptId": "lost-answer",
        }
        first = await port.client.receive_message(**call)
        again = await port.client.receive_message(**call)
        assert first["Messages"] == again.get("Messages")
        await port.client.delete_message(
            QueueUrl=port.url, ReceiptHandle=first["Messages"][0]["ReceiptHandle"]
        )
        assert not (await port.client.receive_message(**call)).get("Messages")


class TestLease:
    """Renewing, releasing, deleting, and stale handles."""

    async def test_renews_a_batch(self, port: Port) -> None:
        """All ten in one call; then they outlast their first timeout."""
        for n in range(10):
            await port.send(f"b{n}")
        messages = await port.receive(seconds=_SHORT)
        answer = await port.queue.renew(messages, seconds=_LONG)
        assert (frozenset(), frozenset()) == (answer.lost, answer.failed)
        await port.expired()
        assert await port.receive() == []
        await port.queue.delete(messages[0])

    async def test_released_tail_first_is_received_in_order(self, port: Port) -> None:
        """Tail first, head last: the next receive gets the whole group, in order."""
        for n in range(4):
            await port.send(f"b{n}")
        messages = await port.receive()
        for n in (3, 2, 1):
            await port.queue.release([messages[n]])
            assert await port.receive() == [], "the head is locked: nothing may come"
        await port.queue.release([messages[0]])
        assert bodies(await port.receive()) == ["b0", "b1", "b2", "b3"]

    async def test_released_in_one_call_each(self, port: Port) -> None:
        """`release` takes the order it is given."""
        for n in range(4):
            await port.send(f"b{n}")
        messages = await port.receive()
        await port.queue.release(messages[::-1])
        assert bodies(await port.receive()) == ["b0", "b1", "b2", "b3"]

    async def test_released_head_first_opens_the_group_with_its_tail_locked(
        self, port: Port, request: pytest.FixtureRequest
    ) -> None:
        """AWS does not document it.

        The model allows it, so the service must not rely on the opposite.
        """
        differs(request, port, "ministack", "locks a group while any message of it is in flight")
        for n in range(3):
            await port.send(f"b{n}")
        messages = await port.receive()
        await port.queue.release(messages[:1])
        assert bodies(await port.receive()) == ["b0"]

    async def test_a_stale_handle_cannot_delete(self, port: Port) -> None:
        """After another delivery the old handle is invalid: LeaseLost (API, DeleteMessage)."""
        await port.send("a1")
        (old,) = await port.receive(seconds=_SHORT)
        await port.expired()
        (new,) = await port.received_again()
        with pytest.raises(LeaseLost):
            await port.queue.delete(old)
        await port.queue.delete(new)

    async def test_a_stale_handle_cannot_renew(self, port: Port) -> None:
        """The message is reported as lost, and the new delivery is not changed (API)."""
        await port.send("a1")
        (old,) = await port.receive(seconds=_SHORT)
        await port.expired()
        await port.received_again()
        assert {old.id} == (await port.queue.renew([old], seconds=0)).lost
        assert await port.receive() == []

    async def test_an_expired_handle_cannot_delete(
        self, port: Port, request: pytest.FixtureRequest
    ) -> None:
        """On a FIFO queue not even before the next delivery (API, ReceiveMessage)."""
        differs(request, port, "ministack", "deletes with an expired handle")
        await port.send("a1")
        (message,) = await port.receive(seconds=_SHORT)
        await port.expired()
        with pytest.raises(LeaseLost):
            await port.queue.delete(message)

    async def test_an_expired_handle_cannot_renew(
        self, port: Port, request: pytest.FixtureRequest
    ) -> None:
        """MessageNotInflight (API, ChangeMessageVisibility)."""
        differs(request, port, "ministack", "renews with an expired handle")
        await port.send("a1")
        (message,) = await port.receive(seconds=_SHORT)
        await port.expired()
        assert {message.id} == (await port.queue.renew([message], seconds=_LONG)).lost

    async def test_a_renewal_after_a_release_is_refused(
        self, port: Port, request: pytest.FixtureRequest
    ) -> None:
        """A released message is not in flight (API); the service does not send such a renewal."""
        differs(request, port, "ministack", "a late renewal undoes a release")
        await port.send("a1")
        (message,) = await port.receive()
        await port.queue.release([message])
        assert {message.id} == (await port.queue.renew([message], seconds=_LONG)).lost
        assert bodies(await port.receive()) == ["a1"]

    async def test_a_second_delete_is_accepted(
        self, port: Port, request: pytest.FixtureRequest
    ) -> None:
        """Only for a message that this very handle has deleted (API, DeleteMessage)."""
        differs(request, port, "ministack", "refuses the second delete")
        await port.send("a1")
        (message,) = await port.receive()
        await port.queue.delete(message)
        await port.queue.delete(message)

    async def test_an_invalid_handle_is_refused(self, port: Port) -> None:
        """ReceiptHandleIsInvalid (API)."""
        await port.send("a1")
        (message,) = await port.receive()
        none = Message("m", "b", "no-handle", "g", 1)
        with pytest.raises(LeaseLost):
            await port.queue.delete(none)
        answer = await port.queue.renew([message, none], seconds=_LONG)
        assert answer.lost == {none.id}
        assert not answer.failed


class TestDeadLetter:
    """Explicit dead-lettering: same group, same body, and the reason."""

    async def _dead_letter(self, port: Port, body: str, reason: str = "because") -> Any:  # noqa: ANN401 - botocore's shape
        await port.send(body, "web")
        (message,) = await port.receive()
        for _ in range(2):  # repeated within five minutes it is kept once
            await port.queue.dead_letter(message, kind=Kind.REJECT, reason=reason, attempts=2)
        (dead,) = await port.dead_letters()
        return message, dead

    async def test_keeps_group_and_body_with_the_reason(self, port: Port) -> None:
        """Reason, kind, attempts and origin are message attributes."""
        message, dead = await self._dead_letter(port, "body")
        assert (dead["Body"], dead["Attributes"]["MessageGroupId"]) == ("body", "web")
        assert {
            "Reason": ("String", "because"),
            "ErrorKind": ("String", "reject"),
            "Attempts": ("Number", "2"),
            "OriginalMessageId": ("String", message.id),
            "OriginalSequenceNumber": ("String", str(message.sequence)),
        } == {k: (v["DataType"], v["StringValue"]) for k, v in dead["MessageAttributes"].items()}

    @pytest.mark.parametrize(
        ("reason", "shown"),
        [
            ("", "-"),
            ("tab\tline\nreturn\r", "tab\tline\nreturn\r"),
            ("bell\x07 nul\x00 escape\x1b[31m", "bell? nul? escape?[31m"),
            ("\ufffe\uffff\ud800", "???"),
            ("größer 😀", "größer 😀"),
            ("x" * 5_000, "x" * 2_000),
        ],
        ids=["empty", "white", "control", "no-characters", "beyond-ascii", "long"],
    )
    async def test_writes_any_reason(self, port: Port, reason: str, shown: str) -> None:
        """SQS accepts no empty value and only characters of XML 1.0 (API, SendMessage)."""
        _, dead = await self._dead_letter(port, "body", reason)
        assert shown == dead["MessageAttributes"]["Reason"]["StringValue"]

    @pytest.mark.parametrize("limit", [1024, 4096, 262_144])
    @pytest.mark.parametrize("room", [0, 1, 14, 40, 80, 120, 160, 200, 300, 1_000])
    async def test_fits_its_queue_with_any_body(self, port: Port, limit: int, room: int) -> None:
        """Body and attributes together, as that queue's own limit counts them (guide, quotas)."""
        await _limit(port, limit)
        with hearing() as lines:
            _, dead = await self._dead_letter(port, "ü" + "x" * (limit - room - 2), "why" * 600)
        attributes = dead.get("MessageAttributes", {})
        size = len(dead["Body"].encode()) + sum(
            len(name) + len(each["DataType"]) + len(each["StringValue"].encode())
            for name, each in attributes.items()
        )
        assert size <= limit
        if room >= 200:  # the five others have about 140 bytes
            assert limit - 3 <= size  # the reason takes what is left, but for half a character
            assert attributes["Reason"]["StringValue"].startswith("whywhy")
        warned = [each for each in lines if each["event"] == "push.dead-letter-shortened"]
        assert len(warned) == 2  # one for each try
        assert "Reason" in warned[0]["lacking"]

    async def test_a_queue_with_a_lower_limit_than_documented_gets_less(self) -> None:
        """Down to the bare body: a message refused for its length must not block its group."""
        for hidden in (262_144, 262_050):
            port = _model_port()
            await port.send("x" * 262_050, "web")
            (message,) = await port.receive()
            assert port.model is not None
            dead = port.model.dead_letters
            assert dead is not None
            dead.hidden_bytes = hidden
            await port.queue.dead_letter(message, kind=Kind.REJECT, reason="no", attempts=1)
            (letter,) = await port.dead_letters()
            assert ("Attempts" in letter.get("MessageAttributes", {})) == (hidden > 262_050)

    async def test_a_body_longer_than_the_queues_limit_is_reported(self, port: Port) -> None:
        """The warning has the remedy; the message is sent once the queue's limit is raised."""
        await _limit(port, 1024)
        await port.send("x" * 1025, "web")
        (message,) = await port.receive()
        for _ in range(2):
            with pytest.raises(Retry, match=r"has 1025 bytes, and the queue takes 1024 .*1048576"):
                await port.queue.dead_letter(message, kind=Kind.REJECT, reason="no", attempts=1)
        await _limit(port, 2048)
        await port.queue.dead_letter(message, kind=Kind.REJECT, reason="no", attempts=1)
        (dead,) = await port.dead_letters()
        assert dead["MessageAttributes"]["Reason"]["StringValue"] == "no"

    # aiohttp warns of a megabyte of bytes where a file would do; botocore passes bytes
    @pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
    async def test_a_body_that_leaves_no_room_is_sent_without_reason(self, port: Port) -> None:
        """1 MiB holds body and attributes together (guide, quotas)."""
        body = "ü" * (512 * 1024 - 5)
        _, dead = await self._dead_letter(port, body)
        assert body == dead["Body"]
        assert not dead.get("MessageAttributes")


async def _limit(port: Port, limit: int) -> None:
    """Let the dead-letter queue take no more than `limit` bytes."""
    if port.model is not None and port.model.dead_letters is not None:
        port.model.dead_letters.most_bytes = limit
        return
    await port.client.set_queue_attributes(
        QueueUrl=port.dead_letter_url, Attributes={"MaximumMessageSize": str(limit)}
    )


class TestFacts:
    """Attributes of a queue."""

    async def test_are_read(self, port: Port) -> None:
        """FIFO, visibility, redrive policy."""
        facts = await port.queue.facts()
        assert (
            facts.fifo,
            facts.visibility_timeout_seconds,
            facts.max_receive_count,
        ) == (True, 30, 7)

    async def test_lead_to_the_dead_letter_queue(self, port: Port) -> None:
        """The redrive policy names it, where none is configured."""
        queue = Queue(polls=port.client, control=port.client, url=port.url)
        assert port.dead_letter_url == await queue.find_dead_letter_queue(await queue.facts())

    async def test_a_configured_dead_letter_queue_comes_first(self, port: Port) -> None:
        """No attribute is read then."""
        assert port.dead_letter_url == await port.queue.find_dead_letter_queue(
            await port.queue.facts()
        )


async def test_a_queue_without_dead_letter_queue_is_fatal() -> None:
    """The error has a remedy."""
    client = cast("SQSClient", ModelClient({}, {}))
    queue = Queue(polls=client, control=client, url="http://model/queue.fifo")
    with pytest.raises(Fatal, match="no dead-letter queue") as caught:
        await queue.find_dead_letter_queue(await queue.facts())
    assert "RedrivePolicy" in caught.value.remedy


async def test_a_missing_dead_letter_queue_is_an_error() -> None:
    """The error names it."""
    facts = {"RedrivePolicy": {"deadLetterTargetArn": "arn:aws:sqs:r:1:gone.fifo"}}
    client = cast("SQSClient", ModelClient({}, facts))
    queue = Queue(polls=client, control=client, url="http://model/queue.fifo")
    with pytest.raises(StageError, match=r"gone\.fifo"):
        await queue.find_dead_letter_queue(await queue.facts())


class TestModel:
    """Rules that no available server keeps: the model against AWS's documentation, by table."""

    def test_visibility_lasts_twelve_hours_in_all(self) -> None:
        """Twelve hours from the receive, however often extended (API, ChangeMessageVisibility)."""
        model = FifoModel()
        model.send("b", "g")
        (message,) = model.receive(1, 43_200)
        model.now += 1
        model.change(str(message.handle), 43_199)
        with pytest.raises(Refused, match="beyond the limit"):
            model.change(str(message.handle), 43_200)

    @pytest.mark.parametrize(
        ("touch", "repeated"),
        [("nothing", True), ("change", False), ("delete", False), ("expire", False)],
    )
    def test_an_attempt_is_repeated_only_if_untouched(self, touch: str, *, repeated: bool) -> None:
        """No message deleted, changed or expired since (API, ReceiveRequestAttemptId)."""
        model = FifoModel()
        model.send("b", "g")
        (message,) = model.receive(10, 60, "attempt")
        handle = message.handle
        match touch:
            case "change":
                model.change(str(handle), 90)
            case "delete":
                model.delete(str(handle))
            case "expire":
                model.now += 60
            case _:
                pass
        again = model.receive(10, 60, "attempt")
        assert repeated == ([handle] == [each.handle for each in again])

    def test_an_attempt_is_forgotten_after_five_minutes(self) -> None:
        """After that it is a receive like any other (API)."""
        model = FifoModel()
        model.send("b", "g")
        model.receive(10, 600, "attempt")
        model.now += 300
        assert model.receive(10, 600, "attempt") == []
