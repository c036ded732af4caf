"""Interface of a run as users see it: keys, records, log lines, metrics, spans. Pinned.

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
    """Run the service once, and return all that was seen of it from outside."""
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
def test_a_run_looks_as_pinned(run: Run, name: str, view: Callable[[Run], str]) -> None:
    """Each view equals its file."""
    compare(name, view(run))


def test_documented_events_do_not_change() -> None:
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
