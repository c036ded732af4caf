"""Build results under faults: events lost, doubled and disordered, others' builds, killed tasks.

Several processes of the service push builds and record how they end, while each is killed again and
again. At the end the stand-in's truth is compared with the records, of which a proxy has kept every
version. `python -m support.chaos_results` is the long run; the suite has a short one.
"""

import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from random import Random
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import anyio
import click
import orjson
from support import chaos
from support.result_events import sweep_message
from support.service import Service, environment, open_service, read_dead_letters
from support.watched_s3 import WatchedS3, open_watched_s3

from asyncbuild.local.build_ends import ResultFindings, compare_results, read_results
from asyncbuild.local.forge.hosting import REPORT_DEAD_LETTERS, Hosting, open_hosting
from asyncbuild.local.forge.status_ends import (
    StatusFindings,
    builds_of,
    compare_statuses,
    truth_of,
)
from asyncbuild.local.servers import journal
from asyncbuild.local.servers.build_script import SeededScripts
from asyncbuild.local.servers.codebuild_state import CodeBuildStandin
from asyncbuild.local.servers.event_sender import EventFaults, EventSender, open_event_sender
from asyncbuild.local.servers.stored_build import StoredBuild
from asyncbuild.local.stack import BUCKET, DEAD_LETTERS, RESULT_DEAD_LETTERS, Stack, open_stack
from asyncbuild.local.verify import Findings, Pushed, compare
from asyncbuild.reports.report_consumers import VISIBILITY_SECONDS

if TYPE_CHECKING:
    from types_aiobotocore_sqs.literals import QueueAttributeNameType

_SILENCE_SECONDS = 120.0
_POLL_SECONDS = 0.2
_REPORT_SILENCE_SECONDS = 2.5 * VISIBILITY_SECONDS
_POSTS_WITH_KILLS = 1.2  # a process may die between a post and its record
_PATIENCE_SECONDS = 600.0  # the service leaves younger builds to their events
_BACK_OFF_SECONDS = 60.0  # longest pause between two looks at a message
_LEFT: tuple["QueueAttributeNameType", ...] = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
)


@dataclass(frozen=True, slots=True)
class ResultPlan:
    """Amounts of everything; all that is random follows from `seed`.

    Attributes:
        pushes_per_second: Rate at which pushes are sent.
        kill_seconds: Bounds of the pause between two kills.
        sweep_seconds: Time between two rounds while pushes are sent.
        older_seconds: So much older than they are the marks of unfinished builds look; with 0 the
            last round waits for ten minutes.
        retried_share: Share of projects whose failed builds CodeBuild tries once more.
        hosted_share: Share of repositories that are on a forge, which shows commit statuses.
    """

    seed: int = 1
    repositories: int = 50
    pushes: int = 1_000
    pushes_per_second: float = 5.0
    processes: int = 4
    kills: int = 30
    kill_seconds: tuple[float, float] = (3.0, 8.0)
    sweep_seconds: float = 60.0
    older_seconds: float = 0.0
    retried_share: float = 0.2
    hosted_share: float = 1.0
    foreign: float = 0.05
    faults: EventFaults = field(
        default_factory=lambda: EventFaults(lost=0.05, doubled=0.10, disordered=0.20)
    )
    scripts: SeededScripts = field(
        default_factory=lambda: SeededScripts(
            failed=0.2, fault=0.03, timed_out=0.03, stopped=0.03, build_seconds=(0.5, 3.0)
        )
    )


