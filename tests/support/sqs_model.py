"""SQS FIFO in memory, on a virtual clock: the rules that AWS documents, the strict ones included.

`FifoModel` is the queue; `ModelClient` speaks to it as botocore's client would, so that
`asyncbuild.queue.sqs.Queue` runs on it. The contract suite checks it beside a real server.

Sources: API = SQS API Reference; guide = SQS Developer Guide.

- A group is delivered in order; nothing behind an invisible message is (guide, FIFO delivery
  logic). Whether a free head is delivered while its followers are in flight is not said; by default
  it is, which is the harder case for a consumer.
- A receipt handle is good for its delivery and until its visibility ends (API, DeleteMessage:
  "If you leave a message ... the receipt handle ... expires"; ReceiveMessage for FIFO queues).
- A second delete with a handle that has deleted its message is no error (API, DeleteMessage).
- A repeated ReceiveRequestAttemptId within five minutes gives the same messages and resets their
  visibility, if none was deleted or changed meanwhile (API, ReceiveMessage).
- An equal deduplication id within five minutes is accepted and not delivered (API, SendMessage).
- Visibility lasts twelve hours from the receive at most (API, ChangeMessageVisibility).
- What was received `maxReceiveCount` times is moved when it would be received again (guide, DLQ).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson
from botocore.exceptions import ClientError

DEDUPLICATION_SECONDS = ATTEMPT_SECONDS = 300.0
MOST_VISIBLE_SECONDS = 12 * 3_600


class Refused(Exception):
    """A refusal by the queue; `code` is the error code of the API."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(slots=True)
class Stored:
    """One message in the queue."""

    id: str
    body: str
    group: str
    sequence: int
    sent: float
    attributes: Mapping[str, Any] = field(default_factory=dict)
    receives: int = 0
    received_at: float = 0.0
    visible_at: float = 0.0
    handle: str | None = None


@dataclass(slots=True)
class _Attempt:
    at: float
    handles: dict[str, str]  # message id → handle
    visible_at: float


