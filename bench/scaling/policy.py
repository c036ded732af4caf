"""Two scaling policies, as functions of CloudWatch's metrics.

`busy` is the policy of deploy/cloudformation.yaml; a test compares its expressions with this.
`depth` is the policy that AWS documents for SQS: messages by tasks.
"""

from dataclasses import dataclass
from math import ceil

SATURATED_PERCENT = 90.0
MOST_BACKLOG = 1.0
MOST_RESULTS = 1_000.0  # waiting results that one task reads in about a minute


@dataclass(frozen=True, slots=True)
class Seen:
    """One minute of the queue and the service, as CloudWatch shows it: averages of that minute."""

    visible: float  # messages that wait, also those whose group is locked
    inflight: float  # messages received and not yet deleted
    free: float  # consumers without work, of an average task
    tasks: float  # tasks that run
    results: float = 0.0  # results of builds that wait in their own queue


def busy_percent(seen: Seen, *, consumers: int) -> float:
    """Return consumers with work, in percent; above 100 where more consumers would find work, too.

    While a consumer is free, every waiting message belongs to a group in flight, since the consumer
    would have taken any other. However deep the queue, more tasks would change nothing. Only when
    nearly all consumers work may free groups wait; then the backlog counts, at most as much as the
    messages in flight. More results than a task reads in a minute count as a task without a free
    consumer.
    """
    busy = 100.0 if seen.results > MOST_RESULTS else 100.0 * (1.0 - seen.free / consumers)
    if busy < SATURATED_PERCENT:
        return busy
    return busy * (1.0 + min(seen.visible / max(seen.inflight, 1.0), MOST_BACKLOG))


def depth_per_task(seen: Seen) -> float:
    """Return waiting messages for each task."""
    return seen.visible / max(seen.tasks, 1.0)


def wanted_tasks(tasks: int, value: float, target: float, *, least: int, most: int) -> int:
    """Return how many tasks bring a value shared among tasks to its target."""
    return min(max(ceil(tasks * value / target), least), most)
