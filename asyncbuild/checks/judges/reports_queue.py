"""Judges of the queue of reports. Pure. Source: SQS API reference, GetQueueAttributes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from asyncbuild.checks.judges.finding import Finding, Level
from asyncbuild.checks.judges.queue import retention_days
from asyncbuild.config.settings import Settings
from asyncbuild.queue.lane.queue_facts import QueueFacts, facts_of

# A report is tried for two days, at least every ten minutes: some 300 receives.
_LEAST_RECEIVES: Final = 400
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
        *_redrive(url, facts, settings),
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


def _redrive(url: str, facts: QueueFacts, settings: Settings) -> Iterator[Finding]:
    limit = facts.max_receive_count
    if facts.dead_letter_arn is None and not settings.reports.dead_letter_url:
        yield Finding(
            Level.PROBLEM,
            "reports.redrive-policy",
            f"queue {url} has no dead-letter queue",
            "a report that a forge refuses has to go somewhere with its reason",
            "give it a RedrivePolicy, or set reports.dead_letter_url",
        )
    elif limit is not None and limit < _LEAST_RECEIVES:
        yield Finding(
            Level.WARNING,
            "reports.max-receive-count",
            f"maxReceiveCount of queue {url} is {limit}",
            "a report waits two days for a forge that is away, and is received again every ten "
            "minutes; it would be dead-lettered before, without its reason",
            f"raise it to {_LEAST_RECEIVES} or more, such as 1000",
        )
    elif limit is not None:
        yield Finding(
            Level.OK, "reports.max-receive-count", f"maxReceiveCount {limit} is large enough"
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
