"""Webhooks of other forges on the service's queue: signed, fetched with a token, built in order."""

import json
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from support.archives import members_of_zip
from support.git_http import GitServer, open_git_server
from support.repositories import SourceRepository
from support.service import environment, open_service, read_dead_letters, wait_settled
from support.webhooks import DELIVERY, SECRET, ZEROS, headers, payload

from asyncbuild.domain.repository import ForgeKind
from asyncbuild.local.servers import journal
from asyncbuild.local.stack import Stack, open_stack

pytestmark = pytest.mark.timeout(400)
_DEDUPLICATION = "MessageDeduplicationId"
TOKEN = "ghs_16C7e42F292c6912E7710c838347Ae178B4a"


@dataclass(slots=True)
class _Place:
    """The stack, a host that requires a token, and the service's variables."""

    stack: Stack
    server: GitServer
    variables: dict[str, str]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    async def send(
        self, kind: ForgeKind, document: object, *, secret: str = SECRET, delivery: str = DELIVERY
    ) -> None:
        """Send a webhook as the mapping template of deploy/webhook.yaml does."""
        body = orjson.dumps(document)
        told = headers(kind, body, secret=secret)
        told = {name: delivery if value == DELIVERY else value for name, value in told.items()}
        await self.put(body, {"Webhook-Host": self.host, **told})

    async def put(self, body: bytes, attributes: Mapping[str, str], **more: Any) -> None:  # noqa: ANN401 - SendMessage's own
        await self.stack.sqs.send_message(
            QueueUrl=self.stack.settings.queue.url,
            MessageBody=body.decode(),
            MessageGroupId="github.com/35129377",
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
            },
            **more,
        )

    def source(self, owner: str, name: str = "web") -> SourceRepository:
        return SourceRepository(self.stack.directory / "host" / owner / f"{name}.git")


@asynccontextmanager
async def _open(*kinds: ForgeKind) -> AsyncIterator[_Place]:
    async with open_stack(["web"]) as stack:
        tokens = {"x-access-token": TOKEN, "oauth2": TOKEN, "x-token-auth": TOKEN}
        root = stack.directory / "host"
        async with open_git_server(root, tokens=tokens, prefix="/") as server:
            hosts = [_entry(server, kind) for kind in kinds]
            async with _secrets(stack):
                variables = environment(stack, hosts=hosts)
            yield _Place(stack, server, {**variables, "WEBHOOK": f"an old one\n{SECRET}"})


@asynccontextmanager
async def _secrets(stack: Stack) -> AsyncIterator[None]:
    from asyncbuild.aws.session import Aws  # noqa: PLC0415 - after the stack's environment is in place

    async with Aws(stack.settings).open_secrets_manager(pool=1) as client:
        await client.create_secret(
            Name="asyncbuild/host", SecretString=orjson.dumps({"token": TOKEN}).decode()
        )
        yield


def _entry(server: GitServer, kind: ForgeKind) -> dict[str, Any]:
    return {
        "host": f"127.0.0.1:{server.port}",
        "kind": kind.value,
        "remote": f"{server.url}/{{owner}}/{{repository}}.git",
        "token": "secretsmanager:asyncbuild/host#token",
        "webhook_secret": "env:WEBHOOK",
    }


def _github(commit: str, *, old: str = ZEROS, owner: str = "acme") -> dict[str, Any]:
    made = payload(ForgeKind.GITHUB)
    made["repository"] |= {"full_name": f"{owner}/web"}
    return made | {"before": old, "after": commit}


async def test_a_push_of_github_is_built() -> None:
    """Two pushes in order and a ping: built once each from a host that requires the token."""
    async with _open(ForgeKind.GITHUB) as place:
        commits = place.source("acme").commits(2)
        ping = {"zen": "Design for failure.", "hook_id": 1}
        await place.send(ForgeKind.GITHUB, ping)
        for old, new in zip([ZEROS, *commits], commits, strict=False):
            body = orjson.dumps(_github(new, old=old))
            told = {**headers(ForgeKind.GITHUB, body), "X-GitHub-Delivery": f"delivery-{new}"}
            await place.put(body, {"Webhook-Host": place.host, **told})
        async with open_service(place.variables, "drain") as service:
            assert await service.wait() == 0
        started = journal.read(place.stack.journal)
        assert commits == [each.variables["COMMIT_ID"] for each in started]
        assert [f"delivery-{commit}" for commit in commits] == [
            each.variables["EVENT_ID"] for each in started
        ]
        assert started[1].variables["OLD_COMMIT_ID"] == commits[0]
        assert started[0].variables["PUSHER"] == "mary"
        assert place.server.refused == []
        assert TOKEN not in str(service.log)
        assert SECRET not in str(service.log)


