"""Judges of the queue of rounds, and of the rounds themselves. Pure.

Source of attributes: SQS API reference, GetQueueAttributes.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from asyncbuild.checks.judges.finding import Finding, Level
from asyncbuild.checks.judges.queues.queue import RedriveNeeds, judge_redrive
from asyncbuild.config.settings import Settings
from asyncbuild.queue.lane.queue_facts import QueueFacts, facts_of

# A repository is looked at up to twenty times for one round, while events may be on their way.
_REDRIVE: Final = RedriveNeeds(
    table="reconcile",
    least_receives=30,
    such_as=100,
    without="a message that is not a round has to go somewhere with its reason",
    too_few="a repository of which a push may be on its way is received again and again, and would "
    "be dead-lettered in that time",
)
_LONGEST_PAUSE: Final = timedelta(hours=26)  # a round a day is the rarest that makes sense
_AWAY: Final = 'docs/operations.md, "Rounds stay away"'


def judge_rounds_queue(
    url: str, attributes: Mapping[str, str], settings: Settings
) -> list[Finding]:
    """Return the findings about the attributes of the queue of rounds.

    Args:
        url: URL of the queue.
        attributes: Attributes, as GetQueueAttributes returns them.
        settings: The whole configuration.
    """
    facts = facts_of(attributes)
    return [
        _fifo("reconcile.queue", url, facts),
        _deduplication(url, attributes),
        *judge_redrive(url, facts, settings.reconcile.dead_letter_url, _REDRIVE),
    ]


def judge_rounds_dead_letters(url: str, attributes: Mapping[str, str]) -> Finding:
    """Return the finding about the dead-letter queue of rounds."""
    return _fifo("reconcile.dead-letters", url, facts_of(attributes))


def judge_no_rounds() -> Finding:
    """Return the finding about a configuration without a queue of rounds."""
    return Finding(
        Level.NOTE,
        "reconcile.url",
        "reconcile.url is empty",
        "a push whose event never comes is not found",
        "make a FIFO queue with a schedule that sends rounds (docs/deploy.md, Missed pushes)",
    )


def judge_newest_round(begun_at: datetime | None, now: datetime) -> Finding:
    """Return the finding about the rounds: do they come?

    Args:
        begun_at: When the newest round was begun; None if none was.
        now: The time.
    """
    name = "reconcile.rounds"
    if begun_at is None:
        return Finding(
            Level.NOTE,
            name,
            "no round has begun yet",
            "a push whose event never comes is found by the second round at the earliest",
            f"if this stays so for longer than the schedule's interval: {_AWAY}",
        )
    told = f"the newest round began at {begun_at:%Y-%m-%dT%H:%M:%SZ}"
    if now - begun_at <= _LONGEST_PAUSE:
        return Finding(Level.OK, name, told)
    return Finding(
        Level.WARNING,
        name,
        f"{told}, more than a day ago",
        "rounds stay away: pushes whose events never came since then are not found",
        f"see whether the schedule sends, and whether messages wait in the queue: {_AWAY}",
    )


def _fifo(name: str, url: str, facts: QueueFacts) -> Finding:
    if facts.fifo:
        return Finding(Level.OK, name, f"queue {url} is FIFO")
    return Finding(
        Level.PROBLEM,
        name,
        f"queue {url} is not FIFO",
        "two tasks would look at one repository at a time",
        "make a queue whose name ends in .fifo",
    )


def _deduplication(url: str, attributes: Mapping[str, str]) -> Finding:
    name = "reconcile.deduplication"
    if attributes.get("ContentBasedDeduplication") == "true":
        return Finding(Level.OK, name, f"queue {url} deduplicates by content")
    return Finding(
        Level.WARNING,
        name,
        f"queue {url} does not deduplicate by content",
        "EventBridge Scheduler gives no deduplication id, so its rounds are refused",
        "set ContentBasedDeduplication",
    )
