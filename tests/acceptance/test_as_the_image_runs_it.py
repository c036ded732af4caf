"""The service as in its container: an unprivileged user, a read-only root, two writable places.

A mount namespace stands in for the container: the whole root read-only, tmpfs where the image has
volumes, user 10001 without capabilities. IMAGE_ROOT, set by `deploy/image-test`, is the root of the
built image; without it this machine's root is used, with the environment that runs the tests.
Needs root; skipped where namespaces may not be made.
"""

import os
import subprocess
import sys
from collections.abc import AsyncIterator

import anyio
import pytest
from support.recorder.sitecustomize import DIRECTORY
from support.service import environment, make_pushes, open_service, wait_settled
from support.wait import PATIENCE_SECONDS

from asyncbuild.local.stack import Stack, open_stack
from asyncbuild.local.verify import Pushed

UID = 10001
STOP_TIMEOUT_SECONDS = 120  # deploy/cloudformation.yaml, StopTimeout
IMAGE = os.environ.get("IMAGE_ROOT", "")
# The image's volumes; on this machine, whose own /tmp may hold the tests' programs, two of its own.
CACHE = "/var/cache/asyncbuild" if IMAGE else "/mnt/cache"
TEMPORARY = "/tmp" if IMAGE else "/mnt/tmp"  # noqa: S108 - the image's volume
# $0 is the image's root, $1 the directory of the remotes; the rest is run inside.
_INSIDE = f"""
mount -t tmpfs -o mode=750,uid={UID},gid={UID} tmpfs "$0{CACHE}"
remotes=$1; shift
exec chroot "$0/" setpriv --reuid {UID} --regid {UID} --clear-groups --no-new-privs \\
    --inh-caps=-all --bounding-set=-all -- "$@"
"""
_IMAGE = f"""
set -eu
mount --make-rprivate /
mount --bind "$0" "$0"
mount --rbind /proc "$0/proc"
mount --rbind /dev "$0/dev"
mount -o remount,bind,ro "$0"
mount -t tmpfs -o mode=1777 tmpfs "$0{TEMPORARY}"
mkdir -p "$0$1"
mount --bind "$1" "$0$1"
{_INSIDE}"""
_MACHINE = f"""
set -eu
mount --make-rprivate /
mount --bind /tmp /tmp
mount -o remount,bind,ro /tmp
mount -o remount,bind,ro /
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir {CACHE} {TEMPORARY}
mount -t tmpfs -o mode=1777 tmpfs {TEMPORARY}
{_INSIDE}"""


def can_unshare() -> bool:
    """Return whether this process may make a mount namespace and mount in it."""
    if os.geteuid() != 0:
        return False
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


pytestmark = [
    pytest.mark.skipif(not can_unshare(), reason="needs root and mount namespaces"),
    pytest.mark.timeout(400),
]


def contained(stack: Stack, *command: str) -> list[str]:
    """Return a command line that runs `command` as the container would."""
    remotes = str(stack.directory / "remotes")
    return [
        "unshare",
        "--mount",
        "sh",
        "-c",
        _IMAGE if IMAGE else _MACHINE,
        IMAGE,
        remotes,
        *command,
    ]


def program(stack: Stack) -> list[str]:
    """Return the image's entry point, or this environment's."""
    if IMAGE:
        return contained(stack, "/usr/bin/tini", "-s", "--", "/opt/asyncbuild/bin/asyncbuild")
    return contained(stack, sys.executable, "-m", "asyncbuild")


def variables_of(stack: Stack) -> dict[str, str]:
    """Return the settings of the stack's task, with the servers of this machine."""
    variables = environment(stack, git={"cache_directory": CACHE})
    variables.pop(DIRECTORY, None)  # a record of its calls could not be written in there
    return {
        **variables,
        "PATH": "/opt/asyncbuild/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/nonexistent",
        "TMPDIR": TEMPORARY,
        "PYTHONDONTWRITEBYTECODE": "1",
        "ASYNCBUILD_GIT__CACHE_BUDGET_BYTES": "100000000",
        "ASYNCBUILD_SHUTDOWN_GRACE_SECONDS": "110",
    }


@pytest.fixture
async def loaded() -> AsyncIterator[tuple[Stack, list[Pushed]]]:
    """Open servers with pushes that can be fetched; none is sent yet."""
    async with open_stack([f"repository-{number:03d}" for number in range(6)]) as stack:
        lanes = await make_pushes(stack, repositories=6, pushes=12)
        for path in (stack.directory, stack.directory / "remotes"):
            path.chmod(0o755)
        yield stack, [push for pushes in zip(*lanes, strict=True) for push in pushes]


async def test_only_the_volumes_are_writable(
    loaded: tuple[Stack, list[Pushed]],
) -> None:
    """An unprivileged user, no capability, a root that refuses writes."""
    stack, _ = loaded
    script = (
        "id -u; grep CapEff /proc/self/status; "
        f"for at in / /etc /usr /opt /var {CACHE} {TEMPORARY}; do "
        '(: >"$at/written") 2>/dev/null && echo "$at"; done; true'
    )
    command = contained(stack, "sh", "-c", script)
    done = await anyio.run_process(command, env=variables_of(stack), stderr=None)
    uid, capabilities, *written = done.stdout.decode().splitlines()
    assert uid == str(UID)
    assert capabilities.split() == ["CapEff:", "0000000000000000"]
    assert written == [CACHE, TEMPORARY]


async def test_a_stop_under_load_is_in_time_and_loses_nothing(
    loaded: tuple[Stack, list[Pushed]],
) -> None:
    """SIGTERM during the work: the process ends within stopTimeout; a second task does the rest."""
    stack, pushes = loaded
    for push in pushes:
        await stack.send(push)
    async with open_service(variables_of(stack), program=program(stack)) as service:
        with anyio.fail_after(PATIENCE_SECONDS):
            await stack.standin.wait_started(lambda _build: len(stack.standin.started) >= 5)
        before = len(stack.standin.started)
        begun = anyio.current_time()
        service.terminate()
        assert await service.wait(STOP_TIMEOUT_SECONDS) == 0, service.log[-5:]
        print(f"stopped after {anyio.current_time() - begun:.1f} s")  # noqa: T201 - with pytest -s
    events = [line.get("event") for line in service.log]
    assert events[-1] == "service.stopped"
    left = len(pushes) - len(stack.standin.started)
    assert left > 0, f"the load was done before the signal came, {before} builds in"
    async with open_service(variables_of(stack), "drain", program=program(stack)) as service:
        assert await service.wait(240) == 0, service.log[-5:]
    await wait_settled(stack)
    built = sorted(
        next(
            each["value"]
            for each in started.request["environmentVariablesOverride"]
            if each["name"] == "EVENT_ID"
        )
        for started in stack.standin.started
    )
    assert len(built) == len(set(built)) == len(pushes)  # each once (I12)