def _push_of(kind: ForgeKind, ref: str, old: str, new: str) -> dict[str, Any]:
    """Return the fixture of that kind about a push to a repository of `_owner_of(kind)`."""
    made = payload(kind)
    side = {"type": ref.split("/")[1].replace("heads", "branch").replace("tags", "tag")}
    name = ref.split("/", 2)[2]
    match kind:
        case ForgeKind.BITBUCKET:
            sides = {
                which: None if id_ == ZEROS else {**side, "name": name, "target": {"hash": id_}}
                for which, id_ in (("old", old), ("new", new))
            }
            made["push"]["changes"] = [sides]
        case ForgeKind.BITBUCKET_SERVER:
            made["changes"] = [{"ref": {"id": ref}, "fromHash": old, "toHash": new}]
        case ForgeKind.AZURE_DEVOPS:
            update = {"name": ref, "oldObjectId": old, "newObjectId": new}
            made["resource"]["refUpdates"] = [update]
            place = "https://dev.azure.com/acme/Web%20Platform/_git/web"
            made["resource"]["repository"]["remoteUrl"] = place
        case ForgeKind.GITHUB | ForgeKind.GITLAB | ForgeKind.GITEA | ForgeKind.FORGEJO:
            made |= {"before": old, "after": new, "ref": ref}
    if kind is ForgeKind.GITHUB:
        made["repository"] |= {"full_name": "acme/web"}
    return made


def _owner_of(kind: ForgeKind) -> str:
    owners = {
        ForgeKind.GITLAB: "acme/platform",
        ForgeKind.BITBUCKET_SERVER: "ACME",
        ForgeKind.AZURE_DEVOPS: "acme/Web Platform",
    }
    return owners.get(kind, "acme")


def _with_id(kind: ForgeKind, body: bytes, delivery: str) -> bytes:
    """Return a body with that id of the delivery, if its forge writes it there."""
    if kind is not ForgeKind.AZURE_DEVOPS:
        return body
    return orjson.dumps({**orjson.loads(body), "id": delivery})


# Forgejo has the dialect of Gitea.
_KINDS = set(ForgeKind) - {ForgeKind.FORGEJO}


@pytest.mark.parametrize("kind", sorted(_KINDS))
async def test_a_repeated_delivery_is_built_once(kind: ForgeKind) -> None:
    """Queue and CodeBuild have forgotten the first one.

    The record is found, its time does not matter.
    """
    async with _open(kind) as place:
        commit = place.source(_owner_of(kind)).commit({"a": b"1"})
        body = orjson.dumps(_push_of(kind, "refs/heads/main", ZEROS, commit))
        told = {"Webhook-Host": place.host, **headers(kind, body)}
        for delivery in ("first", "second"):
            await place.put(body, told, MessageDeduplicationId=delivery)
            async with open_service(place.variables, "drain") as service:
                assert await service.wait() == 0
            place.stack.standin.clock = lambda: time.time() + 600
        assert [commit] == [
            each.variables["COMMIT_ID"] for each in journal.read(place.stack.journal)
        ]
        assert await place.stack.count_waiting() == 0


# The id of a delivery of Azure DevOps is a part of its body.
@pytest.mark.parametrize("kind", sorted(_KINDS - {ForgeKind.AZURE_DEVOPS}))
async def test_a_settled_body_is_built_again_only_if_the_ref_came_back(kind: ForgeKind) -> None:
    """Under another id it needs no build, and the head stays; pushed back and forth it is new."""
    async with _open(kind) as place:
        source = place.source(_owner_of(kind))
        a, b = source.commits(2)
        first, second, back = (
            orjson.dumps(_push_of(kind, "refs/heads/main", *sides))
            for sides in ((ZEROS, a), (a, b), (b, a))
        )

        async def deliver(*bodies: bytes, at: str) -> list[str]:
            """Deliver each body under its own id, while the ref is at a commit.

            Return the builds so far.
            """
            source.git("update-ref", "refs/heads/main", at)
            for body in bodies:
                id_ = uuid.uuid4().hex
                told = {
                    name: id_ if value == DELIVERY else value
                    for name, value in headers(kind, body).items()
                }
                await place.put(body, {"Webhook-Host": place.host, **told}, **{_DEDUPLICATION: id_})
            async with open_service(place.variables, "drain") as service:
                assert await service.wait() == 0
            return [each.variables["COMMIT_ID"] for each in journal.read(place.stack.journal)]

        assert await deliver(first, second, at=b) == [a, b]
        assert await deliver(first, second, at=b) == [a, b]
        assert await deliver(back, at=a) == [a, b, a]
        assert await deliver(second, at=b) == [a, b, a, b]
        assert await deliver(back, at=b) == [a, b, a, b]
        assert await place.stack.count_waiting() == 0


