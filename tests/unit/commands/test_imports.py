"""A command imports what it uses, so that it starts at once. Modules are counted, not seconds."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest
from support.repositories import SourceRepository

_AWS: Final = frozenset({"aioboto3", "aiobotocore", "aiohttp", "boto3", "botocore"})
_DECLARING: Final = frozenset({"asyncbuild", "click", "orjson"})
_CONFIGURING: Final = frozenset(
    {
        *("annotated_types", "dotenv", "pydantic", "pydantic_core", "pydantic_settings"),
        *("typing_extensions", "typing_inspection"),
    }
)
_ARCHIVING: Final = (
    _DECLARING
    | _CONFIGURING
    | {
        *("aiofiles", "anyio", "idna", "isal", "zlib_ng"),
    }
)
_SHOWING: Final = (
    _DECLARING | _CONFIGURING | {"anyio", "idna", "markdown_it", "mdurl", "pygments", "rich"}
)
_INDENTATION: Final = "  "
_SITE: Final = "site → "  # what a distribution, or a recorder of tests, loads with each Python
_TOP: Final = "asyncbuild.commands.cli"


def _imports(*arguments: str, code: int = 0) -> dict[str, str]:
    """Return the chain of first imports that led to each module, but those of Python itself.

    Args:
        arguments: A command, which is run.
        code: The exit code that it ends with.
    """
    command = [sys.executable, "-X", "importtime", "-m", "asyncbuild", *arguments]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert done.returncode == code, done.stderr
    chain: list[str] = []
    found: dict[str, str] = {}
    for line in reversed(lines[1:]):  # a module's line comes after those of what it imports
        text = line.rpartition(" | ")[2]
        name = text.lstrip()
        depth = (len(text) - len(name)) // len(_INDENTATION)
        chain = [*chain[:depth], name]
        found[name] = " → ".join(chain)
    assert _TOP in found
    ours = {name: how for name, how in found.items() if not how.startswith(_SITE)}
    return {name: how for name, how in ours.items() if _is_counted(name.partition(".")[0])}


def _is_counted(package: str) -> bool:
    """Return whether a package counts: it is not Python's own, and there is one of that name."""
    own = package in sys.stdlib_module_names or package.startswith("_")
    return not own and find_spec(package) is not None


def _check(found: dict[str, str], allowed: frozenset[str], most: int) -> None:
    wrong = [how for name, how in found.items() if name.partition(".")[0] not in allowed]
    assert wrong == [], "imported, but not needed; the chain of each:\n" + "\n".join(wrong)
    assert not allowed & _AWS
    assert len(found) <= most, f"{len(found)} modules:\n" + "\n".join(found.values())


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["serve", "--help"]])
def test_a_question_about_the_command_line_imports_click_alone(arguments: list[str]) -> None:
    """No configuration, no event loop, no log: it ends within some hundredths of a second."""
    _check(_imports(*arguments), _DECLARING, most=34)


def test_a_template_needs_yaml_alone() -> None:
    """The version is read from the installation."""
    _check(_imports("template"), _DECLARING | {"yaml"}, most=55)


def test_an_archive_of_a_directory_calls_no_aws(tmp_path: Path) -> None:
    """A file made of a local repository needs neither an AWS library nor an HTTP client."""
    source = SourceRepository(tmp_path / "repository")
    commit = source.commit({"a.txt": b"content\n"})
    output = tmp_path / "archive.zip"
    found = _imports("archive", str(source.path), commit, "--output", str(output))
    assert output.exists()
    _check(found, _ARCHIVING, most=290)


def test_rules_are_tried_without_aws() -> None:
    """`check --push` reads the configuration alone."""
    _check(_imports("check", "--push", "shop", "main"), _SHOWING, most=205)


@pytest.mark.parametrize("command", ["serve", "drain", "check"])
def test_a_fault_of_the_configuration_is_told_before_aws_is_loaded(command: str) -> None:
    """A configuration is corrected and tried again and again."""
    found = _imports(command, "--config", "/nonexistent", code=78)
    _check(found, _SHOWING | {"attr", "structlog"}, most=250)


def test_a_probe_of_health_loads_the_configuration_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes run every few seconds beside the service: without an event loop or a log."""
    monkeypatch.setenv("ASYNCBUILD_STATUS__LISTEN", "off")
    _check(_imports("health"), _DECLARING | _CONFIGURING, most=140)
