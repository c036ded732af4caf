"""Checks of this machine: git, the directory of the mirrors, memory, traces."""

import os
import shutil
from collections.abc import AsyncIterator

from asyncbuild.checks.judges.finding import Finding, Level
from asyncbuild.checks.memory_footprint import excess
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import ConfigError, Unsupported
from asyncbuild.git.process.version import require_git
from asyncbuild.status.exporters.otel import require_opentelemetry


async def look_at_git() -> AsyncIterator[Finding]:
    """Judge whether git is installed and new enough."""
    name = "machine.git"
    try:
        version = await require_git()
    except Unsupported as error:
        why = "pushes are fetched and archived with it"
        yield Finding(Level.PROBLEM, name, error.reason, why, error.remedy)
    else:
        yield Finding(Level.OK, name, f"git {version}")


async def look_at_cache(settings: Settings) -> AsyncIterator[Finding]:
    """Judge whether mirrors can be written, and whether the disk has room for the budget."""
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
    """Judge whether OpenTelemetry is installed, if traces are on."""
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


async def look_at_memory(settings: Settings) -> AsyncIterator[Finding]:
    """Judge whether the container or machine has as much memory as the settings allow to take."""
    name = "machine.memory"
    if told := excess(settings):
        why = "the kernel ends a process of the task when its memory ends"
        remedy = "lower git.memory_budget_bytes, or give the task more memory"
        yield Finding(Level.WARNING, name, told, why, remedy)
    else:
        yield Finding(Level.OK, name, "memory suffices for what the settings allow")
