"""Judges of rights, from answers to calls that cannot do harm. Pure.

A right is tried by a call that only reads, or that names something made up: a receipt handle, an
upload. A caller without the right gets `AccessDenied`. A right is called allowed only if the answer
is about the resource itself, for which AWS had to look for it. For a few rights no such call is
known; those are named, and not claimed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from asyncbuild.checks.judges.finding import Finding, FindingKind, Level


@dataclass(frozen=True, slots=True)
class Trial:
    """One call that was made.

    Attributes:
        action: The right it needs, as IAM names it.
        resource: Resource of the call.
        answer: AWS's error code; empty for success.
        allowed: Codes that only a caller with the right gets; an empty text means success.
        denied: Whether the answer said that the right is missing.
        why: Purpose of the right, or the consequence of one that is too wide.
        too_wide: Whether a role with narrow rights would be refused.
    """

    action: str
    resource: str
    answer: str
    allowed: frozenset[str]
    denied: bool
    why: str
    too_wide: bool = False


# Rights that no harmless call can try, and how they show instead.
NOT_TRIED: Final = {
    "sqs:ReceiveMessage": "a receive would take messages; the service tells at its start",
    "sqs:SendMessage": "a message would be sent; the service tells when it cannot report, "
    "dead-letter, or send a push that it found",
    "s3:DeleteObject": "a delete leaves a marker in a bucket with versions; only notes about "
    "tries, marks of unfinished builds and events that waited are ever deleted, and the service "
    "works without: each round asks for builds that have ended long since, and sends those events "
    "again",
    "codebuild:StartBuild": "a start that is refused for its parameters may be refused before the "
    "right is looked at; `check --probe --project NAME` starts builds",
    "codecommit:GitPull": "a pull needs a repository; `check --probe --repository NAME` pulls",
}


def judge_trials(trials: list[Trial]) -> Iterator[Finding]:
    """Yield one finding for each right that was tried, and one for those that cannot be."""
    for trial in trials:
        if trial.too_wide:
            yield _judge_width(trial)
            continue
        name = f"rights.{trial.action}"
        subject = f"{trial.action} on {trial.resource}"
        if trial.denied:
            yield Finding(
                Level.PROBLEM,
                name,
                f"{subject} is not allowed ({trial.answer})",
                trial.why,
                f"allow {trial.action} on it in the policy of the task's role",
                FindingKind.RIGHTS,
            )
        elif trial.answer in trial.allowed:
            yield Finding(Level.OK, name, f"{subject} is allowed")
        else:
            yield Finding(
                Level.NOTE,
                name,
                f"{subject}: cannot tell, the answer was {trial.answer or 'success'}",
                f"{trial.why}; expected was {' or '.join(sorted(filter(None, trial.allowed)))}",
            )
    yield Finding(
        Level.NOTE,
        "rights.not-tried",
        f"not tried: {', '.join(NOT_TRIED)}",
        "; ".join(f"{action}: {reason}" for action, reason in NOT_TRIED.items()),
    )


def _judge_width(trial: Trial) -> Finding:
    """Return the finding whether the role may do something that it never has to do."""
    name = f"rights.{trial.action}"
    subject = f"{trial.action} on {trial.resource}"
    if trial.denied:
        return Finding(Level.OK, name, f"{subject} is not allowed, as it should be")
    if trial.answer in trial.allowed:
        return Finding(
            Level.WARNING,
            name,
            f"{subject} is allowed",
            trial.why,
            "name the projects in parameter ProjectArns of the stack",
            FindingKind.RIGHTS,
        )
    return Finding(Level.NOTE, name, f"{subject}: cannot tell, the answer was {trial.answer}")
