"""Runs the check and prints what was found; the end is an exit code."""

import sys
from dataclasses import asdict

import orjson
from rich.console import Console

from asyncbuild.checks.finding import Finding, Level, exit_code_of, is_bad
from asyncbuild.checks.look import iter_findings
from asyncbuild.config import Settings

_COLOURS = {Level.OK: "green", Level.NOTE: "blue", Level.WARNING: "yellow", Level.PROBLEM: "red"}


async def run(settings: Settings, as_json: bool) -> int:  # noqa: FBT001 - called by position
    """Print the findings and give the exit code (`exit_code_of`)."""
    findings = [finding async for finding in iter_findings(settings)]
    code = exit_code_of(findings)
    if as_json:
        document = {"well": code == 0, "findings": [asdict(each) for each in findings]}
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        _show(findings)
    return code


def _show(findings: list[Finding]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        console.print(f"{finding.level:<8} ", style=_COLOURS[finding.level], end="")
        console.print(f"{finding.name}: {finding.what}", markup=False)
        for name, text in (("why", finding.why), ("remedy", finding.remedy)):
            if text:
                console.print(f"         {name}: {text}", markup=False)
    bad = sum(map(is_bad, findings))
    console.print("All is well." if not bad else f"{bad} of {len(findings)} need attention.")
