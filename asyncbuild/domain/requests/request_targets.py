"""Targets of a request: those of the rules, restricted and with variables as it asks. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Push, Target
from asyncbuild.domain.rules.rule_globs import matches


def requested_targets(
    push: Push, routed: Sequence[Target], *, variables: Sequence[str]
) -> tuple[Target, ...]:
    """Return what a push asks for of the targets that its rules name.

    Args:
        push: The push; a request may ask for some of them, or change them.
        routed: Targets by the rules.
        variables: Globs of the names that a request may set (`builds.request_variables`).

    Raises:
        Reject: It names a project that the rules do not start, or sets a variable that it may not.
    """
    terms = push.terms
    if terms is None:
        return tuple(routed)
    if refused := [name for name in terms.variables if not matches(name, variables)]:
        raise Reject(
            f"the request sets variable {', '.join(refused)}, which builds.request_variables does "
            "not allow",
            remedy="leave it out, or add it to that setting",
        )
    started = [each for each in routed if _name(each)]
    if terms.projects:
        _check_projects(push, terms.projects, started)
        routed = [each for each in started if _name(each) in terms.projects]
    return tuple(
        replace(each, variables={**each.variables, **terms.variables}) if _name(each) else each
        for each in routed
    )


def _check_projects(push: Push, wanted: Sequence[str], started: Sequence[Target]) -> None:
    possible = sorted({_name(each) for each in started})
    if unknown := [name for name in wanted if name not in possible]:
        told = f"possible are {', '.join(possible)}" if possible else "they start nothing for it"
        raise Reject(
            f"the request names project {', '.join(unknown)}, which the rules do not start for "
            f"{push.ref} of {push.repository.path}",
            remedy=f"{told}; asyncbuild check --push says why",
        )


def _name(target: Target) -> str:
    """Return the name of what a target starts; empty if it starts nothing."""
    return target.project or target.pipeline or ""
