"""Servers of a world of results, as the service's own clients and stores see them.

SQS's standard queue, S3's records with ETags, BatchGetBuilds, BatchGetBuildBatches and
GetPipelineExecution. Their state is the world's (`support.result_world`).
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from botocore.exceptions import ClientError
from support.records import etag_of

from asyncbuild.domain.errors import Outage
from asyncbuild.domain.model import StoredRecord

if TYPE_CHECKING:
    from support.result_world import ResultWorld

_EXECUTION_WORDS = {"SUCCEEDED": "Succeeded", "FAILED": "Failed", "STOPPED": "Stopped"}


class RefusedCall(Exception):
    """The server refuses this call."""


class WorldRecords:
    """The bucket, with the interface that `builds.result_ledger` uses."""

    def __init__(self, world: "ResultWorld", *, faulty: bool = True) -> None:
        self._world = world
        self._faulty = faulty

    async def _call(self, key: str, *, before: bool = True) -> None:
        if not self._faulty:
            return
        try:
            await self._world.call(before=before)
        except RefusedCall:
            raise Outage(f"s3: {key}") from None

    async def replace_record(self, key: str, body: bytes) -> None:
        """Write."""
        await self._call(key)
        self._world.kept[key] = (body, self._world.now)
        await self._call(key, before=False)

    async def put_record(self, key: str, body: bytes) -> bool:
        """Write once; a writer whose answer was lost is told that it has written."""
        await self._call(key)
        found = self._world.kept.setdefault(key, (body, self._world.now))
        await self._call(key, before=False)
        return found[0] is body

    async def get_record(self, key: str) -> bytes | None:
        """Read."""
        await self._call(key)
        found = self._world.kept.get(key)
        return None if found is None else found[0]

    async def read_stored(self, key: str) -> StoredRecord | None:
        """Read with the ETag."""
        body = await self.get_record(key)
        return None if body is None else StoredRecord(body, etag_of(body))

    async def replace_stored(self, key: str, body: bytes, *, etag: str) -> str | None:
        """Write if the ETag is still that one; the answer may be lost."""
        await self._call(key)
        found = self._world.kept.get(key)
        if (etag_of(found[0]) if found is not None else "") != etag:
            return None
        self._world.check_write(key, body)
        self._world.kept[key] = (body, self._world.now)
        await self._call(key, before=False)
        return etag_of(body)

    async def delete_record(self, key: str) -> None:
        """Remove."""
        await self._call(key)
        self._world.kept.pop(key, None)
        await self._call(key, before=False)

    async def iter_records(self, prefix: str, *, after: str = "") -> AsyncIterator[Any]:
        """List."""
        await self._call(prefix)
        for key in sorted(self._world.kept):
            if key.startswith(prefix) and key > after and key in self._world.kept:
                yield _Listed(key, datetime.fromtimestamp(self._world.kept[key][1], UTC))


@dataclass(frozen=True)
class _Listed:
    key: str
    last_modified: datetime


class WorldServices:
    """CodeBuild and CodePipeline, as botocore's clients answer."""

    def __init__(self, world: "ResultWorld") -> None:
        self._world = world

    async def _call(self, operation: str) -> None:
        if self._world.gate is not None:
            await self._world.gate.wait()
        try:
            await self._world.call(before=True)
        except RefusedCall:
            codes = ["ThrottlingException", "InternalError", "AccessDeniedException"]
            raise _refused(self._world.random.choice(codes), operation) from None

    async def batch_get_builds(self, *, ids: list[str]) -> Any:  # noqa: ANN401 - botocore's shapes
        """Answer BatchGetBuilds, of a moment ago."""
        assert 0 < len(ids) <= 100
        assert len(set(ids)) == len(ids)
        await self._call("BatchGetBuilds")
        return {"builds": self._documents(ids)}

    async def batch_get_build_batches(self, *, ids: list[str]) -> Any:  # noqa: ANN401 - as above
        """Answer BatchGetBuildBatches."""
        await self._call("BatchGetBuildBatches")
        found = self._documents(ids)
        return {
            "buildBatches": [each | {"buildBatchStatus": each["buildStatus"]} for each in found]
        }

    def _documents(self, ids: list[str]) -> list[dict[str, Any]]:
        now = self._world.now - self._world.lag
        known = (self._world.attempts[id_] for id_ in ids if id_ in self._world.attempts)
        return [told for each in known if (told := each.document(now)) is not None]

    async def get_pipeline_execution(self, **call: Any) -> Any:  # noqa: ANN401 - as above
        """Answer GetPipelineExecution: the attempts of an execution are its stages' retries."""
        await self._call("GetPipelineExecution")
        id_ = f"{call['pipelineName']}:{call['pipelineExecutionId']}"
        course = next((each for each in self._world.courses if each.attempts[0].id == id_), None)
        now = self._world.now - self._world.lag
        begun = [each for each in course.attempts if each.begin <= now] if course else []
        if not begun:
            raise _refused("PipelineExecutionNotFoundException", "GetPipelineExecution")
        status = _EXECUTION_WORDS[begun[-1].status] if now >= begun[-1].end else "InProgress"
        return {"pipelineExecution": {"status": status}}

    async def list_action_executions(self, **call: Any) -> Any:  # noqa: ANN401 - as above
        """Answer ListActionExecutions: none."""
        await self._call(f"ListActionExecutions {call['pipelineName']}")
        return {"actionExecutionDetails": []}


