"""Fields of records that hold the name of a person. Pure."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

# The value that a field without a name has, as its reader expects it.
PERSON_FIELDS: Final[Mapping[str, str | None]] = {
    "pusher": None,  # of a push, as its forge tells it; of CodeCommit an ARN
    "requested_by": "",  # of a push that was asked for
    "initiator": "",  # of a build: who started it, or tried it again
}
_DEPTH_MOST: Final = 20  # records have three levels


def names_person(value: object, name: str) -> bool:
    """Return whether a field's value is that name, or an ARN or a path that ends in it.

    CodeCommit tells `arn:aws:iam::123456789012:user/jane`, CodeBuild `role/jane`. Forges do not
    tell capitals from small letters in names.

    Args:
        value: Value of a field.
        name: Name of a person; a whole ARN is one, too.
    """
    if not isinstance(value, str):
        return False
    told, asked = value.casefold(), name.casefold()
    return asked in {told, told.rpartition("/")[2]}


def without_person(record: object, name: str) -> tuple[Any, Counter[str]]:
    """Return a record without a person's name, and how often each field had it.

    Args:
        record: JSON of a record.
        name: The name.
    """
    found = Counter[str]()
    return _without(record, name, found, 0), found


def _without(value: object, name: str, found: Counter[str], depth: int) -> object:
    if isinstance(value, list) and depth < _DEPTH_MOST:
        return [_without(each, name, found, depth + 1) for each in value]
    if not isinstance(value, dict) or depth >= _DEPTH_MOST:
        return value
    kept = dict[str, object]()
    for field, inner in value.items():
        if field in PERSON_FIELDS and names_person(inner, name):
            found[field] += 1
            kept[field] = PERSON_FIELDS[field]
        else:
            kept[field] = _without(inner, name, found, depth + 1)
    return kept
