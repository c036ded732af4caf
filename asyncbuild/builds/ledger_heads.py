"""Heads of refs: for each ref the newest push that was built, one object.

A head is read in the turn of a push, and written after its build was started. The write names the
ETag that was read, so it is refused if another task has written meanwhile: one that has lost the
lease and does not know it yet, or one of an older version, which writes without a condition.
"""

from typing import Final, Protocol

from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.ledger_records import Head, KnownHead, head_record, next_head, read_head
from asyncbuild.domain.errors import Reject, Retry
from asyncbuild.domain.model import Push, StoredRecord
from asyncbuild.domain.repository import Repository

_TRIES: Final = 5  # each but the first is caused by another writer


class HeadStore(Protocol):
    """Store of heads; `storage.s3.Store` is one."""

    async def read_stored(self, key: str) -> StoredRecord | None:
        """Return a record with its ETag, or None if there is none."""

    async def replace_stored(self, key: str, body: bytes, *, etag: str) -> str | None:
        """Write a record if it still has this ETag; return the new one, or None if not written."""


class Heads:
    """Reads and writes the heads of refs."""

    def __init__(self, records: HeadStore, keys: LedgerKeys) -> None:
        self._heads = records
        self._keys = keys

    async def head(self, push: Push) -> Head | None:
        """Return the newest push built of this push's ref; None if none was.

        Raises:
            Reject: The record cannot be read.
            StageError: The store refused.
        """
        return (await self.read_head(push)).newest

    async def find_head(self, repository: Repository, ref: str) -> Head | None:
        """Return the newest push built of a ref; None if none was. Raises as `head`."""
        return (await self._read(self._keys.head_of(repository, ref))).newest

    async def read_head(self, push: Push) -> KnownHead:
        """Return the head of this push's ref, as `set_head` takes it. Raises as `head`."""
        return await self._read(self._keys.head(push))

    async def _read(self, key: str) -> KnownHead:
        stored = await self._heads.read_stored(key)
        if stored is None:
            return KnownHead()
        return KnownHead(read_head(key, stored.body), stored.etag)

    async def find_built_before(self, push: Push) -> str:
        """Return the commit of the newest push of the same ref that was built, other than `push`.

        If a part of `push` was built already, `push` is on record as the newest itself; then the
        commit is that of the one before it. Empty if none is known.
        """
        head = await self.head(push)
        if head is None:
            return ""
        return head.before if head.event_id == push.id else head.commit

    async def set_head(
        self, push: Push, known: KnownHead | None = None, *, group: str = ""
    ) -> KnownHead:
        """Record that `push` was built, and return the head of its ref, by `next_head`.

        A refused write is either this one itself, repeated because its answer was lost, or another
        task's: the record is read again, and the rule is asked again.

        Args:
            push: The push that was built.
            known: The head as it was read in the same turn; None if it was not read.
            group: Message group in which the push came.

        Raises:
            Retry: Other tasks wrote in between each time.
            StageError: The store refused.
        """
        key = self._keys.head(push)
        for _ in range(_TRIES):
            known = known or await self._read_or_replace(push)
            head = next_head(push, known.newest, group=group)
            if head is None:
                return known
            body = head_record(head, ref=push.ref)
            etag = await self._heads.replace_stored(key, body, etag=known.etag)
            if etag is not None:
                return KnownHead(head, etag)
            known = None
        raise Retry(f"record {key}: other tasks wrote it {_TRIES} times meanwhile")

    async def _read_or_replace(self, push: Push) -> KnownHead:
        """Return the head; one that cannot be read has no push, and is replaced."""
        key = self._keys.head(push)
        stored = await self._heads.read_stored(key)
        if stored is None:
            return KnownHead()
        try:
            return KnownHead(read_head(key, stored.body), stored.etag)
        except Reject:
            return KnownHead(None, stored.etag)
