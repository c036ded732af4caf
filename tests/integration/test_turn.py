"""What happens in the queue's order, against the stand-in for CodeBuild and its clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.codebuild import Clock, make_push, open_codebuild_client

from asyncbuild.builds.codebuild import CodeBuild
from asyncbuild.builds.ledger import Ledger
from asyncbuild.config import BuildSettings
from asyncbuild.errors import Reject
from asyncbuild.local.codebuild import open_codebuild_standin
from asyncbuild.local.standin import CodeBuildStandin
from asyncbuild.model import Action, Guard, Message, Push, StoredArchive, Target
from asyncbuild.turn import Turn
from asyncbuild.work import Ready, Work

KEY = "shop/main/1.zip"


class _Records:
    """A bucket that takes no record until told to."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.full = True

    async def put_record(self, key: str, body: bytes) -> bool:
        """Write once, or fail."""
        await self.replace_record(key, body)
        return True

    async def replace_record(self, key: str, body: bytes) -> None:
        """Write, or fail."""
        if self.full:
            raise ConnectionError(key)
        self.kept[key] = body

    async def get_record(self, key: str) -> bytes | None:
        """Read."""
        return self.kept.get(key)

    async def delete_record(self, key: str) -> None:
        """Not asked for here."""
        raise NotImplementedError(key)

    async def iter_records(self, prefix: str, *, after: str = "") -> AsyncIterator[Any]:
        """Not asked for here."""
        raise NotImplementedError(prefix, after)
        yield

    async def list_folders(self, prefix: str) -> list[str]:
        """Not asked for here."""
        raise NotImplementedError(prefix)


async def _no_upload(push: Push, key: str, guard: Guard) -> StoredArchive:
    raise NotImplementedError(push, key, guard)


async def _not_contained(push: Push, descendant: str) -> bool | None:
    raise NotImplementedError(push, descendant)


@pytest.fixture
def clock() -> Clock:
    """The stand-in's, at the time of the push."""
    return Clock(make_push().time.timestamp())


@pytest.fixture
async def standin(clock: Clock) -> AsyncIterator[CodeBuildStandin]:
    """A stand-in with one project."""
    async with open_codebuild_standin(["shop"], clock=clock) as standin:
        yield standin


@asynccontextmanager
async def _open_turn(standin: CodeBuildStandin, records: _Records) -> AsyncIterator[Turn]:
    async with open_codebuild_client(standin.endpoint_url) as client:
        yield Turn(
            builder=CodeBuild(client, BuildSettings()),
            ledger=Ledger(records, prefix="l/"),
            upload=_no_upload,
            is_contained=_not_contained,
            skip_stale=True,
            traced=False,
        )


async def test_a_dead_letter_sent_back_finds_its_build(
    standin: CodeBuildStandin, clock: Clock
) -> None:
    """Its build began and only the record was lost; an hour later no token remembers (I12)."""
    push, records = make_push(), _Records()
    target = Target(Action.BUILD, KEY, "shop")
    archive = StoredArchive("archives", KEY, size_bytes=1, etag="e")

    def ready() -> Ready:
        sent = datetime.fromtimestamp(clock.now, UTC) + timedelta(seconds=1)
        message = Message(f"m{clock.now}", "", "handle", "group", 1, sent=sent)
        return Ready(Work(message, push), (target,), {KEY: archive})

    async with _open_turn(standin, records) as turn:
        with pytest.raises(ConnectionError):
            await turn.settle(ready(), guard=lambda: None)
        assert len(standin.started) == 1
        clock.advance(3600)
        records.full = False
        await turn.settle(ready(), guard=lambda: None)
    assert len(standin.started) == 1
    (record,) = [body for key, body in records.kept.items() if "/push/" in key]
    assert standin.started[0].build.encode() in record


async def test_a_start_tried_again_leaves_out_what_was_done(
    standin: CodeBuildStandin, clock: Clock
) -> None:
    """Two projects, the second at its limit: the first is not asked again, not even its token."""
    push, records = make_push(), _Records()
    records.full = False
    targets = tuple(Target(Action.BUILD, KEY, project) for project in ("shop", "till"))
    archive = StoredArchive("archives", KEY, size_bytes=1, etag="e")
    sent = datetime.fromtimestamp(clock.now, UTC) + timedelta(seconds=1)
    work = Work(Message("m", "", "handle", "group", 1, sent=sent), push)
    ready = Ready(work, targets, {KEY: archive})
    async with _open_turn(standin, records) as turn:
        with pytest.raises(Reject, match="till"):  # there is no such project
            await turn.settle(ready, guard=lambda: None)
        clock.advance(3600)  # a repeated start of the first would be a second build
        with pytest.raises(Reject, match="till"):
            await turn.settle(ready, guard=lambda: None, waited_seconds=0.5)
    assert [build.project for build in standin.started] == ["shop"]
