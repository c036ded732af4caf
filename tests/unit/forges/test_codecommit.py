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
from asyncbuild.forges.codecommit import parse


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
    "detail-type is 'EC2', not \"CodeCommit": orjson.dumps(
        {**envelope(), "detail-type": "EC2"}
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
