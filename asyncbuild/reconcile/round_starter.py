"""Start of a round: finds all repositories, and sends one message for each."""

import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from asyncbuild.aws.classify import sqs_errors as errors_of
from asyncbuild.builds.reconcile_ledger import ReconcileLedger, RoundRecord
from asyncbuild.domain.errors import Retry, StageError
from asyncbuild.domain.events.reconcile_events import ReconcileRound
from asyncbuild.domain.repository import Repository
from asyncbuild.reconcile.planning.round_messages import RoundOrder, dump_order
from asyncbuild.reconcile.planning.wanted_refs import WantedRefs
from asyncbuild.reconcile.told_failures import ToldFailures
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.runtime.emit import emit

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

_AT_ONCE: Final = 10  # of one call (SQS API reference, SendMessageBatch)


class ListsRepositories(Protocol):
    """Lists repositories of accounts; `forges.codecommit_api.CodeCommitApi` does."""

    def accounts(self) -> list[tuple[str, str]]:
        """Return the accounts with their regions."""

    def list_repositories(self, account: str, region: str) -> AsyncIterator[Repository]:
        """Yield all repositories of an account in a region. Raises StageError."""


class RoundStarter:
    """Starts rounds.

    Args:
        client: Client for SQS.
        url: URL of the queue of rounds.
        ledger: Knows repositories.
        codecommit: Lists repositories whose first push may have been lost.
        wanted: What the rules want.
        told: Tells failures of accounts.
        clock: Clock.
    """

    def __init__(
        self,
        client: "SQSClient",
        url: str,
        *,
        ledger: ReconcileLedger,
        codecommit: ListsRepositories,
        wanted: WantedRefs,
        told: ToldFailures,
        clock: Clock = utc_now,
    ) -> None:
        self._client = client
        self._url = url
        self._ledger = ledger
        self._codecommit = codecommit
        self._wanted = wanted
        self._told = told
        self._clock = clock

    async def start(self, order: RoundOrder) -> None:
        """Send a message for each repository, and record the round.

        A start that failed is made again as a whole: the queue drops what it has, and a repository
        that is looked at twice is as after once.

        Args:
            order: The order for the round.

        Raises:
            StageError: Ledger or queue refused, or cannot be reached.
        """
        begun, begun_at = time.monotonic(), self._clock()
        repositories = await self.find_repositories()
        for first in range(0, len(repositories), _AT_ONCE):
            await self._send(order, repositories[first : first + _AT_ONCE])
        await self._ledger.record_round(RoundRecord(order.time, begun_at, len(repositories)))
        seconds = round(time.monotonic() - begun, 3)
        emit(
            ReconcileRound(scheduled_at=order.time, repositories=len(repositories), seconds=seconds)
        )

    async def find_repositories(self, *, forget: bool = True) -> list[Repository]:
        """Return the repositories that a round looks at, in the order of their paths.

        The snapshot of one that no rule wants any more is deleted: a rule that wants it again
        later begins with a new baseline.

        Args:
            forget: Whether such snapshots are deleted.

        Raises:
            StageError: The ledger refused, or cannot be reached.
        """
        known = await self._ledger.find_known()
        for repository, has_snapshot in known.items():
            if forget and has_snapshot and not self._wanted.covers(repository):
                await self._ledger.delete_snapshot(repository)
        found = dict.fromkeys(known)
        for account, region in self._codecommit.accounts():
            try:
                async for each in self._codecommit.list_repositories(account, region):
                    found[each] = None
            except StageError as error:
                self._told.tell(f"account {account or '(own)'} in {region}", error)
        return sorted(filter(self._wanted.covers, found), key=lambda each: each.path)

    async def _send(self, order: RoundOrder, repositories: Sequence[Repository]) -> None:
        orders = [RoundOrder(order.time, each) for each in repositories]
        entries: Any = [
            {
                "Id": str(number),
                "MessageBody": (body := dump_order(each)),
                "MessageGroupId": each.group,
                "MessageDeduplicationId": hashlib.sha256(body.encode()).hexdigest(),
            }
            for number, each in enumerate(orders)
        ]
        doing = f"send {len(entries)} repositories to queue {self._url}"
        with errors_of(doing):
            answer = await self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
        if failed := answer.get("Failed"):
            raise Retry(f"{doing}: {failed[0].get('Code')}", peer="sqs")
