"""Judges of the queue of reports. Pure. Source: SQS API reference, GetQueueAttributes."""

from collections.abc import Mapping, Sequence
from typing import Final

from asyncbuild.checks.judges.finding import Finding, Level
from asyncbuild.checks.judges.queues.queue import RedriveNeeds, judge_redrive, retention_days
from asyncbuild.config.settings import Settings
from asyncbuild.queue.lane.queue_facts import QueueFacts, facts_of

# A report is tried for two days, at least every ten minutes: some 300 receives.
_REDRIVE: Final = RedriveNeeds(
    table="reports",
    least_receives=400,
    such_as=1000,
    without="a report that a forge refuses has to go somewhere with its reason",
    too_few="a report waits two days for a forge that is away, and is received again every ten "
    "minutes; it would be dead-lettered before, without its reason",
)
_LEAST_RETENTION_DAYS: Final = 3


def judge_reports_queue(
    url: str, attributes: Mapping[str, str], settings: Settings
) -> list[Finding]:
    """Return the findings about the attributes of the queue of reports.

    Args:
        url: URL of the queue.
        attributes: Attributes, as GetQueueAttributes returns them.
        settings: The whole configuration.
    """
    facts = facts_of(attributes)
    return [
        _fifo("reports.queue", url, facts),
        *judge_redrive(url, facts, settings.reports.dead_letter_url, _REDRIVE),
        _retention(url, attributes),
    ]


def judge_reports_dead_letters(url: str, attributes: Mapping[str, str]) -> Finding:
    """Return the finding about the dead-letter queue of reports."""
    return _fifo("reports.dead-letters", url, facts_of(attributes))


def judge_no_reports(hosts: Sequence[str]) -> Finding:
    """Return the finding about a configuration without a queue of reports.

    Args:
        hosts: Hosts that want statuses, one at least.
    """
    return Finding(
        Level.WARNING,
        "reports.url",
        f"reports.url is empty, and [hosts.commit_status] is set for {', '.join(hosts)}",
        "no status is posted: reports have no queue",
        "make a FIFO queue with a dead-letter queue, and set reports.url",
    )


def judge_no_statuses() -> Finding:
    """Return the finding about a queue of reports that no host uses."""
    return Finding(
        Level.NOTE,
        "reports.url",
        "reports.url is set, and no host has a table commit_status",
        "nothing is sent to that queue",
        "add [hosts.commit_status] to the hosts whose commits shall show their builds",
    )


def _fifo(name: str, url: str, facts: QueueFacts) -> Finding:
    if facts.fifo:
        return Finding(Level.OK, name, f"queue {url} is FIFO")
    return Finding(
        Level.PROBLEM,
        name,
        f"queue {url} is not FIFO",
        "reports about one commit must not overtake each other",
        "make a queue whose name ends in .fifo",
    )


def _retention(url: str, attributes: Mapping[str, str]) -> Finding:
    days = retention_days(attributes)
    if days >= _LEAST_RETENTION_DAYS:
        return Finding(
            Level.OK, "reports.retention", f"queue {url} keeps a message for {days} days"
        )
    return Finding(
        Level.WARNING,
        "reports.retention",
        f"queue {url} keeps messages for less than {_LEAST_RETENTION_DAYS} days",
        "a report that waits for its forge is lost before it is given up",
        "set MessageRetentionPeriod to four days",
    )
