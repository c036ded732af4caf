"""Requests of a push: each kind of push makes these and no others, in this order.

The clients count, with one try for each call, so a call is a request.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

import orjson
import pytest
from support.events import envelope
from support.git_http import open_git_server
from support.push_place import LEDGER, MAIN, Place, make_place
from support.repositories import SourceRepository
from support.webhooks import SECRET, ZEROS, headers, payload

from asyncbuild.builds.ledger import Ledger
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.local.stack import Stack, open_stack
from asyncbuild.storage.s3 import Store

pytestmark = pytest.mark.timeout(300)

# The first archive of a ref in a process looks for an older one to start from.
_NO_BASE: Final = ["get base", "list base"]
_START: Final = ["get head", "start_build", "put head", "put push"]
_PLAIN: Final = ["get push", "put archive", *_START, "delete_message"]


@pytest.fixture(scope="module")
async def stack() -> AsyncIterator[Stack]:
    """Open one stack for the module."""
    async with open_stack(["web", "lint"]) as stack:
        yield stack


@pytest.fixture
def place(stack: Stack) -> Place:
    """Return a place with a repository of its own, whose pushes build `web`."""
    return make_place(stack)


async def test_a_push_makes_five_requests_to_s3(place: Place) -> None:
    """One of them is between its turn and its build. The first push of a ref looks for a base."""
    a, b = place.source.commits(2)
    await place.push(a)
    assert await place.drain() == ["get push", *_NO_BASE, *_PLAIN[1:]]
    await place.push(b, a)
    # A process asks once for the base of a ref whose archives are small.
    assert await place.drain() == ["get push", *_NO_BASE, *_PLAIN[1:]]
    assert place.built() == [a, b]


async def test_pushes_of_one_process_make_five_requests_each(place: Place) -> None:
    """The base of a ref whose archives are small is not asked for again."""
    commits = place.source.commits(4)
    place.configure(lanes={"lookahead": 1})
    for old, new in zip([None, *commits], commits, strict=False):
        await place.push(new, old)
    assert await place.drain() == ["get push", *_NO_BASE, *_PLAIN[1:], *(3 * _PLAIN)]
    assert place.built() == commits


async def test_a_push_without_a_mirror_looks_for_a_seed(place: Place) -> None:
    """One request more, of the first fetch alone; a small mirror is not written as a seed."""
    place.configure(git={"seeds": True})
    a, b = place.source.commits(2)
    await place.push(a)
    asked = await place.drain()
    assert sorted(asked) == sorted(["get seed", "get push", *_NO_BASE, *_PLAIN[1:]])
    await place.push(b, a)
    assert await place.drain() == ["get push", *_NO_BASE, *_PLAIN[1:]]


async def test_results_add_two_requests_after_the_start(place: Place) -> None:
    """Entry of the index and mark of an unfinished build are written beside the head."""
    place.settings = place.settings.model_copy(update={"results": place.stack.settings.results})
    a, b = place.source.commits(2)
    await place.push(a)
    await place.drain()
    await place.push(b, a)
    asked = [each for each in await place.drain() if each not in _NO_BASE]
    start = asked.index("start_build")
    assert asked[: start + 1] == [*_PLAIN[:2], "get head", "start_build"]
    assert sorted(asked[start + 1 : -2]) == ["put head", "put started", "put unfinished"]
    assert asked[-2:] == ["put push", "delete_message"]


async def test_a_build_that_may_be_stopped_adds_one_request_after_the_start(place: Place) -> None:
    """Its entry, after the head and before the record of the push."""
    place.settings = place.settings.model_copy(update={"results": place.stack.settings.results})
    place.configure(rules=[{"action": "build", "project": "web", "cancel_superseded": True}])
    a, b = place.source.commits(2)
    await place.push(a)
    await place.drain()
    await place.push(b, a)
    asked = [each for each in await place.drain() if each not in _NO_BASE]
    start = asked.index("start_build")
    assert asked[: start + 1] == [*_PLAIN[:2], "get head", "start_build"]
    assert sorted(asked[start + 1 : -3]) == ["put head", "put started", "put unfinished"]
    assert asked[-3:] == ["put running", "put push", "delete_message"]


async def test_a_push_that_was_recorded_asks_for_its_record_alone(place: Place) -> None:
    """Its message was received again: nothing is fetched, and no archive is looked for."""
    await place.push(place.source.commit({"a": b"1"}))
    await place.end_at("delete_message", after=False)
    assert await place.drain() == [
        *("list try", "put try", "get push", "delete try", "delete_message")
    ]
    assert len(place.built()) == 1


async def test_a_push_received_again_finds_its_archive_and_its_build(place: Place) -> None:
    """Its process ended when the build was started: the project's builds are looked through."""
    await place.push(place.source.commit({"a": b"1"}))
    await place.end_at("start_build", after=True)
    assert await place.drain() == [
        *("list try", "put try", "get push", "head archive", "delete try"),
        *("get head", "list_builds_for_project", "batch_get_builds", "put head", "put push"),
        "delete_message",
    ]
    assert len(place.built()) == 1


