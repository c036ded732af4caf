"""Message bodies become pushes, events to ignore, or rejections that name the fault."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.events import ACCOUNT, REGION, body, envelope

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Change, Nothing, Push
from asyncbuild.domain.repository import Repository
from asyncbuild.forges.codecommit_messages import parse_message


def parse(text: str | bytes) -> Push | Nothing:
    """Return the only event of a message."""
    (event,) = parse_message(text)
    assert not isinstance(event, Reject)
    return event


def _push(text: str) -> Push:
    event = parse(text)
    assert isinstance(event, Push)
    return event


def test_an_update_is_a_push() -> None:
    """Each field of a plain update is read."""
    event = envelope()
    expected = Push(
        id=event["id"],
        repository=Repository.of_codecommit(ACCOUNT, REGION, "web"),
        ref="refs/heads/main",
        commit="a" * 40,
        change=Change.UPDATED,
        time=datetime(2026, 11, 1, 10, 23, 43, tzinfo=UTC),
        old_commit="b" * 40,
        pusher=f"arn:aws:iam::{ACCOUNT}:user/mary",
    )
    assert expected == parse(orjson.dumps(event))


def test_a_created_tag_without_the_full_name() -> None:
    """Type and short name stand in for a missing full name."""
    push = _push(
        body(
            event="referenceCreated",
            referenceFullName=None,
            referenceType="tag",
            referenceName="v1.0",
            oldCommitId=None,
        )
    )
    assert (push.ref, push.branch, push.kind.value) == ("refs/tags/v1.0", "v1.0", "tag")
    assert (push.change, push.old_commit) == (Change.CREATED, None)


def test_the_full_name_is_preferred() -> None:
    """A short name that says otherwise does not matter."""
    push = _push(body(referenceFullName="refs/heads/feature/x", referenceName="x"))
    assert (push.ref, push.branch) == ("refs/heads/feature/x", "feature/x")


def test_a_merge_made_by_codecommit_is_a_push() -> None:
    """The additional merge fields change nothing."""
    push = _push(
        body(
            baseCommitId="c" * 40,
            sourceCommitId="d" * 40,
            destinationCommitId="e" * 40,
            mergeOption="THREE_WAY_MERGE",
            conflictDetailsLevel="LINE_LEVEL",
            conflictResolutionStrategy="NONE",
        )
    )
    assert push.commit == "a" * 40


@pytest.mark.parametrize(
    "detail",
    [
        {"event": "referenceDeleted", "commitId": None},
        {
            "event": "unreferencedMergeCommitCreated",
            "referenceFullName": None,
            "referenceName": None,
            "referenceType": None,
        },
    ],
)
def test_events_that_need_no_build_are_ignored(detail: dict[str, Any]) -> None:
    """Deletions and merge commits without a ref are ignored without an error."""
    event = parse(body(**detail))
    assert isinstance(event, Nothing)
    assert event.reason
    assert Repository.of_codecommit(ACCOUNT, REGION, "web") == event.repository


def test_an_sns_notification_is_unwrapped() -> None:
    """SNS without raw delivery puts the event into a string."""
    notification = {"Type": "Notification", "MessageId": "1", "Message": body()}
    assert _push(orjson.dumps(notification).decode()).commit == "a" * 40


_WRONG_BODIES = {
    "not JSON": "hello",
    "is not JSON": "",
    "not an object": "[1]",
    "no detail-type": "{}",
    "which is no event id": orjson.dumps({**envelope(), "id": "a/../b"}).decode(),
    "detail-type is ['EC2'], not \"CodeCommit": orjson.dumps(
        {**envelope(), "detail-type": ["EC2"]}
    ).decode(),
    "detail is 'x', not an object": orjson.dumps({**envelope(), "detail": "x"}).decode(),
    "account is '12'": orjson.dumps({**envelope(), "account": "12"}).decode(),
    "region is '../x'": orjson.dumps({**envelope(), "region": "../x"}).decode(),
    "time is 'soon'": orjson.dumps({**envelope(), "time": "soon"}).decode(),
    "commitId is missing": body(commitId=None),
    "commitId is '--upload-pack=x'": body(commitId="--upload-pack=x"),
    "oldCommitId is 'HEAD'": body(oldCommitId="HEAD"),
    "repositoryName is '../../etc'": body(repositoryName="../../etc"),
    "repositoryName is '-x'": body(repositoryName="-x"),
    "repositoryName is '..'": body(repositoryName=".."),
    "detail.event is 'pushed'": body(event="pushed"),
    "is not below refs/heads/": body(referenceFullName="refs/notes/x"),
    "not a name that git allows": body(referenceFullName="refs/heads/a..b"),
    "Message of the SNS": orjson.dumps({"Type": "Notification", "Message": 1}).decode(),
    "names no ref": body(referenceFullName=None, referenceType="note"),
}


@pytest.mark.parametrize(("reason", "text"), _WRONG_BODIES.items(), ids=list(_WRONG_BODIES))
def test_a_message_that_is_not_a_push_is_rejected_with_its_reason(reason: str, text: str) -> None:
    """The reason names the field and the value."""
    with pytest.raises(Reject) as caught:
        parse(text)
    assert reason in caught.value.reason


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.sampled_from(["id", "account", "region", "time", "detail", "detail-type"]), _json)
def test_any_value_of_an_envelope_field_is_handled(name: str, value: object) -> None:
    """Any value makes a push, an ignored event, or a rejection."""
    _parse_or_reject({**envelope(), name: value})


@given(st.sampled_from(sorted(envelope()["detail"])), _json)
def test_any_value_of_a_detail_field_is_handled(name: str, value: object) -> None:
    """Fields of `detail` are drawn as those of the envelope."""
    event = envelope()
    event["detail"][name] = value
    _parse_or_reject(event)


@given(st.binary(max_size=64))
def test_any_bytes_are_handled(raw: bytes) -> None:
    """Bytes that are not JSON are rejected."""
    with pytest.raises(Reject):
        parse(raw)


def _parse_or_reject(event: dict[str, Any]) -> None:
    try:
        parsed: object = parse(orjson.dumps(event))
    except Reject as error:
        parsed = error
    assert isinstance(parsed, Push | Nothing | Reject)
    assert str(parsed)


@pytest.mark.parametrize(
    "kind", ["CodeCommit Pull Request State Change", "CodeCommit Comment on Commit", "ECR", ""]
)
def test_events_of_other_kinds_are_nothing_to_do(kind: str) -> None:
    """A rule may send more than pushes; the reason names the kind."""
    event = parse(orjson.dumps({**envelope(), "detail-type": kind, "detail": {"x": 1}}))
    assert isinstance(event, Nothing)
    assert kind in event.reason


# --- triggers -------------------------------------------------------------------------------------


def _record(*references: dict[str, Any], **more: object) -> dict[str, Any]:
    return {
        "awsRegion": REGION,
        "codecommit": {"references": references},
        "eventId": "5a824061-17ca-46a9-bbf9-114edeadbeef",
        "eventName": "ReferenceChanges",
        "eventPartNumber": 1,
        "eventSource": "aws:codecommit",
        "eventSourceARN": f"arn:aws:codecommit:{REGION}:{ACCOUNT}:web",
        "eventTime": "2026-11-01T10:23:43.123+0000",
        "eventTotalParts": 1,
        "eventTriggerName": "all",
        "userIdentityARN": f"arn:aws:iam::{ACCOUNT}:user/mary",
        **more,
    }


def _trigger(*records: dict[str, Any]) -> bytes:
    return orjson.dumps({"Records": records})


@pytest.mark.parametrize("by_sns", [False, True])
def test_the_references_of_a_trigger_are_pushes(*, by_sns: bool) -> None:
    """A created tag, an updated branch, a deleted one; each has an id of its own."""
    text = _trigger(
        _record(
            {"commit": "a" * 40, "ref": "refs/heads/main"},
            {"commit": "b" * 40, "ref": "refs/tags/v1", "created": True},
            {"commit": "c" * 40, "ref": "refs/heads/old", "deleted": True},
        )
    )
    if by_sns:
        text = orjson.dumps({"Type": "Notification", "Message": text.decode()})
    pushed, tagged, deleted = parse_message(text)
    assert isinstance(pushed, Push)
    assert isinstance(tagged, Push)
    assert (pushed.ref, pushed.commit, pushed.change) == (
        *("refs/heads/main", "a" * 40),
        Change.UPDATED,
    )
    assert pushed.time == datetime(2026, 11, 1, 10, 23, 43, 123000, tzinfo=UTC)
    assert pushed.repository == Repository.of_codecommit(ACCOUNT, REGION, "web")
    assert (pushed.old_commit, pushed.pusher) == (None, f"arn:aws:iam::{ACCOUNT}:user/mary")
    assert (tagged.ref, tagged.change) == ("refs/tags/v1", Change.CREATED)
    assert isinstance(deleted, Nothing)
    assert deleted.reason == "refs/heads/old was deleted"
    assert len({pushed.id, tagged.id, deleted.id}) == 3


def test_parts_of_one_trigger_have_ids_of_their_own() -> None:
    """Its id is the same in each part."""
    one = {"commit": "a" * 40, "ref": "refs/heads/main"}
    ids = set()
    for part in (1, 2):
        (event,) = parse_message(_trigger(_record(one, eventPartNumber=part, eventTotalParts=2)))
        assert isinstance(event, Push)
        ids.add(event.id)
    assert len(ids) == 2


def test_a_trigger_that_is_tried_out_is_nothing_to_do() -> None:
    """*Test trigger* in the console sends a made-up commit."""
    event = parse(
        _trigger(
            _record(
                {"commit": "5c4ef1049f1d27de", "ref": "refs/heads/main"},
                eventName="TriggerEventTest",
            )
        )
    )
    assert isinstance(event, Nothing)
    assert "tried out" in event.reason


def test_a_faulty_reference_affects_no_other() -> None:
    """Its reason comes after the events; one alone is a reject."""
    good = {"commit": "a" * 40, "ref": "refs/heads/main"}
    bad = {"commit": "--upload-pack=x", "ref": "refs/heads/x"}
    event, fault = parse_message(_trigger(_record(good, bad)))
    assert isinstance(event, Push)
    assert isinstance(fault, Reject)
    with pytest.raises(Reject, match="commit is '--upload-pack=x'"):
        parse_message(_trigger(_record(bad)))


@given(
    st.sampled_from(["codecommit", "eventId", "eventSourceARN", "eventTime", "userIdentityARN"]),
    _json,
)
def test_any_value_of_a_triggers_field_is_handled(name: str, value: object) -> None:
    """Any value makes events or a rejection."""
    record = {**_record({"commit": "a" * 40, "ref": "refs/heads/main"}), name: value}
    try:
        events = parse_message(_trigger(record))
    except Reject as error:
        events = (error,)
    assert all(isinstance(each, Push | Nothing | Reject) for each in events)