@pytest.mark.parametrize("kind", sorted(_KINDS))
async def test_an_older_push_that_comes_late_is_stale(kind: ForgeKind) -> None:
    """Payloads with and without a time are tried.

    A push back and a recreated branch are not stale.
    """
    async with _open(kind) as place:
        source = place.source(_owner_of(kind))
        a, b = source.commits(2)
        for branch in ("back", "again"):
            source.git("update-ref", f"refs/heads/{branch}", a)
        pushes = [
            ("main", a, b),
            ("main", ZEROS, a),  # delivered late
            ("back", ZEROS, b),
            ("back", "c" * 40, a),  # the commit before it was not built
            ("again", ZEROS, b),
            ("again", b, ZEROS),
            ("again", ZEROS, a),
        ]
        times = [2, 1, 3, 4, 5, 6, 7]
        for n, ((branch, old, new), minute) in enumerate(zip(pushes, times, strict=True)):
            made = _push_of(kind, f"refs/heads/{branch}", old, new)
            if kind is ForgeKind.GITHUB:
                made["repository"] |= {"pushed_at": 1_793_000_000 + 60 * minute}
            if kind is ForgeKind.BITBUCKET_SERVER:
                made["date"] = f"2026-10-26T10:{minute:02}:00+0000"
            if kind is ForgeKind.AZURE_DEVOPS:
                made["resource"]["date"] = f"2026-10-26T10:{minute:02}:00Z"
            body = _with_id(kind, orjson.dumps(made), f"push-{n}")
            told = {"Webhook-Host": place.host, **headers(kind, body)}
            told = {
                name: f"push-{n}" if value == DELIVERY else value for name, value in told.items()
            }
            await place.put(body, told)
        async with open_service(place.variables, "drain") as service:
            assert await service.wait() == 0
        built = [
            (each.variables["BRANCH_NAME"], each.variables["COMMIT_ID"])
            for each in journal.read(place.stack.journal)
        ]
        expected = [("main", b), ("back", b), ("back", a), ("again", b), ("again", a)]
        assert expected == built
        (stale,) = [each for each in service.log if each["event"] == "push.stale"]
        assert (a, "refs/heads/main") == (stale["commit"], stale["ref"])


async def test_a_push_back_that_the_server_shows_late_is_built() -> None:
    """Its archive exists, so dispatch is the first to ask the server for its commit."""
    async with _open(ForgeKind.GITLAB) as place:
        place.server.behaviour.protocol_v0 = True  # tips alone, as a server that lags
        source = place.source(_owner_of(ForgeKind.GITLAB))
        a = source.commit({"a": b"1"}, branch="f")
        b = source.commit({"a": b"2"}, branch="f", parent=None)
        ref = "refs/heads/f"
        for old, new in ((ZEROS, a), ("c" * 40, b)):
            source.git("update-ref", ref, new)
            await place.send(
                ForgeKind.GITLAB, _push_of(ForgeKind.GITLAB, ref, old, new), delivery=new
            )
            async with open_service(place.variables, "drain") as service:
                assert await service.wait() == 0
        shutil.rmtree(place.stack.settings.git.cache_directory)  # as in another task
        again = _push_of(ForgeKind.GITLAB, ref, "d" * 40, a)
        await place.send(ForgeKind.GITLAB, again, delivery="again")
        async with open_service(place.variables) as service:
            await service.wait_logged("push.fetch.failed")
            source.git("update-ref", ref, a)
            await wait_settled(place.stack)
        built = [each.variables["COMMIT_ID"] for each in journal.read(place.stack.journal)]
        assert built == [a, b, a]


