"""What users see of a run does not change by accident: keys, records, log lines, metrics, spans.

One run for all tests. Each compares with a file of `tests/fixtures/interface`; `make pin`
(PIN_INTERFACE=1) writes them again after a change that is meant, which belongs into changelog.d/.
"""

import re
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from support import interface_views as views
from support.interface import compare
from support.interface_run import Run, run_once

pytestmark = pytest.mark.timeout(400)
_OBSERVABILITY = Path(__file__).parents[2] / "docs" / "observability.md"


@pytest.fixture(scope="module")
def run(clean_environment: None) -> Run:
    """What was seen of the service from outside."""
    return anyio.run(run_once)


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("log-lines.txt", views.log_of),
        ("keys.txt", views.keys_of),
        ("records.json", views.records_of),
        ("builds.json", views.builds_of),
        ("dead-letters.json", views.dead_letters_of),
        ("pages.json", views.pages_of),
        ("metrics.txt", views.metrics_of),
        ("embedded-metrics.json", views.embedded_of),
        ("spans.json", views.spans_of),
        ("outputs.json", views.outputs_of),
        ("status.json", views.status_of),
        ("cache.txt", views.cache_of),
    ],
)
def test_what_is_seen_of_a_run(run: Run, name: str, view: Callable[[Run], str]) -> None:
    """As it was."""
    compare(name, view(run))


def test_the_events_that_are_documented() -> None:
    """Names, levels and fields of all events, also of those that no run has.

    Another test compares the documentation with the code.
    """
    text = _OBSERVABILITY.read_text("utf-8")
    rows = re.findall(r"^\| `([a-z.-]+)` \| ([\w ]+) \| (yes|) ?\| (.*?) ?\| ", text, re.MULTILINE)
    assert len(rows) > 40
    told = []
    for event, level, push, fields in sorted(rows):
        names = " ".join(re.findall(r"`(\w+)`", fields))
        told.append(f"{event} ({level}{', of a push' if push else ''}) {names}".rstrip())
    compare("log-events.txt", "\n".join(told))
