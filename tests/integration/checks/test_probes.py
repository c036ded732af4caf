"""The probes against every stand-in: answers and unknowns of each, and nothing left over."""

import os
import re
import shutil
import signal
import subprocess
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path

import aiohttp
import anyio
import orjson
import pytest
from aiohttp import web
from botocore import xform_name
from botocore.session import get_session
from support.git_http import LIFETIME
from support.mirrors import Site
from support.proxy import open_proxy, pass_on
from support.service import environment, open_service
from support.signals import send_signal
from support.stacks import ROOT, as_list

from asyncbuild.aws.session import Aws
from asyncbuild.checks.judges.packet_trace import Protocol, parse_trace
from asyncbuild.checks.judges.probe_answer import Answer, ProbeVerdict
from asyncbuild.checks.judges.probe_zips import pack
from asyncbuild.checks.judges.zip_listing import PROBES, VARIABLE, ProbeArchive
from asyncbuild.checks.probes import conditions
from asyncbuild.checks.probes import git_server as codecommit
from asyncbuild.checks.probes.made import TAG, ProbeRun, make_name
from asyncbuild.config import Settings
from asyncbuild.domain.repository import Repository
from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.servers.served import REGION
from asyncbuild.local.stack import BUCKET, Stack, open_stack

pytestmark = pytest.mark.timeout(400)  # zips of 65,600 files, processes, servers

YES, NO, UNKNOWN = ProbeVerdict.YES, ProbeVerdict.NO, ProbeVerdict.UNKNOWN

# Needed by parameters of calls, or by git.
IMPLIED = {
    "sqs:TagQueue",
    "events:TagResource",
    "s3:PutObjectTagging",
    "s3:DeleteObjectVersion",
    "codecommit:GitPull",
}

# Answers for ministack and the stand-in for CodeBuild. Nothing here is about AWS.
TOLD: Mapping[str, ProbeVerdict] = {
    "events.message-group": NO,  # ministack takes the path literally
    "events.encrypted-queue": YES,
    "storage.write-once": YES,
    "storage.write-if-match": YES,
    "storage.copy-if-match": YES,
    "source.link": UNKNOWN,  # nothing runs a build
    "source.link-to-folder": UNKNOWN,
    "source.link-to-nothing": UNKNOWN,
    "source.executable": UNKNOWN,
    "source.empty-folder": UNKNOWN,
    "source.data-descriptor": UNKNOWN,
    "source.zip64-member": UNKNOWN,
    "source.zip64-directory": UNKNOWN,
    "source.names": UNKNOWN,
    "events.build-source": UNKNOWN,  # the stand-in's builds send no event to EventBridge
    "git.protocol-v2": UNKNOWN,  # no server is given
    "git.fetch-by-id": UNKNOWN,
    "git.filter": UNKNOWN,
    "git.password-lifetime": UNKNOWN,
}


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    """Open the demo's cloud, whose builds end at once."""
    async with open_stack(["web"]) as stack:
        stack.standin.script = Script(queued_seconds=0, build_seconds=0)
        yield stack


@pytest.mark.parametrize(
    ("ignored", "expected"),
    [
        ("If-None-Match", (NO, YES, YES)),
        ("If-Match", (YES, NO, YES)),
        ("writes under If-Match", (YES, NO, YES)),
        ("x-amz-copy-source-if-match", (YES, YES, NO)),
        ("copies", (YES, YES, UNKNOWN)),
        ("ETag of copies", (YES, YES, UNKNOWN)),
        ("writes", (UNKNOWN, UNKNOWN, UNKNOWN)),
    ],
)
async def test_a_server_that_ignores_a_condition_is_detected(
    stack: Stack, ignored: str, expected: tuple[ProbeVerdict, ...]
) -> None:
    """Some servers accept the header without effect, or copy nothing at all."""
    server = stack.settings.storage.endpoint_url or stack.settings.aws.endpoint_url or ""

    async def handle(client: aiohttp.ClientSession, request: web.Request) -> web.StreamResponse:
        copies = "x-amz-copy-source" in request.headers
        refused = {
            "copies": copies,
            "writes": request.method == "PUT",
            "writes under If-Match": "If-Match" in request.headers,
        }
        if refused.get(ignored):
            text = "<Error><Code>NotImplemented</Code><Message>no</Message></Error>"
            return web.Response(status=501, text=text, content_type="application/xml")
        if ignored == "ETag of copies" and copies:
            return web.Response(text="<CopyPartResult/>", content_type="application/xml")
        kept = {k: v for k, v in request.headers.items() if k.lower() != ignored.lower()}
        bare = request.clone(headers=kept)
        return await pass_on(client, server, bare, await request.read())

    made = ProbeRun(make_name())
    async with open_proxy(handle) as ports:
        storage = stack.settings.storage.model_copy(
            update={"endpoint_url": f"http://127.0.0.1:{ports[0]}"}
        )
        settings = stack.settings.model_copy(update={"storage": storage})
        answers = [
            answer async for answer in conditions.iter_answers(Aws(settings), settings, made)
        ]
    assert [each.name for each in answers] == [each.name for each in conditions.QUESTIONS]
    assert tuple(each.verdict for each in answers) == expected
    assert made.left == []
    assert await find_left(stack) == []
    uploads = await stack.s3.list_multipart_uploads(Bucket=BUCKET)
    assert not uploads.get("Uploads")


