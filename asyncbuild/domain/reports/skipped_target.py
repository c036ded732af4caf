"""Projects and pipelines that a push does not start, because `changes` left them out. Pure."""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from asyncbuild.domain.model import Push
from asyncbuild.domain.rules.route import iter_applied
from asyncbuild.domain.rules.rule import Rule
from asyncbuild.domain.rules.targets import targets_of


@dataclass(frozen=True, slots=True)
class SkippedTarget:
    """A project or pipeline that is not started; the other of the two is None.

    Attributes:
        rule: Name of the rule that left it out.
        changes: Pathspecs of that rule, in which nothing changed.
        project: Name of the project.
        pipeline: Name of the pipeline.
    """

    rule: str
    changes: tuple[str, ...]
    project: str | None = None
    pipeline: str | None = None


def skipped_targets(
    push: Push, rules: Sequence[Rule], unchanged: Container[tuple[str, ...]]
) -> tuple[SkippedTarget, ...]:
    """Return the projects and pipelines that rules left out, and that no other rule starts.

    Args:
        push: The push.
        rules: All rules, in their order.
        unchanged: Values of `changes` in which the push is known to have changed nothing.
    """
    skipped: dict[tuple[str | None, str | None], SkippedTarget] = {}
    started = set[tuple[str | None, str | None]]()
    for rule, is_left_out in iter_applied(push, rules, unchanged):
        for target in targets_of(push, rule):
            name = (target.project, target.pipeline)
            if not is_left_out:
                started.add(name)
            elif any(name):
                skipped.setdefault(name, SkippedTarget(rule.name, rule.changes, *name))
    return tuple(each for name, each in skipped.items() if name not in started)
