"""Operations on existing objects: copies, whole or in ranges, and reads of ranges."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from asyncbuild.aws.classify import s3_errors as errors_of
from asyncbuild.aws.classify import unreached
from asyncbuild.config.sections import StorageSettings
from asyncbuild.domain.errors import Retry, StageError
from asyncbuild.domain.model import Account, ByteRange, StoredArchive
from asyncbuild.storage.compose import (
    Composition,
    CopySource,
    NewObject,
    Piece,
    copy_parameters,
    cut_out,
    cut_whole,
    etag_of_copy,
    source_errors,
)
from asyncbuild.storage.multipart import encryption
from asyncbuild.storage.parts import MOST_PART_BYTES

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import CopyObjectOutputTypeDef, HeadObjectOutputTypeDef

MISSING: Final = frozenset({"NoSuchKey", "404"})  # HEAD has no body, hence no code
_WITHOUT_REASON: Final = frozenset({"400", "403"})


@dataclass(frozen=True, slots=True)
class Description:
    """Answer of HeadObject."""

    size_bytes: int
    etag: str
    metadata: Mapping[str, str]
    modified_at: datetime


class Ranges:
    """Copier and reader of objects in `storage.bucket`, whole or in ranges."""

    def __init__(self, client: "S3Client", settings: StorageSettings) -> None:
        self._client = client
        self._settings = settings

    async def compose(
        self, new: NewObject, pieces: Sequence[Piece], *, source: CopySource, account: Account
    ) -> StoredArchive:
        """Make an archive of ranges that S3 copies, and of bytes that are sent; see `compose.py`.

        Args:
            new: The archive; its key may be the source's own.
            pieces: Pieces in order. Between two ranges there are bytes for at least one part of 5
                MiB.
            source: Object that is copied from; if it changed, no archive is made.
            account: Account that covers two parts, beside what the producers hold.

        Raises:
            SourceChanged: The source was deleted or overwritten, or may not be read.
            LeaseLost: From the guard.
            StageError: S3 refused, or the pieces raised it.
        """
        composition = Composition(
            self._client, self._settings, new.key, account=account, metadata=new.metadata
        )
        try:
            await composition.send(pieces, source)
            return replace(await composition.commit(new.guard), kind="delta")
        except BaseException as error:
            if fault := await composition.abort():
                error.add_note(str(fault))
            raise

    async def copy_archive(
        self, new: NewObject, *, source: CopySource, size_bytes: int, account: Account
    ) -> StoredArchive:
        """Copy an archive whole on S3's side; above 5 GiB in parts.

        Args:
            new: The copy.
            source: The archive.
            size_bytes: Length of the archive.
            account: Account that covers two parts.

        Args:
            key: Key of the new archive; may be the source's own.
            source: Object that is copied.
            size_bytes: Its size.
            account: Account of the archive; a copy takes nothing from it.
            guard: Called right before the object is made to appear (I4).
            metadata: ASCII; stored with the object.

        Raises:
            SourceChanged, LeaseLost, StageError: As `compose`.
        """
        if size_bytes > MOST_PART_BYTES:
            pieces = list(cut_whole(size_bytes))
            archive = await self.compose(new, pieces, source=source, account=account)
            return replace(archive, kind="copy")
        answer = await self._copy_object(new, source)
        found = answer.get("CopyObjectResult", {})
        etag = etag_of_copy(found, f"copy to {self._name(new.key)}")
        return StoredArchive(
            bucket=self._settings.bucket,
            key=new.key,
            size_bytes=size_bytes,
            etag=f'"{etag.strip(chr(34))}"',  # some servers do not quote it here
            version_id=answer.get("VersionId"),
            kind="copy",
            copied_bytes=size_bytes,
        )

    async def _copy_object(self, new: NewObject, source: CopySource) -> "CopyObjectOutputTypeDef":
        attributes: dict[str, Any] = {**encryption(self._settings)}
        new.guard()
        with source_errors(f"copy {source.key} to {self._name(new.key)}"):
            return await self._client.copy_object(
                **self._where(new.key),
                **copy_parameters(self._settings, source),
                **attributes,
                Metadata=dict(new.metadata),
                MetadataDirective="REPLACE",
                ContentType="application/zip",
                # Otherwise the copy of a tagged object would need rights to its tags.
                TaggingDirective="REPLACE",
            )

    async def iter_ranges(
        self, source: CopySource, spans: Iterable[Sequence[ByteRange]], *, account: Account
    ) -> AsyncGenerator[bytes, None]:
        """Read ranges of an archive, in order, one after the other.

        Each of `spans` is one request; its ranges are in order, and the bytes between them are
        dropped.

        Args:
            source: Object that is read.
            spans: Groups of ranges, one request each.
            account: Account that the bytes are taken from (I6).

        Raises:
            SourceChanged: The object changed.
            StageError: S3 refused.
        """
        for span in spans:
            begin, end = span[0].begin, span[-1].end
            doing = f"read {self._name(source.key)}"
            try:
                with source_errors(doing):
                    answer = await self._client.get_object(
                        **self._where(source.key),
                        IfMatch=source.etag,
                        Range=f"bytes={begin}-{end - 1}",
                    )
                async with answer["Body"]:
                    async for chunk in cut_out(answer["Body"], span, account):
                        yield chunk
            except aiohttp.ClientError as error:
                raise unreached(doing, error, "s3") from error

    async def _head(self, key: str, doing: str) -> "HeadObjectOutputTypeDef":
        """Return the answer of HeadObject; if S3 refuses it without a reason, ask for that by GET.

        An answer to HEAD has no body, which would name the reason: an expired token is a bare 400,
        and a wrong clock is the same 403 as a missing right. An answer to GET has a body, and GET
        needs the same right as HEAD.
        """
        try:
            with errors_of(doing):
                return await self._client.head_object(**self._where(key))
        except StageError as error:
            if error.code in _WITHOUT_REASON:
                await self._ask_reason(key, doing)
            raise

    async def _ask_reason(self, key: str, doing: str) -> None:
        try:
            with errors_of(doing):
                answer = await self._client.get_object(**self._where(key), Range="bytes=0-0")
                answer["Body"].close()
        except StageError as error:
            if error.code != "InvalidRange":  # the object is empty
                raise

    async def describe(self, key: str) -> Description | None:
        """Return size, ETag and metadata of the object at `key`; None if it does not exist.

        Raises:
            StageError: S3 refused.
        """
        try:
            answer = await self._head(key, f"look at {self._name(key)}")
        except Retry as error:
            if error.code in MISSING:
                return None
            raise
        return Description(
            answer["ContentLength"], answer["ETag"], answer["Metadata"], answer["LastModified"]
        )

    def _where(self, key: str) -> Any:  # noqa: ANN401 - parameters of any call
        return {"Bucket": self._settings.bucket, "Key": key}

    def _name(self, key: str) -> str:
        return f"s3://{self._settings.bucket}/{key}"
