"""Judges of the queue of results. Pure. Source: SQS API reference, GetQueueAttributes."""

from collections.abc import Iterator, Mapping
from typing import Final

from asyncbuild.checks.judges.finding import Finding, Level
from asyncbuild.checks.judges.queues.queue import (
    RedriveNeeds,
    judge_encryption,
    judge_redrive,
    retention_days,
)
from asyncbuild.config.settings import Settings
from asyncbuild.queue.lane.queue_facts import QueueFacts, facts_of

# A result that comes before its build is in the index is received some fourteen times in ten
# minutes, and an outage costs receives, too.
_REDRIVE: Final = RedriveNeeds(
    table="results",
    least_receives=30,
    such_as=100,
    without="a message that is not a result has to go somewhere with its reason",
    too_few="a result that comes before its build is recorded is received again and again for ten "
    "minutes, and would be dead-lettered in that time",
)
# What expires is found by the next round, but until then `explain` shows no end.
_LEAST_RETENTION_DAYS: Final = 1


def judge_results_queue(
    url: str, attributes: Mapping[str, str], settings: Settings
) -> list[Finding]:
    """Return the findings about the attributes of the queue of results.

    Args:
        url: URL of the queue.
        attributes: Attributes, as GetQueueAttributes returns them.
        settings: The whole configuration.
    """
    facts = facts_of(attributes)
    return [
        _standard("results.queue", url, facts),
        *judge_redrive(url, facts, settings.results.dead_letter_url, _REDRIVE),
        *_retention(url, attributes),
        *judge_encryption("results.encryption", url, attributes),
    ]


def judge_results_dead_letters(url: str, attributes: Mapping[str, str]) -> Finding:
    """Return the finding about the dead-letter queue of results."""
    return _standard("results.dead-letters", url, facts_of(attributes))


def judge_no_results() -> Finding:
    """Return the finding about a configuration without a queue of results."""
    return Finding(
        Level.NOTE,
        "results.url",
        "results.url is empty",
        "the service tells that a build was started, and not how it ended",
        "make a standard queue with rules for ends of builds (docs/deploy.md, Results)",
    )


def _standard(name: str, url: str, facts: QueueFacts) -> Finding:
    if not facts.fifo:
        return Finding(Level.OK, name, f"queue {url} is a standard queue")
    return Finding(
        Level.PROBLEM,
        name,
        f"queue {url} is FIFO",
        "a rule for ends of builds gives no message group, and results need no order",
        "make a standard queue",
    )


def _retention(url: str, attributes: Mapping[str, str]) -> Iterator[Finding]:
    days = retention_days(attributes)
    if days < _LEAST_RETENTION_DAYS:
        yield Finding(
            Level.WARNING,
            "results.retention",
            f"queue {url} keeps messages for less than a day",
            "results that come while the service is away are known only after the next round",
            "set MessageRetentionPeriod to four days",
        )
