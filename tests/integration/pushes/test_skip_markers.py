"""Pushes of commits whose message says that they are not built."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
import pytest
from support.events import ACCOUNT, REGION, envelope
from support.push_place import LEDGER, MAIN, Place, make_place

from asyncbuild.builds.ledger import Ledger
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.requests.push_request import PushRequest, dump_request
from asyncbuild.domain.requests.request_terms import RequestTerms
from asyncbuild.git.tree.stored_tree import COMMIT_BYTES_MOST
from asyncbuild.local.stack import Stack, open_stack
from asyncbuild.storage.s3 import Store

pytestmark = pytest.mark.timeout(300)

RULE: Final = {
    "name": "every",
    "ref": ["*", "refs/tags/*"],
    "action": "build",
    "project": "web",
    "skip": ["[skip ci]", "[ci skip]"],
}
SKIPPED: Final = 'rule: every: the commit\'s message has "[skip ci]"'
BUILT: Final = "rule: every"


@pytest.fixture(scope="module")
async def stack() -> AsyncIterator[Stack]:
    """Open one stack for the module."""
    async with open_stack(["web"]) as stack:
        yield stack


@pytest.fixture
def place(stack: Stack) -> Place:
    """Return a place whose rule has `skip`."""
    place = make_place(stack)
    place.configure(rules=[RULE])
    return place


def _commit(place: Place, message: bytes, *parents: str, encoding: str = "") -> str:
    """Make a commit of the tip's tree with a message of any bytes, and move main to it."""
    git = place.source.git
    tip = place.source.tip("main") or place.source.commit({"a": b"1"})
    time = int(git("show", "--no-patch", "--format=%ct", tip)) + 60
    lines = [
        f"tree {git('rev-parse', f'{tip}^{{tree}}')}",
        *(f"parent {each}" for each in parents or (tip,)),
        f"author A [skip ci] <author@example.com> {time} +0000",
        f"committer C O Mitter <committer@example.com> {time} +0000",
        *([f"encoding {encoding}"] if encoding else []),
    ]
    content = "\n".join(lines).encode() + b"\n\n" + message
    # git writes no message with a zero byte by itself, but takes one that is pushed.
    commit = git("hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=content)
    git("update-ref", MAIN, commit)
    return commit


async def _verdict(place: Place, commit: str) -> str:
    """Push main, settle it, and return the reason on record."""
    await place.push(commit)
    await place.drain()
    return (await _reasons(place))[commit]


async def _reasons(place: Place) -> dict[str, str]:
    return {each["commit"]: each["reason"] for each in await _records(place)}


async def _records(place: Place) -> list[Mapping[str, Any]]:
    store = Store(place.stack.s3, place.settings.storage)
    repository = Repository.of_codecommit(ACCOUNT, REGION, place.name)
    since = datetime.now(UTC) - timedelta(days=1)
    records = Ledger(store, prefix=LEDGER).iter_pushes(repository, since=since)
    return [each async for each in records]


async def _ask(place: Place, commit: str, terms: RequestTerms) -> None:
    repository = Repository.of_codecommit(ACCOUNT, REGION, place.name)
    now = datetime.now(UTC).replace(microsecond=0)
    request = PushRequest(f"r-{terms.source}", repository, MAIN, commit, now, terms)
    await place.put(dump_request(request))
    await place.drain()


@pytest.mark.parametrize(
    ("message", "encoding", "reason"),
    [
        (b"docs\n\nSigned-off-by: A <a@b>\nCI: [Skip CI]\n", "", SKIPPED),
        ("f\xfcr [skip ci]".encode("latin-1"), "ISO-8859-1", SKIPPED),
        ("\U0001f680 [skip ci]".encode(), "", SKIPPED),
        (b"zero\0byte [skip ci]", "", SKIPPED),
        (b"skip ci", "", BUILT),
        (b"", "", BUILT),
        (b"[skip ci]" + b"x" * COMMIT_BYTES_MOST, "", BUILT),
    ],
    ids=["trailer", "latin-1", "utf-8", "zero", "other", "empty", "long"],
)
async def test_messages_of_real_commits(
    place: Place, message: bytes, encoding: str, reason: str
) -> None:
    """Any bytes are looked at, but not the name of the author; what is too long is built."""
    commit = _commit(place, message, encoding=encoding)
    assert await _verdict(place, commit) == reason
    assert place.built() == ([commit] if reason == BUILT else [])


async def test_a_merge_commit_counts_itself(place: Place) -> None:
    """What it merges may have a marker; only the head commit's message is read."""
    first = _commit(place, b"one")
    side = _commit(place, b"[skip ci]")
    merged = _commit(place, b"Merge side", first, side)
    assert await _verdict(place, merged) == BUILT
    again = _commit(place, b"Merge [skip ci]", merged, side)
    assert await _verdict(place, again) == SKIPPED


async def test_a_tag_counts_its_commit(place: Place) -> None:
    """Not the message of the tag's own object."""
    marked = _commit(place, b"release [skip ci]")
    plain = _commit(place, b"fix")
    for name, commit, message in (("v1", marked, "a tag"), ("v2", plain, "[skip ci]")):
        place.source.git("tag", "--annotate", f"--message={message}", name, commit)
        event = envelope(
            event="referenceCreated",
            repositoryName=place.name,
            referenceType="tag",
            referenceName=name,
            referenceFullName=f"refs/tags/{name}",
            commitId=place.source.git("rev-parse", f"refs/tags/{name}"),
            oldCommitId=None,
        )
        event["time"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        await place.put(orjson.dumps(event))
        await place.drain()
    assert place.built() == [plain]


async def test_a_request_is_built(place: Place) -> None:
    """A person asked for it; a push that was found is one like any other."""
    commit = _commit(place, b"[skip ci]")
    await _ask(place, commit, RequestTerms("reconcile", as_push=True))
    assert place.built() == []
    assert (await _reasons(place))[commit] == SKIPPED
    await _ask(place, commit, RequestTerms("build"))
    assert place.built() == [commit]


async def test_the_next_push_is_built(place: Place) -> None:
    """A skipped one leaves nothing behind, and costs its record alone."""
    commit = _commit(place, b"[ci skip]")
    await place.push(commit)
    assert await place.drain() == ["get push", "put push", "delete_message"]
    after = _commit(place, b"fix")
    await place.push(after, commit)
    await place.drain()
    assert place.built() == [after]


async def test_a_rule_that_is_not_final_skips_its_own_projects(place: Place) -> None:
    """The record of the push says why one is not built."""
    rules = [
        {**RULE, "project": ["docs", "lint"], "final": False},
        {"name": "rest", "action": "build", "project": "web"},
    ]
    place.configure(rules=rules)
    commit = _commit(place, b"[ci skip]")
    await place.push(commit)
    await place.drain()
    assert place.built() == [commit]
    said = 'the commit\'s message has "[ci skip]" (rule every)'
    assert sorted(each["reason"] for each in await _records(place)) == sorted(
        [f"docs: {said}; lint: {said}", "rule: rest"]
    )