@pytest.mark.parametrize("kind", ForgeKind)
async def test_a_build_of_an_annotated_tag_has_its_commit(kind: ForgeKind) -> None:
    """Some payloads name the tag's object, others the commit: COMMIT_ID is the commit."""
    async with _open(kind) as place:
        rule = {"action": "build", "ref": "refs/tags/*"}
        place.variables["ASYNCBUILD_RULES"] = orjson.dumps([rule]).decode()
        source = place.source(_owner_of(kind))
        commit = source.commit({"a": b"1"})
        tag = source.tag("v1", commit)
        assert tag != commit
        told = commit if kind is ForgeKind.BITBUCKET else tag
        await place.send(kind, _push_of(kind, "refs/tags/v1", ZEROS, told))
        async with open_service(place.variables, "drain") as service:
            assert await service.wait() == 0
        (build,) = journal.read(place.stack.journal)
        assert commit == build.variables["COMMIT_ID"]
        assert (None if kind is ForgeKind.BITBUCKET else tag) == build.variables.get("TAG_ID")


async def test_submodules_of_a_host_are_fetched_with_its_token() -> None:
    """A rule includes them; a push with a submodule that may not be fetched is dead-lettered."""
    async with _open(ForgeKind.GITHUB) as place:
        rule = {"action": "build", "submodules": "include", "key": "{commit}.zip"}
        place.variables["ASYNCBUILD_RULES"] = orjson.dumps([rule]).decode()
        lib = place.source("acme", "lib").commit({"f": b"lib"})
        modules = b'[submodule "lib"]\npath = lib\nurl = %s\n'
        good = place.source("acme").commit(
            {"lib": lib, ".gitmodules": modules % f"git@{place.host[:9]}:acme/lib.git".encode()}
        )
        await place.send(ForgeKind.GITHUB, _github(good))
        evil = place.source("acme").commit({".gitmodules": modules % b"https://evil.example/a/b"})
        await place.send(ForgeKind.GITHUB, _github(evil, old=good))
        async with open_service(place.variables, "drain") as service:
            assert await service.wait() == 0
        started = journal.read(place.stack.journal)
        assert [good] == [each.variables["COMMIT_ID"] for each in started]
        bucket, _, key = started[0].location.partition("/")
        answer = await place.stack.s3.get_object(Bucket=bucket, Key=key)
        members = members_of_zip(await answer["Body"].read())
        assert {".gitmodules", "lib/", "lib/f"} == set(members)
        assert len(await read_dead_letters(place.stack)) == 1
        (told,) = [each for each in service.log if each["event"] == "push.dead-lettered"]
        assert (evil, "reject") == (told["commit"], told["kind"])
        assert "submodule 'lib' of " in told["reason"]
        assert "https://evil.example/a/b" in told["reason"]
        assert TOKEN not in str(service.log)


async def test_several_refs_of_one_bitbucket_push() -> None:
    """One message, two builds with their own ids, and none for the deleted branch."""
    async with _open(ForgeKind.BITBUCKET) as place:
        source = place.source("acme")
        main, other = source.commit({"a": b"1"}), source.commit({"a": b"2"}, branch="other")
        made = payload(ForgeKind.BITBUCKET)
        change = made["push"]["changes"][0]
        change["new"]["target"]["hash"] = main
        made["push"]["changes"] += [
            {"old": None, "new": {"type": "branch", "name": "other", "target": {"hash": other}}},
            {"old": {"type": "branch", "name": "x", "target": {"hash": "3" * 40}}, "new": None},
        ]
        await place.send(ForgeKind.BITBUCKET, made)
        async with open_service(place.variables, "drain") as service:
            assert await service.wait() == 0
        started = journal.read(place.stack.journal)
        assert [main, other] == [each.variables["COMMIT_ID"] for each in started]
        assert len({each.variables["EVENT_ID"] for each in started}) == 2
        assert await place.stack.count_waiting() == 0