@dataclass(slots=True)
class ResultReport:
    """Events of a run, and the findings in the servers' records."""

    pushes: Findings = field(default_factory=Findings)
    results: ResultFindings = field(default_factory=ResultFindings)
    statuses: StatusFindings = field(default_factory=StatusFindings)
    seconds: float = 0.0
    kills: int = 0
    rounds: int = 0
    deliveries: dict[str, int] = field(default_factory=dict)
    builds: int = 0
    attempts: int = 0
    foreign: int = 0
    found_by_rounds: int = 0
    event_to_record_seconds: list[float] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    log: Counter[str] = field(default_factory=Counter)
    backwards: list[str] = field(default_factory=list)
    foreign_records: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    bugs: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """Return everything that must not be there."""
        faults = [*self.pushes.faults, *self.results.faults, *self.statuses.faults]
        faults += [*self.backwards, *self.foreign_records, *self.left, *self.bugs]
        most = _POSTS_WITH_KILLS if self.kills else 1.0
        if self.posts_per_state > most:
            faults.append(f"{self.posts_per_state:.2f} posts of each state, more than {most}")
        return faults

    @property
    def posts_per_state(self) -> float:
        """Return how often a state of a commit and context was posted, on average."""
        posts = self.statuses.posts
        return posts.total() / len(posts) if posts else 0.0

    def document(self) -> dict[str, Any]:
        """Return the report as one JSON object."""
        waits = self.event_to_record_seconds
        p95 = quantiles(waits, n=20)[-1] if len(waits) > 1 else None
        pushes = self.pushes.pushes or 1
        return {
            "pushes": self.pushes.pushes,
            "started": self.builds,
            "attempts": self.attempts,
            "foreign_builds": self.foreign,
            "passed": self.results.passed,
            "failed": self.results.failed,
            "without_result": len(self.results.without_result),
            "wrong_result": len(self.results.wrong_result),
            "statuses": len(self.statuses.states),
            "statuses_pending": len(self.statuses.pending),
            "statuses_wrong": len(self.statuses.wrong),
            "posts_per_state": round(self.posts_per_state, 3),
            "backwards": len(self.backwards),
            "foreign_records": len(self.foreign_records),
            "kills": self.kills,
            "rounds": self.rounds,
            "events": self.deliveries,
            "found_by_rounds": self.found_by_rounds,
            "event_to_record_p50_seconds": round(median(waits), 2) if waits else None,
            "event_to_record_p95_seconds": None if p95 is None else round(p95, 2),
            "event_to_record_most_seconds": round(max(waits), 2) if waits else None,
            "s3_requests_per_push": {
                name: round(count / pushes, 2) for name, count in self.requests.items()
            },
            "s3_requests": dict(self.kinds.most_common()),
            "seconds": round(self.seconds),
            "log": dict(self.log.most_common(20)),
            "wrong": self.wrong[:50],
        }


@dataclass
class _Run:
    """One run: its servers, and the processes, each started again when it was killed."""

    plan: ResultPlan
    hosting: Hosting
    s3: WatchedS3
    sender: EventSender
    report: ResultReport
    running: dict[int, Service] = field(default_factory=dict)
    ending: bool = False
    swept: list[float] = field(default_factory=list)

    @property
    def stack(self) -> Stack:
        """Return the stack of all servers."""
        return self.hosting.cloud

    async def keep(self, number: int) -> None:
        """Run process `number` again and again."""
        while not self.ending:
            async with open_service(self._variables(number)) as service:
                self.running[number] = service
                code = await service.process.wait()
                del self.running[number]
            self._note(code, service)

    def strike(self, random: Random) -> None:
        """Kill a process that is at work, if there is one."""
        at_work = [n for n, service in sorted(self.running.items()) if _has_started(service)]
        if at_work:
            self.report.kills += 1
            self.running[random.choice(at_work)].kill()

    async def strike_on(self) -> None:
        """Kill until there were enough kills."""
        random = Random(f"{self.plan.seed}/kills")  # noqa: S311 - repeatable, not secret
        while self.report.kills < self.plan.kills:
            await anyio.sleep(random.uniform(*self.plan.kill_seconds))
            self.strike(random)

    async def sweep(self) -> None:
        """Ask for a round, as the scheduler does."""
        self.report.rounds += 1
        url = self.stack.settings.results.url
        await self.stack.sqs.send_message(QueueUrl=url, MessageBody=sweep_message())

    async def sweep_on(self) -> None:
        """Ask for rounds until cancelled."""
        while True:
            await anyio.sleep(self.plan.sweep_seconds)
            await self.sweep()

    def end(self) -> None:
        """Let all processes stop."""
        self.ending = True
        for service in self.running.values():
            service.terminate()

    def has_swept_since(self, moment: float) -> bool:
        """Return whether a round has ended that began after `moment`, in epoch seconds."""
        logs = [service.log for service in self.running.values()]
        begins = [*self.swept, *(begin for log in logs for begin in _begins_of_rounds(log))]
        return any(begin > moment for begin in begins)

    def _note(self, code: int, service: Service) -> None:
        self.swept += _begins_of_rounds(service.log)
        self.report.log.update(str(line.get("event")) for line in service.log)
        for line in service.log:
            if line.get("event") == "results.swept":
                self.report.found_by_rounds += int(line["found"])
            if line.get("event") in {
                "push.bug",
                "result.dead-lettered",
                "report.dead-lettered",
                "text",
            }:
                self.report.bugs.append(orjson.dumps(line).decode())
        if code not in {0, -9}:
            self.report.bugs.append(f"exit code {code}")

    def _variables(self, number: int) -> dict[str, str]:
        return environment(
            self.stack,
            consumers=4,
            shutdown_grace_seconds=10,
            results=self.stack.settings.results.model_dump(mode="json"),
            reports=self.stack.settings.reports.model_dump(mode="json"),
            hosts=[
                each.model_dump(mode="json", exclude_unset=True)
                for each in self.stack.settings.hosts
            ],
            queue={"visibility_timeout_seconds": 6, "wait_seconds": 1},
            storage={"endpoint_url": self.s3.endpoint_url},
            # A push hit by many random kills is not a poison message.
            lanes={"max_attempts": 10, "retry_first_seconds": 0.1, "retry_most_seconds": 1},
            git={"cache_directory": str(self.stack.directory / f"cache-{number}")},
            status={"listen": "off"},
        )


