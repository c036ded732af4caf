"""Operators' documents: links lead somewhere, error messages and queries are those of the code."""

import re
from pathlib import Path

import pytest
from manual.raised_messages import all_raised

from asyncbuild.domain.errors import StageError
from asyncbuild.domain.events.catalogue import EVENTS, PUSH_FIELDS

_ROOT = Path(__file__).parents[3]
_TEXT = (_ROOT / "docs" / "operations.md").read_text("utf-8")


def _listed() -> list[str]:
    table = _TEXT.split("<!-- messages -->")[1].split("<!-- /messages -->")[0]
    return re.findall(r"^\| `(.+?)` \| ", table, re.MULTILINE)


def test_every_listed_message_is_in_the_code() -> None:
    """A message that was reworded has to be reworded in the page, too."""
    assert issubclass(StageError, Exception)
    known = [each.reason for each in all_raised(_ROOT / "asyncbuild")]
    for message in _listed():
        assert any(reason.startswith(message.rstrip("…: ")) for reason in known), message


def test_the_index_is_alphabetical() -> None:
    """Each message once, to be found by its beginning."""
    listed = _listed()
    assert len(listed) == len(set(listed)) > 20
    assert listed == sorted(listed, key=lambda each: (each[0] != "…", each.lower()))


def test_links_lead_to_headings() -> None:
    """Links lead to headings of the page, and to files that exist."""
    headings = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^##+ (.*)$", _TEXT, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", _TEXT):
        page, _, section = target.partition("#")
        assert section in headings if not page else (_ROOT / "docs" / page).exists(), target


_QUERIES = re.findall(
    r"^(\S[^\n]*[^:|\n])\n\n```\n((?:fields|filter).*?)```",
    (_ROOT / "docs" / "observability.md").read_text("utf-8"),
    re.MULTILINE | re.DOTALL,
)
# Words of CloudWatch Logs Insights.
_INSIGHTS = frozenset(
    re.findall(
        r"\w+",
        "as and asc avg bin by count desc fields filter in latest like limit max or pct sort stats",
    )
)


@pytest.mark.parametrize(("title", "query"), _QUERIES, ids=[title for title, _ in _QUERIES])
def test_a_query_selects_fields_of_its_events(title: str, query: str) -> None:
    """Each field belongs to each event that the filter selects, or is a name made by the query."""
    assert title
    bare = re.sub(r'"[^"]*"|/[^/\n]*/', " ", query)
    words = set(re.findall(r"(?<![\w@])[a-z]\w*|MiB", bare)) - _INSIGHTS
    made = set(re.findall(r"\bas (\w+)", query))
    about = [
        {*EVENTS[name].field_names, *(PUSH_FIELDS if EVENTS[name].of_push else ())}
        for name in EVENTS
        if _is_taken(name, query)
    ]
    assert about, title
    for word in words - made - {"event", "m", "h", "5m", "1h"}:
        assert all(word in fields for fields in about) or word in query.partition("stats")[0], (
            title,
            word,
        )
    sorted_by = re.findall(r"\| sort (@?\w+)", query)
    assert set(sorted_by) <= made | {"@timestamp"}, title


def _is_taken(name: str, query: str) -> bool:
    """Return whether the filter selects an event; without one on events, all events of pushes."""
    if found := re.search(r"\bevent = \"([^\"]+)\"", query):
        return name == found[1]
    if found := re.search(r"\bevent in \[([^\]]+)\]", query):
        return name in re.findall(r'"([^"]+)"', found[1])
    if found := re.search(r"\bevent like /(.+?)/", query):
        return re.search(found[1], name) is not None
    return name in {"push.built", "push.uploaded"}


def test_titles_and_queries_agree() -> None:
    """The query for slow fetches gives durations of fetches, by repository."""
    slow = next(
        query for title, query in _QUERIES if title.startswith("Which repositories are slow")
    )
    assert 'event = "push.fetch.finished"' in slow
    assert "by repository" in slow
    assert len(_QUERIES) >= 10
