"""Processor time of single requests through the service's clients, with nothing else around.

    python bench/push/clients.py TIMES     settings come from ASYNCBUILD_*, as the service's do

Prints one JSON object: milliseconds of this process for each request, by kind.
"""

import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any

import anyio
import orjson
from botocore.exceptions import ClientError

from asyncbuild import config
from asyncbuild.aws.session import Aws

_RECORD = b"x" * 600
_ARCHIVE = b"x" * 60_000
_WARM = 10


async def main(times: int) -> None:
    """Measure each kind, and print the milliseconds."""
    settings = config.load(None, {})
    async with AsyncExitStack() as stack:
        aws = Aws(settings)
        sqs: Any = await stack.enter_async_context(aws.open_sqs(pool=4))
        s3: Any = await stack.enter_async_context(aws.open_s3(pool=4))
        codebuild: Any = await stack.enter_async_context(aws.open_codebuild(pool=4))
        url, bucket = settings.queue.url, settings.storage.bucket
        run = uuid.uuid4().hex
        put = partial(s3.put_object, Bucket=bucket, ContentType="application/json")
        there = {"Bucket": bucket, "Key": f"clients/{run}/there"}
        missing = {"Bucket": bucket, "Key": f"clients/{run}/missing"}
        await put(**there, Body=_RECORD)
        handles: list[str] = []

        async def get() -> None:
            async with (await s3.get_object(**there))["Body"] as body:
                await body.read()

        async def absent() -> None:
            with suppress(ClientError):
                await s3.get_object(**missing)

        async def head() -> None:
            with suppress(ClientError):
                await s3.head_object(**missing)

        async def receive() -> None:
            answer = await sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1,
                MessageSystemAttributeNames=["All"], MessageAttributeNames=["All"],
            )  # fmt: skip
            handles.extend(each["ReceiptHandle"] for each in answer.get("Messages", ()))

        async def start() -> None:
            await codebuild.start_build(
                projectName="repository-000", sourceTypeOverride="S3",
                sourceLocationOverride=f"{bucket}/clients/{run}/there",
                environmentVariablesOverride=[
                    {"name": name, "value": run, "type": "PLAINTEXT"}
                    for name in ("EVENT_ID", "COMMIT_ID", "REF", "REPOSITORY_NAME")
                ],
            )  # fmt: skip

        found = {
            "GetObject": await _cost(get, times),
            "GetObject, missing": await _cost(absent, times),
            "HeadObject": await _cost(head, times),
            "PutObject, record": await _cost(partial(put, **there, Body=_RECORD), times),
            "PutObject, archive": await _cost(partial(put, **there, Body=_ARCHIVE), times),
            "StartBuild": await _cost(start, times),
        }
        for number in range(times + _WARM):
            await sqs.send_message(
                QueueUrl=url, MessageBody=f"{run} {number}", MessageGroupId=f"{run}-{number}"
            )
        found["ReceiveMessage"] = await _cost(receive, times // 10, warm=_WARM // 10)
        found["DeleteMessage"] = await _cost_each(
            (partial(sqs.delete_message, QueueUrl=url, ReceiptHandle=each) for each in handles),
        )
    sys.stdout.write(orjson.dumps(found).decode() + "\n")


async def _cost(call: Callable[[], Awaitable[object]], times: int, *, warm: int = _WARM) -> float:
    for _ in range(warm):
        await call()
    return await _cost_each([call] * times)


async def _cost_each(calls: Iterable[Callable[[], Awaitable[object]]]) -> float:
    done, begun = 0, time.process_time()
    for call in calls:
        await call()
        done += 1
    return 1000 * (time.process_time() - begun) / done


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]))
