"""Looks at this machine: git, and the directory of the mirrors."""

import os
import shutil
from collections.abc import AsyncIterator

import anyio

from asyncbuild.checks.finding import Finding, Level
from asyncbuild.config import Settings
from asyncbuild.errors import ConfigError
from asyncbuild.git.process import OLDEST_GIT
from asyncbuild.status.traces import require_opentelemetry


async def look_at_git() -> AsyncIterator[Finding]:
    """Whether there is a git, and whether it is new enough."""
    name = "machine.git"
    if shutil.which("git") is None:
        yield Finding(
            Level.PROBLEM, name, "git is not on PATH", "pushes are fetched with it", "install git"
        )
        return
    done = await anyio.run_process(["git", "version"])
    text = done.stdout.decode().split()[2]
    version = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if version < OLDEST_GIT:
        oldest = ".".join(map(str, OLDEST_GIT))
        yield Finding(
            Level.PROBLEM,
            name,
            f"git is {text}, older than {oldest}",
            "mirrors and archives are proved with that and newer ones only",
            f"install git {oldest} or newer",
        )
    else:
        yield Finding(Level.OK, name, f"git {text}")


async def look_at_cache(settings: Settings) -> AsyncIterator[Finding]:
    """Whether mirrors can be written, and whether the disk has room for the budget."""
    directory = settings.git.cache_directory
    name = "machine.cache"
    existing = directory
    while not existing.exists():
        existing = existing.parent
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        yield Finding(
            Level.PROBLEM,
            name,
            f"cache directory {directory} cannot be written",
            "the bare mirrors live there",
            "set git.cache_directory to a directory that this user may write",
        )
        return
    free = shutil.disk_usage(existing).free
    if free < settings.git.cache_budget_bytes:
        yield Finding(
            Level.WARNING,
            name,
            f"{directory} has {free:,} bytes free, git.cache_budget_bytes is "
            f"{settings.git.cache_budget_bytes:,}",
            "a full disk makes fetches fail before mirrors are evicted",
            "lower git.cache_budget_bytes, or give the task more ephemeral storage",
        )
    else:
        yield Finding(Level.OK, name, f"cache directory {directory} can be written")


async def look_at_traces(settings: Settings) -> AsyncIterator[Finding]:
    """Whether OpenTelemetry is there, where traces are on."""
    if not settings.status.traces:
        return
    name = "machine.traces"
    try:
        require_opentelemetry()
    except ConfigError as error:
        why = "the service does not start without it"
        yield Finding(Level.PROBLEM, name, error.reason, why, error.remedy)
    else:
        yield Finding(Level.OK, name, "status.traces is on, and OpenTelemetry is installed")
