"""What was decided and started for each push: small objects in the bucket, one for each target.

A record is written once, after the start (`If-None-Match: *`), and read before: a message that
comes again finds what was done for it (I12). It also answers "why did this push (not) build?", so
every push has one, also those that were ignored, stale, superseded or rejected.

Layout below the prefix, so that a listing is in order of time:

    push/ACCOUNT/REGION/REPOSITORY/TIME-EVENT/TARGET.json   a record
    once/ACCOUNT/REGION/REPOSITORY/EVENT/TARGET.json        where it is, if TIME is a delivery's
    head/ACCOUNT/REGION/REPOSITORY/REF.json                 the newest push built of a ref
    force/ACCOUNT/REGION/REPOSITORY/EVENT.json              build it although a newer one was
    force/EVENT.json                                        the same, for versions before that
    body/ACCOUNT/REGION/REPOSITORY/DIGEST.json              a webhook's body that was settled
    unverified/HOST/HOUR/N.json                             a request without a good signature
    unverified/HOST/nothing/HOUR/N.json                     the same that asks for nothing
    try/MESSAGE/N                                           a try that its process may have died of
    rejected/TIME-MESSAGE.json                              a message that was no push
"""

import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import orjson

from asyncbuild.domain.errors import Reject, StageError, reading
from asyncbuild.domain.foreign_text import to_json
from asyncbuild.domain.model import Action, Message, Nothing, Outcome, Push, Target
from asyncbuild.domain.repository import Repository, decode_repository
from asyncbuild.domain.times import read_time

VERSION = 1
_TIME = "%Y%m%dT%H%M%SZ"
_TIME_LENGTH = len("20261101T102343Z")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_TRY = re.compile(r"[0-9]{1,9}", re.ASCII)
_MEND = "delete or correct the object, and send the message back"
# Versions before this one wrote no `once/`. What they started is looked for this far back.
_LISTED = timedelta(days=1)


class RecordStore(Protocol):
    """Where records are kept; `storage.s3.Store` is one."""

    async def put_record(self, key: str, body: bytes) -> bool:
        """Write unless there is one already; tell whether it was written."""

    async def replace_record(self, key: str, body: bytes) -> None:
        """Write, whatever was there."""

    async def get_record(self, key: str) -> bytes | None:
        """Read, or None if there is none."""

    async def delete_record(self, key: str) -> None:
        """Remove; no error if there is none."""

    def iter_records(self, prefix: str, *, after: str = "") -> AsyncIterator[Any]:
        """The records below `prefix` behind `after`, in order of their keys, each with a `key`."""

    async def list_folders(self, prefix: str) -> list[str]:
        """The names that follow `prefix` up to the next slash."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest push of a ref that was built or uploaded.

    Attributes:
        commit: What was pushed.
        time: When.
        event_id: The push.
        before: The commit of the newest push before it; empty if there was none, or a version wrote
            the record that does not tell.
    """

    commit: str
    time: datetime
    event_id: str
    before: str = ""


