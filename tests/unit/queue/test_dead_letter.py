"""Attributes of a dead letter: all where there is room, the most important where not."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncbuild.domain.errors import Kind
from asyncbuild.domain.model import Message
from asyncbuild.forges.webhooks.delivery import KEPT
from asyncbuild.queue.lane.dead_letter import Fitted, fit, size_of_body

_AMPLE = 1 << 20
_MOST_ATTRIBUTES = 10  # SQS Developer Guide, "Message metadata"
_WHY = ("ErrorKind", "Attempts", "OriginalMessageId", "OriginalSequenceNumber", "Reason")
_SENT = datetime(2026, 11, 1, 12, tzinfo=UTC)
_HEADERS = st.dictionaries(
    st.sampled_from([*KEPT, "x-other"]), st.text("aü", min_size=1, max_size=60), max_size=12
)


_EVENT = '{"detail-type": "CodeCommit Repository State Change"}'


def _message(body: str = _EVENT, attributes: dict[str, str] | None = None) -> Message:
    return Message(
        "m-1", body, "handle", "group", 77, receive_count=3, sent=_SENT, attributes=attributes or {}
    )


def _fit(message: Message, limit: int, *, reason: str = "why", attempts: int = 4) -> Fitted:
    return fit(message, kind=Kind.REJECT, reason=reason, attempts=attempts, limit_bytes=limit)


def _sizes(fitted: Fitted) -> dict[str, int]:
    """Bytes of each attribute as SQS counts them: name, type and value."""
    return {
        name: len(f"{name}{each['DataType']}{each['StringValue']}".encode())
        for name, each in fitted.attributes.items()
    }


@pytest.mark.parametrize("attempts", [0, 1, 5])
def test_a_dead_letter_has_reason_and_origin(attempts: int) -> None:
    """Attempts are those that the lane counted, not the number of receives."""
    fitted = _fit(_message(), _AMPLE, attempts=attempts)
    assert fitted == Fitted(
        {
            "ErrorKind": {"DataType": "String", "StringValue": "reject"},
            "Attempts": {"DataType": "Number", "StringValue": str(attempts)},
            "OriginalMessageId": {"DataType": "String", "StringValue": "m-1"},
            "OriginalSequenceNumber": {"DataType": "String", "StringValue": "77"},
            "Reason": {"DataType": "String", "StringValue": "why"},
        }
    )


@given(headers=_HEADERS)
def test_a_webhook_can_be_read_again(headers: dict[str, str]) -> None:
    """Headers that identify the sender are kept unchanged, the first five of their order."""
    fitted = _fit(_message("payload=x", headers), _AMPLE)
    known = [name for name in KEPT if name in headers or name == "webhook-sent"]
    if not set(headers) & set(KEPT) - {"webhook-sent"}:  # not recognisable as a webhook
        known = [name for name in known if name in headers]
    kept = {name: fitted.attributes[name]["StringValue"] for name in known[:5]}
    expected = {"webhook-sent": _SENT.isoformat(), **headers}
    assert kept == {name: expected[name] for name in known[:5]}
    assert set(fitted.attributes) == {*known[:5], *_WHY}
    assert fitted.lacking == ()


def test_attributes_of_the_message_come_before_added_ones() -> None:
    """Its signature is worth more than the time at which it was sent."""
    signed = _message("{}", {"x-hub-signature-256": "s" * 71})
    assert list(_fit(signed, _AMPLE).attributes) == ["x-hub-signature-256", "webhook-sent", *_WHY]
    (only,) = _fit(signed, 2 + len("x-hub-signature-256String") + 71).attributes
    assert only == "x-hub-signature-256"


@given(
    headers=_HEADERS,
    body=st.text("xü", max_size=40),
    reason=st.text("yß\N{GRINNING FACE}", min_size=1, max_size=300),
    room=st.integers(0, 700),
)
def test_any_room_is_kept_and_used(
    headers: dict[str, str], body: str, reason: str, room: int
) -> None:
    """No attribute is too long, none that fits is left out, and missing ones are named."""
    message = _message(body, headers)
    whole = _fit(message, _AMPLE, reason=reason)
    fitted = _fit(message, len(body.encode()) + room, reason=reason)
    assert len(fitted.attributes) <= _MOST_ATTRIBUTES
    assert sum(_sizes(fitted).values()) <= room
    cut = {name for name, each in fitted.attributes.items() if each != whole.attributes[name]}
    left_out = set(whole.attributes) - set(fitted.attributes)
    assert sorted(fitted.lacking) == sorted(cut | left_out)
    assert cut <= {"Reason"}
    left = room - sum(_sizes(fitted).values())
    assert all(left < _sizes(whole)[name] for name in left_out - {"Reason"})
    if "Reason" in left_out:  # twenty bytes of it are enough to be useful
        assert left - len("ReasonString") < 20
    elif cut:
        shown = fitted.attributes["Reason"]["StringValue"]
        assert shown.endswith("…")
        assert reason.startswith(shown[:-1])
        assert left < len("\N{GRINNING FACE}".encode())


@pytest.mark.parametrize("room", [31, 32, 33])
def test_a_reason_is_cut_to_twenty_bytes_and_not_further(room: int) -> None:
    """Name and type of the attribute take twelve."""
    others = sum(_sizes(_fit(_message(), _AMPLE)).values()) - len("ReasonStringwhy")
    fitted = _fit(_message(), len(_EVENT) + others + room, reason="because " * 9)
    shown = {32: "because because b…", 33: "because because be…"}.get(room)
    assert ("Reason" in fitted.attributes) == (shown is not None)
    if shown:
        assert fitted.attributes["Reason"]["StringValue"] == shown
    assert fitted.lacking == ("Reason",)


def test_attributes_that_just_fit_are_kept() -> None:
    """One byte less is too little. Body, names, types and values count together."""
    message = _message("ü", {})
    whole = sum(_sizes(_fit(message, _AMPLE)).values()) + 2
    assert _fit(message, whole).lacking == ()
    assert _fit(message, whole - 1).lacking == ("Reason",)


@example("\ud800 \udfff \ufffe \uffff \0\x1f \t\n\r \N{GRINNING FACE} X")
@given(st.text(st.characters(), max_size=50))
def test_any_reason_is_made_valid_for_sqs(reason: str) -> None:
    """Characters of XML 1.0 stay, each other one becomes a question mark; no value is empty."""
    illegal = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
    shown = _fit(_message(), _AMPLE, reason=reason).attributes["Reason"]["StringValue"]
    assert shown == (illegal.sub("?", reason) or "-")


def test_a_body_is_counted_in_bytes() -> None:
    """A lone surrogate has three, like other characters of three bytes in UTF-8."""
    assert [size_of_body(_message(body)) for body in ("", "a", "ü", "\ud800")] == [0, 1, 2, 3]


def test_a_reason_has_at_most_2000_characters() -> None:
    """The log has the rest."""
    for length in (1_999, 2_000, 2_001):
        shown = _fit(_message(), _AMPLE, reason="x" * length).attributes["Reason"]["StringValue"]
        assert len(shown) == min(length, 2_000)


@pytest.mark.parametrize("room", [40, 41, 42, 43])
def test_a_reason_is_cut_between_characters(room: int) -> None:
    """The rest is valid text, even if the room ends within a letter of four bytes."""
    others = sum(_sizes(_fit(_message(), _AMPLE)).values()) - len("ReasonStringwhy")
    fitted = _fit(_message(), len(_EVENT) + others + room, reason="\N{GRINNING FACE}" * 30)
    faces = (room - len("ReasonString") - len("…".encode())) // 4
    assert fitted.attributes["Reason"]["StringValue"] == "\N{GRINNING FACE}" * faces + "…"
