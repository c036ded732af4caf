"""The steps of a push by hand, as a process of its own: the least that the work costs.

    python bench/push/by_hand.py DIRECTORY     settings come from ASYNCBUILD_*, as the service's do

For each message: receive, `git fetch --depth=1` into a bare repository, `git archive` into a zip,
PutObject, StartBuild, DeleteMessage. The same clients as the service's; no order beyond that of the
queue, no records, no retries, no limits. It runs until it is killed.
"""

import asyncio
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import orjson

from asyncbuild import config
from asyncbuild.aws.session import Aws
from asyncbuild.config.settings import Settings

_AT_ONCE = 8


async def main(directory: Path) -> None:
    """Work through the queue until the process is killed."""
    settings = config.load(None, {})
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        aws = Aws(settings)
        hand = Hand(
            settings=settings,
            directory=directory,
            sqs=await enter(aws.open_sqs(pool=_AT_ONCE + 1)),
            s3=await enter(aws.open_s3(pool=_AT_ONCE)),
            codebuild=await enter(aws.open_codebuild(pool=_AT_ONCE)),
        )
        async with anyio.create_task_group() as tasks:
            while True:
                for group in await hand.receive():
                    tasks.start_soon(hand.work, group)


class Hand:
    """Clients and directory of the process."""

    def __init__(
        self,
        *,
        settings: Settings,
        directory: Path,
        sqs: Any,  # noqa: ANN401 - aioboto3's clients
        s3: Any,  # noqa: ANN401
        codebuild: Any,  # noqa: ANN401
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._sqs, self._s3, self._codebuild = sqs, s3, codebuild
        self._limit = anyio.Semaphore(_AT_ONCE)

    async def receive(self) -> list[list[dict[str, Any]]]:
        """Return the next messages, one list for each group."""
        answer = await self._sqs.receive_message(
            QueueUrl=self._settings.queue.url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=1,
            MessageSystemAttributeNames=["MessageGroupId"],
        )
        groups: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for message in answer.get("Messages", ()):
            groups[message["Attributes"]["MessageGroupId"]].append(message)
        return list(groups.values())

    async def work(self, messages: Sequence[dict[str, Any]]) -> None:
        """Build the pushes of one group."""
        async with self._limit:
            for message in messages:
                await self._build(orjson.loads(message["Body"]))
                await self._sqs.delete_message(
                    QueueUrl=self._settings.queue.url, ReceiptHandle=message["ReceiptHandle"]
                )

    async def _build(self, event: dict[str, Any]) -> None:
        detail = event["detail"]
        name, ref, commit = (
            detail[each] for each in ("repositoryName", "referenceFullName", "commitId")
        )
        mirror = self._directory / name
        if not mirror.exists():
            await _run("git", "init", "--quiet", "--bare", str(mirror))
        remote = self._settings.git.remote.format(repository=name)
        git = ("git", "--git-dir", str(mirror))
        fetch = ("fetch", "--quiet", "--no-tags", "--no-auto-maintenance", "--depth=1")
        await _run(*git, *fetch, remote, f"+{commit}:{ref}")
        archive = self._directory / f"{name}.zip"
        await _run(*git, "archive", "--format=zip", f"--output={archive}", commit)
        bucket, key = self._settings.storage.bucket, f"by-hand/{name}/{commit}.zip"
        await self._s3.put_object(Bucket=bucket, Key=key, Body=archive.read_bytes())
        variables = {
            "EVENT_ID": event["id"], "COMMIT_ID": commit, "REF": ref, "REPOSITORY_NAME": name
        }  # fmt: skip
        await self._codebuild.start_build(
            projectName=name,
            sourceTypeOverride="S3",
            sourceLocationOverride=f"{bucket}/{key}",
            environmentVariablesOverride=[
                {"name": each, "value": value} for each, value in variables.items()
            ],
        )


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL)
    if code := await process.wait():
        raise SystemExit(f"{' '.join(command)}: exit code {code}")


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
