"""The probe of ends of builds: what an event tells, and that nothing is left of the probe."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from support.deployed import REGION

from asyncbuild.aws.session import Aws
from asyncbuild.checks.judges.probe_answer import Answer, ProbeVerdict, Question
from asyncbuild.checks.probes.end_events import SOURCE, iter_answers, judge, location_in
from asyncbuild.checks.probes.made import VARIABLE, ProbeRun, make_name
from asyncbuild.config import Settings
from asyncbuild.local.servers.build_events import build_event
from asyncbuild.local.servers.children import ACCESS_KEY, SECRET_KEY, LocalServer
from asyncbuild.local.servers.codebuild_server import open_codebuild_standin

NAME = "asyncbuild-probe-1"
BUILDS = Question("source.link", "Do links survive?", "They are archived.").yes("they do")


async def ended(location: str, name: str) -> str:
    """Return the event of an ended build of this source, with the variable of a run."""
    async with open_codebuild_standin(["web"]) as standin:
        request: dict[str, Any] = {
            "projectName": "web",
            "sourceTypeOverride": "S3",
            "sourceLocationOverride": location,
            "environmentVariablesOverride": [{"name": VARIABLE, "value": name}],
        }
        await standin.answer("StartBuild", request)
        build = standin.build(standin.started[0].build)
        return orjson.dumps(build_event(build.seen_at(build.ends_at))).decode()


@pytest.mark.parametrize(
    ("location", "name", "verdict"),
    [
        (f"archives/{NAME}/1.zip", NAME, ProbeVerdict.YES),
        ("sources/web.zip", NAME, ProbeVerdict.NO),  # of the project itself
        (f"archives/{NAME}/1.zip", "another-run", ProbeVerdict.UNKNOWN),
    ],
)
async def test_an_event_is_compared_with_the_archive(
    location: str, name: str, verdict: ProbeVerdict
) -> None:
    """The source of this run's builds counts; builds of others tell nothing."""
    found = location_in(await ended(location, name), NAME)
    assert judge(found, f"archives/{NAME}/").verdict is verdict


@pytest.mark.parametrize(
    "body", ["{}", '{"detail": []}', '{"detail": {"additional-information": 1}}']
)
def test_events_of_another_shape_tell_nothing(body: str) -> None:
    """A pattern that selects too much is no reason to end the probe."""
    assert location_in(body, NAME) is None


async def test_a_queue_and_a_rule_are_made_before_the_builds_and_removed_after(
    ministack: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are there while builds run; an event that comes is the answer."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    aws_settings = {"endpoint_url": ministack.endpoint_url, "region": REGION}
    settings = Settings(aws=aws_settings, storage={"bucket": "archives"})
    aws, made = Aws(settings), ProbeRun(make_name())
    left: list[object] = []

    async def find_made() -> list[object]:
        async with aws.open_sqs(pool=1) as sqs, aws.open_events(pool=1) as events:
            queues = await sqs.list_queues(QueueNamePrefix=made.name)
            rules = await events.list_rules(NamePrefix=made.name)
        return [*queues.get("QueueUrls", []), *rules["Rules"]]

    async def build() -> AsyncIterator[Answer]:
        left.extend(await find_made())
        async with aws.open_sqs(pool=1) as sqs:
            found = await sqs.get_queue_url(QueueName=f"{made.name}-ends")
            for name in ("another-run", made.name):
                event = await ended(f"archives/{made.name}/1.zip", name)
                await sqs.send_message(QueueUrl=found["QueueUrl"], MessageBody=event)
        yield BUILDS

    answers = [each async for each in iter_answers(aws, settings, "web", made, build())]
    assert answers[0] == BUILDS
    assert (answers[1].name, answers[1].verdict) == (SOURCE.name, ProbeVerdict.YES)
    assert len(left) == 2
    assert await find_made() == []
    assert made.left == []


async def test_builds_are_asked_about_without_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the right to make a queue, or a way to SQS, the other answers come all the same."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    given = {"endpoint_url": "http://127.0.0.1:9", "region": REGION, "max_tries": 1}
    settings = Settings(aws=given, storage={"bucket": "archives"})
    made = ProbeRun(make_name())

    async def build() -> AsyncIterator[Answer]:
        yield BUILDS

    answers = [each async for each in iter_answers(Aws(settings), settings, "web", made, build())]
    assert answers[0] == BUILDS
    assert [each.verdict for each in answers[1:]] == [ProbeVerdict.UNKNOWN]
    assert made.left  # what may have been made is named
