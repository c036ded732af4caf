"""Older versions of objects in a bucket that keeps them."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import aiohttp

from asyncbuild.aws.classify import s3_errors as errors_of
from asyncbuild.aws.classify import unreached
from asyncbuild.domain.errors import Retry
from asyncbuild.storage.ranges import MISSING

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


class StoredVersions:
    """Reader and remover of versions that are not the latest.

    Args:
        client: Client for S3.
        bucket: Name of the bucket.
    """

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def are_kept(self) -> bool:
        """Return whether the bucket keeps versions, or has kept some before that was suspended.

        Raises:
            StageError: S3 refused.
        """
        with errors_of(f"read the versioning of bucket {self._bucket}"):
            answer = await self._client.get_bucket_versioning(Bucket=self._bucket)
        return bool(answer.get("Status"))

    async def iter_old(self, prefix: str) -> AsyncIterator[tuple[str, str]]:
        """Yield the key and the id of each version below a prefix that is not the latest.

        Raises:
            StageError: S3 refused.
        """
        more: dict[str, Any] = {}
        while True:
            with errors_of(f"list the versions of {self._bucket}/{prefix}"):
                page = await self._client.list_object_versions(
                    Bucket=self._bucket, Prefix=prefix, **more
                )
            for each in page.get("Versions", ()):
                if not each.get("IsLatest"):
                    yield each["Key"], each["VersionId"]
            if not page.get("IsTruncated"):
                return
            more = {"KeyMarker": page["NextKeyMarker"]}
            if marker := page.get("NextVersionIdMarker"):
                more["VersionIdMarker"] = marker

    async def read_old(self, key: str, version: str) -> bytes | None:
        """Return the contents of a version; None if it does not exist any more.

        Raises:
            StageError: S3 refused.
        """
        doing = f"read version {version} of {self._bucket}/{key}"
        try:
            with errors_of(doing):
                answer = await self._client.get_object(
                    Bucket=self._bucket, Key=key, VersionId=version
                )
                async with answer["Body"] as stream:
                    return await stream.read()
        except aiohttp.ClientError as error:  # aiobotocore does not translate errors of bodies
            raise unreached(doing, error, "s3") from error
        except Retry as error:
            if error.code in {*MISSING, "NoSuchVersion"}:
                return None
            raise

    async def delete_old(self, key: str, version: str) -> None:
        """Delete a version for good.

        Raises:
            StageError: S3 refused.
        """
        with errors_of(f"delete version {version} of {self._bucket}/{key}"):
            await self._client.delete_object(Bucket=self._bucket, Key=key, VersionId=version)
