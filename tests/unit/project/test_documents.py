"""Documents for readers: links, pictures and headings that they name exist."""

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_PAGES = [*_ROOT.glob("*.md"), *_ROOT.glob("docs/*.md"), *_ROOT.glob(".github/**/*.md")]
_TARGET = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_PICTURE_BYTES_MOST = 50_000


def _targets(page: Path) -> list[str]:
    """Targets of links and pictures of a page that lead to files or headings of the project."""
    found = [link or picture for link, picture in _TARGET.findall(page.read_text("utf-8"))]
    return [each for each in found if ":" not in each]


def _anchors(page: Path) -> set[str]:
    """Anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_links_and_pictures_lead_to_files_and_headings(page: Path) -> None:
    """A renamed file or heading is found before a reader follows its link."""
    for target in _targets(page):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file), target


def test_pictures_are_small() -> None:
    """A screenshot that was not reduced in size slows down everyone who opens the page."""
    assert {
        path.name: path.stat().st_size
        for path in (_ROOT / "docs" / "img").glob("*.png")
        if path.stat().st_size > _PICTURE_BYTES_MOST
    } == {}


def test_the_contributors_page_names_what_exists() -> None:
    """Files, folders and targets of make that CONTRIBUTING.md names in backticks or commands."""
    text = (_ROOT / "CONTRIBUTING.md").read_text("utf-8")
    paths = re.findall(r"`([\w./-]+(?:/|\.(?:py|toml|txt|md)))`", text)
    assert len(paths) > 30
    places = (_ROOT, _ROOT / "asyncbuild", _ROOT / "asyncbuild" / "checks")
    assert [each for each in paths if not any((place / each).exists() for place in places)] == []
    makefile = (_ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"(?:`|^    )make ([a-z-]+)", text, re.MULTILINE))
    assert len(targets) > 10
    assert [each for each in targets if not re.search(rf"^{each}:", makefile, re.MULTILINE)] == []


def test_the_glossary_is_sorted_and_explains_each_word_once() -> None:
    """A word is found by its letters, and has a meaning."""
    text = (_ROOT / "docs" / "glossary.md").read_text("utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    words = [row[0].removeprefix("| ") for row in rows]
    assert len(words) > 20
    assert words == sorted(set(words))
    assert all(len(row) == 3 and row[1] for row in rows)
