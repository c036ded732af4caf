"""Decisions of the rules about a made-up push: which match, which do not, and why. Pure."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from asyncbuild.domain.contents.compared_content import ChangesSince
from asyncbuild.domain.contents.known_changes import KnownChanges
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Action, Change, Push, Target
from asyncbuild.domain.refs import check_pushed_ref
from asyncbuild.domain.repository import decode_repository
from asyncbuild.domain.rules.route import route
from asyncbuild.domain.rules.rule import Rule
from asyncbuild.domain.rules.rule_globs import full_refs, matches, matches_repository

_COMMIT: Final = "0123456789abcdef" * 2 + "01234567"  # made up, for keys that contain one
_SINCE: Final = {
    ChangesSince.PUSH: "",
    ChangesSince.STARTED: " since it was started",
    ChangesSince.PASSED: " since it passed",
}
_NOWHERE: Final = "000000000000"  # account of a repository that is named without one


@dataclass(frozen=True, slots=True)
class Judged:
    """Decision of one rule: whether it matches, and the reason."""

    rule: str
    matches: bool
    why: str


@dataclass(frozen=True, slots=True)
class RuleDecision:
    """Decisions of all rules about one push.

    Attributes:
        rules: Decision of each rule, in their order.
        targets: Targets of the push; one that is ignored if nothing would be done.
    """

    rules: tuple[Judged, ...]
    targets: tuple[Target, ...]

    @property
    def is_ignored(self) -> bool:
        """Return whether nothing would be done."""
        return all(target.action is Action.IGNORE for target in self.targets)


def make_push(repository: str, ref: str, *, region: str) -> Push:
    """Return a push of that repository and ref.

    Args:
        repository: NAME, ACCOUNT/REGION/NAME or HOST/OWNER/NAME.
        ref: A full name, or a branch.
        region: Region for a NAME alone.

    Raises:
        Reject: The ref is not a legal name, or the repository has another form.
    """
    first, *owner, name = repository.split("/") if "/" in repository else (_NOWHERE, "", repository)
    place = "/".join(owner) if "/" in repository else region
    if not all((first, place, name)):
        raise Reject(
            f"repository {repository!a} has {repository.count('/') + 1} parts",
            remedy="write NAME, ACCOUNT/REGION/NAME or HOST/OWNER/NAME",
        )
    return Push(
        id="made-up",
        repository=decode_repository(first.lower(), place, name),
        ref=check_pushed_ref(ref if ref.startswith("refs/") else f"refs/heads/{ref}"),
        commit=_COMMIT,
        change=Change.UPDATED,
        time=datetime.fromtimestamp(0, UTC),
    )


def decide(
    push: Push, rules: Sequence[Rule], unchanged: Collection[tuple[str, ...]], *, known: bool
) -> RuleDecision:
    """Return the decision of each rule about a push, and the targets.

    Args:
        push: The push.
        rules: All rules, in their order.
        unchanged: Values of `changes` in which nothing was changed since what their rules are
            compared with.
        known: Whether the changed paths are known; if not, every `changes` matches.
    """
    judged = []
    last = ""
    for rule in rules:
        if last:
            why = f"not looked at: {last!r} matched, and is final"
            judged.append(Judged(rule.name, matches=False, why=why))
            continue
        fault = next(_iter_faults(push, rule, unchanged), "")
        judged.append(Judged(rule.name, matches=not fault, why=fault or _why(rule, known=known)))
        if not fault and rule.final:
            last = rule.name
    told = [replace(each, changes_since=ChangesSince.PUSH) for each in rules]
    return RuleDecision(tuple(judged), route(push, told, KnownChanges(unchanged)))


def _iter_faults(push: Push, rule: Rule, unchanged: Collection[tuple[str, ...]]) -> Iterator[str]:
    """Yield the reasons why a rule does not match."""
    name = push.repository.path if any("/" in each for each in rule.repository) else ""
    yield from _not_among(
        f"repository {name or push.repository.name}",
        rule.repository,
        lambda glob: matches_repository(push.repository, [glob]),
    )
    yield from _not_among(
        f"ref {push.ref}", rule.ref, lambda glob: matches(push.ref, full_refs([glob]))
    )
    if rule.changes and rule.changes in unchanged:
        yield f"nothing was changed in {', '.join(rule.changes)}{_SINCE[rule.changes_since]}"


def _not_among(what: str, globs: Sequence[str], is_matched: Callable[[str], bool]) -> Iterator[str]:
    """Yield the reason why the last glob that matches does not include `what`.

    Args:
        what: The name that is matched, for people.
        globs: All globs of the setting.
        is_matched: Whether one glob matches the name.
    """
    found = [glob for glob in globs if is_matched(glob.removeprefix("!"))]
    if not found:
        yield f"{what} is matched by none of {', '.join(globs)}"
    elif found[-1].startswith("!"):
        yield f"{what} is excluded by {found[-1]}"


def _why(rule: Rule, *, known: bool) -> str:
    if not rule.skip:
        return _why_matched(rule, known=known)
    texts = ", ".join(f'"{each}"' for each in rule.skip)
    return (
        f"{_why_matched(rule, known=known)}; a commit whose message has {texts} is skipped: the "
        "message is not known here, and taken to have none"
    )


def _why_matched(rule: Rule, *, known: bool) -> str:
    if not rule.changes:
        return "repository and ref match"
    if known:
        since = _SINCE[rule.changes_since]
        return f"repository and ref match, and {', '.join(rule.changes)} was changed{since}"
    return (
        f"repository and ref match; changes = {', '.join(rule.changes)} is taken to match, as it "
        "does where it is not known what was changed"
    )
