"""`asyncbuild build` against the service: what it sends, what it tells, and how it ends."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import anyio
import orjson
import pytest
from aiohttp import web
from support.events import ACCOUNT, REGION
from support.push_place import LEDGER, Place, make_place
from support.wait import PATIENCE_SECONDS
from support.webhooks import message

from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.service_mark import UPGRADE, ServiceMark
from asyncbuild.commands import serve
from asyncbuild.commands.build.build_on_request import BuildWish, run
from asyncbuild.config import ResultSettings
from asyncbuild.domain.errors import Busy, ConfigError, Kind, NoPermission, Reject, Retry
from asyncbuild.domain.model import Push
from asyncbuild.domain.repository import Repository
from asyncbuild.local.servers import journal
from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.servers.event_sender import EventFaults, open_event_sender
from asyncbuild.local.servers.served import open_site
from asyncbuild.local.stack import Stack, open_stack
from asyncbuild.storage.s3 import Store

pytestmark = pytest.mark.timeout(300)

# Not at once: an event that comes before the index entry of its build is put back for seconds.
QUICK: Final = Script(queued_seconds=0.0, build_seconds=0.5)


@pytest.fixture(scope="module")
async def stack() -> AsyncIterator[Stack]:
    """Open one stack for the module, whose builds end at once."""
    async with (
        open_stack(["web", "lint"]) as stack,
        open_event_sender(
            stack.standin, stack.sqs, stack.settings.results.url, faults=EventFaults()
        ),
    ):
        yield stack


@pytest.fixture
def place(stack: Stack) -> Place:
    """Return a place with a repository of its own, whose pushes build `web`, with results."""
    stack.standin.script = QUICK
    return place_with_results(stack)


@pytest.fixture(scope="module")
async def built_place(stack: Stack) -> Place:
    """Return a place with one push that was built, for all tests that send nothing."""
    made = place_with_results(stack)
    (a,) = made.source.commits(1)
    await pushed(made, a)
    return made


def place_with_results(stack: Stack) -> Place:
    """Return a new place, whose builds tell how they end."""
    made = make_place(stack)
    made.settings = made.settings.model_copy(update={"results": stack.settings.results})
    made.configure(status={"listen": "off"})
    return made


@asynccontextmanager
async def serving(place: Place) -> AsyncIterator[None]:
    """Run the service."""
    stop = anyio.Event()

    async def work() -> None:
        await serve.run(place.settings, stop=stop, signals=())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        yield
        stop.set()


def wish(place: Place, what: str | None = None, **more: Any) -> BuildWish:  # noqa: ANN401 - its fields
    """Return a wish for a build in the repository of a place."""
    usual: dict[str, Any] = {
        "ref": "",
        "projects": (),
        "variables": {},
        "again": False,
        "reason": "",
        "wait": True,
        "timeout_minutes": PATIENCE_SECONDS / 60,
        "as_json": False,
    }
    return BuildWish(**{"repository": place.name, "what": what, **usual, **more})


async def build(place: Place, what: str | None = None, **more: Any) -> int:  # noqa: ANN401 - as above
    """Run the command; return its exit code."""
    with anyio.fail_after(PATIENCE_SECONDS):
        return await run(place.settings, wish(place, what, **more))


async def pushed(place: Place, commit: str, old: str | None = None) -> Push:
    """Push a commit, and build it."""
    push = await place.push(commit, old)
    await place.drain()
    return push


def told_of(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the lines that the command has printed, without the log."""
    lines = capsys.readouterr().out.splitlines(keepends=True)
    return "".join(each for each in lines if re.match(r"\s*\d+:\d\d  ", each))