def _has_started(service: Service) -> bool:
    return any(line.get("event") == "service.started" for line in service.log)


def _begins_of_rounds(log: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return when the finished rounds of a log began, in epoch seconds."""
    return [
        datetime.fromisoformat(line["timestamp"]).timestamp() - line["seconds"]
        for line in log
        if line.get("event") == "results.swept"
    ]


@asynccontextmanager
async def _open_run(plan: ResultPlan, report: ResultReport) -> AsyncIterator[_Run]:
    names = [f"repository-{number:03d}" for number in range(plan.repositories)]
    async with AsyncExitStack() as exits:
        enter = exits.enter_async_context
        stack = await enter(open_stack([]))
        hosted = names[: round(plan.hosted_share * len(names))]
        hosting = await enter(open_hosting(stack, hosted))
        random = Random(f"{plan.seed}/retried")  # noqa: S311 - repeatable, not secret
        for name in names:
            stack.standin.add_project(name, retries=int(random.random() < plan.retried_share))
        stack.standin.script = plan.scripts
        stack.standin.foreign_share = plan.foreign
        stack.standin.retry_seconds = 1.0
        storage = stack.settings.storage
        endpoint_url = str(stack.settings.aws.endpoint_url)
        s3 = await enter(open_watched_s3(endpoint_url, storage.bucket, storage.ledger_prefix))
        s3.older_seconds = plan.older_seconds
        sender = await enter(
            open_event_sender(
                stack.standin,
                stack.sqs,
                stack.settings.results.url,
                faults=plan.faults,
                begins=True,
                only_documented=True,
            )
        )
        run_ = _Run(plan, hosting, s3, sender, report)
        async with anyio.create_task_group() as tasks:
            for number in range(plan.processes):
                tasks.start_soon(run_.keep, number)
            yield run_
            run_.end()


async def run(plan: ResultPlan) -> ResultReport:
    """Run the plan, and return its report."""
    report, begun = ResultReport(), time.monotonic()
    async with _open_run(plan, report) as run_:
        await chaos.never_redrive(run_.stack)
        lanes = await chaos.make_pushes(run_.stack.directory, _pushes_of(plan))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_.sweep_on)
            async with anyio.create_task_group() as striking:
                striking.start_soon(run_.strike_on)
                sent = await _send_all(run_, lanes)
                await _wait_settled(run_)
            await _wait_settled(run_)
            await _wait_ended(run_)
            tasks.cancel_scope.cancel()
        await _make_last_round(run_)
        await _wait_reported(run_)
        await _look(run_, sent)
    report.seconds = time.monotonic() - begun
    return report


def _pushes_of(plan: ResultPlan) -> chaos.Plan:
    return chaos.Plan(
        seed=plan.seed, repositories=plan.repositories, pushes=plan.pushes, big_pushes=0
    )


async def _send_all(run_: _Run, lanes: Sequence[Sequence[Pushed]]) -> list[Pushed]:
    """Send all pushes at the plan's rate, repositories mixed; return them in the order sent."""
    random = Random(f"{run_.plan.seed}/send")  # noqa: S311 - repeatable, not secret
    waiting, sent = [list(lane) for lane in lanes], list[Pushed]()
    begun = time.monotonic()
    while any(waiting):
        push = random.choice([lane for lane in waiting if lane]).pop(0)
        await run_.hosting.send(push)
        sent.append(push)
        due = begun + len(sent) / run_.plan.pushes_per_second
        await anyio.sleep(max(0.0, due - time.monotonic()))
    return sent


async def _wait_settled(run_: _Run) -> None:
    """Wait until the queue of pushes is empty, or nothing moves."""
    left, moved = -1, time.monotonic()
    while (now := time.monotonic()) - moved < _SILENCE_SECONDS:
        waiting = await run_.stack.count_waiting()
        if waiting == 0:
            return
        if waiting != left:
            left, moved = waiting, now
        await anyio.sleep(_POLL_SECONDS)


async def _wait_ended(run_: _Run) -> None:
    """Wait until all builds have ended, and their events are sent or lost."""
    standin, sender = run_.stack.standin, run_.sender
    while not (standin.is_at_rest() and sender.is_idle):  # noqa: ASYNC110 - the end of a build raises no event
        await anyio.sleep(_POLL_SECONDS)


async def _make_last_round(run_: _Run) -> None:
    """Make a round when all builds are old enough for it, and wait until all is quiet."""
    last = max(build.time for build in run_.stack.standin.started)
    if not run_.plan.older_seconds:
        await anyio.sleep(max(0.0, last + _PATIENCE_SECONDS + 5 - time.time()))
    asked = time.time()
    await run_.sweep()
    with anyio.move_on_after(_SILENCE_SECONDS):
        while not run_.has_swept_since(asked):  # noqa: ASYNC110 - the log of a process raises no event
            await anyio.sleep(_POLL_SECONDS)
    if not run_.plan.older_seconds:  # builds of others are given up after ten minutes
        with anyio.move_on_after(2 * _BACK_OFF_SECONDS):
            while await _count_results(run_.stack):  # noqa: ASYNC110 - a queue raises no event
                await anyio.sleep(_POLL_SECONDS)


async def _wait_reported(run_: _Run) -> None:
    """Wait until the queue of reports is empty, or nothing moves: longer than a kill hides one."""
    left, moved, url = -1, time.monotonic(), run_.stack.settings.reports.url
    while (now := time.monotonic()) - moved < _REPORT_SILENCE_SECONDS:
        waiting = await _count(run_.stack, url)
        if waiting == 0:
            return
        if waiting != left:
            left, moved = waiting, now
        await anyio.sleep(_POLL_SECONDS)


async def _count_results(stack: Stack) -> int:
    return await _count(stack, stack.settings.results.url)


async def _count(stack: Stack, url: str) -> int:
    answer = await stack.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(_LEFT))
    return sum(int(answer["Attributes"][name]) for name in _LEFT)


