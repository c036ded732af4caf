"""Every reader of what others write, as a function of bytes that fails at anything but a verdict.

The suite feeds each of them for a moment (`tests/unit/domain/test_foreign_text.py`), `make fuzz`
for as long as it is told (`support.fuzz`). `tests/fixtures/foreign/READER/` holds what a search
begins with.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from support.webhooks import SENT, hosts

from asyncbuild.archive.delta.planning.attributes import effect_of
from asyncbuild.archive.delta.planning.base import parse_base
from asyncbuild.archive.delta.planning.entry_table import (
    BrokenTable,
    parse_directory,
    parse_end,
    parse_file,
)
from asyncbuild.aws.task_protection import refusal_of
from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.ledger_records import read_head, read_record
from asyncbuild.builds.result_records import read_result, read_started
from asyncbuild.checks.judges.packet_trace import parse_trace
from asyncbuild.commands import dead_letter_queue, dead_letters
from asyncbuild.commands import explain_text as explained
from asyncbuild.domain.errors import Kind, Reject, Retry, StageError, reading, show
from asyncbuild.domain.foreign_json import load_json
from asyncbuild.domain.foreign_text import plain, to_json
from asyncbuild.domain.model import Message, Push
from asyncbuild.domain.results.build_result import StartedId, StartedKind
from asyncbuild.domain.retry_after import parse_retry_after
from asyncbuild.forges.addresses import parse_address, parse_gitmodules, resolve
from asyncbuild.forges.webhooks.delivery import showable
from asyncbuild.forges.webhooks.senders import Signature
from asyncbuild.git.formats.error_classes import find_fault, quote, stage_error
from asyncbuild.git.formats.gitattributes import TreeListing, are_readable, holds_doubtful
from asyncbuild.git.formats.lfs_answers import (
    message_of,
    parse_action,
    parse_batch,
)
from asyncbuild.git.formats.lfs_pointers import parse_pointer
from asyncbuild.queue.lane.dead_letter import fit
from asyncbuild.queue.lane.queue_facts import facts_of
from asyncbuild.queue.received_message import read_moment
from asyncbuild.results.facts.build_facts import facts_of_build
from asyncbuild.results.facts.result_messages import read_result_message
from asyncbuild.status.document import parse as parse_status
from asyncbuild.zip.format.long_header import TooLong
from asyncbuild.zip.format.tar_members import Run, iter_members
from asyncbuild.zip.format.tar_reader import LargeMember, TarReader

CORPUS: Final = Path(__file__).parents[1] / "fixtures" / "foreign"
_STARTED: Final = StartedId(StartedKind.BUILD, "web", "0a1b")
_NOW: Final = datetime(2026, 11, 1, tzinfo=UTC)
_OBEYED: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_UNSIGNED: Final = hosts(signature=Signature.OFF)
_SIGNED: Final = hosts()

Reader = Callable[[bytes], None]


def message_of_bytes(data: bytes) -> Message:
    """Lines `Name: value` are attributes; what follows an empty line is the body."""
    head, _, rest = data.partition(b"\n\n")
    lines = head.decode("utf-8", "surrogateescape").split("\n")
    attributes = {name: value for name, _, value in (each.partition(": ") for each in lines)}
    body = rest.decode("utf-8", "surrogatepass" if data[-1:] == b"\n" else "replace")
    return Message("m-1", body, "handle", "group", 1, sent=SENT, attributes=attributes)


def check_shown(text: str) -> None:
    """Fail if a terminal obeyed the text."""
    assert not _OBEYED.search(text), ascii(text)


def _check_times(event: object) -> None:
    """Fail if the time of a push cannot be reckoned with, or not be part of a key."""
    if isinstance(event, Push):
        assert len(f"{event.time - timedelta(days=1):%Y%m%d}") == 8
        assert event.time + timedelta(days=1) > event.time


def read_messages(data: bytes) -> None:
    """A message of the queue, believed and not believed."""
    with suppress(UnicodeDecodeError):
        message = message_of_bytes(data)
        for each in (_SIGNED, _UNSIGNED):
            try:
                for event in each.read(message):
                    _check_times(event)
            except Reject as error:
                check_shown(str(error))
        fit(message, kind=Kind.REJECT, reason=message.body, attempts=1, limit_bytes=1 << 18)


def read_dead_letters(data: bytes) -> None:
    """Read a dead letter: in a list, and whole."""
    with suppress(UnicodeDecodeError):
        message = message_of_bytes(data)
        told = {"Reason": message.body[:200], **message.attributes}
        letter = dead_letter_queue.letter_of(
            {
                "MessageId": "m-1",
                "Body": message.body,
                "ReceiptHandle": "handle",
                "Attributes": {"SentTimestamp": message.body[-13:]},
                "MessageAttributes": {name: {"StringValue": told[name]} for name in told},
            },
            _UNSIGNED,
        )
        for line in dead_letters.lines_of([letter], 80):
            check_shown(line)
        check_shown(to_json(letter.document(), indent=True).decode())
        showable(message.body)


def read_records(data: bytes) -> None:
    """A record of the ledger, and one of a ref's newest push, read and explained."""
    with suppress(Reject):
        read_head("head", data)
    with suppress(Reject):
        record = read_record("record", data)
        for line in explained.lines_of(record, repository="web"):
            check_shown(plain(line.text))
        explained.seconds_of(record)
        explained.is_record_about(record, "main")
        for row in explained.table_of(explained.slowness_of([record, record]), 80):
            check_shown(plain(row))
        check_shown(to_json(record).decode())


