"""Event values are rejected with a reason, or taken literally (I11)."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from support.hostile import messages, values
from support.repositories import SourceRepository
from support.webhooks import hosts

from asyncbuild.config import GitSettings
from asyncbuild.domain.errors import Reject, StageError
from asyncbuild.domain.model import Push
from asyncbuild.domain.repository import Repository
from asyncbuild.forges.origins import Origin
from asyncbuild.forges.remotes import Remotes
from asyncbuild.git.mirrors.cache import open_mirrors

LEAST = 1_000

# Writes its arguments to a file, each ended by a NUL and each call by two, and then runs git.
_SHIM = """#!/bin/sh
printf '%s\\0' "$@" >> "{log}"
printf '\\0' >> "{log}"
exec "{git}" "$@"
"""


def _calls(log: Path) -> list[list[bytes]]:
    return [call.split(b"\0") for call in log.read_bytes().split(b"\0\0") if call]


def _tree(root: Path) -> set[Path]:
    cache = root / "cache"
    return {path for path in root.rglob("*") if cache not in {path, *path.parents}}


@pytest.mark.timeout(240)
async def test_a_thousand_hostile_values_are_harmless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """No process gets one as an option, and nothing outside the cache is created."""
    trap = tmp_path / "trap"
    log = tmp_path / "calls"
    shim = tmp_path / "bin" / "git"
    _make_shim(shim, log)
    monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")
    SourceRepository(tmp_path / "remote" / "web").commit({"a": b"1"})
    before = _tree(tmp_path)
    counts: Counter[str] = Counter()
    reasons: list[str] = []
    literal: dict[Push, None] = {}
    seen: set[tuple[str, str]] = set()
    reader = hosts()
    for field, value, message in messages(str(trap)):
        seen.add((field, value))
        try:
            events = reader.read(message)
        except Reject as error:
            reasons.append(error.reason)
            continue
        counts["literal"] += 1
        literal |= dict.fromkeys(event for event in events if isinstance(event, Push))
    settings = GitSettings(
        remote=f"{tmp_path}/remote/{{repository}}", cache_directory=tmp_path / "cache"
    )
    async with open_mirrors(settings, Remotes(settings, origins=_origin(tmp_path))) as mirrors:
        for push in _unlike(literal):
            try:
                async with mirrors.open(push.repository, ref=push.ref, commit=push.commit):
                    counts["opened"] += 1
            except StageError as error:
                counts[f"fetched: {error.kind}"] += 1
    counts["rejected"] = len(reasons)
    record_property("hostile values", len(seen))
    record_property("what became of them", str(dict(counts)))
    print(f"{len(seen)} hostile values: {dict(counts)}")  # noqa: T201 - shown by pytest -rP
    assert len(seen) >= LEAST
    assert all(reason and reason.isprintable() for reason in reasons)
    assert counts["rejected"] + counts["literal"] == len(seen)
    assert counts["rejected"] > counts["literal"] > 0
    assert _tree(tmp_path) - before == set()
    assert not trap.exists()
    _check_options(_calls(log), {value.encode("utf-8", "replace") for value in values(str(trap))})


def _unlike(pushes: Iterable[Push]) -> list[Push]:
    """Return pushes with a ref, a name or a commit that none before them had, of any host."""
    chosen = []
    known: set[str] = set()
    for push in pushes:
        words = {push.ref, push.repository.segments.region, push.repository.name, push.commit}
        if words - known:
            chosen.append(push)
        known |= words
    return chosen


def _make_shim(shim: Path, log: Path) -> None:
    git = shutil.which("git")
    log.touch()
    shim.parent.mkdir()
    shim.write_text(_SHIM.format(log=log, git=git))
    shim.chmod(0o755)


def _origin(tmp_path: Path) -> Callable[[Repository], Origin | None]:
    """Return a resolver that takes every other host for a directory here."""
    return lambda repository: (
        None
        if not repository.is_foreign
        else Origin(f"file://{tmp_path}/remote/{repository.name}", repository.forge)
    )


def _check_options(calls: list[list[bytes]], hostile: set[bytes]) -> None:
    """Check that no argument before `--end-of-options` is hostile, and none at all is a trap."""
    own = {b"--", b"--all", b"HEAD", b""}  # the service's own arguments
    assert len(calls) > 10
    for call in calls:
        options = call[: call.index(b"--end-of-options")] if b"--end-of-options" in call else call
        assert not (set(options) & hostile) - own, call
