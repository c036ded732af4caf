"""Rules applied to a push, giving its targets. First match wins; no match means ignored.

A rule that is not `final` lets the rules after it match, too. One with `changes` matches only if
the push changed something there. One with `skip` matches, and does nothing, if the message of the
push's commit has one of these texts. The caller looks both up first, as that needs the repository.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from asyncbuild.domain.contents.compared_content import ChangesSince
from asyncbuild.domain.contents.known_changes import (
    ComparedTarget,
    HasMarker,
    KnownChanges,
    LeftOut,
    WhyLeftOut,
)
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
    left_out: tuple[tuple[Target, WhyLeftOut], ...] = ()

    @property
    def is_match(self) -> bool:
        """True unless `changes` leave out all of it: what a marker skips was matched."""
        return bool(self.targets) or any(isinstance(why, HasMarker) for _, why in self.left_out)


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
    unchanged: dict[str, None] = {}
    marked: dict[str, None] = {}
    for applied in iter_applied(push, rules, changes):
        for each in applied.targets:
            targets.setdefault(name_of(each), each)
        unchanged |= dict.fromkeys(_unchanged(applied))
        marked |= dict.fromkeys(_marked(applied))
    wanted = [each for each in targets.values() if each.action is not Action.IGNORE]
    if targets:
        return tuple(wanted or targets.values())
    return (Target(Action.IGNORE, rule=_why_nothing(tuple(marked), tuple(unchanged))),)


def _why_nothing(marked: Sequence[str], unchanged: Sequence[str]) -> str:
    """Return why nothing is done: what markers have skipped, and what did not change."""
    same = f"nothing changed in {'; '.join(unchanged)}" if unchanged else ""
    if marked:
        return "; ".join((*marked, *filter(None, [same])))
    return f"no rule matches: {same}" if same else "no rule matches"


def _unchanged(applied: AppliedRule) -> Iterator[str]:
    """Yield for each start or pass that a rule was compared with what did not change since."""
    for _, why in applied.left_out:
        if isinstance(why, LeftOut):
            yield f"{', '.join(why.changes)}{why.ending} (rule {applied.rule.name})"


def _marked(applied: AppliedRule) -> Iterator[str]:
    for _, why in applied.left_out:
        if isinstance(why, HasMarker):
            yield f"{applied.rule.name}: {why.text}"


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
        applied = AppliedRule(
            rule, targets, tuple((target, why) for target, why in judged if why is not None)
        )
        yield applied
        if rule.final and applied.is_match:
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
    asked = (each.changes for each in _asked(push, rules) if each.changes)
    return list(dict.fromkeys(asked))


def asked_markers(push: Push, rules: Sequence[Rule]) -> list[str]:
    """Return the texts whose presence in the commit's message decides about this push.

    For a request there are none: a person asked for the build, or a schedule did.
    """
    if push.is_requested:
        return []
    return list(dict.fromkeys(text for each in _asked(push, rules) for text in each.skip))


def asked_since_push(push: Push, rules: Sequence[Rule]) -> list[tuple[str, ...]]:
    """Return those of `asked_changes` that are compared with the commit before the push."""
    asked = (
        each.changes
        for each in _asked(push, rules)
        if each.changes and each.changes_since is ChangesSince.PUSH
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
    """Yield the rules that may be applied: up to a final one that `changes` cannot leave out."""
    for rule in _matching(push, rules):
        yield rule
        if rule.final and not rule.changes:
            return


def _matching(push: Push, rules: Sequence[Rule]) -> Iterator[Rule]:
    for rule in rules:
        if matches_repository(push.repository, rule.repository) and matches(
            push.ref, full_refs(rule.ref)
        ):
            yield rule