class FifoModel:
    """One FIFO queue; tests move its `now`."""

    def __init__(
        self,
        *,
        max_receive_count: int | None = None,
        locks_whole_group: bool = False,
        most_bytes: int = 1024 * 1024,
        numbers: "count[int] | None" = None,
    ) -> None:
        self.now = 1_800_000_000.0
        self.messages: list[Stored] = []
        self.dead_letters: FifoModel | None = None
        self._max_receive_count = max_receive_count
        self.most_bytes = most_bytes
        self.hidden_bytes: int | None = None  # a lower limit, which its attributes do not show
        self._locks_whole_group = locks_whole_group
        self._numbers = numbers or count(1)
        self._seen: dict[str, tuple[float, str]] = {}
        self._attempts: dict[str, _Attempt] = {}
        self._deleted: set[str] = set()

    # --- what a sender does -----------------------------------------------------------------------

    def send(
        self,
        body: str,
        group: str,
        *,
        deduplication: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> str:
        """Put a message at the end of its group; return its id."""
        key = deduplication or hashlib.sha256(body.encode()).hexdigest()
        known = self._seen.get(key)
        if known and self.now - known[0] < DEDUPLICATION_SECONDS:
            return known[1]
        number = next(self._numbers)
        stored = Stored(f"m{number}", body, group, number, self.now, attributes or {})
        self._seen[key] = (self.now, stored.id)
        self.messages.append(stored)
        return stored.id

    # --- what a consumer does ---------------------------------------------------------------------

    def receive(self, most: int, visibility: float, attempt: str = "") -> list[Stored]:
        """Return messages that are free now; all of one group, then of the next."""
        repeated = self._repeat(attempt, visibility)
        if repeated is not None:
            return repeated
        self._redrive()
        taken: list[Stored] = []
        for group in dict.fromkeys(each.group for each in self.messages):
            for each in self._free(group)[: most - len(taken)]:
                each.receives += 1
                each.handle = f"{each.id}/{each.receives}"
                each.received_at = self.now
                each.visible_at = self.now + visibility
                taken.append(each)
        if attempt and taken:
            handles = {each.id: str(each.handle) for each in taken}
            self._attempts[attempt] = _Attempt(self.now, handles, self.now + visibility)
        return taken

    def change(self, handle: str, seconds: float) -> None:
        """Answer ChangeMessageVisibility."""
        message = self._held_by(handle)
        if message.visible_at <= self.now:
            raise Refused("MessageNotInflight", "The message referred to isn't in flight.")
        if self.now + seconds > message.received_at + MOST_VISIBLE_SECONDS:
            raise Refused("InvalidParameterValue", "Total VisibilityTimeout is beyond the limit.")
        message.visible_at = self.now + seconds

    def delete(self, handle: str) -> None:
        """Answer DeleteMessage."""
        if handle in self._deleted:
            return
        message = self._held_by(handle)
        if message.visible_at <= self.now:
            raise Refused("InvalidParameterValue", "The receipt handle has expired.")
        self.messages.remove(message)
        self._deleted.add(handle)

    def holds(self, handle: str) -> bool:
        """Return whether the handle is still valid."""
        return any(each.handle == handle and each.visible_at > self.now for each in self.messages)

    # --- inside -----------------------------------------------------------------------------------

    def _free(self, group: str) -> list[Stored]:
        row = [each for each in self.messages if each.group == group]
        in_flight = [each for each in row if each.visible_at > self.now]
        if not in_flight:
            return row
        return [] if self._locks_whole_group else row[: row.index(in_flight[0])]

    def _held_by(self, handle: str) -> Stored:
        for each in self.messages:
            if each.handle == handle:
                return each
        raise Refused("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")

    def _repeat(self, attempt: str, visibility: float) -> list[Stored] | None:
        known = self._attempts.get(attempt)
        if known is None or self.now - known.at >= ATTEMPT_SECONDS:
            return None
        same = [each for each in self.messages if known.handles.get(each.id) == each.handle]
        untouched = all(self.now < each.visible_at == known.visible_at for each in same)
        if len(same) < len(known.handles) or not untouched:
            return None
        known.visible_at = self.now + visibility
        for each in same:
            each.visible_at = known.visible_at
        return same

    def _redrive(self) -> None:
        if self._max_receive_count is None or self.dead_letters is None:
            return
        for each in list(self.messages):
            if each.visible_at <= self.now and each.receives >= self._max_receive_count:
                self.messages.remove(each)
                each.handle = None
                self.dead_letters.messages.append(each)


class ModelClient:
    """Calls that asyncbuild makes, answered by models; queues by their URL."""

    def __init__(self, queues: Mapping[str, FifoModel], facts: Mapping[str, Any]) -> None:
        self._queues = queues
        self._facts = dict(facts)

    async def receive_message(self, **call: Any) -> Any:  # noqa: ANN401 - botocore's shapes
        """Answer ReceiveMessage without waiting."""
        found = self._queues[call["QueueUrl"]].receive(
            call["MaxNumberOfMessages"], call["VisibilityTimeout"], call["ReceiveRequestAttemptId"]
        )
        wanted = call["MessageSystemAttributeNames"]
        return {"Messages": [_shown(each, wanted) for each in found]} if found else {}

    async def change_message_visibility_batch(self, **call: Any) -> Any:  # noqa: ANN401 - as above
        """Answer ChangeMessageVisibilityBatch."""
        done, failed = [], []
        for entry in call["Entries"]:
            try:
                self._queues[call["QueueUrl"]].change(
                    entry["ReceiptHandle"], entry["VisibilityTimeout"]
                )
            except Refused as error:
                failed.append({"Id": entry["Id"], "Code": error.code, "SenderFault": True})
            else:
                done.append({"Id": entry["Id"]})
        return {"Successful": done, "Failed": failed}

    async def delete_message(self, **call: Any) -> Any:  # noqa: ANN401 - as above
        """Answer DeleteMessage."""
        try:
            self._queues[call["QueueUrl"]].delete(call["ReceiptHandle"])
        except Refused as error:
            answer: Any = {"Error": {"Code": error.code, "Message": error.message}}
            raise ClientError(answer, "DeleteMessage") from error
        return {}

    async def send_message(self, **call: Any) -> Any:  # noqa: ANN401 - as above
        """Answer SendMessage, counting body and attributes together like SQS."""
        attributes = call.get("MessageAttributes", {})
        size = len(call["MessageBody"].encode()) + sum(
            len(name) + len(each["DataType"]) + len(each["StringValue"].encode())
            for name, each in attributes.items()
        )
        queue = self._queues[call["QueueUrl"]]
        most = queue.hidden_bytes or queue.most_bytes
        if size > most:
            message = f"Reason: Message must be shorter than {most} bytes."
            answer: Any = {"Error": {"Code": "InvalidParameterValue", "Message": message}}
            raise ClientError(answer, "SendMessage")
        id_ = self._queues[call["QueueUrl"]].send(
            call["MessageBody"],
            call["MessageGroupId"],
            deduplication=call.get("MessageDeduplicationId"),
            attributes=call.get("MessageAttributes"),
        )
        return {"MessageId": id_}

    async def get_queue_attributes(self, **call: Any) -> Any:  # noqa: ANN401 - as above
        """Answer GetQueueAttributes, with the same configuration for all queues."""
        found = self._queues.get(call["QueueUrl"])
        if call["AttributeNames"] == ["MaximumMessageSize"] and found is not None:
            return {"Attributes": {"MaximumMessageSize": str(found.most_bytes)}}
        attributes = {"FifoQueue": "true", "VisibilityTimeout": "30", **self._facts}
        if "RedrivePolicy" in attributes:
            attributes["RedrivePolicy"] = orjson.dumps(attributes["RedrivePolicy"]).decode()
        return {"Attributes": attributes}

    async def get_queue_url(self, **call: Any) -> Any:  # noqa: ANN401 - as above
        """Answer GetQueueUrl, by the last part of the URL."""
        for url in self._queues:
            if url.endswith(f"/{call['QueueName']}"):
                return {"QueueUrl": url}
        answer: Any = {"Error": {"Code": "QueueDoesNotExist", "Message": ""}}
        raise ClientError(answer, "GetQueueUrl")


def _shown(each: Stored, wanted: Sequence[str]) -> dict[str, Any]:
    attributes = {
        "MessageGroupId": each.group,
        "SequenceNumber": str(each.sequence),
        "ApproximateReceiveCount": str(each.receives),
        "SentTimestamp": str(int(each.sent * 1000)),
    }
    return {
        "MessageId": each.id,
        "ReceiptHandle": each.handle,
        "Body": each.body,
        "Attributes": {name: attributes[name] for name in wanted},
        "MessageAttributes": each.attributes,
    }
