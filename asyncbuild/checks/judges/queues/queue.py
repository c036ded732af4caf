"""Judges of the queues' attributes. Pure. Source: SQS API reference, GetQueueAttributes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from asyncbuild.checks.judges.finding import Finding, Level
from asyncbuild.config.settings import Settings
from asyncbuild.queue.lane.queue_facts import QueueFacts, facts_of, largest_message

# CodeBuild forgets an idempotency token after five minutes (API reference, StartBuild).
_TOKEN_LIFETIME_SECONDS: Final = 300
_DAY_SECONDS: Final = 86_400
# A push may have to wait over a long weekend until its cause of failure is repaired.
_LEAST_RETENTION_DAYS: Final = 4
_DEFAULT_RETENTION_DAYS: Final = 4
# Between the end of a long poll and the client's time-out there must be time for an answer.
_POLL_RESERVE_SECONDS: Final = 5
# The key that AWS manages for SQS; its policy never admits EventBridge and cannot be changed
# (EventBridge user guide, "Troubleshooting": my rule runs but the queue stays empty).
_AWS_MANAGED_KEY: Final = "alias/aws/sqs"


def retention_days(attributes: Mapping[str, str]) -> int:
    """Return how long a message may wait, in whole days."""
    seconds = attributes.get("MessageRetentionPeriod", _DEFAULT_RETENTION_DAYS * _DAY_SECONDS)
    return int(seconds) // _DAY_SECONDS


@dataclass(frozen=True, slots=True)
class RedriveNeeds:
    """Redrive policy that a queue beside that of pushes needs, and the words about it.

    Attributes:
        table: Table of the configuration, which is also the first part of the findings' names.
        least_receives: Least maxReceiveCount.
        such_as: A good maxReceiveCount.
        without: Effect of a queue without dead-letter queue.
        too_few: Effect of a maxReceiveCount that is too small.
    """

    table: str
    least_receives: int
    such_as: int
    without: str
    too_few: str


def judge_redrive(
    url: str, facts: QueueFacts, dead_letter_url: str | None, needs: RedriveNeeds
) -> Iterator[Finding]:
    """Yield the findings about the redrive policy of a queue beside that of pushes.

    Args:
        url: URL of the queue.
        facts: Its attributes.
        dead_letter_url: The configured dead-letter queue, if any.
        needs: What it needs.
    """
    limit, name = facts.max_receive_count, f"{needs.table}.max-receive-count"
    if facts.dead_letter_arn is None and not dead_letter_url:
        yield Finding(
            Level.PROBLEM,
            f"{needs.table}.redrive-policy",
            f"queue {url} has no dead-letter queue",
            needs.without,
            f"give it a RedrivePolicy, or set {needs.table}.dead_letter_url",
        )
    elif limit is not None and limit < needs.least_receives:
        yield Finding(
            Level.WARNING,
            name,
            f"maxReceiveCount of queue {url} is {limit}",
            needs.too_few,
            f"raise it to {needs.least_receives} or more, such as {needs.such_as}",
        )
    elif limit is not None:
        yield Finding(Level.OK, name, f"maxReceiveCount {limit} is large enough")


def judge_queue(url: str, attributes: Mapping[str, str], settings: Settings) -> list[Finding]:
    """Return the findings about the queue's own attributes, compared with the settings.

    Args:
        url: URL of the queue.
        attributes: Attributes, as GetQueueAttributes returns them.
        settings: The whole configuration.
    """
    facts = facts_of(attributes)
    return [
        _fifo(url, facts),
        _visibility(settings),
        _polling(settings),
        *_redrive(url, facts, settings),
        _retention("queue.retention", url, attributes),
        *_fifo_attributes(url, facts, attributes),
        *judge_encryption("queue.encryption", url, attributes),
    ]


def judge_dead_letters(url: str, attributes: Mapping[str, str]) -> list[Finding]:
    """Return the findings about the dead-letter queue's attributes."""
    name = "dead-letters.fifo"
    if not facts_of(attributes).fifo:
        fifo = Finding(
            Level.PROBLEM,
            name,
            f"dead-letter queue {url} is not FIFO",
            "pushes sent back from it must keep their group and order",
            "make it a queue whose name ends in .fifo",
        )
    else:
        fifo = Finding(Level.OK, name, f"dead-letter queue {url} is FIFO")
    return [fifo, _retention("dead-letters.retention", url, attributes)]


def judge_room(
    url: str, attributes: Mapping[str, str], dead_url: str, dead_attributes: Mapping[str, str]
) -> Finding:
    """Judge whether the dead-letter queue takes every message that the queue takes.

    Args:
        url: URL of the queue.
        attributes: Its attributes, as GetQueueAttributes returns them.
        dead_url: URL of the dead-letter queue.
        dead_attributes: Its attributes.
    """
    most, room = largest_message(attributes), largest_message(dead_attributes)
    name = "dead-letters.message-size"
    if room >= most:
        return Finding(Level.OK, name, f"dead-letter queue {dead_url} takes messages as long")
    return Finding(
        Level.WARNING,
        name,
        f"dead-letter queue {dead_url} takes messages of {room} bytes, queue {url} of {most}",
        "a message that is longer and cannot be built blocks its group until it expires",
        f"set MaximumMessageSize of the dead-letter queue to {most} or more",
    )


