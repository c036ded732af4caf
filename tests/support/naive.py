"""A minimal service, one message at a time, that can be made to fail in each way."""

import io
import json
import signal
import zipfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from support.codebuild import open_codebuild_client

from asyncbuild.aws.session import Aws
from asyncbuild.config import Settings
from asyncbuild.domain.events.service_events import ServiceStarted
from asyncbuild.local.expected_tree import run_git
from asyncbuild.runtime.emit import emit

if TYPE_CHECKING:
    from types_aiobotocore_codebuild.type_defs import BuildTypeDef

NOT_BUILT = ("develop", "test", "staging")


class Naive:
    """A service that archives with git, uploads in one call, starts a build, deletes the message.

    `fault` names what to do wrong with the build number `at` (from 0): `missing`, `doubled`,
    `late`, `content`, `upload` (an upload without build left out), `unrecorded` and `misrecorded`
    (the build's result is left out, or wrong), or nothing.
    """

    def __init__(self, fault: str = "", *, at: int = 3) -> None:
        self._fault = fault
        self._at = at
        self._builds = 0
        self._held: list[Callable[[], Awaitable[None]]] = []
        self._running: dict[str, str] = {}  # build → what to do wrong with its result

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
                await self._record_results()

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
        start: Callable[..., Awaitable[None]] = partial(self._start, event, key)
        if wrong == "late":
            self._held.append(start)
            return
        if wrong != "missing":
            await start(wrong=wrong)
        if wrong == "doubled":
            await start()
        if self._held and self._builds > self._at + 12:
            await self._held.pop()()

    async def _record_results(self) -> None:
        """Ask for all builds, and record those that have ended."""
        ids = list(self._running)[:100]
        builds = (await self._codebuild.batch_get_builds(ids=ids))["builds"] if ids else []
        for build in builds:
            if not build["buildComplete"]:
                continue
            wrong, (name, _, number) = self._running.pop(build["id"]), build["id"].partition(":")
            if wrong == "unrecorded":
                continue
            body = json.dumps({"name": name, "id": number, **result_of(build, wrong)})
            key = f"{self._settings.storage.ledger_prefix}result/{name}/{number}.json"
            bucket = self._settings.storage.bucket
            await self._s3.put_object(Bucket=bucket, Key=key, Body=body.encode())

    async def _start(self, event: dict[str, Any], key: str, *, wrong: str = "") -> None:
        detail = event["detail"]
        variables = {
            "COMMIT_ID": detail["commitId"],
            "REF": detail["referenceFullName"],
            "REPOSITORY_NAME": detail["repositoryName"],
            "EVENT_ID": event["id"],
        }
        answer = await self._codebuild.start_build(
            projectName=detail["repositoryName"],
            sourceTypeOverride="S3",
            sourceLocationOverride=f"{self._settings.storage.bucket}/{key}",
            environmentVariablesOverride=[
                {"name": name, "value": value} for name, value in variables.items()
            ],
        )
        self._running[answer["build"]["id"]] = wrong


def result_of(build: "BuildTypeDef", wrong: str) -> dict[str, Any]:
    """Return the record of how a build ended; with `misrecorded` of another status."""
    status = build["buildStatus"].lower().replace("_", "-")
    failed: Any = next(
        (each for each in build["phases"] if each.get("phaseStatus") == build["buildStatus"]), {}
    )
    reason = failed["contexts"][0]["message"] if status == "failed" else ""
    exit_code = reason.rpartition("exit status ")[2]
    return {
        "status": "stopped" if wrong == "misrecorded" else status,
        "attempt": 1,
        "attempt_id": build["id"],
        "number": build["buildNumber"],
        "phase": "" if status == "succeeded" else failed["phaseType"],
        "exit_code": int(exit_code) if exit_code.isdigit() else None,
        "log_link": build["logs"]["deepLink"],
        "initiator": build["initiator"],
    }


def without_execution(archive: bytes) -> bytes:
    """Return the same zip without any executable bit."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(made, "w") as target:
        for member in source.infolist():
            content = source.read(member)
            member.external_attr &= ~(0o111 << 16)
            target.writestr(member, content)
    return made.getvalue()
