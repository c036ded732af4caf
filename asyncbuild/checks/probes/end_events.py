"""Probe of the events of ended builds: do they name the source that a build was started with?

It makes a queue and a rule before other probes start their builds, and looks at what arrives.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import anyio

from asyncbuild.aws.classify import errors_of
from asyncbuild.aws.session import Aws
from asyncbuild.checks.judges.bucket import archive_prefix
from asyncbuild.checks.judges.probe_answer import Answer, Question
from asyncbuild.checks.probes.made import VARIABLE, ProbeRun, open_made
from asyncbuild.checks.probes.rule_to_queue import admit_events, make_queue, make_rule
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import StageError
from asyncbuild.domain.foreign_json import read_object

if TYPE_CHECKING:
    from types_aiobotocore_events import EventBridgeClient
    from types_aiobotocore_sqs import SQSClient

SOURCE: Final = Question(
    "events.build-source",
    "Does the event of an ended build name the archive that the build was started with?",
    "The stack's rule selects ends of builds by it. With a no their results come with the next "
    "round only: take `additional-information` out of the pattern of the rule STACK-builds.",
)
_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 5


async def iter_answers(
    aws: Aws, settings: Settings, project: str, made: ProbeRun, builds: AsyncIterator[Answer]
) -> AsyncIterator[Answer]:
    """Yield the answers of `builds`, and then what the events of the builds told.

    Args:
        aws: Session for SQS and EventBridge.
        settings: The whole configuration.
        project: Project whose builds are started.
        made: Record of what the probes make.
        builds: Answers of a probe that starts builds of the project, and ends with them.
    """
    if settings.builds.endpoint_url:
        async for answer in builds:
            yield answer
        yield SOURCE.unknown(f"{settings.builds.endpoint_url} sends no events to EventBridge")
        return
    answers: list[Answer] = []
    own = ProbeRun(made.name)  # ends here, and `made` already with the builds
    try:
        async with aws.open_sqs(pool=1) as sqs, aws.open_events(pool=1) as events, open_made(own):
            url = await _listen(sqs, events, own, project)
            answers = [each async for each in builds]
            prefix = f"{settings.storage.bucket}/{archive_prefix(settings)}{made.name}/"
            answers.append(judge(await _receive(sqs, url, made.name), prefix))
    except StageError as error:
        answers = answers or [each async for each in builds]
        answers.append(SOURCE.unknown(str(error)))
    finally:
        made.left += own.left
    for answer in answers:
        yield answer


def judge(location: str | None, prefix: str) -> Answer:
    """Return the answer that the event of an ended build gives.

    Args:
        location: Place of the source that the event names, empty if it names none; None without an
            event.
        prefix: Beginning of the places of the archives that builds were started with.
    """
    if location is None:
        return SOURCE.unknown(f"no event of a build arrived within {_SECONDS:g} s of its end")
    if location.startswith(prefix):
        return SOURCE.yes(f"an event named {location}")
    return SOURCE.no(f"an event named {location or 'no source'}, and not one below {prefix}")


def location_in(body: str, name: str) -> str | None:
    """Return the place of the source in an event of a build, empty if it names none.

    Args:
        body: The event.
        name: Value of the variable that the builds of this run have; None is returned for others.

    Raises:
        Reject: It is not JSON.
    """
    detail: Any = read_object(body, "event").get("detail")
    told = _member(detail, "additional-information")
    variables = _member(_member(told, "environment"), "environment-variables")
    ours = {"name": VARIABLE, "value": name}
    if not isinstance(variables, list) or not any(
        isinstance(each, dict) and ours.items() <= each.items() for each in variables
    ):
        return None
    return str(_member(_member(told, "source"), "location") or "")


def _member(of: object, name: str) -> object:
    return of.get(name) if isinstance(of, dict) else None


async def _listen(
    sqs: "SQSClient", events: "EventBridgeClient", made: ProbeRun, project: str
) -> str:
    """Return the URL of a queue to which the ends of the project's builds come from now on."""
    name = f"{made.name}-ends"
    url = await make_queue(sqs, made, name, {})
    pattern = {
        "source": ["aws.codebuild"],
        "detail-type": ["CodeBuild Build State Change"],
        "detail": {"project-name": [project], "build-status": [{"anything-but": "IN_PROGRESS"}]},
    }
    target = {"Arn": await admit_events(sqs, url)}
    await make_rule(events, made, name, pattern=pattern, target=target)
    return url


async def _receive(sqs: "SQSClient", url: str, name: str) -> str | None:
    """Return the source in the first event of a build of this run; None if the time is up."""
    with anyio.move_on_after(_SECONDS):
        while True:
            with errors_of(f"receive from queue {url}"):
                answer = await sqs.receive_message(
                    QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=_POLL_SECONDS
                )
            for message in answer.get("Messages", []):
                location = location_in(message["Body"], name)
                if location is not None:
                    return location
    return None