def _fifo(url: str, facts: QueueFacts) -> Finding:
    if facts.fifo:
        return Finding(Level.OK, "queue.fifo", f"queue {url} is FIFO")
    return Finding(
        Level.PROBLEM,
        "queue.fifo",
        f"queue {url} is not FIFO",
        "builds of a repository start in the queue's order, and it has none",
        "make a queue whose name ends in .fifo, and let the rule deliver to it",
    )


def _visibility(settings: Settings) -> Finding:
    seconds = settings.queue.visibility_timeout_seconds
    name = "queue.visibility-timeout"
    if seconds < _TOKEN_LIFETIME_SECONDS:
        return Finding(
            Level.OK,
            name,
            f"queue.visibility_timeout_seconds {seconds} is below the {_TOKEN_LIFETIME_SECONDS} s "
            "that CodeBuild remembers a start",
        )
    return Finding(
        Level.WARNING,
        name,
        f"queue.visibility_timeout_seconds is {seconds}",
        f"CodeBuild forgets an idempotency token after {_TOKEN_LIFETIME_SECONDS} s; a push "
        "redelivered later than that is looked up by its recent builds instead",
        "set it well below 300, such as 120; leases are renewed while work goes on",
    )


def _polling(settings: Settings) -> Finding:
    wait, patience = settings.queue.wait_seconds, settings.aws.read_timeout_seconds
    name = "queue.long-poll"
    if patience >= wait + _POLL_RESERVE_SECONDS:
        return Finding(Level.OK, name, f"long polls of {wait} s end before the client gives up")
    return Finding(
        Level.PROBLEM,
        name,
        f"aws.read_timeout_seconds {patience:g} leaves a long poll of {wait} s no time to answer",
        "a poll that is cut off may take messages along until their visibility timeout",
        f"set aws.read_timeout_seconds to {wait + _POLL_RESERVE_SECONDS} or more",
    )


def _redrive(url: str, facts: QueueFacts, settings: Settings) -> Iterator[Finding]:
    if facts.dead_letter_arn is None and not settings.queue.dead_letter_url:
        yield Finding(
            Level.PROBLEM,
            "queue.redrive-policy",
            f"queue {url} has no dead-letter queue",
            "a push that cannot be built has to go somewhere with its reason",
            "give it a RedrivePolicy, or set queue.dead_letter_url",
        )
    enough = settings.lanes.max_attempts + settings.queue.batch
    limit = facts.max_receive_count
    name = "queue.max-receive-count"
    if limit is None and facts.dead_letter_arn is None and settings.queue.dead_letter_url:
        yield Finding(
            Level.NOTE,
            name,
            f"queue {url} has no RedrivePolicy",
            "the service dead-letters by itself; only a push that ends its process each time, "
            "before its try is noted, would come again until its retention ends",
            "give it a RedrivePolicy as a last net, such as maxReceiveCount 50",
        )
    elif limit is not None and limit < enough:
        yield Finding(
            Level.WARNING,
            name,
            f"maxReceiveCount of queue {url} is {limit}",
            "every message of a batch spends a receive, tried or not, so the service takes one "
            "message per receive and prepares no two pushes of a repository at once",
            f"raise it to {enough} or more; the service dead-letters by itself",
        )
    elif limit is not None:
        yield Finding(Level.OK, name, f"maxReceiveCount {limit} is large enough")


def _retention(name: str, url: str, attributes: Mapping[str, str]) -> Finding:
    days = retention_days(attributes)
    if days >= _LEAST_RETENTION_DAYS:
        return Finding(Level.OK, name, f"queue {url} keeps a message for {days} days")
    hours = int(attributes["MessageRetentionPeriod"]) // 3600
    return Finding(
        Level.WARNING,
        name,
        f"queue {url} keeps a message for {hours} hours",
        "SQS silently deletes what waits longer: such a push is never built",
        "set its MessageRetentionPeriod to 1209600, which is 14 days and the most",
    )


def _fifo_attributes(
    url: str, facts: QueueFacts, attributes: Mapping[str, str]
) -> Iterator[Finding]:
    if not facts.fifo:
        return
    name = "queue.content-based-deduplication"
    if attributes.get("ContentBasedDeduplication") == "true":
        yield Finding(Level.OK, name, f"queue {url} deduplicates by content")
    else:
        yield Finding(
            Level.WARNING,
            name,
            f"ContentBasedDeduplication of queue {url} is off",
            "a classic EventBridge rule names no deduplication id, so its events are refused; a "
            "pipe that names one may deliver",
            "set ContentBasedDeduplication to true",
        )
    scope = attributes.get("DeduplicationScope", "queue")
    limit = attributes.get("FifoThroughputLimit", "perQueue")
    name = "queue.high-throughput"
    if (scope, limit) == ("messageGroup", "perMessageGroupId"):
        yield Finding(Level.OK, name, f"queue {url} has its limits by message group")
    else:
        yield Finding(
            Level.NOTE,
            name,
            f"queue {url} has DeduplicationScope {scope} and FifoThroughputLimit {limit}",
            "all repositories together share 300 calls of each kind a second",
            "set them to messageGroup and perMessageGroupId, which costs nothing",
        )


def judge_encryption(name: str, url: str, attributes: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a finding called `name` if EventBridge cannot use the key of a queue."""
    key = attributes.get("KmsMasterKeyId", "")
    if key == _AWS_MANAGED_KEY:
        yield Finding(
            Level.PROBLEM,
            name,
            f"queue {url} is encrypted with {key}",
            "EventBridge cannot use the key that AWS manages for SQS, so no event arrives",
            "use SqsManagedSseEnabled, or a key of your own whose policy admits "
            "events.amazonaws.com (docs/security.md)",
        )