async def test_an_event_that_came_twice_asks_for_its_record_alone(place: Place) -> None:
    """A second message looks new: the fetch is begun beside the lookup, and nothing is made."""
    commit = place.source.commit({"a": b"1"})
    event = envelope(commitId=commit, oldCommitId=None, repositoryName=place.name)
    event["time"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    await place.put(orjson.dumps(event))
    await place.drain()
    await place.put(orjson.dumps(event))
    assert await place.drain() == ["get push", "delete_message"]
    assert len(place.built()) == 1


async def test_a_commit_pushed_back_to_reuses_its_archive(place: Place) -> None:
    """The write of the archive tells that there is one; it is built, and not sent again."""
    a, b = place.source.commits(2)
    for old, new in ((None, a), (a, b)):
        await place.push(new, old)
        await place.drain()
    place.source.git("update-ref", MAIN, a)
    await place.push(a, b)
    asked = ["get push", *_NO_BASE, "put archive", "head archive", *_START, "delete_message"]
    assert await place.drain() == asked
    listed = await place.stack.s3.list_object_versions(
        Bucket=place.settings.storage.bucket, Prefix=f"{place.name}/"
    )
    assert len(listed["Versions"]) == 2
    assert place.built() == [a, b, a]


async def test_a_key_without_the_ref_is_looked_for_beside_the_ledger(place: Place) -> None:
    """Another branch at the same commit needs no archive, and no fetch."""
    place.configure(storage={"key": "{repository}/{commit}.zip"})
    commit = place.source.commit({"a": b"1"})
    await place.push(commit)
    looked = ["head archive", "get push"]
    assert await place.drain() == [*looked, *_NO_BASE, "put archive", *_START, "delete_message"]
    other = envelope(
        commitId=commit,
        oldCommitId=None,
        repositoryName=place.name,
        referenceName="other",
        referenceFullName="refs/heads/other",
    )
    other["time"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    await place.put(orjson.dumps(other))
    assert await place.drain() == [*looked, *_START, "delete_message"]
    assert place.built() == [commit, commit]


async def test_two_targets_share_archive_and_head(place: Place) -> None:
    """Each has a record and a build of its own."""
    place.configure(rules=[{"action": "build", "project": ["web", "lint"]}])
    await place.push(place.source.commit({"a": b"1"}))
    assert await place.drain() == [
        *("get push", "get push", *_NO_BASE, "put archive"),
        *(*_START, "start_build", "put push", "delete_message"),
    ]


async def test_only_a_stale_push_is_looked_up_among_the_forced_ones(place: Place) -> None:
    """Two keys are read, the second as versions before wrote it. A forced one is built."""
    a, b = place.source.commits(2)
    await place.push(b, a)
    await place.drain()
    asked = ["get push", *_NO_BASE, "put archive", "get head", "get force", "get force"]
    await place.push(a, age_seconds=30)
    assert await place.drain() == [*asked, "put push", "delete_message"]
    assert place.built() == [b]
    forced = await place.push(a, age_seconds=29)
    await Ledger(Store(place.stack.s3, place.settings.storage), prefix=LEDGER).force(forced)
    asked.insert(-3, "head archive")
    # The head stays: it is read, and not written.
    assert await place.drain() == [*asked, "start_build", "put push", "delete_message"]
    assert place.built() == [b, a]


async def test_a_superseded_push_is_recorded_alone(place: Place) -> None:
    """No request asks about it."""
    place.configure(lanes={"superseded": "skip"})
    a, b, c = place.source.commits(3)
    for old, new in ((None, a), (a, b), (b, c)):
        await place.push(new, old)
    asked = await place.drain()
    assert place.built() == [c]
    assert asked.count("start_build") == 1
    assert asked.count("put push") == 3
    assert asked.count("get head") == asked.count("put head") == 1


# Requests of a webhook's push before and after its build: of an event with a time, and without.
_WEBHOOKS: Final = {
    ForgeKind.GITHUB: (["get push"], ["put push"]),
    ForgeKind.GITLAB: (["get once", "get push", "list push"], ["put push", "put once"]),
}


@pytest.mark.parametrize("kind", _WEBHOOKS)
async def test_a_webhooks_body_and_the_head_are_asked_for_side_by_side(
    place: Place, monkeypatch: pytest.MonkeyPatch, kind: ForgeKind
) -> None:
    """One request more before the build and one more after it; more of an event without a time."""
    monkeypatch.setenv("WEBHOOK", SECRET)
    monkeypatch.setenv("GIT_TOKEN", "token")
    root = place.stack.directory / "host" / place.name
    told = payload(kind) | {"before": ZEROS, "ref": MAIN}
    if kind is ForgeKind.GITHUB:
        now = int(datetime.now(UTC).timestamp())
        told["repository"] |= {"full_name": "acme/web", "pushed_at": now}
    owner = "acme" if kind is ForgeKind.GITHUB else "acme/platform"
    source = SourceRepository(root / owner / "web.git")
    told["after"] = commit = source.commit({"a": kind.value.encode()})
    if kind is ForgeKind.GITLAB:
        told["checkout_sha"] = commit
    tokens = {"x-access-token": "token", "oauth2": "token"}
    async with open_git_server(root, tokens=tokens, prefix="/") as server:
        host = {
            "host": f"127.0.0.1:{server.port}",
            "kind": kind.value,
            "remote": f"{server.url}/{{owner}}/{{repository}}.git",
            "token": "env:GIT_TOKEN",
            "webhook_secret": "env:WEBHOOK",
        }
        place.configure(hosts=[host])
        body = orjson.dumps(told)
        where = {"Webhook-Host": str(host["host"]), **headers(kind, body)}
        await place.put(body, where)
        asked, recorded = _WEBHOOKS[kind]
        assert await place.drain() == [
            *(*asked, *_NO_BASE, "put archive", "get head", "get body", "start_build"),
            *("put head", *recorded, "put body", "delete_message"),
        ]
        await place.put(body, where)
        again = await place.drain()
        # The process may have died before it wrote the body. An event without a time may have got
        # another one, and then its record is read under the key that `once` names.
        assert again[-3:] == ["put body", "head body", "delete_message"]
        assert set(again[:-3]) == set(asked) - {"list push"}
