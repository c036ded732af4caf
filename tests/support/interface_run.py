"""One run of the service on the demo's stack, with everything that users see of it, to compare.

Repositories, event ids and times of events are fixed. What changes from run to run is masked:
times of the run, ids that servers make, addresses.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Final

import aiohttp
import anyio
import orjson
from support.codepipeline_server import (
    CodePipelineStandin,
    open_codepipeline_standin,
    pipeline_of,
)
from support.collector import open_collector
from support.git_http import open_git_server
from support.interface import Ended, run_all
from support.repositories import SourceRepository
from support.result_events import build_event, execution_event, sweep_message
from support.service import (
    Service,
    environment,
    open_service,
    read_dead_letters,
    send,
    wait_settled,
)
from support.wait import wait_until
from support.webhooks import SECRET, ZEROS, headers, payload

from asyncbuild.domain.repository import ForgeKind
from asyncbuild.local.servers import journal
from asyncbuild.local.servers.aws_json import AwsError
from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.stack import BUCKET, Stack, open_stack

_ACCOUNT, _REGION = "123456789012", "eu-west-1"
_RULES: Final = [
    {"name": "not these", "ref": "wip/*", "action": "ignore"},
    {"name": "uploads", "ref": "develop", "action": "upload"},
    {
        "name": "hand-over",
        "ref": "release",
        "action": "pipeline",
        "pipeline": "deploy",
        "variables": {"STAGE": "{branch}"},
    },
    {
        "name": "a part",
        "repository": "web",
        "ref": "part",
        "action": "build",
        "project": ["web", "lint"],
        "subtree": "services/api",
        "paths": ["src"],
        "key": "{repository}/{branch}/{short_commit}-{options}.zip",
        "variables": {"B": "{branch}", "A": "{commit}"},
    },
    {"name": "every-ref", "ref": ["*", "refs/tags/*"], "action": "build"},
]
_FILES: Final[Mapping[str, bytes]] = {
    "README": b"all of it\n",
    "services/api/src/a.py": b"print()\n" * 20,
    "services/api/b": b"b",
}
_TOKEN: Final = "a token of the status page"


@dataclass(slots=True)
class Run:
    """Views of a run from outside."""

    lines: list[Mapping[str, Any]] = field(default_factory=list)
    objects: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    builds: list[Mapping[str, Any]] = field(default_factory=list)
    executions: list[Mapping[str, Any]] = field(default_factory=list)
    dead_letters: list[Mapping[str, Any]] = field(default_factory=list)
    pages: dict[str, tuple[int, Mapping[str, str], bytes]] = field(default_factory=dict)
    traces: list[Any] = field(default_factory=list)
    commands: dict[str, Ended] = field(default_factory=dict)
    cache: list[str] = field(default_factory=list)

    @property
    def embedded(self) -> list[Mapping[str, Any]]:
        """Return the lines in CloudWatch's embedded metric format."""
        return [line for line in self.lines if "_aws" in line]

    @property
    def logged(self) -> list[Mapping[str, Any]]:
        """Return the lines of the log itself."""
        return [line for line in self.lines if "_aws" not in line]


def _event(
    number: int,
    repository: str,
    ref: str,
    commit: str | None,
    old: str | None = None,
    *,
    at: int = 0,
) -> str:
    """Return CodeCommit's event with a fixed id, some minutes after a fixed time."""
    _, kind, name = ref.split("/", 2)
    change = "Deleted" if commit is None else "Updated" if old else "Created"
    detail = {
        "callerUserArn": f"arn:aws:iam::{_ACCOUNT}:user/mary",
        "event": f"reference{change}",
        "repositoryName": repository,
        "repositoryId": f"id-of-{repository}",
        "referenceType": "branch" if kind == "heads" else "tag",
        "referenceName": name,
        "referenceFullName": ref,
        "commitId": commit,
        "oldCommitId": old,
    }
    event = {
        "version": "0",
        "id": f"00000000-0000-4000-8000-{number:012d}",
        "detail-type": "CodeCommit Repository State Change",
        "source": "aws.codecommit",
        "account": _ACCOUNT,
        "time": f"2025-03-01T10:{at or number:02d}:00Z",
        "region": _REGION,
        "resources": [f"arn:aws:codecommit:{_REGION}:{_ACCOUNT}:{repository}"],
        "detail": {each: value for each, value in detail.items() if value is not None},
    }
    return orjson.dumps(event).decode()


