"""Write of an archive that fits into one part: one request, where its key is free."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from asyncbuild.aws.classify import s3_errors as errors_of
from asyncbuild.domain.errors import StageError
from asyncbuild.domain.model import Guard
from asyncbuild.storage.parts import Body

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

FINGERPRINT_KEY: Final = "asyncbuild-fingerprint"  # metadata: what an archive was made from
# The key is taken; or another writer is at it; or the server does not know the condition.
_NOT_WRITTEN: Final = frozenset(
    {
        *("PreconditionFailed", "412", "ConditionalRequestConflict", "409"),
        *("NotImplemented", "501"),
    }
)


async def put_single(
    client: "S3Client", parameters: Mapping[str, Any], body: Body, *, guard: Guard
) -> Mapping[str, Any]:
    """Write the object, replacing one that is there, and return the answer.

    Args:
        client: Client for S3.
        parameters: Bucket, key, metadata and further parameters of PutObject.
        body: Contents.
        guard: Called right before (I4).

    Raises:
        LeaseLost: From `guard`.
        StageError: S3 refused.
    """
    guard()
    with errors_of(_doing(parameters)):
        return await client.put_object(
            **cast("Any", parameters),
            Body=cast("Any", body),  # botocore takes any object with `read` and `seek`
        )


async def put_unless_there(
    client: "S3Client", parameters: Mapping[str, Any], body: Body, *, guard: Guard
) -> Mapping[str, Any]:
    """Write the object unless there is one with the same fingerprint; return the answer about it.

    The condition of the write (`If-None-Match`) tells what would otherwise be asked before each
    archive, and hardly any key is taken. If it is, HeadObject tells by what: the same contents, be
    it of this very write, whose answer was lost. Everything else is replaced.

    Args:
        client: Client for S3.
        parameters: As for `put_single`; `Metadata` contains the fingerprint.
        body: Contents.
        guard: Called right before each write (I4).

    Raises:
        LeaseLost: From `guard`.
        StageError: S3 refused.
    """
    try:
        return await put_single(client, {**parameters, "IfNoneMatch": "*"}, body, guard=guard)
    except StageError as error:
        if error.code not in _NOT_WRITTEN:
            raise
    found = await look_at(client, {name: parameters[name] for name in ("Bucket", "Key")})
    fingerprint = found.get("Metadata", {}).get(FINGERPRINT_KEY)
    if fingerprint and fingerprint == parameters["Metadata"].get(FINGERPRINT_KEY):
        return found
    body.seek(0)
    return await put_single(client, parameters, body, guard=guard)


async def look_at(client: "S3Client", where: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the answer of HeadObject; an empty one if the key has no object, or S3 refused."""
    try:
        with errors_of(f"look for s3://{where['Bucket']}/{where['Key']}"):
            return await client.head_object(**cast("Any", where))
    except StageError:
        return {}


def _doing(parameters: Mapping[str, Any]) -> str:
    return f"put s3://{parameters['Bucket']}/{parameters['Key']}"
