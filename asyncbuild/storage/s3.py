"""Archives and ledger records in one bucket."""

import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import anyio

from asyncbuild.aws.classify import s3_errors as errors_of
from asyncbuild.aws.classify import unreached
from asyncbuild.config.sections import StorageSettings
from asyncbuild.domain.errors import NoPermission, Reject, Retry
from asyncbuild.domain.model import Account, Guard, StoredArchive, StoredRecord
from asyncbuild.runtime.tasks import open_tasks
from asyncbuild.storage.multipart import Upload, encryption
from asyncbuild.storage.ranges import MISSING, Ranges
from asyncbuild.storage.single_part import FINGERPRINT_KEY

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import PutObjectOutputTypeDef

WRITER_KEY: Final = "asyncbuild-writer"  # metadata: which call a record came from
_LISTING: Final = (
    "allow s3:GetObject on it and s3:ListBucket on the bucket: without the latter S3 says 403 of "
    "whatever does not exist"
)
# Not as the condition wants it; S3 says NoSuchKey if the key has no object that could match.
_UNMET: Final = frozenset({"PreconditionFailed", "412", *MISSING})
_CONFLICT: Final = frozenset({"ConditionalRequestConflict", "409"})
_UNKNOWN: Final = frozenset({"NotImplemented", "501"})  # the server does not know the condition
_CONFLICT_TRIES = 5
_CONFLICT_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class RecordKey:
    """A record as a listing names it."""

    key: str
    last_modified: datetime
    size_bytes: int


