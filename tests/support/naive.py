"""A minimal service, one message at a time, that can be made to fail in each way."""

import io
import json
import signal
import zipfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from support.codebuild import open_codebuild_client

from asyncbuild.aws.session import Aws
from asyncbuild.config import Settings
from asyncbuild.domain.events.service_events import ServiceStarted
from asyncbuild.local.expected_tree import run_git
from asyncbuild.runtime.emit import emit

NOT_BUILT = ("develop", "test", "staging")


class Naive:
    """A service that archives with git, uploads in one call, starts a build, deletes the message.

    `fault` names what to do wrong with the build number `at` (from 0): `missing`, `doubled`,
    `late`, `content`, `upload` (an upload without build left out) or nothing.
    """

    def __init__(self, fault: str = "", *, at: int = 3) -> None:
        self._fault = fault
        self._at = at
        self._builds = 0
        self._held: list[Callable[[], Awaitable[None]]] = []

    async def __call__(
        self, settings: Settings, *, stop: anyio.Event, signals: Sequence[signal.Signals] = ()
    ) -> None:
        """Serve until `stop`, and react to nothing else."""
        assert not signals
        aws = Aws(settings)
        async with (
            aws.open_sqs(pool=2) as sqs,
            aws.open_s3(pool=2) as s3,
            open_codebuild_client(settings.builds.endpoint_url or "") as codebuild,
        ):
            emit(ServiceStarted(queue=settings.queue.url, bucket="", consumers=1, drain=False))
            self._s3, self._codebuild, self._settings = s3, codebuild, settings
            while not stop.is_set():
                received = await sqs.receive_message(
                    QueueUrl=settings.queue.url, WaitTimeSeconds=1, MaxNumberOfMessages=10
                )
                for message in received.get("Messages", []):
                    await self._settle(json.loads(message["Body"]))
                    await sqs.delete_message(
                        QueueUrl=settings.queue.url, ReceiptHandle=message["ReceiptHandle"]
                    )

    async def _settle(self, event: dict[str, Any]) -> None:
        detail = event["detail"]
        if "commitId" not in detail or detail["referenceType"] == "tag":
            return
        commit, name = detail["commitId"], detail["repositoryName"]
        key = f"{name}/{detail['referenceName']}/{commit}.zip"
        remote = self._settings.git.remote.removeprefix("file://").format(repository=name)
        content = await run_git("archive", "--format=zip", commit, directory=Path(remote))
        wrong = self._fault if self._builds == self._at else ""
        builds = detail["referenceName"] not in NOT_BUILT
        if wrong == "content":
            content = without_execution(content)
        if self._fault != "upload" or builds:
            await self._s3.put_object(Bucket=self._settings.storage.bucket, Key=key, Body=content)
        if not builds:
            return
        self._builds += 1
        start = partial(self._start, event, key)
        if wrong == "late":
            self._held.append(start)
            return
        if wrong != "missing":
            await start()
        if wrong == "doubled":
            await start()
        if self._held and self._builds > self._at + 12:
            await self._held.pop()()

    async def _start(self, event: dict[str, Any], key: str) -> None:
        detail = event["detail"]
        variables = {
            "COMMIT_ID": detail["commitId"],
            "REF": detail["referenceFullName"],
            "REPOSITORY_NAME": detail["repositoryName"],
            "EVENT_ID": event["id"],
        }
        await self._codebuild.start_build(
            projectName=detail["repositoryName"],
            sourceTypeOverride="S3",
            sourceLocationOverride=f"{self._settings.storage.bucket}/{key}",
            environmentVariablesOverride=[
                {"name": name, "value": value} for name, value in variables.items()
            ],
        )


def without_execution(archive: bytes) -> bytes:
    """Return the same zip without any executable bit."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(made, "w") as target:
        for member in source.infolist():
            content = source.read(member)
            member.external_attr &= ~(0o111 << 16)
            target.writestr(member, content)
    return made.getvalue()
