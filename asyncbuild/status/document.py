"""Reader of `/status.json`, and its JSON Schema."""

from functools import cache

from pydantic import TypeAdapter, ValidationError

from asyncbuild.domain.errors import Reject
from asyncbuild.status.schema import VERSION, Status


def parse(document: bytes) -> Status:
    """Return the status that a document of `/status.json` contains.

    Raises:
        Reject: The document is something else.
    """
    try:
        return _adapter().validate_json(document)
    except ValidationError as error:
        raise Reject(
            f"this is not a status document of version {VERSION}: {error.error_count()} faults",
            remedy="name the address that the service logged as status.listening",
        ) from error


def json_schema() -> dict[str, object]:
    """Return the document's JSON Schema."""
    return _adapter().json_schema()


@cache
def _adapter() -> TypeAdapter[Status]:
    return TypeAdapter(Status)
