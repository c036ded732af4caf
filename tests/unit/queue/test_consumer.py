"""Number of messages that the consumer takes in one receive."""

import pytest
from support.listening import hearing

from asyncbuild.config import LaneSettings, QueueSettings
from asyncbuild.queue.consumer import messages_per_receive
from asyncbuild.queue.lane.queue_facts import QueueFacts


def _facts(limit: int | None) -> QueueFacts:
    return QueueFacts(
        fifo=True, visibility_timeout_seconds=30, max_receive_count=limit, dead_letter_arn=None
    )


@pytest.mark.parametrize(
    ("lookahead", "batch", "taken"),
    [(1, 10, 10), (3, 10, 9), (4, 10, 8), (8, 10, 8), (10, 10, 10), (16, 10, 10), (4, 3, 3)],
)
def test_a_receive_takes_whole_rounds_of_the_lookahead(
    lookahead: int, batch: int, taken: int
) -> None:
    """A partial round would leave consumers without work."""
    settings, lanes = QueueSettings(batch=batch), LaneSettings(lookahead=lookahead)
    assert messages_per_receive(settings, lanes, _facts(None)) == taken


@pytest.mark.parametrize(("limit", "taken"), [(2, 1), (9, 1), (10, 8), (None, 8)])
def test_a_receive_takes_one_message_if_redrive_allows_no_more(
    limit: int | None, taken: int
) -> None:
    """A batch and the attempts must fit into maxReceiveCount.

    Otherwise a warning is logged once.
    """
    with hearing() as lines:
        found = messages_per_receive(QueueSettings(), LaneSettings(), _facts(limit))
    assert found == taken
    assert [line["max_receive_count"] for line in lines] == ([limit] if taken == 1 else [])
