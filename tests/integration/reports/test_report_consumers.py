"""Reports through a real queue to a forge: what it shows, once, and never backwards."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import orjson
import pytest
from support.listening import hearing
from support.report_site import (
    COMMIT,
    ReportSite,
    ended,
    open_report_site,
    skipping_push,
    started_build,
)
from support.wait import wait_until

from asyncbuild.aws.session import Aws
from asyncbuild.checks.commit_reports import look_at_reports
from asyncbuild.checks.judges.finding import Level
from asyncbuild.checks.trials import try_rights
from asyncbuild.commands import report_letters
from asyncbuild.config.hosts import CommitStatusSettings
from asyncbuild.domain.contents.known_changes import LeftOut
from asyncbuild.domain.reports.commit_status import CommitStatus, StatusState
from asyncbuild.domain.reports.skipped_target import SkippedTarget
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.results.build_result import BuildStatus
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.domain.settling import Done
from asyncbuild.forges.statuses.poster_protocol import StatusPlace, StatusPoster
from asyncbuild.forges.statuses.status_posters import HostPoster
from asyncbuild.local.forge.forge_standin import ForgeAnswer
from asyncbuild.local.servers.children import LocalServer
from asyncbuild.queue.sqs import Queue
from asyncbuild.reports.open_reports import open_reports
from asyncbuild.reports.report_consumers import ReportConsumers
from asyncbuild.reports.reporter import FindsPosters, Reporter


@pytest.fixture
async def site(
    ministack: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ReportSite]:
    """Servers for reports."""
    monkeypatch.setenv("STATUS_TOKEN", "status-token")
    async with open_report_site(ministack) as site:
        yield site


async def test_a_build_is_pending_and_then_red(site: ReportSite) -> None:
    """Both states, once each, with the words and the link."""
    started = started_build()
    with hearing() as lines:
        async with site.open_consumers(), site.open_sender() as sender:
            await sender.send_start(started)
            await wait_until(lambda: site.posted == ["pending"])
            await sender.send_end(started, ended(started, BuildStatus.FAILED))
            await wait_until(lambda: site.posted == ["pending", "failure"])
            await sender.send_start(started)  # a push that is delivered again
            await sender.send_end(started, ended(started, BuildStatus.FAILED))
    await site.drain()
    shown = site.status()
    assert shown is not None
    assert shown.description == "failed in BUILD, after 1 min"
    assert shown.target_url.endswith("/projects/shop/build/shop%3Auuid-1/?region=eu-west-1")
    assert site.posted == ["pending", "failure"]
    told = [line for line in lines if line["event"] == "report.posted"]
    assert [(line["state"], line["commit"]) for line in told] == [
        ("pending", COMMIT),
        ("failure", COMMIT),
    ]


async def test_an_older_build_of_a_commit_changes_nothing(site: ReportSite) -> None:
    """The second push owns the context, though the first one ends later."""
    older, newer = started_build(1), started_build(2)
    async with site.open_sender() as sender:
        await sender.send_start(newer)
        await sender.send_end(newer, ended(newer))
        await sender.send_start(older)
        await sender.send_end(older, ended(older, BuildStatus.FAILED))
    await site.drain()
    assert site.posted == ["pending", "success"]


async def test_what_was_posted_is_not_posted_by_another_task(site: ReportSite) -> None:
    """The record tells it, when a report comes again after a long time."""
    started = started_build()
    async with site.open_sender() as sender:
        await sender.send_end(started, ended(started))
        await site.drain()
        retried = ended(started, attempt=2)
        await sender.send_end(started, retried)
        await site.drain()
        await sender.send_end(started, ended(started, BuildStatus.FAILED))
    await site.drain()
    assert site.posted == ["success", "success"]  # of two attempts
    shown = site.status()
    assert shown is not None
    assert "shop%3Aattempt-2" in shown.target_url


async def test_a_forge_that_is_away_holds_up_no_other(site: ReportSite) -> None:
    """Its report is hidden and comes again; another repository's is posted at once."""
    site.forge.ordered.append(ForgeAnswer(500))
    first, second = started_build(), started_build(owner="other")
    with hearing() as lines:
        async with site.open_consumers(), site.open_sender() as sender:
            await sender.send_end(first, ended(first))
            await wait_until(lambda: any(each["event"] == "report.delayed" for each in lines))
            await sender.send_end(second, ended(second))
            await wait_until(lambda: site.status("other") is not None)
            assert site.status() is None
            await wait_until(lambda: site.status() is not None)
    assert site.forge.refused == {500: 1}