def document_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the JSON object that the command has printed."""
    (line,) = [each for each in capsys.readouterr().out.splitlines() if each.startswith("{")]
    document: dict[str, Any] = orjson.loads(line)
    return document


async def test_wait_shows_the_way_and_ends_with_its_result(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """A request for the newest commit: asked, started, ended; exit code 0."""
    a, _ = place.source.commits(2)
    await pushed(place, a)
    newest = place.source.commit({"a": b"1"})
    async with serving(place):
        code = await build(place)
    told = told_of(capsys)
    assert code == 0
    assert place.built() == [a, newest]
    steps = ("asked for its newest commit of refs/heads/main", "as request build-", "started web: ")
    positions = [told.index(each) for each in (*steps, "web passed")]
    assert positions == sorted(positions)
    assert told.splitlines()[-1].endswith("  passed")
    variables = journal.read(place.stack.journal)[-1].variables
    assert variables["PUSHER"].startswith("arn:aws:")


async def test_a_variable_that_is_no_text_is_refused_and_not_changed(built_place: Place) -> None:
    """The bytes of a command line need not be UTF-8; JSON would replace those that are not."""
    with pytest.raises(Reject, match=r"variables\.A is not text"):
        await build(built_place, "main", variables={"A": "\udcff"}, wait=False)


async def test_what_failed_is_exit_code_1(place: Place) -> None:
    """A script stops at it."""
    (a,) = place.source.commits(1)
    await pushed(place, a)
    place.stack.standin.script = replace(QUICK, status="FAILED")
    async with serving(place):
        assert await build(place, again=True) == 1


async def test_what_was_built_before_is_told_and_not_sent(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """By commit the command itself knows, also by its beginning; the exit code is that result's."""
    (a,) = place.source.commits(1)
    place.stack.standin.script = replace(QUICK, status="FAILED")
    push = await pushed(place, a)
    async with serving(place):
        for what in (a, a[:10]):
            assert await build(place, what) == 1
            assert f"built before, as push {push.id}" in capsys.readouterr().out
        assert await build(place, a, wait=False, as_json=True) == 1
    told = document_of(capsys)
    assert told["outcome"] == "failed"
    assert told["event_id"] == push.id
    assert [each["result"]["status"] for each in told["records"]] == ["failed"]
    assert place.built() == [a]


