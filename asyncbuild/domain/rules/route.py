"""Rules applied to a push, giving its targets. First match wins; no match means ignored.

A rule that is not `final` lets the rules after it match, too. One with `changes` matches only if
the push changed something there: the caller looks that up first, as it needs the repository.
"""

from collections.abc import Container, Iterator, Sequence

from asyncbuild.domain.model import Action, Push, Target
from asyncbuild.domain.rules.rule import Rule
from asyncbuild.domain.rules.rule_globs import full_refs, matches, matches_repository
from asyncbuild.domain.rules.targets import targets_of


def route(
    push: Push, rules: Sequence[Rule], unchanged: Container[tuple[str, ...]] = ()
) -> tuple[Target, ...]:
    """Return the targets of a push: one for each project or pipeline, or a single other one.

    A project is built once for a push, for the first rule that names it (I12).

    Args:
        push: The push.
        rules: All rules, in their order.
        unchanged: Values of `changes` in which the push is known to have changed nothing.

    Returns:
        Targets; a rule that cannot be carried out gives one with a `fault`, beside the others.
    """
    targets: dict[tuple[Action, str], Target] = {}
    left_out = []
    for rule, is_left_out in iter_applied(push, rules, unchanged):
        if is_left_out:
            left_out.append(f"{', '.join(rule.changes)} (rule {rule.name})")
            continue
        for target in targets_of(push, rule):
            name = target.project or target.pipeline or target.key or target.rule
            targets.setdefault((target.action, name), target)
    wanted = [each for each in targets.values() if each.action is not Action.IGNORE]
    if targets:
        return tuple(wanted or targets.values())
    why = f": nothing changed in {'; '.join(left_out)}" if left_out else ""
    return (Target(Action.IGNORE, rule=f"no rule matches{why}"),)


def iter_applied(
    push: Push, rules: Sequence[Rule], unchanged: Container[tuple[str, ...]]
) -> Iterator[tuple[Rule, bool]]:
    """Yield the rules that match a push, up to the final one; True with those left out.

    Args:
        push: The push.
        rules: All rules, in their order.
        unchanged: Values of `changes` in which the push is known to have changed nothing.
    """
    for rule in _matching(push, rules):
        is_left_out = bool(rule.changes) and rule.changes in unchanged
        yield rule, is_left_out
        if rule.final and not is_left_out:
            return


def asked_changes(push: Push, rules: Sequence[Rule]) -> list[tuple[str, ...]]:
    """Return the `changes` that decide about this push, if it names a commit to compare with."""
    asked: dict[tuple[str, ...], None] = {}
    for rule in _matching(push, rules):
        if rule.changes:
            asked[rule.changes] = None
        elif rule.final:
            break
    return list(asked)


def _matching(push: Push, rules: Sequence[Rule]) -> Iterator[Rule]:
    for rule in rules:
        if matches_repository(push.repository, rule.repository) and matches(
            push.ref, full_refs(rule.ref)
        ):
            yield rule
