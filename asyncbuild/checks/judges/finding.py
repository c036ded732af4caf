"""Findings: what was examined, and what was found. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from asyncbuild.config.doubts import Doubt


class Level(StrEnum):
    """Severity of a finding. Only `ok` and `note` leave the exit code at 0."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


class FindingKind(StrEnum):
    """Remedy that a finding needs: another set-up, more rights, or a reachable server."""

    SETUP = "setup"
    RIGHTS = "rights"
    REACH = "reach"


# sysexits(3), the worst first: EX_CONFIG, EX_NOPERM, EX_TEMPFAIL. Warnings alone are 1.
_EXIT_CODES: Final = {FindingKind.SETUP: 78, FindingKind.RIGHTS: 77, FindingKind.REACH: 75}


@dataclass(frozen=True, slots=True)
class Finding:
    """One examined subject.

    Attributes:
        level: Severity.
        name: Name of the subject, the same in every run: `queue.retention`.
        what: One sentence with the name and the value.
        why: What follows from it for pushes; empty where all is well.
        remedy: What to do; empty where there is nothing to do.
        kind: Remedy that it needs.
    """

    level: Level
    name: str
    what: str
    why: str = ""
    remedy: str = ""
    kind: FindingKind = FindingKind.SETUP


def judge_doubt(doubt: Doubt) -> Finding:
    """Return a doubtful setting as a finding: the service starts, but hardly as intended."""
    return Finding(Level.WARNING, doubt.name, doubt.what, doubt.why, doubt.remedy)


def is_bad(finding: Finding) -> bool:
    """Return whether a finding needs attention."""
    return finding.level in {Level.WARNING, Level.PROBLEM}


def exit_code_of(findings: Iterable[Finding]) -> int:
    """Return 0 if all is well, 1 for warnings alone, or the code of the worst kind of problem.

    78 for the set-up, 77 for rights, 75 for AWS that cannot be reached.
    """
    bad = [each for each in findings if is_bad(each)]
    kinds = {each.kind for each in bad if each.level is Level.PROBLEM}
    for kind, code in _EXIT_CODES.items():
        if kind in kinds:
            return code
    return 1 if bad else 0
