"""A poison message: its push kills the process each time, among good neighbours."""

import os
from pathlib import Path

import anyio
import pytest
from support import chaos
from support.service import environment, open_service, read_dead_letters

from asyncbuild.local.servers import journal
from asyncbuild.local.stack import BUCKET, Stack, open_stack
from asyncbuild.local.verify import verify

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]


def _deadly_git(directory: Path, commit: str) -> Path:
    """Return a directory with a git that kills its parent when asked to archive `commit`."""
    wrapper = directory / "git"
    wrapper.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *archive*{commit}*) kill -KILL $PPID; exit 1;; esac\n'
        'PATH="${PATH#*:}" exec git "$@"\n'
    )
    wrapper.chmod(0o755)
    return directory


async def test_nine_pushes_are_built_and_only_the_poison_message_is_dead_lettered(
    tmp_path: Path,
) -> None:
    """Two repositories of ten; the fourth push of the first is deadly (I5)."""
    plan = chaos.Plan(repositories=2, pushes=20, big_pushes=0)
    async with open_stack(["repository-000", "repository-001"]) as stack:
        lanes = await chaos.make_pushes(stack.directory, plan)
        poison = lanes[0][3]
        for push in (push for row in zip(*lanes, strict=True) for push in row):
            await stack.send(push)
        path = f"{_deadly_git(tmp_path, str(poison.commit))}:{os.environ['PATH']}"
        deaths = await _serve_until_settled(stack, path)
        (dead,) = await read_dead_letters(stack)
        good = [push for lane in lanes for push in lane if push is not poison]
        found = await verify(good, journal.read(stack.journal), s3=stack.s3, bucket=BUCKET)
    assert poison.id in dead["Body"]
    assert "2 processes died" in dead["MessageAttributes"]["Reason"]["StringValue"]
    assert dead["Attributes"]["MessageGroupId"] == poison.group
    assert found.faults == []
    assert found.built == 19
    assert deaths == 3  # once with its neighbours, and twice as a suspect


async def _serve_until_settled(stack: Stack, path: str) -> int:
    """Start the service again each time it dies; return how often that was."""
    deaths = 0
    with anyio.fail_after(300):
        while await stack.count_waiting():
            async with open_service(_variables(stack, path, deaths), "drain") as service:
                deaths += await service.process.wait() < 0
    return deaths


def _variables(stack: Stack, path: str, deaths: int) -> dict[str, str]:
    # A message received twice is suspected. The first lease outlasts pauses of a slow machine;
    # the later ones are short, as they are waited for.
    visibility = 4 if deaths else 12
    variables = environment(
        stack,
        queue={"visibility_timeout_seconds": visibility, "wait_seconds": 1},
        lanes={"max_attempts": 2},
        status={"listen": "off"},
        # A full `git archive` each time: a delta would not run the deadly git.
        archive={"delta": "off"},
    )
    return variables | {"PATH": path}
