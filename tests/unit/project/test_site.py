"""Site: generated pages are complete, every page is in the navigation, dead links are found.

`make docs` builds the site with Sphinx, which is not installed here: what these tests hold is what
goes into it, and the reader of what comes out.
"""

import re
from pathlib import Path

import pytest
from manual.built_links import faults_of
from manual.example_comments import read_comments
from manual.markdown import code, plain, table
from manual.raised_messages import all_raised
from manual.setting_schema import settings_with_defaults
from manual.staging import REFERENCE, stage

from asyncbuild.commands.cli import cli
from asyncbuild.domain.events.catalogue import EVENTS

_ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree that Sphinx reads."""
    source = tmp_path_factory.mktemp("site") / "source"
    stage(_ROOT, source)
    return source


def _reference(source: Path, name: str) -> str:
    return (source / "reference" / f"{name}.md").read_text("utf-8")


def test_every_page_is_in_the_navigation(source: Path) -> None:
    """A page that no list names would be found by a search alone; the build would fail, too."""
    index = (source / "index.md").read_text("utf-8")
    toctrees = "\n".join(re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL))
    listed = re.findall(r"^(?:.* <)?([\w./-]+?)>?$", toctrees, re.MULTILINE)
    pages = {path.relative_to(source).with_suffix("").as_posix() for path in source.rglob("*.md")}
    copied = {"index", "bench/results/delta", "bench/results/git"}
    assert set(listed) == pages - copied
    assert len(listed) == len(set(listed))


def test_every_setting_is_in_the_reference_with_its_comment(source: Path) -> None:
    """Name, default and what config.example.toml says, of each."""
    text = _reference(source, "settings") + _reference(source, "rules")
    comments = read_comments((_ROOT / "config.example.toml").read_text("utf-8")).settings
    for name, schema in settings_with_defaults().items():
        own = name.rpartition(".")[2]
        if name == "hosts[].commit_status":
            assert "## `[hosts.commit_status]`" in text
            continue
        rows = re.findall(rf"^\| `{own}` \| (.*)$", text, re.MULTILINE)
        said = plain(comments.get(name, ""))
        assert any(said.partition("docs/")[0] in row for row in rows), name
        assert rows, name
        assert "required" in rows[0] or not schema.get("required")
    assert "| `wait_seconds` | `20` | seconds; at least 0, at most 20 | long poll; 20 is" in text


def test_every_command_event_and_schema_is_in_the_reference(source: Path) -> None:
    """None is missing from the page that is generated of them."""
    commands = _reference(source, "commands")
    assert [name for name in cli.commands if f"## `asyncbuild {name}`\n" not in commands] == []
    assert "## `asyncbuild dead-letters send-back`\n" in commands
    events = _reference(source, "events")
    assert [name for name in EVENTS if f"| `{name}` | " not in events] == []
    schemas = _reference(source, "schemas")
    assert "urn:asyncbuild:push-message:1" in schemas
    assert "outcome" in schemas


def test_metrics_are_those_of_the_documentation(source: Path) -> None:
    """A test compares the table of docs/observability.md with the code; here are the same names."""
    pattern = re.compile(r"^\| `(asyncbuild\w*?)(?:_info)?` \|", re.MULTILINE)
    documented = pattern.findall((_ROOT / "docs" / "observability.md").read_text("utf-8"))
    generated = pattern.findall(_reference(source, "metrics"))
    assert len(generated) > 40
    assert set(generated) == set(documented)


def test_messages_have_the_remedies_of_the_code(source: Path) -> None:
    """Every error that the code raises with a remedy is on the page."""
    messages = _reference(source, "messages")
    raised = all_raised(_ROOT / "asyncbuild")
    told = [each for each in raised if each.remedy and re.search(r"\w", each.reason)]
    assert len(told) > 100
    rows = {(each.reason, plain(each.remedy).replace("|", "\\|")) for each in told}
    assert [row for row in rows if row[1] not in messages] == []
    assert "## The usual ones" in messages


def test_a_file_beside_the_pages_is_part_of_the_site(source: Path) -> None:
    """Without a URL of the repository, links to its files lead to copies."""
    assert (source / "deploy" / "webhook.yaml").read_bytes() == (
        _ROOT / "deploy" / "webhook.yaml"
    ).read_bytes()
    assert "](../deploy/webhook.yaml)" in (source / "docs" / "hosts.md").read_text("utf-8")
    assert (source / "extra" / "docs" / "img" / "page.png").exists()


def test_a_file_beside_the_pages_is_a_page_of_the_repository(tmp_path: Path) -> None:
    """With a URL, links to files lead there; links between pages stay what they are."""
    stage(_ROOT, tmp_path / "source", files_url="https://host.example/blob/main")
    hosts = (tmp_path / "source" / "docs" / "hosts.md").read_text("utf-8")
    assert "](https://host.example/blob/main/deploy/webhook.yaml)" in hosts
    assert "](deploy.md" in hosts
    assert not (tmp_path / "source" / "deploy").exists()


def test_pages_are_staged_as_they_are(source: Path) -> None:
    """What the site shows is what a forge shows, except for links to files."""
    for name in ("docs/rules.md", "README.md", "docs/operations.md"):
        assert (source / name).read_bytes() == (_ROOT / name).read_bytes()
    assert set(REFERENCE) == {path.stem for path in (source / "reference").iterdir()}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="b.html#there">', ""),
        ('<a href="https://elsewhere.example/x">', ""),
        ('<a href="c.html">', "c.html leads nowhere"),
        ('<a href="b.html#gone">', "b.html#gone leads to no heading"),
        ('<a href="#gone">', "#gone leads to no heading"),
        ('<img src="x.png">', "x.png leads nowhere"),
        ('<script src="https://cdn.example/x.js">', "is loaded from another host"),
        ('<link href="//fonts.example/x.css">', "is loaded from another host"),
    ],
)
def test_a_dead_link_of_the_built_site_is_found(tmp_path: Path, body: str, fault: str) -> None:
    """A link, a heading, a picture or a file of another host."""
    (tmp_path / "a.html").write_text(body)
    (tmp_path / "b.html").write_text('<h1 id="there">')
    faults = faults_of(tmp_path)
    assert [fault in each for each in faults] == [True] * bool(fault)


def test_a_style_sheet_that_loads_a_font_from_elsewhere_is_found(tmp_path: Path) -> None:
    """A theme of another version may do so."""
    (tmp_path / "own.css").write_text("@font-face { src: url(font.woff2) }")
    assert faults_of(tmp_path) == []
    (tmp_path / "other.css").write_text('@import "https://fonts.example/x.css";')
    assert faults_of(tmp_path) == ["other.css: loads from another host"]


def test_cells_keep_every_character() -> None:
    """Bars, brackets and backticks of a message do not break the table around them."""
    assert table(["a"], [["x|y\nz"]]) == "| a |\n| --- |\n| x\\|y z |\n"
    assert code("a`b") == "`` a`b ``"
    assert plain("*a* [b] `c_d` e_f") == r"\*a\* \[b\] `c_d` e\_f"