async def _look(run_: _Run, sent: Sequence[Pushed]) -> None:
    """Read the servers' records into the report."""
    stack, report, standin = run_.stack, run_.report, run_.stack.standin
    started = journal.read(stack.journal)
    report.pushes = compare(sent, started)
    prefix = stack.settings.storage.ledger_prefix
    records = await read_results(stack.s3, BUCKET, prefix)
    report.results = compare_results(standin, [each.build for each in started], records)
    hosted = builds_of(sent, started, run_.hosting.names)
    report.statuses = compare_statuses(run_.hosting.forge, hosted, partial(truth_of, standin))
    if run_.plan.older_seconds:
        report.statuses.pending = list(_iter_overdue(standin, report.statuses.pending))
    report.builds, report.foreign = len(started), len(standin.foreign)
    report.attempts = sum(standin.build(each.build).newest().retry_number + 1 for each in started)
    report.deliveries = {str(name): count for name, count in run_.sender.deliveries.items()}
    report.requests, report.kinds = run_.s3.requests, run_.s3.kinds
    report.backwards = list(run_.s3.iter_backwards())
    report.event_to_record_seconds = list(_waits(run_))
    for build in standin.foreign:
        report.foreign_records += await _entries_of(stack, build, prefix)
    await _look_for_left(run_, prefix)