def _phases(directory: Path) -> Iterator[list[tuple[str, str]]]:
    """Yield group and body of each message, in the order in which they are sent.

    A phase is sent when the one before is settled: so archives are made of those that it names.
    """
    main, head = "refs/heads/main", "refs/heads/"
    web_ = SourceRepository(directory / "remotes" / "web")
    first = web_.commit(dict(_FILES))
    second = web_.commit({"README": b"more\n"})
    tag = web_.tag("v1", first)
    other = web_.commit({"c": b"c"}, branch="feature/ü", parent=first)
    subst = {".gitattributes": b"version export-subst\n", "version": b"$Format:%H %d$\n"}
    dated = web_.commit(subst, branch="dated", parent=first)
    assets = SourceRepository(directory / "remotes" / "assets")
    noise = Random(1).randbytes(6_000_000)  # noqa: S311 - repeatable, not secret
    large = assets.commit({"noise": noise, "a": b"a"})
    changed = assets.commit({"a": b"b"})
    again = assets.commit({"a": b"b"}, message="the same tree", branch="again", parent=changed)
    gone = SourceRepository(directory / "remotes" / "no-project").commit({"a": b"a"})
    places = {"develop": second, "release": second, "wip/x": second, "part": first}
    for name, commit in places.items():
        web_.git("update-ref", f"{head}{name}", commit)
    yield [
        ("id-of-web", _event(1, "web", main, first)),
        ("id-of-web", _event(2, "web", main, second, first)),
        ("id-of-web", _event(3, "web", f"{head}develop", second)),
        ("id-of-web", _event(4, "web", f"{head}gone", None, first)),
        ("id-of-web", _event(5, "web", "refs/tags/v1", tag)),
        ("id-of-web", _event(6, "web", f"{head}release", second)),
        ("id-of-web", _event(7, "web", f"{head}wip/x", second)),
        ("id-of-web", _event(9, "web", f"{head}feature/ü", other)),
        ("id-of-web", _event(10, "web", f"{head}part", first)),
        ("id-of-web", _event(11, "web", f"{head}dated", dated)),
        ("id-of-web", _event(12, "web", f"{head}lost", "1" * 40)),
        ("id-of-assets", _event(20, "assets", main, large)),
        ("id-of-no-project", _event(30, "no-project", main, gone)),
        ("id-of-nowhere", _event(31, "nowhere", main, gone)),
        ("malformed", "no event"),
    ]
    yield [
        ("id-of-web", _event(8, "web", main, first, at=1)),
        ("id-of-assets", _event(21, "assets", main, changed, large)),
    ]
    yield [("id-of-assets", _event(22, "assets", f"{head}again", again))]


def _superseded(directory: Path) -> list[tuple[str, str]]:
    """Return three pushes of one branch that wait at the same time."""
    commits = SourceRepository(directory / "remotes" / "lint").commits(3)
    return [
        ("id-of-lint", _event(50 + number, "lint", "refs/heads/main", commit))
        for number, commit in enumerate(commits)
    ]


def _github(before: str, after: str) -> dict[str, Any]:
    """Return a push to the main branch of a repository on GitHub."""
    push = payload(ForgeKind.GITHUB)
    push["repository"] |= {"full_name": "acme/api"}
    return push | {"before": before, "after": after}


async def _send_webhook(stack: Stack, number: int, document: object, secret: str = SECRET) -> None:
    body = orjson.dumps(document)
    told = {
        "Webhook-Host": "github.com",
        **headers(ForgeKind.GITHUB, body, secret=secret),
        "X-GitHub-Delivery": f"00000000-0000-4000-8000-{number:012d}",
    }
    await stack.sqs.send_message(
        QueueUrl=stack.settings.queue.url,
        MessageBody=body.decode(),
        MessageGroupId="github.com/acme/api",
        MessageDeduplicationId=f"webhook-{number}",
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in told.items()
        },
    )


async def run_once() -> Run:
    """Run everything, from the first message to the last look at the bucket."""
    run = Run()
    async with (
        open_stack(["web", "lint", "assets", "api"]) as stack,
        open_codepipeline_standin() as pipelines,
        open_git_server(stack.directory / "host", prefix="/") as server,
        open_collector() as (collector, run.traces),
    ):
        variables = ("EVENT_ID", "COMMIT_ID", "BRANCH_NAME", "STAGE")
        pipelines.put_pipeline(pipeline_of("deploy", bucket=BUCKET, variables=variables))
        host = {
            "host": "github.com",
            "kind": "github",
            "remote": f"{server.url}/{{owner}}/{{repository}}.git",
            "webhook_secret": "env:WEBHOOK",
        }
        told = environment(
            stack,
            hosts=[host],
            rules=_RULES,
            pipelines={"endpoint_url": pipelines.endpoint_url},
            results={"url": stack.settings.results.url},
            log={"level": "debug"},
            status={"embedded_metrics": True, "traces": True, "token": "env:PAGE_TOKEN"},
            # A failing push is dead-lettered soon.
            lanes={"retry_most_seconds": 1, "busy_most_seconds": 1},
            aws={"max_tries": 1},
            git={"replication_lag_seconds": 0},
        )
        told |= {
            "WEBHOOK": SECRET,
            "PAGE_TOKEN": _TOKEN,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        await stack.s3.put_bucket_versioning(
            Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}
        )
        # Builds and executions end as soon as they are asked for.
        stack.standin.script = Script(queued_seconds=0, build_seconds=0, provisioning_seconds=0)
        pipelines.source_seconds = pipelines.run_seconds = 0
        api = SourceRepository(server.root / "acme" / "api.git")
        commit = api.commit({"a": b"1"})
        push = _github(ZEROS, commit)
        await _send_webhook(stack, 40, push)
        await _send_webhook(stack, 41, {"zen": "Design for failure.", "hook_id": 1})
        await _send_webhook(stack, 42, push, "another secret")
        stack.standin.fail_next("StartBuild", AwsError("ThrottlingException", "Rate exceeded"))
        async with open_service(told) as service:
            for phase in _phases(stack.directory):
                for group, body in phase:
                    await send(stack, body, group)
                await wait_settled(stack)
                stack.standin.script = replace(stack.standin.script, status="FAILED")
            await _tell_ends(stack, service)
            server.behaviour.status = 401  # fetches of it fail, and may work the next time
            await _send_webhook(stack, 43, _github(commit, api.commit({"a": b"2"})))
            await wait_settled(stack)
            run.pages = await _look((await service.wait_logged("status.listening"))["address"])
            service.terminate()
            assert await service.wait() == 0
        run.lines += service.log
        for group, body in _superseded(stack.directory):
            await send(stack, body, group)
        skipping = told | {
            "ASYNCBUILD_LANES__SUPERSEDED": "skip",
            "ASYNCBUILD_STATUS__LISTEN": "off",
        }
        async with open_service(skipping, "drain") as service:
            assert await service.wait() == 0
        run.lines += service.log
        await _look_behind(run, stack, pipelines, told)
    return run


