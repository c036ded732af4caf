"""Pushes of the demo whose events are dropped, and the round of the service that finds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any, Final

import anyio
import orjson

from asyncbuild.aws.classify import errors_of
from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.config.sections import ReconcileSettings
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.repository import Repository
from asyncbuild.local.forge.hosting import HOST, OWNER, Hosting
from asyncbuild.local.servers.served import ACCOUNT, REGION
from asyncbuild.local.stack import redrive_policy
from asyncbuild.local.verify import Expects, Pushed
from asyncbuild.local.workload import expected_of
from asyncbuild.storage.s3 import Store

if TYPE_CHECKING:
    from types_aiobotocore_sqs.literals import QueueAttributeNameType

ROUNDS: Final = "asyncbuild-reconcile.fifo"
_DEAD_LETTERS: Final = "asyncbuild-reconcile-dead-letters.fifo"
_MAX_RECEIVE_COUNT: Final = 100
_GRACE_SECONDS: Final = 1  # in place of ten minutes: here all other events came
_BASELINE_DEADLINE_SECONDS: Final = 30.0
_FOUND_DEADLINE_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1


async def with_rounds(hosting: Hosting) -> Hosting:
    """Return the hosting with a queue of rounds, which the service consumes.

    Raises:
        StageError: The queue cannot be created.
    """
    cloud = hosting.cloud
    fifo: dict[QueueAttributeNameType, str] = {"FifoQueue": "true"}
    with errors_of(f"create queue {ROUNDS}"):
        dead = (await cloud.sqs.create_queue(QueueName=_DEAD_LETTERS, Attributes=fifo))["QueueUrl"]
        fifo["RedrivePolicy"] = await redrive_policy(cloud.sqs, dead, _MAX_RECEIVE_COUNT)
        made = await cloud.sqs.create_queue(QueueName=ROUNDS, Attributes=fifo)
    settings = ReconcileSettings(
        url=made["QueueUrl"], dead_letter_url=dead, grace_seconds=_GRACE_SECONDS
    )
    changed = cloud.settings.model_copy(update={"reconcile": settings})
    return replace(hosting, cloud=replace(cloud, settings=changed))


def choose_lost(words: Mapping[str, Sequence[str]], count: int, seed: int) -> set[tuple[str, int]]:
    """Return pushes to lose, as name of the repository and number: each the last of its branch.

    The commit of an earlier one is gone from the tip when a round looks. The first push of a
    repository is kept, as nothing is known of a repository without one.

    Args:
        words: For each repository one word a push, as in `workload.STORIES`.
        count: How many to lose.
        seed: Seed of the choice.

    Raises:
        Reject: There are not so many.
    """
    able: list[tuple[str, int]] = []
    for name, story in words.items():
        last = {
            word: number for number, word in enumerate(story) if not word.startswith(("#", "-"))
        }
        gone = {word[1:] for word in story if word.startswith("-")}
        able += [
            (name, number)
            for word, number in sorted(last.items())
            if number
            and word not in gone
            and expected_of(f"refs/heads/{word}", "x") is Expects.BUILD
        ]
    if count > len(able):
        raise Reject(
            f"--lose {count}: only {len(able)} pushes of this demo are the last of their branch",
            remedy=f"lose at most {len(able)}: a round finds the tips of branches",
        )
    return set(Random(f"{seed}/lost").sample(able, count))  # noqa: S311 - repeatable, not secret


@dataclass
class LostPushes:
    """Pushes whose events are dropped.

    Attributes:
        hosting: The cloud with a queue of rounds.
        chosen: Pushes to lose, as `choose_lost` returns them.
        lost: Those that were made and not told.
        found: Those that the service has found, under the ids that they have now.
    """

    hosting: Hosting
    chosen: set[tuple[str, int]]
    lost: list[Pushed] = field(default_factory=list)
    found: list[Pushed] = field(default_factory=list)

    @property
    def in_order(self) -> list[Pushed]:
        """Lost pushes in the order in which they were found, then those that were not."""
        refs = {(each.repository, each.ref) for each in self.found}
        return [
            *self.found,
            *(each for each in self.lost if (each.repository, each.ref) not in refs),
        ]

    async def send(self, push: Pushed, number: int) -> None:
        """Send the event of a push, or drop it; after a first push wait for the baseline.

        Args:
            push: The push.
            number: Its number in its repository.

        Raises:
            StageError: The event cannot be sent.
        """
        if (push.repository, number) in self.chosen:
            self.lost.append(push)
            return
        await self.hosting.send(push)
        if number == 0 and any(name == push.repository for name, _ in self.chosen):
            await self._take_baseline(push)

    async def _take_baseline(self, push: Pushed) -> None:
        repository = self._repository(push.repository)
        await self._order(repository)
        settings = self.hosting.cloud.settings.storage
        store, keys = Store(self.hosting.cloud.s3, settings), LedgerKeys(settings.ledger_prefix)
        with anyio.move_on_after(_BASELINE_DEADLINE_SECONDS):
            while await store.get_record(keys.snapshot(repository)) is None:  # noqa: ASYNC110 - S3 has to be polled
                await anyio.sleep(_POLL_SECONDS)

    async def find(self) -> None:
        """Ask for a round, and wait until all lost pushes were found, or for a minute.

        Raises:
            StageError: The round cannot be asked for.
        """
        if self.lost:
            await self._order(None)
        with anyio.move_on_after(_FOUND_DEADLINE_SECONDS):
            while len(self.found) < len(self.lost):  # noqa: ASYNC110 - told by an event of the service
                await anyio.sleep(_POLL_SECONDS)

    def note_found(self, repository: str, ref: str, commit: str, event_id: str) -> Pushed | None:
        """Note that the service has found a push; return it as it was, None if it is none of these.

        Args:
            repository: Name of the repository.
            ref: Full name of the ref.
            commit: The commit.
            event_id: Id under which the push is built.
        """
        for push in self.lost:
            if (push.repository, push.ref, push.commit) == (repository, ref, commit):
                self.found.append(replace(push, id=event_id))
                return push
        return None

    def _repository(self, name: str) -> Repository:
        if name in self.hosting.names:
            return Repository.of_host(HOST, OWNER, name)
        return Repository.of_codecommit(ACCOUNT, REGION, name)

    async def _order(self, repository: Repository | None) -> None:
        """Send a round, as the Scheduler does, or the look at one repository."""
        told = datetime.now(UTC).isoformat()
        document: dict[str, Any] = {"asyncbuild": "reconcile", "version": 1, "time": told}
        if repository is not None:
            document["repository"] = repository.segments._asdict()
        group = repository.path if repository else "round"
        with errors_of("ask for a round"):
            await self.hosting.cloud.sqs.send_message(
                QueueUrl=self.hosting.cloud.settings.reconcile.url,
                MessageBody=orjson.dumps(document).decode(),
                MessageGroupId=group,
                MessageDeduplicationId=f"{group} {told}".replace(" ", "-")[-128:],
            )