async def test_a_missing_right_is_told_once_and_its_reports_are_kept(site: ReportSite) -> None:
    """No more is posted to that repository for an hour; others go on."""
    site.forge.ordered.append(ForgeAnswer(403, {"message": "Resource not accessible"}))
    first, second, other = started_build(1), started_build(2), started_build(3, owner="other")
    with hearing() as lines:
        async with site.open_sender() as sender:
            await sender.send_end(first, ended(first))
            await sender.send_end(second, ended(second))
            await sender.send_end(other, ended(other))
        await site.drain()
    assert [each["repository"] for each in lines if each["event"] == "reports.off"] == ["acme/shop"]
    assert site.posted == ["success"]
    letters = await site.dead_letters()
    assert len(letters) == 2
    assert all("credential" in str(each["MessageAttributes"]) for each in letters)


async def test_a_report_is_sent_again_when_the_credential_is_right(
    site: ReportSite, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report is listed with its reason, posted within the hour, and gone from the list.

    What cannot be read is refused, and stays.
    """
    site.forge.ordered.append(ForgeAnswer(403, {"message": "Resource not accessible"}))
    first, second = started_build(1), started_build(2)
    with hearing() as lines:
        async with site.open_consumers(), site.open_sender() as sender:
            await site.sqs.send_message(QueueUrl=site.url, MessageBody="{", MessageGroupId="g")
            await sender.send_end(first, ended(first))
            await wait_until(lambda: _count_dead(lines) == 2)
            assert await report_letters.show(site.settings, (), False) == 0  # noqa: FBT003 - as click calls
            listed = capsys.readouterr().out
            assert "acme/shop cccccccccc asyncbuild/shop success" in listed
            assert "Resource not accessible" in listed
            assert await report_letters.show(site.settings, (), True) == 0  # noqa: FBT003 - as click calls
            documents = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
            assert {each["state"] for each in documents} == {"success", None}
            assert await report_letters.send_again(site.settings, ()) == 1
            told = capsys.readouterr()
            assert told.out.endswith("sent back\n")
            assert told.err.startswith("refused: ")
            await wait_until(lambda: site.posted == ["success"])
            await sender.send_end(second, ended(second))
            await wait_until(lambda: site.posted == ["success", "success"])
    (left,) = await site.dead_letters()
    assert left["Body"] == "{"


def _count_dead(lines: Sequence[Mapping[str, object]]) -> int:
    return sum(1 for each in lines if each["event"] == "report.dead-lettered")


async def test_a_queue_that_no_host_uses_is_not_read(site: ReportSite) -> None:
    """Polls cost; the stack makes the queue wherever there are other hosts."""
    hosts = tuple(each.model_copy(update={"commit_status": None}) for each in site.settings.hosts)
    settings = site.settings.model_copy(update={"hosts": hosts})
    async with open_reports(settings, Aws(settings)) as opened:
        assert opened is None
    noted = [each async for each in look_at_reports(Aws(settings), settings)]
    assert (noted[0].name, noted[0].level) == ("reports.url", Level.NOTE)


async def test_check_looks_at_the_queues_and_tries_the_rights_on_them(site: ReportSite) -> None:
    """Both are FIFO; the receives of this one would not last for two days."""
    aws = Aws(site.settings)
    found = {each.name: each.level async for each in look_at_reports(aws, site.settings)}
    assert found == {
        "reports.queue": Level.OK,
        "reports.max-receive-count": Level.WARNING,
        "reports.retention": Level.OK,
        "reports.dead-letters": Level.OK,
    }
    tried = {
        each.action for each in await try_rights(aws, site.settings) if each.resource == site.url
    }
    assert tried == {"sqs:DeleteMessage", "sqs:ChangeMessageVisibility"}


async def test_a_pause_that_the_forge_asks_for_drops_pending_statuses(site: ReportSite) -> None:
    """Ends wait for it."""
    site.forge.ordered.append(ForgeAnswer(429, {"message": "slow"}, {"Retry-After": "1"}))
    started = started_build()
    async with site.open_sender() as sender:
        await sender.send_start(started)
    await site.drain()
    assert site.posted == []
    async with site.open_consumers(), site.open_sender() as sender:
        await sender.send_end(started, ended(started))
        await wait_until(lambda: site.posted == ["success"])


@pytest.mark.parametrize("body", ["", "[]", '{"asyncbuild":"report","version":2}'])
async def test_what_is_no_report_becomes_a_dead_letter(site: ReportSite, body: str) -> None:
    """With a reason; the next message is worked on."""
    message = body or " "
    await site.sqs.send_message(QueueUrl=site.url, MessageBody=message, MessageGroupId="g")
    started = started_build()
    async with site.open_sender() as sender:
        await sender.send_end(started, ended(started))
    await site.drain()
    assert site.posted == ["success"]
    (letter,) = await site.dead_letters()
    assert letter["Body"] == message


async def test_what_a_push_left_out_is_green_until_it_is_built(site: ReportSite) -> None:
    """Another push of the commit builds it: a skip by whatever push never replaces that."""
    started, earlier, later = started_build(2), skipping_push(1), skipping_push(3)
    web = SkippedTarget("web", LeftOut(("web",)), pipeline="shop")
    async with site.open_sender() as sender:
        await sender.send_skips(earlier, [SkippedTarget("api", LeftOut(("api", "libs")), "shop")])
        await site.drain()
        shown = site.status()
        assert shown is not None
        assert (shown.description, shown.target_url) == (
            "skipped: nothing changed in api, libs",
            "",
        )
        await sender.send_start(started)
        await sender.send_skips(later, [web])
        await sender.send_end(started, ended(started, BuildStatus.FAILED))
        await sender.send_skips(earlier, [web])
    await site.drain()
    assert site.posted == ["success", "pending", "failure"]


async def test_skips_are_reported_by_setting(
    ministack: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No report is sent if statuses are not wanted."""
    monkeypatch.setenv("STATUS_TOKEN", "status-token")
    wanted = CommitStatusSettings(token="env:STATUS_TOKEN", skipped="none")
    async with open_report_site(ministack, status=wanted) as site:
        async with site.open_sender() as sender:
            await sender.send_skips(
                skipping_push(1), [SkippedTarget("api", LeftOut(("api",)), "shop")]
            )
        assert await site.count() == 0


async def test_a_damaged_record_is_replaced(site: ReportSite) -> None:
    """A damaged record counts as nothing posted."""
    started = started_build()
    async with site.open_sender() as sender:
        await sender.send_end(started, ended(started))
        await site.drain()
        for key in [each async for each in _keys(site)]:
            await site.ledger._records.replace_stored(key, b"{", etag=await _etag(site, key))
        await sender.send_end(started, ended(started, attempt=2))
    await site.drain()
    assert site.posted == ["success", "success"]
    assert site.forge.history[-1][1].state is StatusState.SUCCESS


async def _keys(site: ReportSite) -> AsyncIterator[str]:
    records: object = site.ledger._records
    async for each in records.iter_records("ledger/reported/"):  # type: ignore[attr-defined]  # the store's
        yield each.key


async def _etag(site: ReportSite, key: str) -> str:
    stored = await site.ledger._records.read_stored(key)
    assert stored is not None
    return stored.etag


async def test_a_report_that_is_not_this_tasks_any_more_is_not_posted(site: ReportSite) -> None:
    """A slow forge holds a task up, until another one has settled the next of the group."""
    started, ticks = started_build(), iter([0.0, 0.0, 61.0])
    async with site.open() as opened:
        await opened.sender.send_start(started)
        await opened.sender.send_end(started, ended(started))
        queue = Queue(polls=site.sqs, control=site.sqs, url=site.url, dead_letter_url=None)
        slow = ReportConsumers(
            queue=queue,
            reporter=opened.consumers._reporter,
            settings=site.settings,
            monotonic=lambda: next(ticks),
        )
        held = await queue.receive(most=10, wait_seconds=1, visibility_seconds=60)
        assert len(held) == 2
        await queue.delete(held[1])
        await slow._work(held)
    assert site.posted == ["pending"]


async def test_a_post_that_another_task_overtakes_is_made_good(site: ReportSite) -> None:
    """A task stands still before its post; the end is posted by then, and remains."""
    started = started_build()
    async with site.open() as opened:
        await opened.sender.send_start(started)
        queue = Queue(polls=site.sqs, control=site.sqs, url=site.url, dead_letter_url=None)
        (message,) = await queue.receive(most=1, wait_seconds=1, visibility_seconds=60)
        await queue.delete(message)
        posters = opened.consumers._reporter._posters
        slow = Reporter(_StandsStill(posters, site, started), site.ledger, monotonic=time.monotonic)
        settling = await slow.settle(message, slow.read(message))
    assert settling == Done()
    assert site.posted == ["success", "pending", "success"]
    shown = site.status()
    assert shown is not None
    assert shown.description == "passed in 1 min"


class _StandsStill:
    """Posters of a task that stands still before each post, until another one has posted an end."""

    def __init__(self, posters: FindsPosters, site: ReportSite, started: StartedBuild) -> None:
        self._posters = posters
        self._site = site
        self._started = started

    def find(self, repository: Repository) -> HostPoster | None:
        """Return the poster, with the pause before its first post."""
        found = self._posters.find(repository)
        return None if found is None else replace(found, poster=self._poster(found.poster))

    def _poster(self, poster: StatusPoster) -> StatusPoster:
        class Late:
            overtaken = False

            async def post(late, place: StatusPlace, status: CommitStatus) -> None:  # noqa: N805 - `self` is the outer one
                """Post, after the other task the first time."""
                if not late.overtaken:
                    late.overtaken = True
                    async with self._site.open_sender() as sender:
                        await sender.send_end(self._started, ended(self._started))
                    await self._site.drain()
                await poster.post(place, status)

        return Late()
