"""Pushes whose commits a real git server does not show, or not yet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.mirrors import MAIN, Site, open_site, repository
from support.records import Records

from asyncbuild.builds.ledger import Ledger
from asyncbuild.domain.errors import Busy, Unreachable
from asyncbuild.domain.model import Change, Message, Nothing, Push
from asyncbuild.domain.requests.request_terms import RequestTerms
from asyncbuild.git.mirrors.cache import MirrorCache
from asyncbuild.pushes.missing_commit import MissingCommits
from asyncbuild.pushes.work import Work


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Open a server that serves tips alone, like CodeCommit's."""
    async with open_site(tmp_path) as site:
        site.server.behaviour.protocol_v0 = True
        yield site


@dataclass
class Desk:
    """The decision on missing commits, with the mirrors and the ledger that it reads."""

    mirrors: MirrorCache
    ledger: Ledger
    missing: MissingCommits

    async def ask(self, work: Work) -> str:
        """Look for the push's commit like a pipeline; return why it is stale, or "" if it is found.

        Raises:
            Busy: it is to be asked for again.
        """
        push = work.push
        assert push
        behind = self.missing.behind(work, push)
        try:
            async with self.mirrors.open(
                push.repository, ref=push.ref, commit=push.commit, behind=behind
            ):
                return ""
        except Unreachable as error:
            return await self.missing.explain(work, push, error)


@asynccontextmanager
async def _open_desk(site: Site, *, depth: int = 1) -> AsyncIterator[Desk]:
    async with site.open_mirrors(depth=depth) as mirrors:
        ledger = Ledger(Records(), prefix="ledger/")
        yield Desk(mirrors, ledger, MissingCommits(mirrors, ledger, lag_seconds=180))


def _work(
    commit: str,
    *later: Push | Nothing,
    old: str | None = None,
    age: float = 0,
    ref: str = MAIN,
) -> Work:
    now = datetime.now(UTC)
    change = Change.UPDATED if old else Change.CREATED
    push = Push("e1", repository(), ref, commit, change, now, old_commit=old)
    message = Message("m", "", "handle", "web", 1, sent=now - timedelta(seconds=age))
    return Work(message, push, later=later)


async def test_a_new_branch_that_is_not_shown_yet_is_retried(site: Site) -> None:
    """When the server shows it, the commit is found; an old push is stale."""
    commit = site.source.commit({"a": b"1"})
    work = _work(commit, ref="refs/heads/f")
    async with _open_desk(site) as desk:
        with pytest.raises(Busy, match=r"refs/heads/f of .* does not exist; .* 180 s old"):
            await desk.ask(work)
        assert "does not exist" in await desk.ask(_work(commit, ref="refs/heads/f", age=180))
        site.source.git("update-ref", "refs/heads/f", commit)
        assert not await desk.ask(work)


async def test_a_request_for_a_commit_waits_for_a_moment_only(site: Site) -> None:
    """A mistyped id does not hold up the pushes of the repository for minutes."""
    site.source.commit({"a": b"1"})
    work = _work("0" * 40, age=20)
    assert work.push
    beside = replace(work.push, terms=RequestTerms("build"))
    async with _open_desk(site) as desk:
        assert "not in the history" in await desk.ask(replace(work, event=beside))
        young = replace(work.message, sent=datetime.now(UTC))
        with pytest.raises(Busy, match="until the push is 15 s old"):
            await desk.ask(replace(work, event=beside, message=young))
        with pytest.raises(Busy, match="until the push is 180 s old"):
            await desk.ask(work)


@pytest.mark.parametrize("depth", [0, 1])
async def test_a_branch_still_at_its_old_commit_is_retried(site: Site, depth: int) -> None:
    """Its history is not fetched meanwhile, since it cannot decide."""
    *_, old, new = site.source.commits(5)
    site.source.git("update-ref", MAIN, old)
    async with _open_desk(site, depth=depth) as desk:
        with pytest.raises(Busy, match=f"is still at {old} and not at {new}"):
            await desk.ask(_work(new, old=old))
        assert (site.mirror / "shallow").exists() is bool(depth)
        assert "not in the history" in await desk.ask(_work(new, old=old, age=200))
        site.source.git("update-ref", MAIN, new)
        assert not await desk.ask(_work(new, old=old))


async def test_a_branch_two_pushes_behind_is_retried(site: Site) -> None:
    """The server shows a commit older than the push's old commit."""
    oldest, old, new = site.source.commits(3)
    site.source.git("update-ref", MAIN, oldest)
    async with _open_desk(site) as desk:
        with pytest.raises(Busy):
            await desk.ask(_work(new, old=old))


async def test_a_branch_that_took_another_way_is_not_waited_for(site: Site) -> None:
    """Its tip follows the old commit without the push: a force push came after it."""
    old = site.source.commit({"a": b"1"})
    gone = site.source.commit({"a": b"2"}, branch="gone")
    site.source.git("update-ref", "-d", "refs/heads/gone")
    site.source.commit({"a": b"3"}, parent=old)
    async with _open_desk(site) as desk:
        assert "not in the history" in await desk.ask(_work(gone, old=old))


async def test_an_unexplained_tip_is_waited_for(site: Site) -> None:
    """A branch was rewritten twice: only the queue knows which of two states is older."""
    newest = site.source.commit({"a": b"1"}, parent=None)
    lost, old = "1" * 40, "2" * 40
    async with _open_desk(site) as desk:
        with pytest.raises(Busy):
            await desk.ask(_work(lost, old=old))
        work = _work(lost, old=old)
        assert work.push
        newer = replace(work.push, id="e2", commit=newest, old_commit=lost)
        assert "not in the history" in await desk.ask(replace(work, later=(newer,)))
        await desk.ledger.set_head(
            replace(newer, time=work.push.time + timedelta(seconds=1), commit="3" * 40)
        )
        assert "not in the history" in await desk.ask(work)


async def test_a_deleted_branch_is_not_waited_for(site: Site) -> None:
    """The deletion is in the queue behind the push."""
    site.source.commit({"a": b"1"})
    ref = "refs/heads/gone"
    deletion = Nothing("d", f"{ref} was deleted", repository(), ref)
    async with _open_desk(site) as desk:
        assert "does not exist" in await desk.ask(_work("1" * 40, deletion, ref=ref))
