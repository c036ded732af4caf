"""Rules applied to a push, giving its targets. First match wins; no match means ignored.

A rule that is not `final` lets the rules after it match, too. One with `changes` matches only if
the push changed something there: the caller looks that up first, as it needs the repository.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from asyncbuild.domain.contents.compared_content import ChangesSince
from asyncbuild.domain.contents.known_changes import ComparedTarget, KnownChanges, LeftOut
from asyncbuild.domain.model import Action, Push, Target
from asyncbuild.domain.rules.rule import Rule
from asyncbuild.domain.rules.rule_globs import full_refs, matches, matches_repository
from asyncbuild.domain.rules.targets import TargetName, name_of, targets_of

NOTHING_KNOWN: Final = KnownChanges()


@dataclass(frozen=True, slots=True)
class AppliedRule:
    """A rule that matches a push: what it asks for, and what it leaves out, with the reason."""

    rule: Rule
    targets: tuple[Target, ...]
    left_out: tuple[tuple[Target, LeftOut], ...] = ()


def route(
    push: Push, rules: Sequence[Rule], changes: KnownChanges = NOTHING_KNOWN
) -> tuple[Target, ...]:
    """Return the targets of a push: one for each project or pipeline, or a single other one.

    A project is built once for a push, for the first rule that names it (I12).

    Args:
        push: The push.
        rules: All rules, in their order.
        changes: Facts about what the push changed.

    Returns:
        Targets; a rule that cannot be carried out gives one with a `fault`, beside the others.
    """
    targets: dict[TargetName, Target] = {}
    left_out: dict[str, None] = {}
    for applied in iter_applied(push, rules, changes):
        for each in applied.targets:
            targets.setdefault(name_of(each), each)
        left_out |= dict.fromkeys(_reasons(applied))
    wanted = [each for each in targets.values() if each.action is not Action.IGNORE]
    if targets:
        return tuple(wanted or targets.values())
    why = f": nothing changed in {'; '.join(left_out)}" if left_out else ""
    return (Target(Action.IGNORE, rule=f"no rule matches{why}"),)


def _reasons(applied: AppliedRule) -> Iterator[str]:
    """Yield for each start or pass that a rule was compared with what did not change since."""
    for _, why in applied.left_out:
        yield f"{', '.join(why.changes)}{why.ending} (rule {applied.rule.name})"


def iter_applied(push: Push, rules: Sequence[Rule], changes: KnownChanges) -> Iterator[AppliedRule]:
    """Yield the rules that match a push, up to the final one; a rule may leave all of it out.

    Args:
        push: The push.
        rules: All rules, in their order.
        changes: Facts about what the push changed.
    """
    for rule in _matching(push, rules):
        judged = [(each, changes.why_left_out(push, rule, each)) for each in targets_of(push, rule)]
        targets = tuple(target for target, why in judged if why is None)
        yield AppliedRule(
            rule, targets, tuple((target, why) for target, why in judged if why is not None)
        )
        if rule.final and targets:
            return


def compare_targets(
    push: Push, rules: Sequence[Rule], changes: KnownChanges
) -> dict[TargetName, ComparedTarget]:
    """Return what the targets of a push were compared with, by their names.

    Args:
        push: The push.
        rules: All rules, in their order.
        changes: Facts about what the push changed.
    """
    compared: dict[TargetName, ComparedTarget | None] = {}
    for applied in iter_applied(push, rules, changes):
        for each in applied.targets:
            compared.setdefault(name_of(each), changes.compare(push, applied.rule, each))
    return {name: each for name, each in compared.items() if each is not None}


def asked_changes(push: Push, rules: Sequence[Rule]) -> list[tuple[str, ...]]:
    """Return the `changes` that decide about this push, if it names a commit to compare with."""
    asked = (each.changes for each in _asked(push, rules))
    return list(dict.fromkeys(asked))


def asked_since_push(push: Push, rules: Sequence[Rule]) -> list[tuple[str, ...]]:
    """Return those of `asked_changes` that are compared with the commit before the push."""
    asked = (
        each.changes for each in _asked(push, rules) if each.changes_since is ChangesSince.PUSH
    )
    return list(dict.fromkeys(asked))


def asked_histories(push: Push, rules: Sequence[Rule]) -> list[tuple[Rule, Target]]:
    """Return the targets, each with its rule, about which a history of content decides."""
    return [
        (rule, target)
        for rule in _asked(push, rules)
        if rule.changes_since is not ChangesSince.PUSH
        for target in targets_of(push, rule)
    ]


def _asked(push: Push, rules: Sequence[Rule]) -> Iterator[Rule]:
    for rule in _matching(push, rules):
        if rule.changes:
            yield rule
        elif rule.final:
            return


def _matching(push: Push, rules: Sequence[Rule]) -> Iterator[Rule]:
    for rule in rules:
        if matches_repository(push.repository, rule.repository) and matches(
            push.ref, full_refs(rule.ref)
        ):
            yield rule
