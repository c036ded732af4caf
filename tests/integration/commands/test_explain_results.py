"""`asyncbuild explain` about results, from a ledger in a real bucket."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from botocore.exceptions import ClientError
from support.codebuild import make_push
from support.servers import REGION

from asyncbuild.aws.session import Aws
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.commands import explain
from asyncbuild.config import Settings
from asyncbuild.domain.model import Action, Build, Execution, Outcome, Target, Verdict
from asyncbuild.domain.results.build_result import (
    BuildResult,
    BuildStatus,
    StartedId,
    StartedKind,
)
from asyncbuild.local.servers.children import LocalServer
from asyncbuild.storage.s3 import Store

_BUCKET = "explained"
_NOW = datetime.now(UTC).replace(microsecond=0)


def _build(number: str) -> Outcome:
    target = Target(Action.BUILD, "k", f"project-{number}")
    build = Build(f"project-{number}:{number}", "arn:aws:codebuild:eu-west-1:1:build/x", 1)
    return Outcome(Verdict.BUILT, "rule: all", target, build=build)


def _execution() -> Outcome:
    target = Target(Action.PIPELINE, "k", pipeline="deploy")
    execution = Execution(pipeline="deploy", id="execution-1", arn="arn:aws:codepipeline:x")
    return Outcome(Verdict.HANDED_OVER, "rule: deploy", target, execution=execution)


@pytest.fixture
async def recorded(ministack: LocalServer) -> AsyncIterator[Settings]:
    """Record a build that failed, one that passed, and an execution without an end."""
    settings = Settings(
        aws={"region": REGION, "endpoint_url": ministack.endpoint_url},
        storage={"bucket": _BUCKET, "addressing_style": "path"},
        results={"url": "https://sqs.eu-west-1.amazonaws.com/123456789012/results"},
        status={"listen": "off"},
    )
    async with Aws(settings).open_s3(pool=4) as s3:
        try:
            await s3.head_bucket(Bucket=_BUCKET)
        except ClientError:
            await s3.create_bucket(
                Bucket=_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
        store, prefix = Store(s3, settings.storage), settings.storage.ledger_prefix
        ledger, results = Ledger(store, prefix=prefix), ResultLedger(store, prefix=prefix)
        push = replace(make_push(1), time=_NOW)
        for outcome in (_build("1"), _build("2"), _execution()):
            await results.record_start(push, outcome)
            await ledger.record(push, outcome)
        await _end(results, "1", BuildStatus.FAILED)
        await _end(results, "2", BuildStatus.SUCCEEDED)
        yield settings


async def _end(results: ResultLedger, number: str, status: BuildStatus) -> None:
    of = StartedId(StartedKind.BUILD, f"project-{number}", number)
    started = await results.find_started(of)
    assert started
    end = _NOW + timedelta(seconds=192)
    result = BuildResult(of, status, end, phase="BUILD", exit_code=2, started_at=_NOW, ended_at=end)
    await results.record_result(started, result)


async def _explain(
    recorded: Settings,
    capsys: pytest.CaptureFixture[str],
    **asked: Any,  # noqa: ANN401 - options
) -> tuple[int, Sequence[str]]:
    question = explain.ExplainRequest("", None, _NOW - timedelta(hours=1), 20, **asked)
    code = await explain.run(recorded, question)
    return code, capsys.readouterr().out.splitlines()


async def test_explain_reads_results(
    recorded: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each under the build that it is of; an execution without one has none yet."""
    code, lines = await _explain(recorded, capsys)
    told = [line.strip() for line in lines if line.startswith(("    started", "    result"))]
    assert code == 0
    assert sorted(zip(told[::2], told[1::2], strict=True)) == [
        ("started  deploy:execution-1", "result   none yet"),
        ("started  project-1:1", "result   failed in BUILD, exit code 2, after 3 min 12 s"),
        ("started  project-2:2", "result   passed after 3 min 12 s"),
    ]


async def test_explain_lists_what_failed(
    recorded: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only that, as text and as JSON; exit code 1 if nothing did."""
    code, lines = await _explain(recorded, capsys, failed=True)
    assert (code, sum("started  project-" in line for line in lines)) == (0, 1)
    code, lines = await _explain(recorded, capsys, failed=True, as_json=True)
    (record,) = map(orjson.loads, lines)
    assert (record["build"]["id"], record["result"]["status"]) == ("project-1:1", "failed")
    question = explain.ExplainRequest("nowhere", None, _NOW, 20, failed=True)
    assert await explain.run(recorded, question) == 1
    assert "No failed build of nowhere" in capsys.readouterr().out


async def test_json_has_each_result(recorded: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Null where none is on record."""
    _, lines = await _explain(recorded, capsys, as_json=True)
    results = {}
    for record in map(orjson.loads, lines):
        started = record["build"] or record["execution"]
        results[started["id"]] = record["result"] and record["result"]["status"]
    assert results == {"project-1:1": "failed", "project-2:2": "succeeded", "execution-1": None}