def read_bases(data: bytes) -> None:
    """The record of an older archive, and that archive's directory."""
    parse_base(data)
    for parse in (parse_file, parse_end, lambda tail: parse_directory(tail, len(tail))):
        with suppress(BrokenTable):
            parse(data)


def read_answers(data: bytes) -> None:
    """Answers of LFS servers, the ECS agent, SQS and another service's status port."""
    text = data.decode("latin-1")
    message_of(data)
    parse_retry_after(text, _NOW)
    refusal_of(200, data, enabled=True)
    read_moment(text)
    with suppress(ValueError):
        for each in parse_batch(data).values():
            parse_action(each, "https://lfs.example/", _NOW)
    with suppress(Retry):
        facts_of({"RedrivePolicy": text, "VisibilityTimeout": text})
    with suppress(Reject):
        parse_status(data)


def read_repositories(data: bytes) -> None:
    """Files of a repository that are read for what they say."""
    with suppress(Reject):
        parse_pointer(data)
    for submodule in parse_gitmodules(data).values():
        parse_address(submodule.url)
        with suppress(ValueError):
            resolve("https://git.example/acme/web.git", submodule.url)
    holds_doubtful(data)
    are_readable([data])
    effect_of([0o100644], [data])
    line = b"100644 blob %040d\t%s\0" % (0, data.replace(b"\0", b"/"))
    TreeListing().feed(line)  # its paths are foreign, the rest is git's


def read_tars(data: bytes) -> None:
    """Read a tar of `git archive`; members are equal wherever the stream is cut."""
    cut = len(data) // 3
    whole, pieces = _members_of([data]), _members_of([data[:cut], data[cut:]])
    assert whole == pieces
    with suppress(StageError):
        TooLong(0).feed(data)


def _members_of(chunks: list[bytes]) -> list[object] | None:
    """Return names, modes and times; None for a stream that is cut or holds no git tree."""
    reader = TarReader(whole_bytes=2_000, block_bytes=500)
    members: list[object] = []
    try:
        for chunk in chunks:
            for piece in reader.feed(chunk):
                if isinstance(piece, Run):
                    members += [each[:3] for each in iter_members(piece)]
                elif isinstance(piece, LargeMember):
                    members.append((piece.name, piece.mode, piece.mtime))
        reader.finish()
    except StageError:
        return None
    return members


def read_words(data: bytes) -> None:
    """Read messages of git and of its servers, and show them as one sentence."""
    text = data.decode("utf-8", "replace")
    for remote in (True, False):
        find_fault(text, remote=remote)
        told = stage_error(text, doing="fetch", ended="exited with 128", remote=remote)
        check_shown(str(told))
    check_shown(quote(text))
    parse_trace(text)


def show_texts(data: bytes) -> None:
    """Any text, and any value of JSON, shown."""
    text = data.decode("utf-8", "surrogateescape")
    check_shown(plain(text))
    assert len(plain(text, 100)) <= 100
    assert len(show(data)) < 200
    check_shown(to_json({text: [text, data]}, indent=True).decode())
    with suppress(ValueError):
        check_shown(to_json(load_json(data)).decode())
        show(load_json(data))


def read_results(data: bytes) -> None:
    """A message of the queue of results, a record of a result, an answer about a build."""
    with suppress(Reject, UnicodeDecodeError):
        try:
            read_result_message(data.decode())
        except Reject as error:
            check_shown(str(error))
            raise
    with suppress(Reject):
        read_result("result", data)
    with suppress(Reject):
        read_started(LedgerKeys("l/").started(_STARTED), data, keys=LedgerKeys("l/"))
    with suppress(Retry), reading("an answer", raises=Retry):
        facts = facts_of_build(load_json(data), observed_at=_NOW)
        check_shown(facts.result.reason + facts.result.phase + facts.result.log_link)


READERS: Final[Mapping[str, Reader]] = {
    "answers": read_answers,
    "bases": read_bases,
    "dead-letters": read_dead_letters,
    "messages": read_messages,
    "records": read_records,
    "repositories": read_repositories,
    "results": read_results,
    "tars": read_tars,
    "texts": show_texts,
    "words": read_words,
}
