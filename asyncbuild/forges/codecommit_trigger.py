"""Parser of messages of CodeCommit's triggers: several references of one repository. Pure.

A trigger sends to SNS or Lambda; a Lambda function may pass its event on to the queue as it is.
Source: CodeCommit User Guide, "Manage triggers for a repository", and Lambda Developer Guide,
CodeCommit's sample event. A reference names no old commit.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from asyncbuild.domain.errors import Reject, show
from asyncbuild.domain.model import Change, Nothing, Push
from asyncbuild.domain.refs import check_pushed_ref
from asyncbuild.domain.repository import Repository
from asyncbuild.forges.codecommit import (
    COMMIT,
    EVENT_ID,
    find_pusher_arn,
    match_field,
    read_event_time,
    read_repository_parts,
)

_SOURCE: Final = "aws:codecommit"
_TRIED: Final = "TriggerEventTest"
_ARN: Final = re.compile(
    r"arn:[a-z-]+:codecommit:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):(?P<name>.+)", re.ASCII
)


def is_trigger(document: Mapping[str, Any]) -> bool:
    """Return whether a message has the shape of a trigger's."""
    records = document.get("Records")
    return isinstance(records, list) and any(
        isinstance(each, dict) and each.get("eventSource") == _SOURCE for each in records
    )


def read_trigger(document: Mapping[str, Any]) -> tuple[Push | Nothing | Reject, ...]:
    """Read the message of a trigger, for which `is_trigger` is true.

    Returns:
        Events, one for each reference in their order; a faulty one is its reason.

    Raises:
        Reject: All of them are faulty.
    """
    found = [each for record in document["Records"] for each in _read_record(record)]
    faults = [each for each in found if isinstance(each, Reject)]
    if faults and len(faults) == len(found):
        raise faults[0]
    return (*(each for each in found if not isinstance(each, Reject)), *faults)


def _read_record(record: object) -> Sequence[Push | Nothing | Reject]:
    if not isinstance(record, dict) or record.get("eventSource") != _SOURCE:
        return [Reject(f"Records has {show(record)}, which is not an event of CodeCommit")]
    try:
        identity = match_field(EVENT_ID, record, "eventId")
        repository = _read_repository(record)
        if record.get("eventName") == _TRIED:
            return [Nothing(identity, "the trigger was tried out", repository)]
        references = _read_references(record)
    except Reject as fault:
        return [fault]
    part = record.get("eventPartNumber")
    stem = f"{identity}.{part}" if record.get("eventTotalParts") not in {None, 1} else identity
    several = len(references) > 1
    return [
        _read_reference(record, repository, each, f"{stem}.{n}" if several else stem)
        for n, each in enumerate(references, 1)
    ]


def _read_references(record: Mapping[str, Any]) -> Sequence[object]:
    inside = record.get("codecommit")
    references = inside.get("references") if isinstance(inside, dict) else None
    if not isinstance(references, list) or not references:
        raise Reject(f"codecommit.references is {show(references)}, not a list of references")
    return references


def _read_reference(
    record: Mapping[str, Any], repository: Repository, reference: object, identity: str
) -> Push | Nothing | Reject:
    """Return the event of one reference.

    Args:
        record: The record that it stands in.
        repository: The record's repository.
        reference: The reference.
        identity: Id for its event.
    """
    if not isinstance(reference, dict):
        return Reject(f"codecommit.references has {show(reference)}, which is not an object")
    try:
        ref = check_pushed_ref(reference.get("ref"))
        if reference.get("deleted") is True:
            return Nothing(identity, f"{ref} was deleted", repository, ref)
        return Push(
            id=identity,
            repository=repository,
            ref=ref,
            commit=match_field(COMMIT, reference, "commit"),
            change=Change.CREATED if reference.get("created") is True else Change.UPDATED,
            time=read_event_time(record, "eventTime"),
            pusher=find_pusher_arn(record.get("userIdentityARN")),
        )
    except Reject as fault:
        return fault


def _read_repository(record: Mapping[str, Any]) -> Repository:
    arn = record.get("eventSourceARN")
    found = _ARN.fullmatch(arn) if isinstance(arn, str) else None
    if found is None:
        raise Reject(f"eventSourceARN is {show(arn)}, which is not that of a repository")
    return read_repository_parts(found["account"], found["region"], found["name"])