async def test_what_was_given_up_in_part_is_asked_for(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two projects one was missing: the other's build is not the answer."""
    place.configure(rules=[{"action": "build", "project": ["web", "no-such-project"]}])
    (a,) = place.source.commits(1)
    await pushed(place, a)
    assert place.built() == [a]
    place.configure(rules=[{"action": "build", "project": ["web", "lint"]}])
    assert await build(place, a, wait=False) == 0
    assert "asked for commit" in capsys.readouterr().out
    await place.drain()
    assert [each.project for each in journal.read(place.stack.journal)[-2:]] == ["web", "lint"]


async def test_a_tip_that_was_built_before_has_that_result(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """By ref the service knows: nothing is started, and the exit code is that of the push."""
    (a,) = place.source.commits(1)
    place.stack.standin.script = replace(QUICK, status="FAILED")
    push = await pushed(place, a)
    async with serving(place):
        assert await build(place, "main") == 1
        assert await build(place, "main", projects=("web",)) == 1
    told = capsys.readouterr().out
    assert f"its commit was built before, as push {push.id}" in told
    assert f"that was done before, as push {push.id}" in told
    assert place.built() == [a]


async def test_again_project_and_variable_reach_the_build(place: Place) -> None:
    """Of two projects one is built once more, with a variable."""
    place.configure(rules=[{"action": "build", "project": ["web", "lint"]}])
    (a,) = place.source.commits(1)
    await pushed(place, a)
    async with serving(place):
        code = await build(place, a, again=True, projects=("lint",), variables={"STAGE": "x=y"})
        assert code == 0
        # Not done before: with another variable it is another build.
        asked = {"projects": ("lint",), "variables": {"STAGE": "z"}}
        assert await build(place, a, wait=False, **asked) == 0
    await place.drain()
    *_, first, second = journal.read(place.stack.journal)
    assert (first.project, first.variables["STAGE"]) == ("lint", "x=y")
    assert (second.project, second.variables["STAGE"]) == ("lint", "z")
    assert len(place.built()) == 4


@pytest.mark.parametrize(
    ("rule", "what", "reason"),
    [
        ({"action": "ignore"}, "main", "rule: rules[0]"),
        ({"action": "build", "project": "web"}, "gone", "refs/heads/gone does not exist"),
    ],
)
async def test_nothing_built_is_exit_code_3(
    place: Place, capsys: pytest.CaptureFixture[str], rule: dict[str, Any], what: str, reason: str
) -> None:
    """A rule ignores it, or the ref was deleted."""
    (a,) = place.source.commits(1)
    await pushed(place, a)
    place.configure(rules=[rule])
    place.source.commit({"a": b"1"})
    async with serving(place):
        assert await build(place, what) == 3
    assert reason in capsys.readouterr().out


async def test_an_upload_has_passed(place: Place) -> None:
    """Nothing is built here, and the object is there."""
    (a,) = place.source.commits(1)
    await pushed(place, a)
    place.configure(rules=[{"action": "upload"}])
    async with serving(place):
        assert await build(place, again=True) == 0


async def test_a_refused_request_is_exit_code_65(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason names what would be possible."""
    (a,) = place.source.commits(1)
    await pushed(place, a)
    async with serving(place):
        assert await build(place, "main", projects=("other",)) == 65
    assert "possible are web" in capsys.readouterr().out


async def test_time_that_is_up_is_exit_code_75(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a service nothing is settled; the way to ask later is told."""
    (a,) = place.source.commits(1)
    await pushed(place, a)
    assert await build(place, again=True, timeout_minutes=0.001) == 75
    told = capsys.readouterr().out
    assert re.search(rf"asyncbuild explain {ACCOUNT}/{REGION}/{place.name} build-\w+", told)
    await place.drain()
    assert place.built() == [a, a]


async def test_a_build_that_goes_on_is_unfinished(place: Place) -> None:
    """It was started, and has no end when the time is up."""
    (a,) = place.source.commits(1)
    await pushed(place, a)
    place.stack.standin.script = Script(queued_seconds=0, build_seconds=3_600)
    async with serving(place):
        with anyio.fail_after(PATIENCE_SECONDS):
            assert await build(place, again=True, timeout_minutes=0.05) == 75
    assert place.built() == [a, a]


async def test_an_interrupted_wait_stops_nothing(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C leaves the request in the queue, and says how to come back."""
    (a,) = place.source.commits(1)
    await pushed(place, a)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(build, place, "main")
        while await place.stack.count_waiting() == 0:  # noqa: ASYNC110 - SQS has to be polled
            await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()
    assert "The build goes on. Its end: asyncbuild explain" in capsys.readouterr().err
    newer = place.source.commit({"a": b"1"})
    await place.drain()
    assert place.built() == [a, newer]


async def test_without_wait_it_ends_at_once(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer has what a script needs to look later."""
    (a,) = place.source.commits(1)
    await pushed(place, a)
    assert await build(place, a, again=True, wait=False, as_json=True) == 0
    told = document_of(capsys)
    assert told["outcome"] == "sent"
    assert (told["ref"], told["commit"]) == ("refs/heads/main", a)
    await place.drain()
    assert journal.read(place.stack.journal)[-1].variables["EVENT_ID"] == told["event_id"]


async def test_a_commit_of_an_unknown_push_needs_its_ref(place: Place) -> None:
    """A commit that was pushed together with a newer one has no record."""
    a, b = place.source.commits(2)
    await pushed(place, b)
    with pytest.raises(Reject, match=f"no push of commit {a}") as caught:
        await build(place, a)
    assert "--ref NAME" in caught.value.remedy
    async with serving(place):
        assert await build(place, a, ref="main") == 0
    assert place.built() == [b, a]


@pytest.mark.parametrize(
    ("repository", "what", "reason", "remedy"),
    [
        ("nowhere", None, "no repository named 'nowhere' was pushed to yet", "HOST/OWNER/NAME"),
        ("a/b", None, "repository 'a/b' is not whole", "ACCOUNT/REGION/NAME"),
        ("github.com/acme/../web", None, "is not whole", ""),
        ("github.com/acme/x*y", None, "is not a name of 1 to 100", ""),
        (None, "main..x", "is not a name that git allows", ""),
        (None, "abcdef123", "no branch abcdef123 was built, and no push", "--ref"),
        ("git.example.org/acme/web", "main", "the message group of git.example.org", "push to it"),
    ],
)
async def test_words_that_mean_nothing_are_refused(
    built_place: Place, repository: str | None, what: str | None, reason: str, remedy: str
) -> None:
    """Before anything is sent."""
    with pytest.raises(Reject) as caught:
        await build(built_place, what, repository=repository or built_place.name)
    assert reason in caught.value.reason
    assert remedy in caught.value.remedy
    assert await built_place.stack.count_waiting() == 0


async def test_names_of_repositories_and_branches_are_completed_or_listed(place: Place) -> None:
    """The one usual branch is meant; of two repositories of a name, and of other branches, none."""
    (a,) = place.source.commits(1)
    push = await pushed(place, a)
    ledger = Ledger(Store(place.stack.s3, place.settings.storage), prefix=LEDGER)
    await build(place, repository=push.repository.path, wait=False)
    master = replace(push, ref="refs/heads/master", id="other")
    await ledger.set_head(master)
    with pytest.raises(Reject, match="which branch") as caught:
        await build(place, wait=False)
    assert "refs/heads/main, refs/heads/master were built before" in caught.value.remedy
    twin = Repository.of_codecommit("210987654321", REGION, place.name)
    await ledger.record_rejected(
        message("{}"), replace(push, repository=twin), Retry("x"), attempts=1
    )
    with pytest.raises(Reject, match="2 repositories are named") as caught:
        await build(place, wait=False)
    assert twin.path in caught.value.remedy


async def test_without_results_a_wait_is_refused_at_once(place: Place) -> None:
    """The service does not learn how builds end."""
    place.settings = place.settings.model_copy(update={"results": ResultSettings()})
    with pytest.raises(ConfigError, match=r"results\.url is empty"):
        await build(place)


async def test_a_service_that_reads_no_requests_gets_none(place: Place) -> None:
    """An older task would make a dead letter of it: there is none yet, or only since a moment."""
    (a,) = place.source.commits(1)
    await pushed(place, a)
    store = Store(place.stack.s3, place.settings.storage)
    mark, now = ServiceMark(store, prefix=LEDGER), datetime.now(UTC)
    key = f"{LEDGER}service/push-messages.json"
    await store.delete_record(key)
    with pytest.raises(ConfigError, match="no task of a version that reads push messages"):
        await build(place, wait=False)
    await mark.write(now)
    with pytest.raises(Busy, match="older tasks") as caught:
        await build(place, wait=False)
    assert caught.value.kind is Kind.BUSY
    assert f"{now + UPGRADE:%H:%M:%S} UTC" in caught.value.remedy
    await mark.require(now + UPGRADE)
    await store.delete_record(key)
    await ServiceMark(store, prefix="new/").write(now)
    await ServiceMark(store, prefix="new/").require(now)  # not an upgrade: nothing was there
    await mark.write(now - timedelta(days=40))
    await mark.write(now)
    await mark.require(now)  # renewed, and as old as it was


_CALLER: Final = f"""\
<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>arn:aws:iam::{ACCOUNT}:user/mary</Arn><UserId>A</UserId>
<Account>{ACCOUNT}</Account></GetCallerIdentityResult>
<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></GetCallerIdentityResponse>"""


async def answer(request: web.Request) -> web.Response:
    """Answer as a server that tells ids of repositories and who asks, and denies all else."""
    target, body = request.headers.get("X-Amz-Target", ""), await request.read()
    if b"Action=GetCallerIdentity" in body:
        return web.Response(text=_CALLER, content_type="text/xml")
    if target.endswith(".GetRepository"):
        id_ = f"id-of-{orjson.loads(body)['repositoryName']}"
        document: dict[str, Any] = {"repositoryMetadata": {"repositoryId": id_}}
        return web.Response(body=orjson.dumps(document), content_type="application/x-amz-json-1.1")
    document = {"__type": "AccessDeniedException", "message": f"not authorized: {target}"}
    return web.Response(
        status=403, body=orjson.dumps(document), content_type="application/x-amz-json-1.0"
    )


@pytest.fixture
async def other_server() -> AsyncIterator[str]:
    """Serve `answer`, and return its URL."""
    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    async with open_site(app) as url:
        yield url


async def test_the_group_of_a_repository_without_a_build_is_asked_for(
    place: Place, other_server: str
) -> None:
    """CodeCommit's id is the group of its events; a build of another group would overtake them."""
    place.source.commits(1)
    await place.drain()  # the service has run, and has left its mark
    there = place.settings.aws.endpoint_url
    place.configure(
        aws={"endpoint_url": other_server},
        queue={"endpoint_url": there},
        storage={"endpoint_url": there},
    )
    whole = f"{ACCOUNT}/{REGION}/{place.name}"
    assert await build(place, "main", repository=whole, wait=False) == 0
    url = place.settings.queue.url
    received = await place.stack.sqs.receive_message(
        QueueUrl=url, MessageSystemAttributeNames=["MessageGroupId"], WaitTimeSeconds=1
    )
    (message,) = received["Messages"]
    assert message["Attributes"]["MessageGroupId"] == f"id-of-{place.name}"
    assert orjson.loads(message["Body"])["requested_by"] == f"arn:aws:iam::{ACCOUNT}:user/mary"
    await place.stack.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


async def test_a_missing_right_names_the_policy(place: Place, other_server: str) -> None:
    """One sentence, and what to attach."""
    (a,) = place.source.commits(1)
    await pushed(place, a)
    place.configure(queue={"endpoint_url": other_server})
    with pytest.raises(NoPermission, match="send a request for") as caught:
        await build(place, "main", wait=False)
    assert "OperatorPolicyArn" in caught.value.remedy
    assert caught.value.exit_code == 77
