"""Outcome events through a real EventBridge server: a rule delivers them, and a bus may lack."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import orjson
import pytest
from jsonschema import Draft202012Validator
from support.listening import hearing
from support.result_events import sweep_message
from support.result_site import AT_ONCE, ResultSite, open_result_site
from support.servers import REGION
from support.wait import PATIENCE_SECONDS

from asyncbuild.aws.session import Aws
from asyncbuild.checks.judges.finding import Level
from asyncbuild.checks.judges.rights import judge_trials
from asyncbuild.checks.outcome_bus import look_at_bus
from asyncbuild.checks.trials import try_rights
from asyncbuild.domain import outcomes
from asyncbuild.domain.results.build_result import BuildStatus
from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.servers.children import LocalServer
from asyncbuild.reports.outcomes.open_outcomes import open_outcomes
from asyncbuild.results.open_results import EndFollowers, open_results
from asyncbuild.runtime.clock import utc_now

if TYPE_CHECKING:
    from types_aiobotocore_events import EventBridgeClient

FAILING = Script(queued_seconds=0, build_seconds=0, status="FAILED")
_SCHEMA = Path(outcomes.__file__).with_name("outcome_event.schema.json")


@dataclass
class OutcomeSite:
    """Servers for results, a bus with a rule for all outcome events, and the queue behind it."""

    site: ResultSite
    events: "EventBridgeClient"
    bus: str
    url: str

    async def settle(self, *bodies: str) -> None:
        """Let the service work on these messages of its queue of results, with its own clients."""
        settings = self.site.settings
        for body in bodies:
            await self.site.send(body)
        async with (
            open_outcomes(settings, Aws(settings)) as sender,
            open_results(settings, Aws(settings), EndFollowers(outcomes=sender)) as opened,
        ):
            assert opened is not None
            opened.consumers.drain()
            with anyio.fail_after(PATIENCE_SECONDS):
                await opened.consumers.run()

    async def take(self, number: int) -> list[dict[str, Any]]:
        """Return so many events that the rule has delivered, as soon as they are there."""
        found: list[dict[str, Any]] = []
        with anyio.fail_after(PATIENCE_SECONDS):
            while len(found) < number:
                answer = await self.site.sqs.receive_message(
                    QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=1
                )
                found += [orjson.loads(each["Body"]) for each in answer.get("Messages", [])]
        return found


@pytest.fixture
async def site(ministack: LocalServer) -> AsyncIterator[OutcomeSite]:
    """Servers for outcome events."""
    async with open_result_site(ministack) as results:
        name = f"outcomes-{uuid.uuid4().hex[:12]}"
        reports = results.settings.reports.model_copy(update={"event_bus": name})
        results.settings = results.settings.model_copy(update={"reports": reports})
        url = (await results.sqs.create_queue(QueueName=name))["QueueUrl"]
        async with Aws(results.settings).open_events(pool=2) as events:
            await events.create_event_bus(Name=name)
            pattern = orjson.dumps({"source": ["asyncbuild"]}).decode()
            await events.put_rule(Name=name, EventBusName=name, EventPattern=pattern)
            arn = f"arn:aws:sqs:{REGION}:000000000000:{name}"
            target: Any = {"Id": "queue", "Arn": arn}
            await events.put_targets(Rule=name, EventBusName=name, Targets=[target])
            yield OutcomeSite(results, events, name, url)


async def test_a_rule_receives_what_broke_and_what_fixed_it(site: OutcomeSite) -> None:
    """Three pushes pass, fail and pass: five events, with details as the schema says."""
    started = [await site.site.start_build(script=each) for each in (AT_ONCE, FAILING, AT_ONCE)]
    for each in started:
        await site.site.tell_end(each)
        await site.settle()
    told = await site.take(5)
    kinds = [each["detail-type"] for each in told]
    expected = ["BuildBroke", "BuildFailed", "BuildFixed", "BuildPassed", "BuildPassed"]
    assert sorted(kinds) == expected
    validator = Draft202012Validator(orjson.loads(_SCHEMA.read_bytes()))
    for event in told:
        assert event["source"] == "asyncbuild"
        validator.validate(event["detail"])
    fixed = next(each["detail"] for each in told if each["detail-type"] == "BuildFixed")
    assert (fixed["status"], fixed["previous"]["status"]) == ("succeeded", "failed")
    assert fixed["commit"] == started[2].commit


async def test_an_outage_of_eventbridge_delays_no_result(site: OutcomeSite) -> None:
    """The end is recorded and its message deleted; the next round sends the event."""
    started = await site.site.start_build(script=FAILING)
    await site.site.tell_end(started)
    usual = site.site.settings
    closed = usual.reports.model_copy(update={"event_bus": f"arn:aws:events:{REGION}:x"})
    site.site.settings = usual.model_copy(update={"reports": closed})  # no valid ARN: refused
    with hearing() as lines:
        await site.settle()
    result = await site.site.wait_result(started)
    assert result.status is BuildStatus.FAILED
    assert await site.site.ledger.find_unfinished() == []
    assert await site.site.count(site.site.url) == 0
    assert [each["event"] for each in lines if each["event"].startswith("outcome")] != []
    site.site.settings = usual
    await site.settle(sweep_message(utc_now()))
    (told,) = await site.take(1)
    assert told["detail-type"] == "BuildFailed"


async def test_check_finds_the_bus_and_one_that_lacks(site: OutcomeSite) -> None:
    """A missing bus would swallow the events, so it is a problem."""
    aws, settings = Aws(site.site.settings), site.site.settings
    (found,) = [each async for each in look_at_bus(aws, settings)]
    assert (found.level, found.name) == (Level.OK, "reports.event_bus")
    reports = settings.reports.model_copy(update={"event_bus": "no-such-bus"})
    lacking = settings.model_copy(update={"reports": reports})
    (missing,) = [each async for each in look_at_bus(aws, lacking)]
    assert (missing.level, "does not exist" in missing.what) == (Level.PROBLEM, True)
    none = settings.model_copy(update={"reports": reports.model_copy(update={"event_bus": ""})})
    assert [each async for each in look_at_bus(aws, none)] == []


async def test_check_tries_the_right_by_an_event_that_is_none(site: OutcomeSite) -> None:
    """EventBridge refuses its detail; a server that takes it delivers no outcome event of it."""
    trials = await try_rights(Aws(site.site.settings), site.site.settings)
    (trial,) = [each for each in trials if each.action == "events:PutEvents"]
    assert (trial.resource, trial.denied) == (site.bus, False)
    found = [each for each in judge_trials([trial]) if each.name == "rights.events:PutEvents"]
    taken = trial.answer == ""  # unlike AWS (API reference, PutEventsResultEntry)
    assert [each.level for each in found] == [Level.NOTE if taken else Level.OK]
    told = await site.take(1) if taken else []
    assert all(each["detail-type"] == "Check" for each in told)