class Store(Ranges):
    """Reader and writer of objects in `storage.bucket`."""

    def __init__(self, client: "S3Client", settings: StorageSettings) -> None:
        super().__init__(client, settings)
        self._lacks_if_match = False

    # --- archives ---------------------------------------------------------------------------------

    async def find(self, key: str, *, fingerprint: str) -> StoredArchive | None:
        """Return the archive at `key`, if it exists and was made with this fingerprint; else None.

        Raises:
            StageError: S3 refused.
        """
        doing = f"look for {self._name(key)}"
        try:
            answer = await self._head(key, doing)
        except NoPermission as error:
            error.remedy = _LISTING
            raise
        except Retry as error:
            if error.code in MISSING:
                return None
            raise
        if answer["Metadata"].get(FINGERPRINT_KEY) != fingerprint:
            return None
        return StoredArchive(
            bucket=self._settings.bucket,
            key=key,
            size_bytes=answer["ContentLength"],
            etag=answer["ETag"],
            version_id=answer.get("VersionId"),
            reused=True,
        )

    async def put_archive(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        *,
        account: Account,
        guard: Guard,
        metadata: Mapping[str, str],
        reuse: bool = False,
    ) -> StoredArchive:
        """Send an archive as it is made; the object appears whole at the end, or not at all (I7).

        Args:
            key: Key of the object.
            chunks: The archive's bytes, taken from `account` by their producer. The account
                must cover `storage.part_bytes` and the bytes that the producer holds beside that.
            account: Account to which bytes are returned when they were sent or dropped (I6).
            guard: Called right before the object is made to appear (I4).
            metadata: ASCII; stored with the object.
            reuse: As of `Upload.commit`.

        Raises:
            LeaseLost: From `guard`.
            StageError: S3 refused, or `chunks` raised it.
        """
        upload = Upload(self._client, self._settings, key, account=account, metadata=metadata)
        try:
            await _send(upload, chunks)
            return await upload.commit(guard, reuse=reuse)
        except BaseException as error:
            if fault := await upload.abort():
                error.add_note(str(fault))
            raise

    # --- records ----------------------------------------------------------------------------------

    async def put_record(self, key: str, body: bytes) -> bool:
        """Write a small object unless it exists; return whether it was written.

        A request whose answer was lost is repeated (by botocore, for a PUT even by aiohttp, which
        does not report it) and then refused because of itself: the record's metadata names its
        writer.

        Raises:
            StageError: S3 refused.
        """
        writer = uuid.uuid4().hex
        metadata = {WRITER_KEY: writer}
        if await self._put_if(key, body, IfNoneMatch="*", Metadata=metadata) is not None:
            return True
        return await self._writer(key) == writer

    async def replace_stored(self, key: str, body: bytes, *, etag: str) -> str | None:
        """Write a small object if it is still as it was read; return its new ETag, quoted.

        None if it was not written: another writer was first, or this one itself, whose answer was
        lost; the caller reads it again. A server that does not know the condition (501) writes
        without it from then on, and one that ignores it does so by itself: `check --probe` tells.

        Args:
            key: Key of the object.
            body: Its new contents.
            etag: ETag that it had; empty if it did not exist.

        Raises:
            StageError: S3 refused.
        """
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        if "IfMatch" in condition and self._lacks_if_match:
            condition = {}
        try:
            answer = await self._put_if(key, body, **condition)
        except Reject as error:
            if "IfMatch" not in condition or error.code not in _UNKNOWN:
                raise
            self._lacks_if_match = True
            answer = await self._put_if(key, body)
        return None if answer is None else answer.get("ETag", "")

    async def replace_record(self, key: str, body: bytes) -> None:
        """Write a small object, replacing one that exists.

        Raises:
            StageError: S3 refused.
        """
        with errors_of(f"write {self._name(key)}"):
            await self._put(key, body)

    async def get_record(self, key: str) -> bytes | None:
        """Return the contents of a small object; None if it does not exist.

        Raises:
            StageError: S3 refused.
        """
        stored = await self.read_stored(key)
        return None if stored is None else stored.body

    async def read_stored(self, key: str, *, most_bytes: int = 0) -> StoredRecord | None:
        """Return a small object with its ETag; None if it does not exist.

        Args:
            key: Key of the object.
            most_bytes: Bytes that it may have; 0: any number.

        Raises:
            Reject: It is larger.
            StageError: S3 refused.
        """
        doing = f"read {self._name(key)}"
        try:
            with errors_of(doing):
                answer = await self._client.get_object(**self._where(key))
                async with answer["Body"] as stream:
                    if most_bytes and answer["ContentLength"] > most_bytes:
                        raise Reject(f"{doing}: it has {answer['ContentLength']} bytes", peer="s3")
                    return StoredRecord(await stream.read(), answer["ETag"])
        except aiohttp.ClientError as error:  # aiobotocore does not translate errors of bodies
            raise unreached(doing, error, "s3") from error
        except Retry as error:
            if error.code in MISSING:
                return None
            raise

    async def iter_records(self, prefix: str, *, after: str = "") -> AsyncIterator[RecordKey]:
        """Yield all objects whose key begins with `prefix`, in order of their keys, page by page.

        Args:
            prefix: Beginning of the keys.
            after: Key after which to begin; empty for the first.

        Raises:
            StageError: S3 refused.
        """
        more: dict[str, Any] = {"StartAfter": after} if after else {}
        while True:
            with errors_of(f"list {self._name(prefix)}"):
                page = await self._client.list_objects_v2(
                    Bucket=self._settings.bucket, Prefix=prefix, **more
                )
            for entry in page.get("Contents", ()):
                yield RecordKey(entry["Key"], entry["LastModified"], entry["Size"])
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def list_folders(self, prefix: str) -> list[str]:
        """Return the names that follow `prefix` up to the next slash, in order.

        Raises:
            StageError: S3 refused.
        """
        names: list[str] = []
        more: dict[str, Any] = {}
        while True:
            with errors_of(f"list {self._name(prefix)}"):
                page = await self._client.list_objects_v2(
                    Bucket=self._settings.bucket, Prefix=prefix, Delimiter="/", **more
                )
            names += [
                each["Prefix"].removeprefix(prefix).rstrip("/")
                for each in page.get("CommonPrefixes", ())
            ]
            if not page.get("IsTruncated"):
                return names
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def delete_record(self, key: str) -> None:
        """Delete an object; one that does not exist is accepted.

        Raises:
            StageError: S3 refused.
        """
        with errors_of(f"delete {self._name(key)}"):
            await self._client.delete_object(**self._where(key))

    async def _writer(self, key: str) -> str | None:
        answer = await self._head(key, f"look for {self._name(key)}")
        return answer["Metadata"].get(WRITER_KEY)

    async def _put_if(
        self,
        key: str,
        body: bytes,
        **condition: Any,  # noqa: ANN401 - the client's own
    ) -> "PutObjectOutputTypeDef | None":
        """Write an object under a condition; None if that is not met.

        Two writers at the same moment may both get a conflict (409, user guide "Conditional
        writes"); then each asks again, and all but one find the condition unmet.
        """
        doing = f"write {self._name(key)}"
        for _ in range(_CONFLICT_TRIES):
            try:
                with errors_of(doing):
                    return await self._put(key, body, **condition)
            except Retry as error:
                if error.code in _UNMET:
                    return None
                if error.code not in _CONFLICT:
                    raise
                await anyio.sleep(_CONFLICT_SECONDS)
        raise Retry(f"{doing}: {_CONFLICT_TRIES} times another writer was at it, too")

    async def _put(
        self,
        key: str,
        body: bytes,
        **more: Any,  # noqa: ANN401 - the client's own
    ) -> "PutObjectOutputTypeDef":
        attributes: dict[str, Any] = {**encryption(self._settings), **more}
        return await self._client.put_object(
            **self._where(key), **attributes, Body=body, ContentType="application/json"
        )


async def _send(upload: Upload, chunks: AsyncIterator[bytes]) -> None:
    """Make and send at the same time; raise the first error of either."""
    async with open_tasks() as tasks:
        tasks.start_soon(upload.send_parts)
        async for chunk in chunks:
            upload.feed(chunk)
        upload.end()
