"""Reader of the built site: each link leads somewhere, and nothing is loaded from elsewhere."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

_LOADED: Final = {
    "script": "src",
    "img": "src",
    "link": "href",
    "iframe": "src",
    "source": "srcset",
}
_OF_STYLES: Final = re.compile(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//")


class _Page(HTMLParser):
    """Anchors, links and loaded files of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what matters of a start tag."""
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.add(values["href"])
        if tag in _LOADED and _LOADED[tag] in values:
            self.loaded.add(values[_LOADED[tag]])


def faults_of(site: Path) -> list[str]:
    """Return what is wrong with a built site, as sentences; empty if nothing is."""
    pages = {path.resolve(): _read(path) for path in sorted(site.rglob("*.html"))}
    faults = [
        f"{path.relative_to(site.resolve())}: {fault}"
        for path, page in pages.items()
        for fault in _iter_faults(path, page, pages)
    ]
    styles = (path for path in sorted(site.rglob("*.css")) if _OF_STYLES.search(path.read_text()))
    return [*faults, *(f"{path.relative_to(site)}: loads from another host" for path in styles)]


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text("utf-8"))
    return page


def _iter_faults(path: Path, page: _Page, pages: dict[Path, _Page]) -> Iterator[str]:
    for target in sorted(page.loaded):
        if urlsplit(target).netloc:
            yield f"{target} is loaded from another host"
    for target in sorted(page.links | page.loaded):
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            continue
        file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not file.is_file():
            yield f"{target} leads nowhere"
        elif parts.fragment and file in pages and not _has(pages[file], parts.fragment):
            yield f"{target} leads to no heading"


def _has(page: _Page, fragment: str) -> bool:
    return unquote(fragment) in page.anchors
