"""Repositories, queues and bucket on loopback, and a reconciler on them with a clock of its own."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import anyio
import orjson
from support.events import ACCOUNT, REGION, envelope
from support.repositories import SourceRepository
from support.wait import PATIENCE_SECONDS

from asyncbuild import config
from asyncbuild.aws.session import Aws
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.reconcile_ledger import ReconcileLedger
from asyncbuild.builds.service_mark import ServiceMark
from asyncbuild.commands.open_repositories import open_repositories
from asyncbuild.commands.serve import open_consumer
from asyncbuild.config import Settings
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.requests.push_request import PushRequest, read_request
from asyncbuild.local.servers import journal
from asyncbuild.local.stack import Stack, open_stack
from asyncbuild.reconcile.open_reconcile import OpenedReconcile, open_reconcile, open_reconciler
from asyncbuild.reconcile.planning.ref_snapshot import RefSnapshot, load_snapshot
from asyncbuild.reconcile.reconcile_consumers import ReconcileConsumers
from asyncbuild.reconcile.reconciler import RepositoryLook
from asyncbuild.storage.s3 import Store

GRACE: Final = timedelta(minutes=10)
LATER: Final = timedelta(minutes=11)


@dataclass
class ReconcileSite:
    """A stack with one queue of rounds; `now` is the reconciler's time, well in the past."""

    stack: Stack
    settings: Settings
    now: datetime
    sent: int = 0
    events: dict[str, bytes] = field(default_factory=dict)

    def begin_anew(self) -> None:
        """Set settings and time as they were: so long ago that a test stays in the past."""
        self.settings = self.stack.settings
        self.configure(queue={"wait_seconds": 0})  # a drain ends with an empty poll
        self.now = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=12)

    def source(self, name: str) -> SourceRepository:
        """Return a new repository."""
        return SourceRepository(self.stack.directory / "remotes" / name)

    def configure(self, **sections: Any) -> None:  # noqa: ANN401 - sections of settings
        """Change settings."""
        own = self.settings.model_dump(mode="json", exclude_defaults=True)
        for name, section in sections.items():
            own[name] = {**own.get(name, {}), **section} if isinstance(section, dict) else section
        self.settings = config.load(None, own)

    async def push(
        self,
        name: str,
        commit: str | None,
        old: str | None = None,
        **more: Any,  # noqa: ANN401 - parts of the event
    ) -> str:
        """Send the event of a push of main at `now`; return its id."""
        change = "referenceUpdated" if old and commit else "referenceCreated"
        event = envelope(
            **{
                "commitId": commit,
                "oldCommitId": old,
                "event": change if commit else "referenceDeleted",
                "repositoryName": name,
                **more,
            }
        )
        event["time"] = f"{self.now:%Y-%m-%dT%H:%M:%SZ}"
        self.events[event["id"]] = orjson.dumps(event)
        await self.send(event["id"])
        return str(event["id"])

    async def send(self, event_id: str) -> None:
        """Send an event, for the first time or again."""
        body = self.events[event_id]
        self.sent += 1
        await self.stack.sqs.send_message(
            QueueUrl=self.settings.queue.url,
            MessageBody=body.decode(),
            MessageGroupId=orjson.loads(body)["detail"]["repositoryId"],
            MessageDeduplicationId=f"sent-{self.sent}",
        )

    async def look(self, name: str, *, dry_run: bool = False) -> RepositoryLook:
        """Look at a repository once."""
        async with self.open_reconciler(dry_run=dry_run) as opened:
            return await opened.reconciler.look(repository_of(name))

    async def round(self, *names: str) -> None:
        """Look at repositories, and again after the grace."""
        async with self.open_reconciler() as opened:
            for _ in range(2):
                for name in names:
                    await opened.reconciler.look(repository_of(name))
                self.now += LATER

    @asynccontextmanager
    async def open_reconciler(self, *, dry_run: bool = False) -> AsyncIterator[OpenedReconcile]:
        """Open a reconciler."""
        aws = Aws(self.settings)
        async with (
            open_repositories(self.settings, aws) as there,
            open_reconciler(
                self.settings, aws, there.mirrors, dry_run=dry_run, clock=lambda: self.now
            ) as opened,
        ):
            yield opened

    @asynccontextmanager
    async def open_consumers(self) -> AsyncIterator[ReconcileConsumers]:
        """Open consumers of the queue of rounds."""
        aws = Aws(self.settings)
        async with (
            open_repositories(self.settings, aws) as there,
            open_reconcile(self.settings, aws, there.mirrors, clock=lambda: self.now) as consumers,
        ):
            assert consumers is not None
            yield consumers

    async def drain(self) -> None:
        """Settle what is in the queue of pushes."""
        async with open_consumer(self.settings, Aws(self.settings)) as consumer:
            with anyio.fail_after(PATIENCE_SECONDS):
                await consumer.run(drain=True)

    async def take_found(self) -> list[tuple[str, PushRequest]]:
        """Take all found pushes from the queue, each with its message group."""
        found: list[tuple[str, PushRequest]] = []
        while True:
            answer = await self.stack.sqs.receive_message(
                QueueUrl=self.settings.queue.url,
                MaxNumberOfMessages=10,
                MessageSystemAttributeNames=["MessageGroupId"],
            )
            messages = answer.get("Messages", [])
            if not messages:
                return found
            for each in messages:
                group = each["Attributes"]["MessageGroupId"]
                found.append((group, read_request(orjson.loads(each["Body"]))))
                await self.stack.sqs.delete_message(
                    QueueUrl=self.settings.queue.url, ReceiptHandle=each["ReceiptHandle"]
                )

    async def snapshot(self, name: str) -> RefSnapshot | None:
        """Return the snapshot of a repository."""
        stored = await self.ledger.read_snapshot(repository_of(name))
        return None if stored is None else load_snapshot(name, stored.body)

    async def records(self, name: str) -> list[Mapping[str, Any]]:
        """Return all records of a repository, oldest push first."""
        ledger = Ledger(self.store, prefix=self.settings.storage.ledger_prefix)
        since = datetime(2000, 1, 1, tzinfo=UTC)
        return [each async for each in ledger.iter_pushes(repository_of(name), since=since)]

    async def verdicts(self, name: str) -> list[tuple[str, str]]:
        """Return commit and verdict of each record."""
        return [(str(each.get("commit")), each["verdict"]) for each in await self.records(name)]

    @property
    def store(self) -> Store:
        """Bucket of the stack."""
        return Store(self.stack.s3, self.settings.storage)

    @property
    def ledger(self) -> ReconcileLedger:
        """Ledger as rounds see it."""
        return ReconcileLedger(self.store, prefix=self.settings.storage.ledger_prefix)

    def built(self, name: str) -> list[str]:
        """Return the commits that were built of a repository, in the order of their builds."""
        started: Sequence[Any] = journal.read(self.stack.journal)
        return [
            each.variables["COMMIT_ID"]
            for each in started
            if each.variables["REPOSITORY_NAME"] == name
        ]


def repository_of(name: str) -> Repository:
    """Return the repository of a name."""
    return Repository.of_codecommit(ACCOUNT, REGION, name)


@asynccontextmanager
async def open_reconcile_site(names: Sequence[str]) -> AsyncIterator[ReconcileSite]:
    """Open a stack with projects of these names, and a queue of rounds."""
    async with open_stack(names) as stack:
        site = ReconcileSite(stack, stack.settings, datetime.now(UTC))
        site.begin_anew()
        prefix = site.settings.storage.ledger_prefix
        await ServiceMark(site.store, prefix=prefix).write(site.now)  # as a task does at its start
        yield site


def remotes_of(stack: Stack) -> Path:
    """Return the directory of the repositories of a stack."""
    return stack.directory / "remotes"
