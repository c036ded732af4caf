"""Interface as users see it, as text to compare with the files of `tests/fixtures/interface`.

Everything that these tests import from the package is imported here, so that a module that moves
is corrected in one place. `PIN_INTERFACE=1` (`make pin`) writes the files instead of comparing.
"""

import difflib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import pytest
from support.records import Records
from support.wait import PATIENCE_SECONDS

from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.requests.start_build import token_of
from asyncbuild.domain.archive_options import parse_options
from asyncbuild.domain.model import (
    Action,
    Change,
    Message,
    Outcome,
    Push,
    Target,
    Verdict,
    root_span_id,
    trace_id,
)
from asyncbuild.domain.repository import Repository

_FILES: Final = Path(__file__).parents[1] / "fixtures" / "interface"
_CONTEXT_LINES: Final = 4


def compare(name: str, found: str, *, only_if: str = "") -> None:
    """Fail with a diff if `found` differs from the file; with PIN_INTERFACE write the file.

    Args:
        name: Of the file.
        found: What is there now.
        only_if: Text that the file must hold; without it the comparison means nothing here.
    """
    path = _FILES / name
    text = found.rstrip("\n") + "\n"
    expected = path.read_text("utf-8") if path.exists() else ""
    if text == expected:
        return
    if os.environ.get("PIN_INTERFACE"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        pytest.skip(f"wrote {path}; look at what `git diff` says of it")
    if only_if not in expected:
        pytest.skip(f"pinned elsewhere: {path} lacks {only_if!r}")
    diff = difflib.unified_diff(
        expected.splitlines(), text.splitlines(), "pinned", "now", lineterm="", n=_CONTEXT_LINES
    )
    told = "\n".join(diff)
    pytest.fail(
        f"what users see has changed: {path}\n{told}\n\nIf that is meant: make pin, and a "
        "fragment in changelog.d/",
        pytrace=False,
    )


def as_json(document: object) -> str:
    """Return indented JSON with sorted keys."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()


def as_lines(documents: Mapping[str, object]) -> str:
    """Return one line for each entry: its name, and compact JSON with sorted keys."""
    return "\n".join(
        f"{name} {orjson.dumps(each, option=orjson.OPT_SORT_KEYS).decode()}"
        for name, each in documents.items()
    )


# Runs one command line after the other, since a process takes long to start. Each answer ends with
# a zero byte, on standard error with its exit code before it.
_RUN_ALL: Final = """
import json, os, sys, traceback
from asyncbuild.__main__ import main
for line in sys.stdin:
    sys.argv = ["asyncbuild", *json.loads(line)]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except Exception:
        traceback.print_exc()
        code = 1  # as Python ends
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(1, bytes(1))
    os.write(2, str(code).encode() + bytes(1))
"""


class Ended(NamedTuple):
    """Exit code and output of a command."""

    code: int
    output: bytes
    errors: str


def run_all(commands: Sequence[Sequence[str]], **environment: str) -> list[Ended]:
    """Run `asyncbuild` with each of these command lines, on a terminal a hundred columns wide."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN_ALL],
        input=b"".join(orjson.dumps(each) + b"\n" for each in commands),
        env={**os.environ, "COLUMNS": "100", **environment},
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    outputs = done.stdout.split(b"\0")[:-1]
    errors = [each.decode() for each in done.stderr.split(b"\0")[:-1]]
    ended = []
    for output, said in zip(outputs, errors, strict=True):
        text = said.rstrip("0123456789")
        ended.append(Ended(int(said[len(text) :]), output, text))
    assert len(ended) == len(commands)
    return ended


# --- identifiers ----------------------------------------------------------------------------------

_COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"
_REPOSITORIES: Final = {
    "codecommit": Repository.of_codecommit("123456789012", "eu-west-1", "web"),
    "github": Repository.of_host("github.com", "acme", "web"),
    "gitlab, nested groups": Repository.of_host("gitlab.com", "acme/platform", "web"),
    "bitbucket-server, a port": Repository.of_host("git.acme.example:8443", "ACME", "web"),
}


def push_of(repository: Repository, *, body_id: str = "") -> Push:
    """Return a push of which every value is fixed."""
    return Push(
        id="11111111-2222-4333-8444-555555555555",
        repository=repository,
        ref="refs/heads/feature/ü",
        commit=_COMMIT,
        change=Change.UPDATED,
        time=datetime(2026, 11, 1, 10, 23, 43, tzinfo=UTC),
        body_id=body_id,
    )


def identifiers() -> dict[str, object]:
    """Return paths, idempotency tokens and trace ids of fixed pushes."""
    told: dict[str, object] = {}
    for name, repository in _REPOSITORIES.items():
        push = push_of(repository)
        told[name] = {
            "path": repository.path,
            "token": {each: token_of(push, each) for each in ("web", "lint")},
            "trace_id": trace_id(push.id),
            "root_span_id": root_span_id(push.id),
        }
    return told


async def keys_of_decisions() -> dict[str, object]:
    """Return keys and records of the ledger that a run rarely writes: forced pushes, attempts."""
    told: dict[str, object] = {}
    for name, repository in _REPOSITORIES.items():
        records = Records()
        ledger = Ledger(records, prefix="ledger/")
        push = replace(push_of(repository, body_id="b" * 32), timed=False)
        sent = datetime(2026, 11, 1, 10, 24, tzinfo=UTC)
        message = Message("message-1", "{}", "handle", "group", 1, sent=sent)
        await ledger.force(push)
        await ledger.mark_try(message, 2)
        await ledger.take_place("github.com", "20261101T10", 3, message)
        await ledger.remember_body(push)
        await ledger.set_head(push, group="group")
        await ledger.fix_tip(push, "c" * 40, seen_at=sent)
        for target in (Target(Action.BUILD, "k", "web"), Target(Action.UPLOAD, "k")):
            await ledger.record(push, Outcome(Verdict.BUILT, "rule: r", target))
        bodies = {key: orjson.loads(body) for key, body in sorted(records.kept.items())}
        # `push/` and its bodies are seen in a run.
        told[name] = {key: "…" if "/push/" in key else body for key, body in bodies.items()}
    return told


def digests_of_options() -> dict[str, object]:
    """Return parts of keys, fingerprints and formats that depend on an archive's options."""
    usual: dict[str, Any] = {"subtree": "", "paths": (), "ignore_export_attributes": False}
    chosen: Mapping[str, dict[str, Any]] = {
        "none": {},
        "subtree": {"subtree": "services/api"},
        "paths": {"paths": ("src", "!src/test")},
        "ignore-export-attributes": {"ignore_export_attributes": True},
        "submodules": {"submodules": True},
        "lfs": {"lfs": True},
        "all": {
            "subtree": "services/api",
            "paths": ("src",),
            "ignore_export_attributes": True,
            "submodules": True,
            "lfs": True,
        },
    }
    return {name: parse_options(**{**usual, **each}).digest for name, each in chosen.items()}
