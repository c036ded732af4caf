"""Mark in the ledger of versions that read push messages, which their senders look for.

A task of a version before them makes a dead letter of a push message. During an upgrade tasks of
both run; so a sender waits until the first task that reads them is older than any upgrade takes.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.ledger_records import dump_record, read_record
from asyncbuild.domain.errors import Busy, ConfigError, reading
from asyncbuild.domain.times import read_time

UPGRADE: Final = timedelta(minutes=15)  # in which old tasks end: ECS gives them two to stop
_RENEWED: Final = timedelta(days=30)  # well before the ledger's records expire


class MarkStore(Protocol):
    """Store of records; `storage.s3.Store` is one."""

    async def replace_record(self, key: str, body: bytes) -> None:
        """Write a record, replacing what was there."""

    async def get_record(self, key: str) -> bytes | None:
        """Return the body of a record, or None if there is none."""

    async def list_folders(self, prefix: str) -> list[str]:
        """Return the names that follow `prefix` up to the next slash."""


class ServiceMark:
    """Reads and writes the mark, below one prefix."""

    def __init__(self, records: MarkStore, *, prefix: str) -> None:
        self._records = records
        self._keys = LedgerKeys(prefix)

    async def write(self, now: datetime) -> None:
        """Record that a task runs that reads push messages, if no task has done that lately.

        Raises:
            StageError: The store refused.
        """
        found = await self._read()
        since = None if found is None else read_time(found.get("since"))
        renewed = None if found is None else read_time(found.get("renewed"))
        if since is not None and renewed is not None and now - renewed < _RENEWED:
            return
        if since is None:
            # A ledger without records is a new one, without older tasks.
            upgraded = await self._records.list_folders(self._keys.pushes)
            since = now if upgraded else datetime.fromtimestamp(0, UTC)
        body = dump_record({"since": since, "renewed": now})
        await self._records.replace_record(self._keys.reads_requests, body)

    async def require(self, now: datetime) -> None:
        """Return if all tasks of the service read push messages.

        Raises:
            ConfigError: None does, as far as is known.
            Busy: Older ones may still run.
            StageError: The store refused.
        """
        found = await self._read()
        since = None if found is None else read_time(found.get("since"))
        if since is None:
            raise ConfigError(
                "no task of a version that reads push messages has used this bucket yet",
                remedy="update the service, and start it; an older task would make a dead letter "
                "of the message",
            )
        if now - since < UPGRADE:
            raise Busy(
                "the service was updated a moment ago, and older tasks, which would make a dead "
                "letter of the message, may still run",
                remedy=f"try again after {since + UPGRADE:%H:%M:%S} UTC",
            )

    async def _read(self) -> dict[str, Any] | None:
        body = await self._records.get_record(self._keys.reads_requests)
        if body is None:
            return None
        key = self._keys.reads_requests
        with reading(
            f"record {key}", raises=ConfigError, remedy="delete it, and start the service"
        ):
            return dict(read_record(key, body))
