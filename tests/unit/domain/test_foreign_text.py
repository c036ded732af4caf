"""Foreign text is read to a value or a verdict, and shown without control codes."""

import io
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from support.readers import CORPUS, READERS, check_shown
from support.webhooks import SECRET, hosts, message

from asyncbuild.commands import log_setup
from asyncbuild.config import LogSettings
from asyncbuild.domain.errors import LeaseLost, Reject, Retry, StageError, reading
from asyncbuild.domain.foreign_text import plain, to_json
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.forges.webhooks.senders import Host, MessageReader
from asyncbuild.pushes.pipeline import read_message

_ERRORS = (
    *(RecursionError, OverflowError, ValueError, TypeError, KeyError, IndexError),
    *(AttributeError, ZeroDivisionError, AssertionError, OSError),
)


def _seeds(reader: str) -> list[bytes]:
    return [each.read_bytes() for each in sorted((CORPUS / reader).iterdir())]


_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(["refs/heads/main", "0" * 40, "1" * 40, "9999-12-31T23:59:59-14:00", "\ud800"]),
)
_names = st.sampled_from(
    [
        *("ref", "after", "before", "repository", "project", "push", "changes", "detail", "time"),
        *("headers", "body", "isBase64Encoded", "archive", "timings", "build", "recorded_at"),
        *("pushed_at", "verdict", "objects", "actions", "commit", "event_id", "version", "files"),
    ]
)
_values = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(_names | st.text(max_size=5), inner)
    ),
    max_leaves=20,
)
_documents = _values.map(lambda value: json.dumps(value).encode())
_deep = st.builds(
    lambda depth, opened, closed: opened * depth + b"1" + closed * depth,
    st.sampled_from([10, 300, 900, 1_000, 1_015, 1_023, 1_025, 20_000]),
    st.sampled_from([b"[", b'{"repository":', b'{"ref":[']),
    st.sampled_from([b"]", b"}", b"]}", b""]),
)
_heads = st.sampled_from([b"", b"\n\n", b"X-GitHub-Event: push\n\n", b"X-Gitlab-Token: x\n\n"])


@st.composite
def _mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One of the corpus with pieces cut out, put twice, or replaced."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.integers(0, 40)))
        plain = st.sampled_from([b"", data[begin:end] * 2, b"9" * 5_000]) | st.binary(max_size=8)
        piece = draw(plain | _deep)
        data = data[:begin] + piece + data[end:]
    return data


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_returns_a_value_or_a_verdict(reader: str) -> None:
    """Input is bytes, values of JSON, deep nesting, and the corpus with pieces changed."""
    seeds = _seeds(reader)
    assert seeds
    for seed in seeds:
        READERS[reader](seed)
    told = st.builds(bytes.__add__, _heads, _documents | _deep | st.binary(max_size=60))

    @given(_mutated(seeds) | told)
    def feed(data: bytes) -> None:
        READERS[reader](data)

    feed()


@pytest.mark.parametrize("kind", _ERRORS)
def test_an_error_of_reading_rejects_the_message(kind: type[Exception]) -> None:
    """The reason names the class of the reader's error, and quotes nothing."""

    def fail() -> list[str]:
        raise kind(SECRET)

    fails = MessageReader([Host("github.com", ForgeKind.GITHUB, secrets=fail)])
    body = (CORPUS / "messages" / "github").read_text().partition("\n\n")[2]
    work = read_message(fails, message(body, {"X-Hub-Signature-256": "sha256=00"}))
    assert isinstance(work.event, Reject)
    assert work.event.reason == f"message cannot be read: {kind.__name__}"


@pytest.mark.parametrize("error", [MemoryError(), LeaseLost("gone"), Retry("later")])
def test_other_errors_of_reading_are_passed_on(error: Exception) -> None:
    """Exhausted memory, a lost lease, and errors that a stage meant."""
    with pytest.raises(type(error)) as raised, reading("message"):
        raise error
    assert raised.value is error


def test_cancellation_passes() -> None:
    """A task that is cancelled while it reads is cancelled."""
    with pytest.raises(KeyboardInterrupt), reading("message"):
        raise KeyboardInterrupt


def test_a_message_that_no_reader_takes_has_one_verdict() -> None:
    """A nested body and a time at the edge of the calendar."""
    for name in ("nested", "edge-of-calendar", "surrogate", "numbers"):
        text = (CORPUS / "messages" / name).read_text().partition("\n\n")[2]
        work = read_message(hosts(), message(text, {"X-GitHub-Event": "push"}))
        assert isinstance(work.event, Reject), name


@given(st.text(st.characters(), max_size=50), st.integers(1, 60))
def test_plain_text_is_bounded_and_has_no_control_codes(text: str, most: int) -> None:
    """Harmless text stays as it is."""
    shown = plain(text, most)
    check_shown(shown)
    assert shown.isprintable()
    assert len(shown) <= most
    if text.isprintable() and len(text) <= most:
        assert shown == text


@given(_values)
def test_json_keeps_every_value(value: Any) -> None:  # noqa: ANN401 - any value
    """Characters that control a terminal are written as escapes."""
    text = to_json({"value": value}).decode()
    check_shown(text)
    assert text.isprintable()
    told = json.loads(text)["value"]
    odd = re.search(r"nan|inf|\\ud[89a-f]|[0-9]{18}", ascii(value))
    assert odd or told == json.loads(json.dumps(value))


def test_a_reason_is_bounded_and_has_no_control_codes() -> None:
    """Records, dead letters, the page and the log all show it."""
    error = StageError("a\x1b[2J\u009b31m\u202e\ud800" + "x" * 100_000)
    check_shown(str(error))
    assert len(str(error)) <= 20_000
    str(error).encode()


class _Stream(io.StringIO):
    """Standard error, as a terminal or not."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._bytes = io.BytesIO()
        self._terminal = terminal

    @property
    def buffer(self) -> io.BytesIO:
        return self._bytes

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(params=[True, False], ids=["terminal", "json"])
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Stream]:
    """The log's stream."""
    made = _Stream(terminal=request.param)
    monkeypatch.setattr(sys, "stderr", made)
    log_setup.configure(LogSettings())
    yield made
    monkeypatch.undo()
    log_setup.configure(LogSettings())


def test_a_log_entry_is_one_line_without_control_codes(stream: _Stream) -> None:
    """Fields, lists and tracebacks; halves of surrogate pairs lose no line."""
    harm = "a\nlevel=error \x1b[2J fake \u009b31m\u202e\ud800"
    password = "made-up-secret"  # a local variable, which no traceback shows
    structlog.get_logger().warning("push.x", ref=harm, lacking=[harm], reason="y" * 100_000)
    try:
        int(harm + password[:0])
    except ValueError:
        structlog.get_logger().exception("push.bug")
    text = stream.getvalue() or stream.buffer.getvalue().decode()
    plain_text = re.sub(r"\x1b\[[0-9;]*m", "", text)  # the renderer's own colours
    check_shown(plain_text)
    assert len(text) < 20_000
    assert password not in text
    if stream.isatty():
        assert "\nlevel=error" not in plain_text.partition("Traceback")[0]
    else:
        first, second = map(orjson.loads, text.splitlines())
        assert first["reason"].endswith("…")
        assert "ValueError" in second["exception"]