class Ledger:
    """Reads and writes records below one prefix."""

    def __init__(self, records: RecordStore, *, prefix: str) -> None:
        self._records = records
        self._prefix = prefix

    async def find_undone(self, push: Push, targets: Sequence[Target]) -> tuple[Target, ...]:
        """Return the targets of a push for which there is no record yet (I12)."""
        return tuple([target for target in targets if await self.find(push, target) is None])

    async def find(self, push: Push, target: Target) -> Mapping[str, Any] | None:
        """The record of what was done for this push and target, if anything was."""
        slot = _slot(target)
        key = self._key(push, slot)
        body = await self._records.get_record(key)
        if body is not None and not push.timed:
            await self._mark_once(push, slot, key)  # its process may have died before it did
        if body is not None or push.timed:
            return _load(key, body)
        return await self._find_delivered(push, slot)

    async def record(
        self, push: Push, outcome: Outcome, *, attempts: int = 1, **more: object
    ) -> bool:
        """Write down what was done; False if that was recorded before (then nothing changes)."""
        key = self._key(push, _slot(outcome.target))
        document = {**_document(push), **_result(outcome), "attempts": attempts, **more}
        written = await self._records.put_record(key, _dump(document))
        if not push.timed:
            await self._mark_once(push, _slot(outcome.target), key)
        return written

    async def record_nothing(self, message: Message, event: Nothing) -> None:
        """Write down an event that asked for no build."""
        document: dict[str, object] = {
            "version": VERSION,
            "event_id": event.id,
            "ref": event.ref,
            "verdict": "ignored",
            "reason": event.reason,
            "recorded_at": datetime.now(UTC),
        }
        if event.repository is None:
            where = f"rejected/{_when(message)}-{message.id}.json"
        else:
            document["repository"] = event.repository.segments._asdict()
            where = f"push/{event.repository.path}/{_when(message)}-{event.id}/nothing.json"
        await self._records.put_record(self._prefix + where, _dump(document))

    async def record_rejected(
        self, message: Message, push: Push | None, error: StageError, *, attempts: int
    ) -> None:
        """Write down why a message went to the dead-letter queue. Later tries replace it."""
        document: dict[str, object] = {
            "version": VERSION,
            "message_id": message.id,
            "group": message.group,
            **(_document(push) if push else {}),
            "verdict": "rejected",
            "kind": error.kind,
            "reason": str(error),
            "attempts": attempts,
            "recorded_at": datetime.now(UTC),
        }
        if push is None:
            key = f"{self._prefix}rejected/{_when(message)}-{message.id}.json"
        else:
            key = self._key(push, "rejected")
        await self._records.replace_record(key, _dump(document))

    async def is_rejected(self, push: Push) -> bool:
        """Tell whether the push, or a target of it, was given up."""
        return await self._records.get_record(self._key(push, "rejected")) is not None

    async def head(self, push: Push) -> Head | None:
        """The newest push built of this push's ref."""
        key = self._head_key(push)
        body = await self._records.get_record(key)
        return None if body is None else read_head(key, body)

    async def find_built_before(self, push: Push) -> str:
        """The commit of the newest other push built of this push's ref; empty if none is known.

        A part of the push may have been built already, so that it is the newest itself.
        """
        head = await self.head(push)
        if head is None:
            return ""
        return head.before if head.event_id == push.id else head.commit

    async def set_head(self, push: Push, newest: Head | None = None) -> Head:
        """Record that `push` was built, and return the newest push built of its ref.

        It never goes back: an old push that was built all the same, because somebody forced it,
        must not make those between it and the newest look new. A push that names the newest as its
        old commit follows it, whatever its clock said.

        Args:
            push: What was built.
            newest: What was read of the ref in the same turn; None if nothing was, or there was no
                record: then it is read.
        """
        if newest is None:
            try:
                newest = await self.head(push)
            except Reject:  # what cannot be read is written again
                newest = None
        if newest and newest.event_id == push.id:
            return newest
        if newest and push.time < newest.time and push.old_commit != newest.commit:
            return newest
        head = Head(push.commit, push.time, push.id, newest.commit if newest else "")
        document = {
            "commit": head.commit,
            "time": head.time,
            "event_id": head.event_id,
            "ref": push.ref,
            "before": head.before,
        }
        await self._records.replace_record(self._head_key(push), _dump(document))
        return head

    async def force(self, push: Push) -> None:
        """Let a push be built although a newer one of its ref was."""
        said = _dump({"repository": push.repository.path})
        await self._records.replace_record(self._force_key(push), said)
        await self._records.replace_record(self._old_force_key(push), said)

    async def is_forced(self, push: Push) -> bool:
        """Return whether somebody wants the push built, however old it is."""
        if await self._records.get_record(self._force_key(push)) is not None:
            return True
        key = self._old_force_key(push)
        body = await self._records.get_record(key)
        if body is None:
            return False
        # Versions before this one wrote no repository; an event id may appear in several.
        path = push.repository.path
        return bool(read_record(key, body).get("repository", path) == path)

    async def find_repeated(self, push: Push) -> str:
        """The event that a push with the same signed body was settled as; empty if there is none.

        A forge gives each delivery an id, which its signature does not cover: whoever has seen a
        delivery can send it again as another one.
        """
        if not push.body_id:
            return ""
        key = self._body_key(push)
        body = await self._records.get_record(key)
        told = "" if body is None else str(read_record(key, body).get("event_id"))
        return "" if told == push.id else told

    async def remember_body(self, push: Push) -> None:
        """Write down that a push was settled, by its body. A rejected one is not: it may come."""
        if push.body_id:
            told = _dump({"event_id": push.id, "commit": push.commit, "ref": push.ref})
            await self._records.put_record(self._body_key(push), told)

    async def take_place(self, host: str, hour: str, number: int, message: Message) -> bool:
        """Take one of the places for requests that nobody signed; False if it is taken."""
        key = f"{self._prefix}unverified/{host}/{hour}/{number}.json"
        return await self._records.put_record(key, _dump({"message_id": message.id}))

    async def mark_try(self, message: Message, number: int) -> None:
        """Say, before it is made, that a try may kill its process."""
        await self._records.replace_record(self._try_key(message, number), b"{}")

    async def find_tries(self, message: Message) -> set[int]:
        """The tries that were marked and never unmarked: those their processes died of."""
        prefix = f"{self._prefix}try/{message.id}/"
        keys = [record.key async for record in self._records.iter_records(prefix)]
        numbers = (key.removeprefix(prefix) for key in keys)
        return {int(each) for each in numbers if _TRY.fullmatch(each)}

    async def unmark_try(self, message: Message, number: int) -> None:
        """The try has ended, well or not, and its process lives."""
        await self._records.delete_record(self._try_key(message, number))

    async def find_repositories(self, name: str) -> list[Repository]:
        """The repositories of that name, or the one of that ACCOUNT/REGION/NAME, with records.

        An empty name means all.
        """
        prefix = f"{self._prefix}push/"
        if name.count("/") == 2:  # noqa: PLR2004 - account, region, name
            account, region, name = name.split("/")
            places = [(account, region)]
        else:
            places = [
                (account, region)
                for account in await self._records.list_folders(prefix)
                for region in await self._records.list_folders(f"{prefix}{account}/")
            ]
        return [
            decode_repository(account, region, each)
            for account, region in places
            for each in await self._records.list_folders(f"{prefix}{account}/{region}/")
            if name in {"", each}
        ]

    async def iter_pushes(
        self, repository: Repository, *, since: datetime
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Every record of a repository's pushes from `since` on, oldest push first.

        One that cannot be read has the verdict `unreadable` and the reason.
        """
        prefix = f"{self._prefix}push/{repository.path}/"
        async for each in self._records.iter_records(prefix, after=prefix + since.strftime(_TIME)):
            body = await self._records.get_record(each.key)
            if body is not None:
                yield _load_or_tell(each.key, body)

    async def _mark_once(self, push: Push, slot: str, key: str) -> None:
        """Say where the record is of an event that does not tell its time."""
        await self._records.put_record(self._once_key(push, slot), _dump({"record": key}))

    async def _find_delivered(self, push: Push, slot: str) -> Mapping[str, Any] | None:
        """The record of an event that was delivered before, at another time."""
        once = self._once_key(push, slot)
        marked = await self._records.get_record(once)
        if marked is not None:
            with reading(f"record {once}", remedy=_MEND):
                key = str(orjson.loads(marked)["record"])
                if not key.startswith(f"{self._prefix}push/{push.repository.path}/"):
                    raise ValueError(key)
            body = await self._records.get_record(key)
            return _load(once, marked) if body is None else _load(key, body)
        prefix = f"{self._prefix}push/{push.repository.path}/"
        after = prefix + (push.time - _LISTED).strftime(_TIME)
        async for each in self._records.iter_records(prefix, after=after):
            if each.key[len(prefix) + _TIME_LENGTH :] == f"-{push.id}/{slot}.json":
                return _load(each.key, await self._records.get_record(each.key))
        return None

    def _once_key(self, push: Push, slot: str) -> str:
        return f"{self._prefix}once/{push.repository.path}/{push.id}/{slot}.json"

    def _key(self, push: Push, slot: str) -> str:
        when = push.time.strftime(_TIME)
        return f"{self._prefix}push/{push.repository.path}/{when}-{push.id}/{slot}.json"

    def _head_key(self, push: Push) -> str:
        ref = hashlib.sha256(push.ref.encode()).hexdigest()
        return f"{self._prefix}head/{push.repository.path}/{ref}.json"

    def _body_key(self, push: Push) -> str:
        return f"{self._prefix}body/{push.repository.path}/{push.body_id}.json"

    def _force_key(self, push: Push) -> str:
        return f"{self._prefix}force/{push.repository.path}/{push.id}.json"

    def _old_force_key(self, push: Push) -> str:
        return f"{self._prefix}force/{push.id}.json"

    def _try_key(self, message: Message, number: int) -> str:
        return f"{self._prefix}try/{message.id}/{number}"


def _slot(target: Target | None) -> str:
    if target is None or target.action is Action.IGNORE:
        return "ignore"
    if target.action is Action.PIPELINE:
        return f"pipeline-{target.pipeline}"
    if target.action is Action.BUILD:
        return f"build-{target.project}"
    # Several rules may upload different archives of one push.
    return f"upload-{hashlib.sha256(target.key.encode()).hexdigest()[:12]}"


def _document(push: Push) -> dict[str, object]:
    return {
        "version": VERSION,
        "event_id": push.id,
        "repository": push.repository.segments._asdict(),
        "ref": push.ref,
        "commit": push.commit,
        "old_commit": push.old_commit,
        "change": push.change,
        "pusher": push.pusher,
        "pushed_at": push.time,
        "recorded_at": datetime.now(UTC),
    }


def _result(outcome: Outcome) -> dict[str, object]:
    target = outcome.target
    return {
        "verdict": outcome.verdict,
        "reason": outcome.reason,
        "action": target.action if target else None,
        "rule": target.rule if target else None,
        "project": target.project if target else None,
        "pipeline": target.pipeline if target else None,
        "archive": outcome.archive,
        "build": outcome.build,
        "execution": outcome.execution,
        "timings": outcome.timings,
    }


def _when(message: Message) -> str:
    return (message.sent or datetime.now(UTC)).strftime(_TIME)


def _load(key: str, body: bytes | None) -> Mapping[str, Any] | None:
    return None if body is None else read_record(key, body)


def read_record(key: str, body: bytes) -> Mapping[str, Any]:
    """Return the JSON object that a record is.

    Raises:
        Reject: it is none; the reason names the key.
    """
    with reading(f"record {key}", remedy=_MEND):
        document = orjson.loads(body)
        if not isinstance(document, dict):
            raise TypeError
        return document


def read_head(key: str, body: bytes) -> Head:
    """Return what the record of a ref's newest push says.

    Raises:
        Reject: it cannot be read, or names no commit; the reason names the key.
    """
    document = read_record(key, body)
    with reading(f"record {key}", remedy=_MEND):
        commit, event_id, time = (document[name] for name in ("commit", "event_id", "time"))
        before = document.get("before", "")
        moment = read_time(time)
        if moment is None:
            raise ValueError
        if not _COMMIT.fullmatch(commit) or not isinstance(event_id, str):
            raise ValueError
        if before != "" and not _COMMIT.fullmatch(before):
            raise ValueError
        return Head(commit, moment, event_id, before)


def _load_or_tell(key: str, body: bytes) -> Mapping[str, Any]:
    try:
        return read_record(key, body)
    except Reject as error:
        return {"verdict": "unreadable", "reason": str(error)}


def _dump(document: Mapping[str, object]) -> bytes:
    return to_json(document, utc_z=True)