async def find_left(stack: Stack) -> list[str]:
    """Return everything that has the name of a probe."""
    queues = await stack.sqs.list_queues(QueueNamePrefix=TAG)
    objects = await stack.s3.list_objects_v2(Bucket=BUCKET)
    async with Aws(stack.settings).open_events(pool=1) as events:
        rules = await events.list_rules(NamePrefix=TAG)
    return [
        *queues.get("QueueUrls", []),
        *(each["Key"] for each in objects.get("Contents", [])),
        *(each["Name"] for each in rules["Rules"]),
    ]


async def test_each_question_is_answered_as_far_as_stand_ins_allow(stack: Stack) -> None:
    """The literal group is detected, no build runs, nothing is left in the account."""
    arguments = ("--json", "--probe", "--project", "web")
    async with open_service(environment(stack), "check", *arguments) as service:
        document = orjson.loads(await service.read())
        assert await service.wait() == 1  # a bucket without lifecycle rules
    answers = document["probes"]
    assert {each["name"]: each["verdict"] for each in answers} == TOLD
    assert all(each["seen"] and each["effect"] and each["question"] for each in answers)
    assert document["left"] == []
    assert await find_left(stack) == []
    assert len(stack.standin.started) == len(PROBES)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_removes_everything(stack: Stack, number: signal.Signals, code: int) -> None:
    """Interrupted while its builds run, the probe stops them and deletes what it made."""
    stack.standin.script = Script(build_seconds=600)
    async with open_service(environment(stack), "check", "--probe", "--project", "web") as service:
        with anyio.fail_after(90):
            await stack.standin.wait_started(
                lambda _started: len(stack.standin.started) == len(PROBES)
            )
        assert await find_left(stack) != []
        send_signal(service.process, number)
        assert await service.wait() == code
    assert await find_left(stack) == []
    assert stack.standin.calls["StopBuild"] == len(PROBES)


async def test_a_missing_right_is_reported(stack: Stack) -> None:
    """A project that does not exist has no answer and leaves no objects."""
    arguments = ("--json", "--probe", "--project", "nobody")
    async with open_service(environment(stack), "check", *arguments) as service:
        document = orjson.loads(await service.read())
    told = [each for each in document["probes"] if each["name"].startswith("source.")]
    assert {each["verdict"] for each in told} == {UNKNOWN}
    assert all("nobody" in each["seen"] for each in told)
    assert await find_left(stack) == []


# --- CodeBuild's part, played by extractors of this machine ---------------------------------------


def _unzip(archive: Path, folder: Path) -> None:
    subprocess.run(["unzip", "-q", str(archive), "-d", str(folder)], check=True)


def _python(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)


@pytest.mark.parametrize(
    ("extract", "expected"),
    [
        (_unzip, {}),
        (
            _python,  # ignores links and modes
            {
                "source.link": NO,
                "source.link-to-folder": NO,
                "source.link-to-nothing": NO,
                "source.executable": NO,
            },
        ),
    ],
)
@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: str(probe.name))
def test_a_build_reports_what_its_extractor_did(
    tmp_path: Path,
    probe: ProbeArchive,
    extract: Callable[[Path, Path], None],
    expected: Mapping[str, ProbeVerdict],
) -> None:
    """The archives and the script are correct: a good extractor answers yes, a poor one no."""
    if extract is _unzip and shutil.which("unzip") is None:
        pytest.skip("unzip is not installed")
    archive, folder = tmp_path / "probe.zip", tmp_path / "source"
    archive.write_bytes(pack(probe.members()))
    extract(archive, folder)
    script = "\n".join([*probe.script(), f'printf %s "${VARIABLE}"'])
    done = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, check=True)
    build = {
        "buildStatus": "SUCCEEDED",
        "exportedEnvironmentVariables": [{"name": VARIABLE, "value": done.stdout.decode()}],
    }
    answers = {each.name: each.verdict for each in probe.judge(build)}
    assert answers == {name: expected.get(name, YES) for name in answers}
    assert len(answers) == len(probe.asked)
    for line in probe.script():
        assert f"        {line}\n" in probe.buildspec()


def test_a_source_that_cannot_be_unpacked_is_a_no() -> None:
    """The phase that failed is the answer, with CodeBuild's own words."""
    build = {
        "buildStatus": "FAILED",
        "phases": [
            {
                "phaseType": "DOWNLOAD_SOURCE",
                "phaseStatus": "FAILED",
                "contexts": [{"statusCode": "CLIENT_ERROR", "message": "zip: not a valid zip"}],
            }
        ],
    }
    (answer,) = PROBES[1].judge(build)
    assert answer.verdict is NO
    assert "not a valid zip" in answer.seen


# --- CodeCommit's part, played by git http-backend ------------------------------------------------


