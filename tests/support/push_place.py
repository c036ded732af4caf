"""A stack, a repository and settings for one test: it pushes, drains, and tells the requests."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final

import anyio
import orjson
from support.events import envelope
from support.hanging import Calls, WatchedAws
from support.repositories import SourceRepository
from support.wait import PATIENCE_SECONDS

from asyncbuild import config
from asyncbuild.commands.serve import open_consumer
from asyncbuild.config import ResultSettings, Settings, StorageSettings
from asyncbuild.domain.model import Change, Push
from asyncbuild.domain.repository import Repository
from asyncbuild.local.servers import journal
from asyncbuild.local.stack import Stack
from asyncbuild.results.superseding.open_cancelling import open_cancelling

MAIN: Final = "refs/heads/main"
LEDGER: Final = ".asyncbuild/ledger/"
_BESIDE: Final = frozenset({"receive_message", "get_queue_attributes"})
_numbers = count()


@dataclass(slots=True)
class Place:
    """A stack, a repository and settings for one test."""

    stack: Stack
    settings: Settings
    source: SourceRepository

    @property
    def name(self) -> str:
        """Name of the repository, which is its message group."""
        return self.source.path.name

    def configure(self, **sections: Any) -> None:  # noqa: ANN401 - sections of settings
        """Change settings."""
        own = self.settings.model_dump(mode="json", exclude_defaults=True)
        for name, section in sections.items():
            own[name] = {**own.get(name, {}), **section} if isinstance(section, dict) else section
        self.settings = config.load(None, own)

    async def push(self, commit: str, old: str | None = None, *, age_seconds: int = 0) -> Push:
        """Send the event of a push of main, so old; return the push."""
        time = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=age_seconds)
        event = envelope(
            commitId=commit,
            oldCommitId=old,
            event="referenceUpdated" if old else "referenceCreated",
            repositoryName=self.name,
        )
        event["time"] = f"{time:%Y-%m-%dT%H:%M:%SZ}"
        await self.put(orjson.dumps(event))
        repository = Repository.of_codecommit(event["account"], event["region"], self.name)
        return Push(event["id"], repository, MAIN, commit, Change.UPDATED, time, old)

    async def put(self, body: bytes, attributes: Mapping[str, str] | None = None) -> None:
        """Send a message."""
        await self.stack.sqs.send_message(
            QueueUrl=self.settings.queue.url,
            MessageBody=body.decode(),
            MessageGroupId=self.name,
            MessageDeduplicationId=str(next(_numbers)),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in (attributes or {}).items()
            },
        )

    async def drain(self) -> list[str]:
        """Settle what is in the queue, and return the requests for it."""
        aws = WatchedAws(self.settings)
        async with open_cancelling(self.settings, aws) as cancelling:
            # It does not run: its calls are not those of a lane.
            worker = None if cancelling is None else cancelling.worker
            async with open_consumer(self.settings, aws, supersedes=worker) as consumer:
                aws.calls = calls = Calls()
                with anyio.fail_after(PATIENCE_SECONDS):
                    await consumer.run(drain=True)
        return [_name(*each) for each in calls.asked if each[0] not in _BESIDE]

    async def end_at(self, call: str, *, after: bool, number: int = 0) -> None:
        """Work until this call, made or not, and end there; of several the one of this number."""
        aws = WatchedAws(self.settings)
        async with open_consumer(self.settings, aws) as consumer:
            aws.calls = calls = Calls(hangs_at=number, after=after, counted=frozenset({call}))
            with anyio.fail_after(PATIENCE_SECONDS):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(consumer.run)
                    await calls.hung.wait()
                    await calls.end_polls()
                    aws.calls = Calls()
                    tasks.cancel_scope.cancel()

    def built(self) -> list[str]:
        """Return the commits that were built of the repository, in the order of their builds."""
        started = [each.variables for each in journal.read(self.stack.journal)]
        return [each["COMMIT_ID"] for each in started if each["REPOSITORY_NAME"] == self.name]


def _name(call: str, parameters: Mapping[str, Any]) -> str:
    """Return the name of a call, of one about an object with the kind of its key."""
    key = parameters.get("Key", parameters.get("Prefix"))
    if key is None:
        return call
    kind = key.removeprefix(LEDGER).partition("/")[0] if key.startswith(LEDGER) else "archive"
    kind = "seed" if key.startswith(StorageSettings().seed_prefix) else kind
    return f"{call.partition('_')[0]} {kind}"


def make_place(stack: Stack) -> Place:
    """Return a place with a repository of its own, whose pushes build `web`."""
    source = SourceRepository(stack.directory / "remotes" / f"web-{next(_numbers)}")
    own = stack.settings.model_copy(update={"results": ResultSettings()})
    made = Place(stack, own, source)
    made.configure(
        aws={"max_tries": 1},
        queue={"visibility_timeout_seconds": 30, "wait_seconds": 0, "polls": 1},
        rules=[{"action": "build", "project": "web"}],
        git={"seeds": False},  # they add requests of first fetches alone
    )
    return made
