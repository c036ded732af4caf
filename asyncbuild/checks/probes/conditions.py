"""Probe whether the bucket's server honours the conditions that records and deltas depend on.

S3 documents all (user guide, "Conditional requests"; API reference, UploadPartCopy); some servers
that speak its protocol accept the headers and ignore them. One object of its own is enough to see.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from asyncbuild.aws.classify import s3_errors
from asyncbuild.aws.session import Aws
from asyncbuild.checks.judges.bucket import archive_prefix
from asyncbuild.checks.judges.probe_answer import Answer, Question
from asyncbuild.checks.probes.made import TAG, ProbeRun, open_made
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import StageError
from asyncbuild.storage.multipart import encryption

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

WRITE_ONCE: Final = Question(
    "storage.write-once",
    "Does the bucket refuse to write an object that is there already (If-None-Match)?",
    "What was started is recorded that way. With a no two tasks that hold one push, which happens "
    "after a lost lease, may both record a start of it.",
)
COPY_MATCH: Final = Question(
    "storage.copy-if-match",
    "Does the bucket refuse to copy a part of an object that has another ETag than was named?",
    "Delta archives rest on it. With a no set archive.delta to off: a base that is overwritten "
    'at that moment would get into an archive. With "cannot tell" archives are made in full.',
)
WRITE_MATCH: Final = Question(
    "storage.write-if-match",
    "Does the bucket refuse to write an object that has another ETag than was named (If-Match)?",
    "The newest push built of a ref is recorded that way. With a no it is written without the "
    "condition: of two tasks that hold one push, which happens after a lost lease, the later one's "
    "record stays.",
)
QUESTIONS: Final = (WRITE_ONCE, WRITE_MATCH, COPY_MATCH)
_OTHER_ETAG: Final = '"00000000000000000000000000000000"'
_REFUSED: Final = frozenset({"PreconditionFailed", "412"})
_NOT_KNOWN: Final = frozenset({"NotImplemented", "501"})


async def iter_answers(aws: Aws, settings: Settings, made: ProbeRun) -> AsyncIterator[Answer]:
    """Write one object twice, copy it under a wrong and a right condition; yield the answers.

    Args:
        aws: Session for S3.
        settings: The whole configuration.
        made: Record of what the probes make.
    """
    told = 0
    try:
        async with aws.open_s3(pool=2) as s3, open_made(made):
            probe = _ConditionProbe(s3, settings, made)
            for ask in (probe.write_twice, probe.write_over, probe.copy_a_part):
                yield await ask()
                told += 1
    except StageError as error:
        for question in QUESTIONS[told:]:
            yield question.unknown(str(error))


class _ConditionProbe:
    def __init__(self, s3: "S3Client", settings: Settings, made: ProbeRun) -> None:
        self._s3 = s3
        self._settings = settings
        self._made = made
        self._bucket = settings.storage.bucket
        self._key = f"{archive_prefix(settings)}{made.name}/condition"
        self._versions: list[str | None] = []

    async def write_twice(self) -> Answer:
        self._made.will_make(f"s3://{self._bucket}/{self._key}", self._delete)
        doing = f"write s3://{self._bucket}/{self._key}"
        with s3_errors(doing):
            await self._write()
        try:
            with s3_errors(doing):
                await self._write(IfNoneMatch="*")
        except StageError as error:
            if error.code not in _REFUSED:
                raise
            return WRITE_ONCE.yes("the second write was refused")
        return WRITE_ONCE.no("the second write replaced the first")

    async def write_over(self) -> Answer:
        """Write under a wrong and the right ETag: a server may refuse the condition itself."""
        doing = f"write s3://{self._bucket}/{self._key}"
        try:
            with s3_errors(doing):
                await self._write(IfMatch=_OTHER_ETAG)
        except StageError as error:
            if error.code in _NOT_KNOWN:
                return WRITE_MATCH.no(f"it does not know the condition: {error.code}")
            if error.code not in _REFUSED:
                raise
        else:
            return WRITE_MATCH.no("the write under another ETag replaced the object")
        with s3_errors(doing):
            head = await self._s3.head_object(Bucket=self._bucket, Key=self._key)
            await self._write(IfMatch=head["ETag"])
        return WRITE_MATCH.yes("the write under another ETag was refused")

    async def copy_a_part(self) -> Answer:
        """Copy under the right and a wrong ETag: a server that copies nothing refuses both."""
        s3 = self._s3
        with s3_errors(f"look at s3://{self._bucket}/{self._key}"):
            head = await s3.head_object(Bucket=self._bucket, Key=self._key)
        right = await self._copy(head["ETag"])
        if right:
            return COPY_MATCH.unknown(f"it copies no part at all: {right}")
        if await self._copy(_OTHER_ETAG) in _REFUSED:
            return COPY_MATCH.yes("the copy under another ETag was refused")
        return COPY_MATCH.no("the copy under another ETag was made")

    async def _write(self, **more: Any) -> None:  # noqa: ANN401 - the client's own
        s3 = self._s3
        attributes: dict[str, Any] = {**encryption(self._settings.storage), **more}
        answer = await s3.put_object(
            Bucket=self._bucket,
            Key=self._key,
            Body=b"a probe of asyncbuild",
            Tagging=f"{TAG}={self._made.name}",
            **attributes,
        )
        self._versions.append(answer.get("VersionId"))

    async def _copy(self, etag: str) -> str:
        """Copy a part into an upload that is never completed; return the error code, or empty."""
        s3 = self._s3
        where: Any = {"Bucket": self._bucket, "Key": f"{self._key}.copy"}
        with s3_errors(f"copy a part to s3://{self._bucket}/{self._key}.copy"):
            upload = await s3.create_multipart_upload(**where)
        id_ = upload["UploadId"]
        try:
            with s3_errors(f"copy a part to s3://{self._bucket}/{self._key}.copy"):
                answer = await s3.upload_part_copy(
                    **where,
                    UploadId=id_,
                    PartNumber=1,
                    CopySource={"Bucket": self._bucket, "Key": self._key},
                    CopySourceIfMatch=etag,
                )
        except StageError as error:
            if error.code is None:
                raise
            return error.code
        finally:
            with s3_errors(f"abort the upload to s3://{self._bucket}/{self._key}.copy"):
                await s3.abort_multipart_upload(**where, UploadId=id_)
        return "" if answer.get("CopyPartResult", {}).get("ETag") else "an empty CopyPartResult"

    async def _delete(self) -> None:
        s3 = self._s3
        with s3_errors(f"delete s3://{self._bucket}/{self._key}"):
            for version in self._versions or [None]:
                where: Any = {"VersionId": version} if version else {}
                await s3.delete_object(Bucket=self._bucket, Key=self._key, **where)