async def _ask(site: Site, **settings: str) -> dict[str, Answer]:
    given = Settings(
        aws={"region": site.server.region},
        git={"remote": site.server.template, **settings},
    )
    repository = Repository.of_codecommit(codecommit.OWN_ACCOUNT, site.server.region, "web")
    answers = codecommit.iter_answers(Aws(given), given, repository)
    return {answer.name: answer async for answer in answers}


@pytest.mark.parametrize(
    ("protocol_v0", "expected"),
    [(True, (NO, NO, NO)), (False, (YES, YES, NO))],
)
async def test_a_git_servers_abilities_are_detected(
    site: Site,
    *,
    protocol_v0: bool,
    expected: tuple[ProbeVerdict, ...],
) -> None:
    """Protocol, fetch by id and filter: v0 serves tips alone, v2 any commit."""
    site.server.behaviour.protocol_v0 = protocol_v0
    site.server.keys = {}
    site.source.commits(2)
    answers = await _ask(site)
    names = ("git.protocol-v2", "git.fetch-by-id", "git.filter")
    assert tuple(answers[name].verdict for name in names) == expected
    assert answers["git.password-lifetime"].verdict is UNKNOWN  # the server asks for none


async def test_a_server_that_filters_is_detected(site: Site) -> None:
    """Files that were not fetched are counted."""
    site.server.behaviour.protocol_v0 = False
    site.server.keys = {}
    site.source.commits(1)
    site.source.git("config", "uploadpack.allowFilter", "true")
    answers = await _ask(site)
    assert answers["git.filter"].verdict is YES
    assert answers["git.fetch-by-id"].verdict is UNKNOWN  # one commit only


async def test_the_life_of_a_password_is_measured_without_waiting(site: Site) -> None:
    """Passwords with a time in the past measure it to half a minute."""
    key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    site.server.keys = {key: (secret, None)}
    site.source.commits(1)
    answer = (await _ask(site, credentials="codecommit"))["git.password-lifetime"]
    assert answer.verdict is YES
    good, bad = (int(word) for word in answer.seen.split() if word.isdigit())
    slack = 20  # duration of one question: the password ages meanwhile
    assert timedelta(seconds=good - 1) <= LIFETIME <= timedelta(seconds=bad + slack)
    assert bad - good <= 30


async def test_a_missing_repository_has_no_answers(site: Site) -> None:
    """Each question says why."""
    given = Settings(
        aws={"region": REGION}, git={"remote": site.server.template, "credentials": "none"}
    )
    asked = partial(codecommit.iter_answers, Aws(given), given)
    repository = Repository.of_codecommit(codecommit.OWN_ACCOUNT, REGION, "nothing")
    answers = [answer async for answer in asked(repository)]
    assert {each.verdict for each in answers} == {UNKNOWN}
    assert len(answers) == len(codecommit.QUESTIONS)


V0 = r"""12:00 packet: git< # service=git-upload-pack
12:00 packet: git< 0000
12:00 packet: git< 1234 HEAD\0multi_ack filter agent=x
"""
V2 = """12:00 packet:          git< version 2
12:00 packet: git< agent=x
12:00 packet: git< fetch=shallow filter
12:00 packet: git< 0000
12:00 packet: git< other=1
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (V0, Protocol(0, frozenset({"multi_ack", "filter", "agent=x"}))),
        (V2, Protocol(2, frozenset({"agent=x", "fetch=shallow", "fetch=filter"}))),
        ("nothing of the kind", None),
    ],
)
def test_packet_traces_are_read(text: str, expected: Protocol | None) -> None:
    """v0 after the first NUL, v2 line by line up to the flush."""
    assert parse_trace(text) == expected


def test_every_call_of_the_probes_is_in_the_documented_policy() -> None:
    """The policy in docs/probes.md allows the calls of the probes, and nothing else."""
    text = (ROOT / "docs" / "probes.md").read_text()
    policy = orjson.loads(text.split("```json\n")[1].split("```")[0])
    documented = {
        action for each in policy["Statement"] for action in as_list(each["Action"])
    } - IMPLIED
    called: set[str] = set()
    for name, iam in (("sqs", "sqs"), ("events", "events"), ("s3", "s3"), ("codebuild",) * 2):
        model = get_session().get_service_model(name)
        operations = {xform_name(each): f"{iam}:{each}" for each in model.operation_names}
        for path in (ROOT / "asyncbuild" / "checks" / "probes").glob("*.py"):
            found = re.findall(rf"await {name}\.(\w+)\(", path.read_text())
            called |= {operations[each] for each in found}
    # An upload and its parts need PutObject; HeadObject and the source of a copy GetObject.
    parts = {"s3:CreateMultipartUpload", "s3:UploadPartCopy"}
    assert parts <= called
    assert documented == called - parts - {"s3:HeadObject"} | {"s3:GetObject"}


def test_every_question_is_documented() -> None:
    """The docs say for each probe what a stand-in for AWS can answer."""
    text = (ROOT / "docs" / "probes.md").read_text()
    assert [name for name in TOLD if name not in text and not name.startswith("source.")] == []
