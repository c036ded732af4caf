"""Command `asyncbuild check --push`: which rules match a push, and why. Does not call AWS."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from tempfile import TemporaryDirectory
from typing import Final

import anyio
import orjson
from rich.console import Console

from asyncbuild.checks.judges.decision import RuleDecision, decide, make_push
from asyncbuild.config.settings import Settings, rules_of
from asyncbuild.domain.archive_options import check_subtree
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Action, Target
from asyncbuild.domain.rules.route import asked_changes

_EMPTY_BLOB: Final = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


async def run(
    settings: Settings,
    asked: tuple[str, str],
    changed: Sequence[str],
    as_json: bool,  # noqa: FBT001 - called by position
) -> int:
    """Print what would become of a push; return 1 if nothing would be done, else 0.

    Args:
        settings: Configuration with the rules.
        asked: Repository and ref, see `make_push`.
        changed: Paths that the push changes; empty if they are not known.
        as_json: Print one JSON object instead of a text.

    Raises:
        Reject: Repository, ref or a path is malformed.
    """
    repository, ref = asked
    paths = [_checked(path) for path in changed]
    push = make_push(repository, ref, region=settings.aws.region or "REGION")
    rules = rules_of(settings)
    unchanged = [
        pathspecs
        for pathspecs in (asked_changes(push, rules) if changed else ())
        if not await _match(pathspecs, paths)
    ]
    decision = decide(push, rules, unchanged, known=bool(changed))
    if as_json:
        document = {"ignored": decision.is_ignored, **asdict(decision)}
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        _show(decision)
    return int(decision.is_ignored)


def _checked(path: str) -> str:
    try:
        return check_subtree(path)
    except ValueError as error:
        raise Reject(f"--changed {path!a} {error}") from error


async def _match(pathspecs: Sequence[str], paths: Sequence[str]) -> bool:
    """Return whether git finds one of the paths by the pathspecs, in an index of these alone."""
    with TemporaryDirectory(prefix="asyncbuild-") as directory:
        there = ("--git-dir", f"{directory}/git", "--work-tree", directory)
        entries = b"".join(
            f"100644 {_EMPTY_BLOB}\t".encode() + os.fsencode(path) + b"\0" for path in paths
        )
        await _git(directory, "init", "--quiet", "--bare", "--template=", f"{directory}/git")
        await _git(directory, *there, "update-index", "-z", "--index-info", stdin=entries)
        return bool(await _git(directory, *there, "ls-files", "--cached", "-z", "--", *pathspecs))


async def _git(directory: str, *arguments: str, stdin: bytes = b"") -> bytes:
    done = await anyio.run_process(
        ["git", *arguments], input=stdin, check=False, cwd=directory, env=_environment()
    )
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip()
        raise Reject(f"the changed paths cannot be looked at: {reason}")
    return done.stdout


def _environment() -> Mapping[str, str]:
    """Return an environment for git without the caller's repository and settings."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }


def _show(decision: RuleDecision) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for each in decision.rules:
        mark, style = ("matches", "green") if each.matches else ("no", "yellow")
        console.print(f"{mark:<11} ", style=style, end="")
        console.print(f"{each.rule}: {each.why}", markup=False)
    for target in decision.targets:
        console.print(f"\n{_told(target)}", markup=False)


def _told(target: Target) -> str:
    if target.action is Action.IGNORE:
        return f"Nothing is done: {target.rule}."
    if target.fault:
        return f"Dead-lettered: {target.fault}."
    what = {
        Action.BUILD: f"Build of project {target.project}",
        Action.PIPELINE: f"Execution of pipeline {target.pipeline}",
    }.get(target.action, "Upload alone")
    lines = [f"{what}, by rule {target.rule}", f"  key: {target.key}"]
    lines += [f"  {name}={value}" for name, value in target.variables.items()]
    return "\n".join(lines)