def _waits(run_: _Run) -> Sequence[float]:
    """Return how long each end took from its event's first sending to its record."""
    ends: dict[str, float] = {}
    for versions in run_.s3.versions.values():
        for version in versions:
            if version.record["status"] != "in-progress":
                ends.setdefault(str(version.record["attempt_id"]), version.time)
    sent = run_.sender.sent_at
    return [max(0.0, at - sent[id_]) for id_, at in ends.items() if id_ in sent]


def _iter_overdue(standin: CodeBuildStandin, pending: Sequence[str]) -> Iterator[str]:
    """Yield the faults that are not about builds which CodeBuild may try again for five minutes."""
    builds = [standin.build(each.build) for each in standin.started]
    waiting = [build.id for build in builds if build.retry_limit]
    for fault in pending:
        if not any(id_ in fault for id_ in waiting):
            yield fault


async def _entries_of(stack: Stack, build: StoredBuild, prefix: str) -> list[str]:
    """Return the entries of the index about a build of another user, and its later attempt."""
    found = []
    for each in {build.id, build.newest().id}:
        key = f"{prefix}started/build/{each.replace(':', '/')}.json"
        listed = await stack.s3.list_objects_v2(Bucket=BUCKET, Prefix=key)
        if listed.get("Contents"):
            found.append(f"{key}: a build of another user is in the index")
    return found


async def _look_for_left(run_: _Run, prefix: str) -> None:
    """Note what must be gone: messages, dead letters, marks of unfinished builds."""
    stack, left = run_.stack, run_.report.left
    if waiting := await stack.count_waiting():
        left.append(f"{waiting} messages about pushes are left")
    if not run_.plan.older_seconds and (waiting := await _count_results(stack)):
        left.append(f"{waiting} messages about results are left")
    if waiting := await _count(stack, stack.settings.reports.url):
        left.append(f"{waiting} reports are left")
    for name in (DEAD_LETTERS, RESULT_DEAD_LETTERS, REPORT_DEAD_LETTERS):
        letters = await read_dead_letters(stack, name)
        left += [f"dead letter: {each['Body'][:300]}" for each in letters]
    # While CodeBuild may try a build again its mark stays: for five minutes.
    kept = set[str]()
    if run_.plan.older_seconds:
        builds = [stack.standin.build(each.build) for each in stack.standin.started]
        kept = {build.id.replace(":", "/") for build in builds if build.retry_limit}
    marks = await stack.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}unfinished/")
    keys = [each["Key"].partition("unfinished/build/")[2] for each in marks.get("Contents", [])]
    left += [f"mark is left: {key}" for key in keys if key not in kept]


@click.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--pushes", default=1_000, show_default=True)
@click.option("--repositories", default=50, show_default=True)
@click.option("--processes", default=4, show_default=True)
@click.option("--kills", default=30, show_default=True)
@click.option("--hosted-share", default=1.0, show_default=True, help="Repositories with statuses.")
@click.option("--rate", default=5.0, show_default=True, help="Pushes a second.")
def main(**given: Any) -> None:  # noqa: ANN401 - of options with these types
    """Run for long; exit code 1 if anything is wrong. The last line is one JSON object."""
    rate = given.pop("rate")
    plan = ResultPlan(pushes_per_second=rate, **given)
    click.echo(f"{asdict(plan)}")
    report = anyio.run(run, plan)
    for each in report.wrong[:20]:
        click.echo(f"WRONG: {each}")
    click.echo(orjson.dumps(report.document()).decode())
    sys.exit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()
