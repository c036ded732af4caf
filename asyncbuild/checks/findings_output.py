"""Output of the check: runs it, prints the findings, returns the exit code."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console

from asyncbuild.checks.gather import iter_findings
from asyncbuild.checks.judges.finding import Finding, Level, exit_code_of, is_bad, judge_doubt
from asyncbuild.checks.judges.probe_answer import Answer, ProbeVerdict
from asyncbuild.checks.probes.run import Subjects, iter_answers, open_made
from asyncbuild.config.doubts import Doubt
from asyncbuild.config.settings import Settings
from asyncbuild.domain.foreign_text import plain, to_json

if TYPE_CHECKING:
    from asyncbuild.checks.probes.made import ProbeRun

_COLOURS = {
    Level.OK: "green",
    Level.NOTE: "blue",
    Level.WARNING: "yellow",
    Level.PROBLEM: "red",
    ProbeVerdict.YES: "green",
    ProbeVerdict.NO: "yellow",
    ProbeVerdict.UNKNOWN: "blue",
}
_INDENT = " " * 12


async def run(
    settings: Settings,
    doubts: Sequence[Doubt],
    as_json: bool,  # noqa: FBT001 - called by position
    subjects: Subjects | None = None,
) -> int:
    """Print the findings, those of the configuration first; return the exit code.

    With `subjects` the answers of the probes are printed, too. The code is `exit_code_of` the
    findings; answers are neither good nor bad: the service can handle each. Something that the
    probes left behind is a warning.

    Args:
        settings: The whole configuration.
        doubts: Doubts about the configuration.
        as_json: Print one JSON object instead of text.
        subjects: Resources for the probes; None for no probes.
    """
    shown = _Shown(as_json)
    findings: list[Finding] = []
    for doubt in doubts:
        findings.append(judge_doubt(doubt))
        shown.finding(findings[-1])
    async for finding in iter_findings(settings):
        findings.append(finding)
        shown.finding(finding)
    answers: list[Answer] = []
    made: ProbeRun | None = None
    if subjects is not None:
        shown.heading(_heading(settings))
        async with open_made() as made:
            async for answer in iter_answers(settings, subjects, made):
                answers.append(answer)
                shown.answer(answer)
    left = made.left if made is not None else []
    code = exit_code_of(findings) or int(bool(left))
    if made is not None and made.interrupted:
        code = made.interrupted
    if as_json:
        document: dict[str, Any] = {"well": code == 0, "findings": list(map(asdict, findings))}
        if subjects is not None:
            document |= {"probes": list(map(asdict, answers)), "left": left}
        _write(document)
    else:
        shown.end(findings, left)
    return code


def _heading(settings: Settings) -> str:
    if settings.aws.endpoint_url:
        return f"Answers of {settings.aws.endpoint_url}, which say nothing about AWS itself:"
    return "Answers of AWS; this takes some minutes:"


def _write(document: Mapping[str, Any]) -> None:
    sys.stdout.write(to_json(document, indent=True, newline=True).decode())


class _Shown:
    """Output for people, line by line; silent where the whole is to be JSON."""

    def __init__(self, as_json: bool) -> None:  # noqa: FBT001 - a switch
        self._console = Console(highlight=False, soft_wrap=True, quiet=as_json)

    def finding(self, finding: Finding) -> None:
        """Print a finding in one line, and its reason and remedy where it needs attention."""
        self._line(finding.level, f"{finding.name}: {finding.what}")
        self._more((("why", finding.why), ("remedy", finding.remedy)))

    def heading(self, text: str) -> None:
        """Print a line between findings and answers."""
        self._console.print(f"\n{text}", markup=False)

    def answer(self, answer: Answer) -> None:
        """Print an answer in one line, with what was seen and what follows."""
        self._line(answer.verdict, f"{answer.name}: {answer.question}")
        self._more((("seen", answer.seen), ("so", answer.effect)))

    def end(self, findings: list[Finding], left: list[str]) -> None:
        """Print what was left behind, and the number of findings that need attention."""
        for each in left:
            shown = plain(each)
            self._console.print(f"perhaps left behind, delete it by hand: {shown}", markup=False)
        bad = sum(map(is_bad, findings))
        text = "All is well." if not bad else f"{bad} of {len(findings)} need attention."
        self._console.print(text)

    def _line(self, mark: Level | ProbeVerdict, text: str) -> None:
        self._console.print(f"{mark:<11} ", style=_COLOURS[mark], end="")
        self._console.print(plain(text), markup=False)

    def _more(self, parts: Iterable[tuple[str, str]]) -> None:
        for name, text in parts:
            if text:
                shown = plain(text, lines=True)
                self._console.print(f"{_INDENT}{name}: {shown}", markup=False)
