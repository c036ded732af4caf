"""Facts about what a push changed, and what follows from them for each target of a rule."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from asyncbuild.domain.contents.compared_content import ChangesSince, ComparedContent
from asyncbuild.domain.contents.content_history import ContentHistory
from asyncbuild.domain.model import Push, Target
from asyncbuild.domain.rules.rule import Rule

_FORM = "1"  # of history names: another one compares with nothing that was recorded before
_SHORT = 12  # digits of a commit's id for people


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Reason why a rule leaves a target out: nothing changed.

    Attributes:
        changes: Pathspecs of the rule.
        since: What the push was compared with.
        commit: Commit of that start or pass; empty for the commit before the push.
    """

    changes: tuple[str, ...]
    since: ChangesSince = ChangesSince.PUSH
    commit: str = ""

    @property
    def ending(self) -> str:
        """End of the sentence that says what the push was compared with; empty for the usual."""
        if self.since is ChangesSince.PUSH:
            return ""
        what = "it passed" if self.since is ChangesSince.PASSED else "it was started"
        return f" since {what} at {self.commit[:_SHORT]}"

    @property
    def text(self) -> str:
        """The reason, as in `nothing changed in api since it passed at 0123456789ab`."""
        return f"nothing changed in {', '.join(self.changes)}{self.ending}"


@dataclass(frozen=True, slots=True)
class HasMarker:
    """Reason why a rule leaves a target out: the message of the push's commit.

    Attributes:
        marker: Text of the rule's `skip` that the message has.
    """

    marker: str

    @property
    def text(self) -> str:
        """The reason, as in `the commit's message has "[skip ci]"`."""
        return f'the commit\'s message has "{self.marker}"'


WhyLeftOut = LeftOut | HasMarker


@dataclass(frozen=True, slots=True)
class ComparedTarget:
    """Comparison of one target: its content, and the commit that it was compared with.

    Attributes:
        content: Content of the rule; None if the rule compares with the commit before the push.
        base: Id of the commit that the push is compared with; empty if there is none.
    """

    content: ComparedContent | None = None
    base: str = ""


@dataclass(frozen=True, slots=True)
class KnownChanges:
    """Facts about what a push changed; whatever is not among them counts as changed.

    Attributes:
        unchanged: Values of `changes` in which nothing changed since the commit before the push.
        base: Id of that commit; empty if it is not known.
        contents: Digests of what `changes` match in the push's tree, by `changes`.
        histories: What was started and has passed before, by the name of the history.
        skips: Whether a history may leave a target out.
        markers: Texts of `skip` that the message of the push's commit has.
    """

    unchanged: Collection[tuple[str, ...]] = ()
    base: str = ""
    contents: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    histories: Mapping[str, ContentHistory] = field(default_factory=dict)
    skips: bool = True
    markers: Collection[str] = ()

    def without_skips(self) -> "KnownChanges":
        """Return the same facts, by which no history leaves a target out."""
        return replace(self, skips=False)

    def why_left_out(self, push: Push, rule: Rule, target: Target) -> WhyLeftOut | None:
        """Return why a rule leaves one of its targets out; None if it does not.

        A marker counts only where something changed: a rule whose `changes` do not match is none
        for this push, whatever the message says.

        Args:
            push: The push.
            rule: The rule.
            target: One of the rule's targets.
        """
        unchanged = self._why_unchanged(push, rule, target)
        if unchanged is not None:
            return unchanged
        marker = next((each for each in rule.skip if each in self.markers), None)
        return None if marker is None else HasMarker(marker)

    def _why_unchanged(self, push: Push, rule: Rule, target: Target) -> LeftOut | None:
        if not rule.changes:
            return None
        if rule.changes_since is ChangesSince.PUSH:
            return LeftOut(rule.changes) if rule.changes in self.unchanged else None
        digest, history = self._look_up(push, rule, target)
        if not self.skips or history is None or history.is_of(push.id):
            return None
        same = history.find_same(rule.changes_since, digest)
        return LeftOut(rule.changes, rule.changes_since, same.commit) if same else None

    def compare(self, push: Push, rule: Rule, target: Target) -> ComparedTarget | None:
        """Return what a target of a rule is compared with; None for a rule without `changes`.

        Args:
            push: The push.
            rule: The rule.
            target: One of the rule's targets.
        """
        if not rule.changes:
            return None
        if rule.changes_since is ChangesSince.PUSH:
            return ComparedTarget(base=self.base)
        digest, history = self._look_up(push, rule, target)
        if not digest:
            return None
        newest = None if history is None else history.newest(rule.changes_since)
        content = ComparedContent(history_name(push.ref, rule, target), digest)
        return ComparedTarget(content, newest.commit if newest else "")

    def _look_up(self, push: Push, rule: Rule, target: Target) -> tuple[str, ContentHistory | None]:
        """Return the digest of a rule's content, empty if it is not known, and its history."""
        digest = self.contents.get(rule.changes, "")
        return digest, self.histories.get(history_name(push.ref, rule, target)) if digest else None


def history_name(ref: str, rule: Rule, target: Target) -> str:
    """Return the name of the history of a target, which is another once its rule has changed.

    It depends on all that a build is given by the rule, but not on the rule's name and on what it
    matches.

    Args:
        ref: Full name of the ref.
        rule: The rule.
        target: One of its targets.
    """
    variables = (f"{name}={rule.variables[name]}" for name in sorted(rule.variables))
    parts = (
        *(_FORM, ref, target.action, target.project or "", target.pipeline or ""),
        *(rule.source_action, rule.options.digest, rule.key, rule.buildspec),
        *("\0".join(rule.changes), *variables),
    )
    text = "\n".join(f"{len(part)} {part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
