"""Tree that Sphinx reads: pages of the repository, generated ones, and files that they name.

A page keeps its path, so that links between pages work in the site as they do on a forge.
"""

import os
import re
import shutil
from collections.abc import Container
from pathlib import Path
from typing import Final, NamedTuple

from manual.command_page import commands_page, exit_codes_page
from manual.message_page import messages_page
from manual.schema_pages import schemas_page
from manual.setting_pages import rules_page, settings_page
from manual.telling_pages import events_page, metrics_page

REFERENCE: Final = {
    "settings": settings_page,
    "rules": rules_page,
    "commands": commands_page,
    "exit-codes": exit_codes_page,
    "messages": messages_page,
    "events": events_page,
    "metrics": metrics_page,
    "schemas": schemas_page,
}
"""Each generated page by its name, made of the files of the checkout."""

_PAGES: Final = ("*.md", "docs/*.md", "changelog.d/README.md")
_LINK: Final = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_PICTURES: Final = frozenset({".png", ".svg"})
_OF_HTML: Final = re.compile(r"(?:src|srcset)=\"([^\"]+)\"")


def stage(root: Path, source: Path, *, files_url: str = "") -> None:
    """Write the tree that Sphinx reads.

    Args:
        root: The checkout.
        source: Where the tree is made; what is there is deleted.
        files_url: URL below which the repository's files are shown, such as
            `https://host/owner/asyncbuild/blob/main`. Without it, files that pages name are copied
            into the site.
    """
    shutil.rmtree(source, ignore_errors=True)
    texts = {
        path.relative_to(root).as_posix(): path.read_text("utf-8")
        for pattern in _PAGES
        for path in sorted(root.glob(pattern))
    }
    texts["index.md"] = (root / "docs" / "site" / "index.md").read_text("utf-8")
    texts |= {f"reference/{name}.md": page(root) for name, page in REFERENCE.items()}
    for name, text in texts.items():
        _write(source / name, _with_files(root, source, _Page(name, text), texts, files_url))
        for target in _OF_HTML.findall(text):
            # Raw HTML is not read by Sphinx: its pictures go to where it looks for them, too.
            _copy(root, _resolved(root, name, target), source)
            _copy(root, _resolved(root, name, target), source / "extra")
    own = root / "docs" / "site"
    shutil.copyfile(own / "conf.py", source / "conf.py")
    (source / "_static").mkdir()
    shutil.copyfile(own / "site.css", source / "_static" / "site.css")


class _Page(NamedTuple):
    """A page by its path in the checkout."""

    name: str
    text: str


def _with_files(
    root: Path, source: Path, page: _Page, pages: Container[str], files_url: str
) -> str:
    """Return the text with links to files of the checkout that are no pages; copy these files."""

    def replaced(link: re.Match[str]) -> str:
        path = _resolved(root, page.name, link[2]) if ":" not in link[2] else None
        if path is None or not path.is_file():
            return link[0]
        name = path.relative_to(root).as_posix()
        if files_url and path.suffix not in _PICTURES:
            return link[0] if name in pages else f"{link[1]}{files_url}/{name}{link[3]}"
        if name not in pages:
            _copy(root, path, source)
        # MyST takes a link to Markdown for one to a page; `path:` makes it one to the file.
        is_text = path.suffix == ".md" and name not in pages
        return f"{link[1]}path:{link[2]}{link[3]}" if is_text else link[0]

    return _LINK.sub(replaced, page.text)


def _resolved(root: Path, page: str, target: str) -> Path:
    return Path(os.path.normpath(root / Path(page).parent / target))


def _copy(root: Path, path: Path, to: Path) -> None:
    place = to / path.relative_to(root)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, place)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
