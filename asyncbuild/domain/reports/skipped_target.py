"""Projects and pipelines that a push does not start, for `changes` or `skip` of rules. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from asyncbuild.domain.contents.compared_content import ChangesSince
from asyncbuild.domain.contents.known_changes import HasMarker, KnownChanges, WhyLeftOut
from asyncbuild.domain.model import Push
from asyncbuild.domain.rules.route import iter_applied
from asyncbuild.domain.rules.rule import Rule


@dataclass(frozen=True, slots=True)
class SkippedTarget:
    """A project or pipeline that is not started; the other of the two is None.

    Attributes:
        rule: Name of the rule that left it out.
        why: What did not change and since when, or what the commit's message has.
        project: Name of the project.
        pipeline: Name of the pipeline.
    """

    rule: str
    why: WhyLeftOut
    project: str | None = None
    pipeline: str | None = None

    @property
    def is_recorded(self) -> bool:
        """True if it is recorded beside what is built: the event does not show why it was not."""
        return isinstance(self.why, HasMarker) or self.why.since is not ChangesSince.PUSH

    @property
    def text(self) -> str:
        """Target that was left out, and the reason, for people."""
        return f"{self.project or self.pipeline}: {self.why.text} (rule {self.rule})"


def skipped_targets(
    push: Push, rules: Sequence[Rule], changes: KnownChanges
) -> tuple[SkippedTarget, ...]:
    """Return the projects and pipelines that rules left out, and that no other rule starts.

    Args:
        push: The push.
        rules: All rules, in their order.
        changes: Facts about what the push changed.
    """
    skipped: dict[tuple[str | None, str | None], SkippedTarget] = {}
    started = set[tuple[str | None, str | None]]()
    for applied in iter_applied(push, rules, changes):
        started |= {(each.project, each.pipeline) for each in applied.targets}
        for target, why in applied.left_out:
            name = (target.project, target.pipeline)
            if any(name):
                skipped.setdefault(name, SkippedTarget(applied.rule.name, why, *name))
    return tuple(each for name, each in skipped.items() if name not in started)
