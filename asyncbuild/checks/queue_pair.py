"""Checks of a queue beside that of pushes, and of its dead-letter queue."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass

from asyncbuild.aws.session import Aws
from asyncbuild.checks.judges.finding import Finding
from asyncbuild.queue.lane.queue_facts import facts_of
from asyncbuild.queue.sqs import Queue


@dataclass(frozen=True, slots=True)
class QueuePair:
    """A queue and its dead-letter queue, and the judges of their attributes.

    Attributes:
        url: URL of the queue.
        dead_letter_url: The configured dead-letter queue; None to take the redrive policy's.
        judge: Judges the attributes of the queue.
        judge_dead_letters: Judges URL and attributes of the dead-letter queue.
    """

    url: str
    dead_letter_url: str | None
    judge: Callable[[Mapping[str, str]], Iterable[Finding]]
    judge_dead_letters: Callable[[str, Mapping[str, str]], Finding]


async def look_at_pair(aws: Aws, pair: QueuePair) -> AsyncIterator[Finding]:
    """Yield the findings about a queue and its dead-letter queue, each asked for once.

    Args:
        aws: Session of the service.
        pair: The queues.

    Raises:
        StageError: SQS refused, or cannot be reached.
    """
    dead_letter_url = pair.dead_letter_url
    async with aws.open_sqs(pool=1) as sqs:
        queue = Queue(polls=sqs, control=sqs, url=pair.url, dead_letter_url=dead_letter_url)
        attributes = await queue.attributes()
        for finding in pair.judge(attributes):
            yield finding
        facts = facts_of(attributes)
        if facts.dead_letter_arn or dead_letter_url:
            found = await queue.find_dead_letter_queue(facts)
            dead_letters = Queue(polls=sqs, control=sqs, url=found)
            yield pair.judge_dead_letters(found, await dead_letters.attributes())
