"""The changelog and its fragments: legal names, and sections that `make changelog` assembles."""

import re
import shutil
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

import pytest

from asyncbuild import __version__

_ROOT = Path(__file__).parents[3]
_FRAGMENTS = _ROOT / "changelog.d"
_CHANGELOG = (_ROOT / "CHANGELOG.md").read_text("utf-8")
_TYPES = tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["type"]
_KINDS = {each["directory"]: each["name"] for each in _TYPES}
_NAME = re.compile(rf"[a-z0-9]+(-[a-z0-9]+)*\.({'|'.join(_KINDS)})\.md")
_NO_FRAGMENTS = {"README.md", "template.md.jinja"}
_WIDTH = 116


def _faults(name: str, text: str) -> list[str]:
    """Faults of one fragment; none if `make changelog` makes one good line of it."""
    checks = {
        "its name is not NAME.KIND.md": _NAME.fullmatch(name),
        "it does not end with a sentence": text.endswith(".\n"),
        "it begins with a bullet, a heading or a blank": re.match(r"[^-*#\s]", text),
        "it has an empty line": "\n\n" not in text,
        "a line is too long": all(len(line) <= _WIDTH for line in text.splitlines()),
    }
    return [fault for fault, passed in checks.items() if not passed]


def test_every_fragment_is_legal() -> None:
    """A file with another name is left out of the changelog, or has it fail at a release."""
    files = [path for path in _FRAGMENTS.iterdir() if path.name not in _NO_FRAGMENTS]
    assert {path.name: _faults(path.name, path.read_text("utf-8")) for path in files} == {
        path.name: [] for path in files
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("redirects.md", "Done.\n"),
        ("redirects.feature.md", "Done.\n"),
        ("Redirects.added.md", "Done.\n"),
        ("redirects.added.txt", "Done.\n"),
        ("redirects.added.1.md", "Done.\n"),
        ("redirects.added.md", "Done\n"),
        ("redirects.added.md", "- Done.\n"),
        ("redirects.added.md", "One.\n\nTwo.\n"),
        ("redirects.added.md", "x" * _WIDTH + ".\n"),
        ("redirects.added.md", ""),
    ],
)
def test_faults_of_a_fragment_are_found(name: str, text: str) -> None:
    """Each rule of changelog.d/README.md is checked."""
    assert _faults(name, text)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git working tree with the changelog and two committed fragments of each kind."""
    for name in ("Makefile", "pyproject.toml", "CHANGELOG.md"):
        shutil.copy(_ROOT / name, tmp_path)
    fragments = tmp_path / "changelog.d"
    fragments.mkdir()
    for name in _NO_FRAGMENTS:
        shutil.copy(_FRAGMENTS / name, fragments)
    for kind in _KINDS:
        for name in ("first", "second"):
            text = f"The {name} of `{kind}`,\nin two lines.\n"
            (fragments / f"the-{name}.{kind}.md").write_text(text)
    identity = ("-c", "user.name=Mary", "-c", "user.email=mary@acme.example")
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "Begin"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def _make(checkout: Path, *arguments: str) -> str:
    """Standard output of `make changelog`, with the tools of this Python's environment."""
    tools = f"BIN={Path(sys.executable).parent}"
    command = ["make", "-s", "-o", "install", "changelog", tools, *arguments]
    return subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True).stdout


def _section(title: str) -> str:
    """The section that the fragments of `checkout` make."""
    bullets = "".join(
        f"\n### {heading}\n\n"
        f"- The first of `{kind}`,\n  in two lines.\n"
        f"- The second of `{kind}`,\n  in two lines.\n"
        for kind, heading in _KINDS.items()
    )
    return f"## {title}\n{bullets}"


def test_a_release_assembles_the_fragments(checkout: Path) -> None:
    """One dated section before the older ones, which stay as they are; no fragment is left."""
    _make(checkout, "VERSION=98.7.6")
    before, older = _CHANGELOG.split(f"## {__version__} ", 1)
    title = f"98.7.6 ({date.today().isoformat()})"  # noqa: DTZ011 - towncrier's day, too
    written = (checkout / "CHANGELOG.md").read_text("utf-8")
    assert written == f"{before}{_section(title)}\n## {__version__} {older}"
    assert {path.name for path in (checkout / "changelog.d").iterdir()} == _NO_FRAGMENTS


def test_without_a_version_nothing_is_written(checkout: Path) -> None:
    """The section is shown."""
    shown = _make(checkout)
    assert _section("next release").split("\n", 1)[1] in shown
    assert (checkout / "CHANGELOG.md").read_text("utf-8") == _CHANGELOG
    assert len(list((checkout / "changelog.d").iterdir())) == 2 * len(_KINDS) + len(_NO_FRAGMENTS)


def test_releases_are_dated_and_the_newest_is_this_version() -> None:
    """Lines belong to a release, or into a fragment."""
    titles = re.findall(r"^## (.*)$", _CHANGELOG, re.MULTILINE)
    found = [re.fullmatch(r"(\d+\.\d+\.\d+) \((\d{4}-\d\d-\d\d)\)", title) for title in titles]
    assert all(found), titles
    releases = [(match[1], date.fromisoformat(match[2])) for match in found if match]
    assert releases[0][0] == __version__
    days = [day for _, day in releases]
    assert days == sorted(days, reverse=True)