async def test_a_wrongly_signed_webhook_is_a_dead_letter_that_can_be_sent_back() -> None:
    """The reason names the secret; once it is corrected the letter is built, headers and all."""
    async with _open(ForgeKind.GITLAB) as place:
        commit = place.source("acme/platform").commit({"a": b"1"})
        made = payload(ForgeKind.GITLAB) | {
            "before": ZEROS,
            "after": commit,
            "ref": "refs/heads/main",
        }
        await place.send(ForgeKind.GITLAB, made)
        wrong = {**place.variables, "WEBHOOK": "another secret"}
        async with open_service(wrong, "drain") as service:
            assert await service.wait() == 0
        assert journal.read(place.stack.journal) == []
        async with open_service(place.variables, "dead-letters", "list", "--json") as service:
            letter = orjson.loads(await service.read())
            assert await service.wait() == 0
        assert "does not fit webhook_secret" in letter["reason"]
        assert letter["repository"] == f"127.0.0.1..{place.server.port}/acme..platform/web"
        assert SECRET not in str(letter)
        async with open_service(
            place.variables, "dead-letters", "send-back", letter["id"]
        ) as service:
            assert await service.wait() == 0
        async with open_service(place.variables, "drain") as service:
            assert await service.wait() == 0
        started = journal.read(place.stack.journal)
        assert [commit] == [each.variables["COMMIT_ID"] for each in started]
        assert letter["event_id"] == started[0].variables["EVENT_ID"]
        assert await read_dead_letters(place.stack) == []


async def test_unsigned_webhooks_stop_nothing_and_are_counted() -> None:
    """Twenty of an hour are dead-lettered; the push behind them in the same group is built."""
    async with _open(ForgeKind.GITHUB) as place:
        commit = place.source("acme").commit({"a": b"1"})
        for number in range(30):
            body = orjson.dumps({"ref": "x", "after": 1, "repository": {"id": 1}, "n": number})
            told = headers(ForgeKind.GITHUB, body, secret="another")
            await place.put(body, {"Webhook-Host": place.host, **told})
        await place.send(ForgeKind.GITHUB, _github(commit))
        async with open_service(place.variables, "drain") as service:
            assert await service.wait() == 0
        started = journal.read(place.stack.journal)
        assert [commit] == [each.variables["COMMIT_ID"] for each in started]
        assert await place.stack.count_waiting() == 0
        # The hour may change while they are sent.
        assert len(await read_dead_letters(place.stack)) in range(20, 31)
        told_of = [each for each in service.log if each["event"] == "webhook.unverified"]
        assert len(told_of) == 1 or len(await read_dead_letters(place.stack)) > 20


async def test_a_missing_secret_is_reported_at_the_start() -> None:
    """The service reports it, and so does `check`, which finds no fault once it exists."""
    async with _open(ForgeKind.GITHUB) as place:
        without = {name: value for name, value in place.variables.items() if name != "WEBHOOK"}
        async with open_service(without) as service:
            assert await service.wait() == 78
        assert "secret env:WEBHOOK is not set" in str(service.log)
        for variables, level in ((without, "problem"), (place.variables, "ok")):
            async with open_service(variables, "check", "--json") as service:
                text = await service.read()
            found = [each for each in orjson.loads(text)["findings"] if "WEBHOOK" in each["what"]]
            assert [level] == [each["level"] for each in found]
            assert TOKEN.encode() not in text


async def test_a_ref_that_cannot_be_built_leaves_the_others_alone() -> None:
    """A missing project, an invalid name, and a ref of notes beside a good branch."""
    async with _open(ForgeKind.BITBUCKET_SERVER) as place:
        await _send_four_refs(place)
        variables = place.variables
        variables["ASYNCBUILD_RULES"] = json.dumps([{"action": "build", "project": "web-{branch}"}])
        place.stack.standin.add_project("web-good")
        async with open_service(variables, "drain") as service:
            assert await service.wait() == 0
        assert [each.project for each in journal.read(place.stack.journal)] == ["web-good"]
        (letter,) = await read_dead_letters(place.stack)
        reason = letter["MessageAttributes"]["Reason"]["StringValue"]
        assert "refs/heads/bad, build web-bad: CodeBuild project web-bad does not exist" in reason
        assert "refs/heads/a..b" in reason
        assert "refs/notes" not in reason
        told = [line["ref"] for line in service.log if line["event"] == "push.dead-lettered"]
        assert told == ["refs/heads/bad", None]


async def _send_four_refs(place: _Place) -> None:
    source = place.source("ACME")
    commits = {
        "refs/heads/bad": source.commit({"a": b"1"}, branch="bad"),
        "refs/heads/a..b": "b" * 40,
        "refs/notes/commits": "b" * 40,
        "refs/heads/good": source.commit({"a": b"2"}, branch="good"),
    }
    made = payload(ForgeKind.BITBUCKET_SERVER)
    made["changes"] = [
        {"ref": {"id": ref}, "fromHash": ZEROS, "toHash": commit, "type": "ADD"}
        for ref, commit in commits.items()
    ]
    await place.send(ForgeKind.BITBUCKET_SERVER, made)
