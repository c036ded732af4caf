"""Looks at repositories: what is found of pushes whose events never came."""

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import count

import pytest
from support.listening import hearing
from support.reconcile_site import (
    GRACE,
    LATER,
    ReconcileSite,
    open_reconcile_site,
    repository_of,
)

from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.ledger_records import Head, head_record
from asyncbuild.domain.errors import StageError
from asyncbuild.domain.model import Action, Change, Outcome, Push, Target, Verdict
from asyncbuild.reconcile.planning.ref_lines import iter_refs
from asyncbuild.reconcile.planning.ref_plan import RefFate

pytestmark = pytest.mark.timeout(300)
MAIN = "refs/heads/main"
_NAMES = [f"repository-{number}" for number in range(40)]
_numbers = count()


@pytest.fixture(scope="module")
async def opened() -> AsyncIterator[ReconcileSite]:
    """Servers for all tests of this file."""
    async with open_reconcile_site(_NAMES) as site:
        yield site


@pytest.fixture
def site(opened: ReconcileSite) -> ReconcileSite:
    """Servers, with time and settings as they were."""
    opened.begin_anew()
    return opened


@pytest.fixture
def name() -> str:
    """Name of a repository that no other test has."""
    return _NAMES[next(_numbers)]


async def test_a_repository_seen_first_has_its_baseline_and_builds_nothing(
    site: ReconcileSite, name: str
) -> None:
    """Branches of the years before the service are not all built on its first day."""
    source = site.source(name)
    first, second = source.commits(2)
    source.git("update-ref", "refs/heads/old", first)
    await site.round(name)
    assert await site.take_found() == []
    snapshot = await site.snapshot(name)
    assert snapshot is not None
    assert dict(iter_refs(snapshot.refs)) == {MAIN: second, "refs/heads/old": first}


async def test_a_lost_push_is_found_after_the_grace(site: ReconcileSite, name: str) -> None:
    """It goes into the group of the repository, with the old commit that the snapshot knew."""
    source = site.source(name)
    (first,) = source.commits(1)
    site_group = await _with_group(site, name, first)
    await site.round(name)
    (second,) = source.commits(1)
    since = await site.snapshot(name)
    look = await site.look(name)
    assert [each.fate for each in look.plans] == [RefFate.WAITING]
    assert look.wait_seconds == GRACE.total_seconds()
    assert await site.take_found() == []
    site.now += LATER
    with hearing() as lines:
        look = await site.look(name)
    assert [each.fate for each in look.plans] == [RefFate.FOUND]
    ((group, request),) = await site.take_found()
    assert group == site_group
    assert (request.ref, request.commit, request.old_commit) == (MAIN, second, first)
    assert (request.time, request.terms.source) == (site.now, "reconcile")
    assert since is not None
    assert request.terms.since == since.time
    told = [line for line in lines if line["event"] == "push.found"]
    assert [(line["commit"], line["event_id"]) for line in told] == [(second, request.id)]
    await site.round(name)
    assert await site.take_found() == []  # found once


async def test_a_new_branch_and_a_deleted_one(site: ReconcileSite, name: str) -> None:
    """One is a push without old commit; the other leaves the snapshot, and may come back."""
    source = site.source(name)
    (first,) = source.commits(1)
    await _with_group(site, name, first)
    await site.round(name)
    source.git("update-ref", "refs/heads/feature", first)
    await site.round(name)
    ((_, request),) = await site.take_found()
    assert (request.ref, request.commit, request.old_commit) == ("refs/heads/feature", first, "")
    source.git("update-ref", "-d", "refs/heads/feature")
    await site.round(name)
    assert await site.take_found() == []
    snapshot = await site.snapshot(name)
    assert snapshot is not None
    assert dict(iter_refs(snapshot.refs)) == {MAIN: first}
    source.git("update-ref", "refs/heads/feature", first)
    await site.round(name)
    ((_, again),) = await site.take_found()
    assert again.ref == "refs/heads/feature"
    assert again.id != request.id


async def test_a_force_push_back_is_found(site: ReconcileSite, name: str) -> None:
    """The tip is an old commit, which was built before: it is a push all the same."""
    source = site.source(name)
    first, second = source.commits(2)
    await _with_group(site, name, second)
    await site.round(name)
    source.git("update-ref", MAIN, first)
    await site.round(name)
    ((_, request),) = await site.take_found()
    assert (request.commit, request.old_commit) == (first, second)


async def test_tags_are_listed_only_if_a_rule_wants_them(site: ReconcileSite, name: str) -> None:
    """And a rule that is added later takes a baseline of those that are there."""
    source = site.source(name)
    (first,) = source.commits(1)
    await _with_group(site, name, first)
    source.git("tag", "v1")
    await site.round(name)
    source.git("tag", "v2")
    await site.round(name)
    snapshot = await site.snapshot(name)
    assert snapshot is not None
    assert dict(iter_refs(snapshot.refs)) == {MAIN: first}
    site.configure(rules=[{"ref": ["refs/*"], "action": "build"}])
    await site.round(name)
    assert await site.take_found() == []
    source.git("tag", "--annotate", "--message=3", "v3")
    await site.round(name)
    ((_, request),) = await site.take_found()
    assert (request.ref, request.commit) == ("refs/tags/v3", source.git("rev-parse", "v3"))