class WorldSqs:
    """The standard queue, as botocore's client answers."""

    def __init__(self, world: "ResultWorld") -> None:
        self._world = world

    async def _call(self, operation: str, *, before: bool = True) -> None:
        try:
            await self._world.call(before=before)
        except RefusedCall:
            raise _refused("ServiceUnavailable", operation) from None

    async def receive_message(self, **call: Any) -> Any:  # noqa: ANN401 - botocore's shapes
        """Answer ReceiveMessage with some visible messages, in no order."""
        await self._call("ReceiveMessage")
        world = self._world
        free = [each for each in world.messages if each.visible_at <= world.now]
        taken = world.random.sample(free, min(len(free), call["MaxNumberOfMessages"]))
        for each in taken:
            each.receives += 1
            each.handle = f"{each.id}/{each.receives}"
            each.visible_at = world.now + call["VisibilityTimeout"]
        await self._call("ReceiveMessage", before=False)
        return {
            "Messages": [
                {
                    "MessageId": each.id,
                    "Body": each.body,
                    "ReceiptHandle": each.handle,
                    "Attributes": {
                        "ApproximateReceiveCount": str(each.receives),
                        "SentTimestamp": str(int(each.sent * 1000)),
                    },
                }
                for each in taken
            ]
        }

    async def delete_message_batch(self, **call: Any) -> Any:  # noqa: ANN401 - as above
        """Answer DeleteMessageBatch; an older handle deletes nothing."""
        await self._call("DeleteMessageBatch")
        handles = {entry["ReceiptHandle"] for entry in call["Entries"]}
        world = self._world
        world.messages = [each for each in world.messages if each.handle not in handles]
        await self._call("DeleteMessageBatch", before=False)
        return {}

    async def change_message_visibility_batch(self, **call: Any) -> Any:  # noqa: ANN401 - as above
        """Answer ChangeMessageVisibilityBatch."""
        await self._call("ChangeMessageVisibilityBatch")
        if self._world.gate is not None:
            self._world.gate.set()
        seconds = {each["ReceiptHandle"]: each["VisibilityTimeout"] for each in call["Entries"]}
        for each in self._world.messages:
            if each.handle in seconds:
                each.visible_at = self._world.now + seconds[each.handle]
        return {}

    async def get_queue_attributes(self, **call: Any) -> Any:  # noqa: ANN401 - as above
        """Answer GetQueueAttributes."""
        await self._call(f"GetQueueAttributes {call['QueueUrl']}")
        policy = {"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:dead", "maxReceiveCount": 100}
        return {"Attributes": {"RedrivePolicy": orjson.dumps(policy).decode()}}

    async def get_queue_url(self, **call: Any) -> Any:  # noqa: ANN401 - as above
        """Answer GetQueueUrl."""
        return {"QueueUrl": f"http://model/{call['QueueName']}"}

    async def send_message(self, **call: Any) -> Any:  # noqa: ANN401 - as above
        """Answer SendMessage, which only the dead-letter queue gets."""
        await self._call("SendMessage")
        self._world.dead_letters.append(call["MessageBody"])
        return {}


def _refused(code: str, operation: str) -> ClientError:
    status = 500 if code in {"InternalError", "ServiceUnavailable"} else 400
    answer: Any = {
        "Error": {"Code": code, "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, operation)
