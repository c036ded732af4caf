"""Memory that the settings allow this service and its children to take (I6)."""

import os

from asyncbuild.config.settings import Settings
from asyncbuild.git.process.memory import GitMemory
from asyncbuild.runtime.cgroup import memory_limit_bytes

_MIB = 1024 * 1024
_BASE_BYTES = 128 * _MIB  # modules, botocore's models, free heap; measured: 75 to 110
_WORKER_BYTES = 12 * _MIB
_SLOT_BYTES = 7 * _MIB // 2
_FEW_SLOTS, _SLOTS_A_CORE = 5, 2


def footprint_bytes(settings: Settings) -> int:
    """Return the bytes that settings allow: the service, its workers and all gits together."""
    cores = settings.archive.threads or os.cpu_count() or 1
    workers = cores * _WORKER_BYTES + (_FEW_SLOTS + _SLOTS_A_CORE * cores) * _SLOT_BYTES
    git = GitMemory(settings.git.memory_budget_bytes).total_bytes
    return _BASE_BYTES + workers + settings.archive.memory_budget_bytes + git


def excess(settings: Settings) -> str:
    """Return one sentence if the settings allow more memory than there is, else an empty text."""
    allowed, there = footprint_bytes(settings), memory_limit_bytes()
    if allowed <= there:
        return ""
    return (
        f"the settings allow {allowed:,} bytes of memory (git.memory_budget_bytes, "
        f"archive.memory_budget_bytes, archive.threads), and there are {there:,}"
    )
