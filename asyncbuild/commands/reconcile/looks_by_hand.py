"""Looks at repositories by hand: which refs are missing a build, as a table or as JSON."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from asyncbuild.aws.accounts import AccountCredentials
from asyncbuild.aws.session import Aws
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import ConfigError, Reject, StageError
from asyncbuild.domain.foreign_text import plain, to_json
from asyncbuild.domain.repository import Repository, decode_repository
from asyncbuild.forges.registry import open_origins
from asyncbuild.forges.remotes import Remotes, signing
from asyncbuild.git.mirrors.listed_refs import RemoteRefs
from asyncbuild.git.process.command import Git
from asyncbuild.git.process.version import require_git
from asyncbuild.reconcile.open_reconcile import OpenedReconcile, open_reconciler
from asyncbuild.reconcile.planning.ref_plan import RefFate, RefPlan
from asyncbuild.reconcile.reconciler import RepositoryLook

_PARTS: Final = 3  # account, region, name
# What people look for; the others are as they should be.
_SHOWN: Final = (RefFate.FOUND, RefFate.WAITING)


@dataclass(slots=True)
class _LookCounts:
    """Counts of all looks: repositories, refs, pushes found, refs that wait, failures."""

    repositories: int = 0
    refs: int = 0
    baselines: int = 0
    found: int = 0
    waiting: int = 0
    failed: int = 0

    def add(self, look: RepositoryLook) -> None:
        self.repositories += 1
        self.refs += look.refs
        self.baselines += look.baseline
        self.found += look.count(RefFate.FOUND)
        self.waiting += look.count(RefFate.WAITING)


async def run(settings: Settings, names: Sequence[str], dry_run: bool, as_json: bool) -> int:  # noqa: FBT001 - called by position
    """Look at repositories; return 1 if one failed or, in a dry run, a push is missing; else 0.

    An account whose repositories could not be listed has failed, too, if all are asked for, and
    some are CodeCommit's.

    Args:
        settings: All settings.
        names: Names of repositories; empty for all that a round looks at.
        dry_run: Whether nothing is sent and written.
        as_json: Whether the output is JSON.

    Raises:
        ConfigError: A required setting is empty.
        Reject: A name means no repository.
        StageError: The ledger cannot be read.
    """
    _require(settings)
    await require_git()
    counts = _LookCounts()
    async with _open(settings, dry_run=dry_run) as opened:
        repositories = await _choose(opened, names)
        for repository in repositories:
            try:
                look = await opened.reconciler.look(repository)
            except StageError as error:
                counts.failed += 1
                sys.stderr.write(f"{repository.path}: {error}\n")
                continue
            counts.add(look)
            _write(look, settings, dry_run=dry_run, as_json=as_json)
        if not names and any(not each.is_foreign for each in repositories):
            counts.failed += opened.told.count
    if not as_json:
        sys.stdout.write(_summary(counts, dry_run=dry_run))
    missing = dry_run and counts.found + counts.waiting > 0
    return 1 if counts.failed or missing else 0


async def _choose(opened: OpenedReconcile, names: Sequence[str]) -> list[Repository]:
    paths = [_of_path(name) for name in names]
    if names and all(paths):
        return [each for each in paths if each is not None]
    known = await opened.starter.find_repositories(forget=False)
    chosen: dict[Repository, None] = {}
    for name, path in zip(names, paths, strict=True):
        found = [path] if path else [each for each in known if name in {each.name, each.full_name}]
        if not found:
            raise Reject(
                f"no repository {name!a} is known to the ledger or to CodeCommit",
                remedy="name it as ACCOUNT/REGION/NAME, or of another forge as HOST/OWNER/NAME",
            )
        chosen.update(dict.fromkeys(found))
    return list(chosen) if names else known


def _of_path(name: str) -> Repository | None:
    parts = name.split("/")
    return decode_repository(*parts) if len(parts) == _PARTS and all(parts) else None


def _write(look: RepositoryLook, settings: Settings, *, dry_run: bool, as_json: bool) -> None:
    for plan in look.plans:
        if as_json:
            sys.stdout.write(to_json(_document(look, plan), newline=True, utc_z=True).decode())
        elif plan.fate in _SHOWN:
            sys.stdout.write(_line(look, plan, settings, dry_run=dry_run))
    if look.baseline and not as_json:
        told = "would be taken" if dry_run else "taken"
        sys.stdout.write(f"{look.repository.full_name}: baseline of {look.refs} refs {told}\n")
    sys.stdout.flush()


def _document(look: RepositoryLook, plan: RefPlan) -> dict[str, object]:
    each = plan.difference
    return {
        "repository": look.repository.path,
        "ref": each.ref,
        "old_commit": each.old or None,
        "commit": each.commit or None,
        "fate": plan.fate,
        "first_seen": each.first_seen,
        "last_elsewhere": each.since,
    }


def _line(look: RepositoryLook, plan: RefPlan, settings: Settings, *, dry_run: bool) -> str:
    each = plan.difference
    due = each.first_seen + timedelta(seconds=settings.reconcile.grace_seconds)
    if plan.fate is RefFate.FOUND:
        told = "missing: would be sent" if dry_run else "missing: sent"
    elif look.groupless:
        told = "missing: its message group is not known (docs/reconcile.md)"
    elif dry_run:
        told = "missing, unless its event is on its way"
    else:
        told = f"not known; sent if it is not by {due:%H:%M:%S} UTC"
    old = each.old[:10] or "new"
    ref = plain(each.ref)
    return f"{look.repository.full_name}  {ref}  {old} → {each.commit[:10]}  {told}\n"


def _summary(counts: _LookCounts, *, dry_run: bool) -> str:
    missing = "would be sent" if dry_run else "sent"
    now = datetime.now(UTC)
    return (
        f"{counts.repositories} repositories, {counts.refs} refs at {now:%H:%M:%S} UTC: "
        f"{counts.found} pushes {missing}, {counts.waiting} not known yet, "
        f"{counts.baselines} baselines, {counts.failed} failed\n"
    )


@asynccontextmanager
async def _open(settings: Settings, *, dry_run: bool) -> AsyncIterator[OpenedReconcile]:
    """Open a reconciler without a cache of mirrors: it lists refs and fetches nothing."""
    aws = Aws(settings)
    async with open_origins(settings, aws, None) as hosts:
        credentials = signing(AccountCredentials(aws, settings))
        remotes = Remotes(settings.git, credentials, origins=hosts.origin, hosted=hosts.repository)
        refs = RemoteRefs(Git(settings.git, forges=settings.forges), remotes)
        async with open_reconciler(settings, aws, refs, dry_run=dry_run) as opened:
            yield opened


def _require(settings: Settings) -> None:
    for name, value in (
        ("queue.url", settings.queue.url),
        ("storage.bucket", settings.storage.bucket),
    ):
        if not value:
            raise ConfigError(f"{name} is empty", remedy="set it as the service has it")