async def _tell_ends(stack: Stack, service: Service) -> None:
    """Send the events of the ends of all builds and executions, and ask for a round."""
    started = [
        line for line in service.log if line.get("event") in {"push.built", "push.handed-over"}
    ]
    bodies = [
        execution_event(line["pipeline"], line["execution_id"], "SUCCEEDED")
        if line["pipeline"]
        else build_event(line["build_id"], "SUCCEEDED")
        for line in started
    ]
    texts = [*(orjson.dumps(each).decode() for each in bodies), sweep_message(), "malformed"]
    for text in texts:
        await stack.sqs.send_message(QueueUrl=stack.settings.results.url, MessageBody=text)
    expected = {"result.recorded": len(started), "results.swept": 1, "result.dead-lettered": 1}

    def all_told() -> bool:
        told = Counter(line.get("event") for line in service.log)
        return all(told[event] >= number for event, number in expected.items())

    await wait_until(all_told)


async def _look(address: str) -> dict[str, tuple[int, Mapping[str, str], bytes]]:
    """Return every page, with and without the token."""
    pages: dict[str, tuple[int, Mapping[str, str], bytes]] = {}
    authorized = {"Authorization": f"Bearer {_TOKEN}"}
    paths = (
        "",
        "healthz",
        "readyz",
        "metrics",
        "status.json",
        "page.css",
        "page.js",
        "favicon.svg",
        "no",
    )
    async with aiohttp.ClientSession() as session:
        for path in paths:
            for who, sent in (("anybody", {}), ("the owner", authorized)):
                async with session.get(address + path, headers=sent) as answer:
                    body = await answer.read()
                    pages[f"/{path} for {who}"] = (answer.status, dict(answer.headers), body)
        async with session.get(f"{address}events", headers=authorized) as answer:
            event = await answer.content.readuntil(b"\n\n")
            pages["/events for the owner"] = (answer.status, dict(answer.headers), event)
    return pages


async def _look_behind(
    run: Run, stack: Stack, pipelines: CodePipelineStandin, variables: Mapping[str, str]
) -> None:
    """Read the bucket, the stand-ins, the dead-letter queue, the cache, and commands' output."""
    asked = {
        "explain web": ["explain", "web", "--json", "--days", "36500", "--most", "1000"],
        "explain assets": ["explain", "assets", "--json", "--days", "36500"],
        "check": ["check", "--json"],
        "check --push": ["check", "--push", "web", "refs/heads/part", "--json"],
        "dead-letters list": ["dead-letters", "list", "--json"],
    }
    own = {
        name: value
        for name, value in variables.items()
        if name.startswith(("ASYNC", "WEB", "PAGE"))
    }
    ended = await anyio.to_thread.run_sync(lambda: run_all(list(asked.values()), **own))
    run.commands = dict(zip(asked, ended, strict=True))
    run.builds = [each.request for each in journal.read(stack.journal)]
    run.executions = [each.request for each in pipelines.started]
    run.dead_letters = list(await read_dead_letters(stack))
    listed = await stack.s3.list_objects_v2(Bucket=BUCKET)
    for each in listed["Contents"]:
        answer = await stack.s3.get_object(Bucket=BUCKET, Key=each["Key"])
        run.objects[each["Key"]] = {**answer, "Body": await answer["Body"].read()}
    run.cache = await anyio.to_thread.run_sync(_list, stack.settings.git.cache_directory)


def _list(directory: Path) -> list[str]:
    return [str(path.relative_to(directory)) + "/" * path.is_dir() for path in directory.rglob("*")]
