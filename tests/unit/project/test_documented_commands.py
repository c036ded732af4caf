"""Commands, settings and parameters that the documents name exist.

What runs is the real parser of the command line, the real validation of a configuration file and
the real templates. Most commands need an account; those of the first build that need none are run.
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from manual.setting_schema import settings_with_defaults
from support.documented import CommandLine, iter_blocks, iter_command_lines, spellings
from support.interface import run_all

from asyncbuild.commands.cli import cli
from asyncbuild.config import load
from asyncbuild.domain.events.catalogue import EVENTS

_ROOT = Path(__file__).parents[3]
_PAGES = [*sorted(_ROOT.glob("docs/*.md")), *sorted(_ROOT.glob("*.md"))]
_LINES = [line for page in _PAGES for line in iter_command_lines(page, _ROOT)]
_TOML = [
    (page.name, block) for page in _PAGES for block in iter_blocks(page.read_text("utf-8"), "toml")
]
# Arguments may be left out in the middle of a sentence, and in a line that stands for several.
_LEFT_OUT = (click.MissingParameter, click.BadOptionUsage, click.exceptions.NoArgsIsHelpError)
# Words of documents in place of numbers.
_NUMBERS = {"N": "1", "MINUTES": "30"}


def _parse(arguments: list[str]) -> None:
    """Parse a command line as the program does, without running it."""
    command: click.Command = cli
    context = None
    rest = [_NUMBERS.get(each, each) for each in arguments]
    while True:
        name = command.name if context else "asyncbuild"
        context = command.make_context(name, rest, parent=context)
        if not isinstance(command, click.Group):
            return
        _, below, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert below
        command = below


@pytest.mark.parametrize("line", _LINES, ids=lambda line: f"{line.page}: {line.text}"[:100])
def test_a_documented_command_line_is_understood(line: CommandLine) -> None:
    """Every command, option and argument of it exists, in each of its spellings."""
    for arguments in spellings(line.text):
        try:
            _parse(arguments)
        except _LEFT_OUT:
            assert not line.is_whole, arguments
        except click.exceptions.Exit:
            assert {"--help", "--version"} & set(arguments)


def test_documented_commands_are_found() -> None:
    """The reader of documents finds them in blocks, in sentences and after continued lines."""
    assert len(_LINES) > 90
    assert len({line.page for line in _LINES if line.is_whole}) > 8
    with pytest.raises(click.NoSuchOption):
        _parse(["build", "web", "--wayt"])
    with pytest.raises(click.UsageError):
        _parse(["biuld", "web"])
    assert list(spellings("asyncbuild report [--again ID|--all] --config c.toml  # why")) == [
        ["report", "--config", "c.toml"],
        ["report", "--again", "ID", "--config", "c.toml"],
        ["report", "--all", "--config", "c.toml"],
    ]


@pytest.mark.parametrize(("page", "block"), _TOML)
def test_a_documented_configuration_is_valid(page: str, block: str, tmp_path: Path) -> None:
    """Every name is a setting, and every value is one that it may have."""
    assert page
    parts = tomllib.loads(block)
    host: Any = parts.get("hosts")
    if isinstance(host, dict):  # a table below an entry that the text speaks of
        block = f'[[hosts]]\nhost = "github.com"\nkind = "github"\nsignature = "off"\n{block}'
    path = tmp_path / "config.toml"
    path.write_text(block, "utf-8")
    load(path)


def test_documented_names_of_settings_exist() -> None:
    """`section.name` in a sentence is a setting, unless it is an event, a page or a class."""
    known = {re.sub(r"\[\]", "", name) for name in settings_with_defaults()}
    others = {*EVENTS, "git.filter", "status.json"}
    sections = {name.partition(".")[0] for name in known if "." in name}
    pattern = re.compile(rf"`((?:{'|'.join(sorted(sections))})\.[a-z_]+)(?=[ `=])")
    named = {(page.name, name) for page in _PAGES for name in pattern.findall(page.read_text())}
    assert len(named) > 70
    assert {each for each in named if each[1] not in known | others} == set()


class _Template(yaml.SafeLoader):
    """A reader of CloudFormation's YAML that takes its functions as they are."""


_Template.add_multi_constructor("!", lambda *_: None)


def test_documented_parameters_of_stacks_exist() -> None:
    """What follows --parameter-overrides is a parameter of one of the templates."""
    known = {
        name
        for path in _ROOT.glob("deploy/*.yaml")
        for name in yaml.load(path.read_text(), _Template).get("Parameters", {})  # noqa: S506
    }
    blocks = [block for page in _PAGES for block in iter_blocks(page.read_text("utf-8"))]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    named = {
        name
        for line in lines
        if "--parameter-overrides" in line
        for name in re.findall(r" ([A-Z]\w+)=", line.partition("--parameter-overrides")[2])
    }
    assert len(named) > 15
    assert named - known == set()


def test_documented_targets_of_make_exist() -> None:
    """`make X` of a block or between backticks is a target, and so is each of several."""
    makefile = (_ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    pattern = re.compile(
        r"(?:^ *|`)make ((?:[a-z-]+(?: (?=[a-z]))?)+)(?=[`\n]| [ A-Z#])", re.MULTILINE
    )
    named = {
        (page.name, name)
        for page in _PAGES
        for found in pattern.findall(page.read_text("utf-8"))
        for name in found.split()
    }
    assert len({name for _, name in named}) > 15
    assert {each for each in named if each[1] not in targets} == set()


def test_what_needs_no_account_of_the_first_build_runs(tmp_path: Path) -> None:
    """The rules of the page build the push that the page asks about, and the stack is printed."""
    page = _ROOT / "docs" / "first-build.md"
    rules = next(iter_blocks(page.read_text("utf-8"), "toml"))
    (tmp_path / "config.toml").write_text(rules, "utf-8")
    lines = [line.text for line in iter_command_lines(page, _ROOT) if line.is_whole]
    (check,) = [line for line in lines if line.startswith("asyncbuild check --push")]
    (stack,) = [line for line in lines if line.startswith("asyncbuild template")]
    words = check.replace("config.toml", str(tmp_path / "config.toml")).split()[1:]
    checked, printed = run_all([words, next(spellings(stack))])
    assert checked.code == 0
    assert b"Build of project web, by rule" in checked.output
    assert printed.code == 0
    assert "Resources" in json.loads(printed.output)