async def test_an_annotated_tag_is_known_by_its_object_or_its_commit(
    site: ReconcileSite, name: str
) -> None:
    """Events of Bitbucket Cloud name the commit; the server shows the tag's own object."""
    source = site.source(name)
    (first,) = source.commits(1)
    await _with_group(site, name, first)
    site.configure(rules=[{"ref": ["refs/tags/*"], "action": "build"}])
    await site.round(name)
    source.git("tag", "--annotate", "--message=1", "v1")
    source.git("tag", "--annotate", "--message=2", "v2")
    for tag, commit in (("v1", first), ("v2", source.git("rev-parse", "v2"))):
        await _with_record(site, name, f"refs/tags/{tag}", commit)
    await site.round(name)
    assert await site.take_found() == []
    source.git("tag", "--annotate", "--message=3", "v3")
    await _with_record(site, name, "refs/tags/v3", "b" * 40)
    await site.round(name)
    assert [each.ref for _, each in await site.take_found()] == ["refs/tags/v3"]


async def test_a_changed_rule_makes_no_old_tip_a_push(site: ReconcileSite, name: str) -> None:
    """Refs that no rule wants are followed, so that they are old when one wants them."""
    source = site.source(name)
    (first,) = source.commits(1)
    await _with_group(site, name, first)
    site.configure(rules=[{"ref": ["main"], "action": "build"}])
    await site.round(name)
    source.git("update-ref", "refs/heads/other", first)
    await site.round(name)
    assert await site.take_found() == []
    site.configure(rules=[{"ref": ["*"], "action": "build"}])
    await site.round(name)
    assert await site.take_found() == []
    (second,) = source.commits(1)
    await site.round(name)
    assert [request.commit for _, request in await site.take_found()] == [second]


async def test_without_a_group_nothing_is_sent_and_nothing_forgotten(
    site: ReconcileSite, name: str
) -> None:
    """A push in a wrong group would break the order; it is sent once the group is known."""
    source = site.source(name)
    (first,) = source.commits(1)
    await _set_snapshot_group(site, name, "")
    (second,) = source.commits(1)
    site.now += LATER
    await site.look(name)
    site.now += LATER
    with pytest.raises(StageError):  # the stand-in has no CodeCommit to ask
        await site.look(name)
    assert await site.take_found() == []
    await _with_head(site, name, first, group="of-a-head")
    await site.look(name)
    ((group, request),) = await site.take_found()
    assert (group, request.commit) == ("of-a-head", second)


async def test_a_repository_made_again_under_its_name_has_a_new_group(
    site: ReconcileSite, name: str
) -> None:
    """The group of the snapshot is that of the repository before it."""
    source = site.source(name)
    (first,) = source.commits(1)
    await _set_snapshot_group(site, name, "before")
    await _with_head(site, name, first, group="new")
    (second,) = source.commits(1)
    await site.round(name)
    assert [(group, each.commit) for group, each in await site.take_found()] == [("new", second)]
    snapshot = await site.snapshot(name)
    assert snapshot is not None
    assert snapshot.group == "new"


async def test_a_dry_run_says_what_is_missing_and_changes_nothing(
    site: ReconcileSite, name: str
) -> None:
    """A person who looks does not disturb the rounds."""
    source = site.source(name)
    (first,) = source.commits(1)
    look = await site.look(name, dry_run=True)
    assert look.baseline
    assert await site.snapshot(name) is None
    await _with_group(site, name, first)
    await site.round(name)
    before = await site.snapshot(name)
    source.commits(1)
    look = await site.look(name, dry_run=True)
    assert [each.fate for each in look.plans] == [RefFate.WAITING]
    site.now += timedelta(hours=1)
    assert await site.snapshot(name) == before
    assert await site.take_found() == []


async def test_a_repository_that_is_gone_is_a_failure_of_its_own(
    site: ReconcileSite, name: str
) -> None:
    """Its snapshot stays: it may be back."""
    with pytest.raises(StageError, match="repository"):
        await site.look(name)
    assert await site.snapshot(name) is None


async def _with_group(site: ReconcileSite, name: str, commit: str) -> str:
    """Let the ledger know the message group, as after a first push."""
    await _with_head(site, name, commit, group=f"group-of-{name}")
    return f"group-of-{name}"


async def _with_record(site: ReconcileSite, name: str, ref: str, commit: str) -> None:
    """Write the record of a push that was built, without the head of its ref."""
    ledger = Ledger(site.store, prefix=site.settings.storage.ledger_prefix)
    event_id = f"event-{ref.rpartition('/')[2]}"
    push = Push(event_id, repository_of(name), ref, commit, Change.CREATED, site.now)
    target = Target(Action.BUILD, project="web")
    await ledger.record(push, Outcome(Verdict.BUILT, "built", target))


async def _with_head(site: ReconcileSite, name: str, commit: str, *, group: str) -> None:
    """Write a head of a branch that does not exist any more."""
    key = f"{site.settings.storage.ledger_prefix}head/{repository_of(name).path}/gone.json"
    head = Head(commit, site.now, "1", group=group)
    body = head_record(head, ref="refs/heads/gone")
    await site.store.replace_record(key, body)


async def _set_snapshot_group(site: ReconcileSite, name: str, group: str) -> None:
    """Take a baseline, and take its group away."""
    await _with_head(site, name, "a" * 40, group="any")
    await site.look(name)
    snapshot = await site.snapshot(name)
    assert snapshot is not None
    key = site.ledger.snapshot_key(repository_of(name))
    body = (await site.store.get_record(key) or b"").replace(
        b'"group":"any"', b'"group":"%s"' % group.encode()
    )
    await site.store.replace_record(key, body)
    await site.store.delete_record(
        f"{site.settings.storage.ledger_prefix}head/{repository_of(name).path}/gone.json"
    )
