"""Settings that are accepted, but hardly intended. Pure.

An impossible value is a fault (`config/faults.py`) and ends the command; a doubt is a warning at
the start of the service and in `asyncbuild check`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from string import Formatter
from typing import Final

from asyncbuild.config.globs import includes_all, includes_all_repositories
from asyncbuild.config.hints import iter_hints
from asyncbuild.config.lines import Place
from asyncbuild.config.routing import RuleSettings, fill_rules
from asyncbuild.config.settings import Settings
from asyncbuild.domain.contents.compared_content import ChangesSince
from asyncbuild.domain.model import Action
from asyncbuild.domain.rules.rule_globs import full_refs

_WILD: Final = re.compile(r"[*?\[!]")
# First parts of refs as git shows them locally; a branch's own name does not have them.
_NO_BRANCH: Final = frozenset({"heads", "tags", "remotes", "origin"})


@dataclass(frozen=True, slots=True)
class Doubt:
    """One warning.

    Attributes:
        name: Name of the doubt, the same in every run: `config.shadowed-rule`.
        what: One sentence with the setting and its value.
        why: What follows from it.
        remedy: What to do.
        places: The settings concerned.
    """

    name: str
    what: str
    why: str
    remedy: str
    places: tuple[Place, ...]


def doubts(settings: Settings) -> list[Doubt]:
    """Return the doubts about a configuration."""
    return [
        *_numbers(settings),
        *_remote(settings),
        *_shadowed(settings.rules),
        *_refs(settings.rules),
        *_passes(settings),
        *_keys(settings),
        *_hints(settings),
        *_without_results(settings),
    ]


def _numbers(settings: Settings) -> Iterator[Doubt]:
    lanes, queue, git = settings.lanes, settings.queue, settings.git
    if lanes.lookahead > queue.batch:
        yield Doubt(
            "config.lookahead",
            f"lanes.lookahead = {lanes.lookahead} is more than queue.batch = {queue.batch}",
            "a repository has at most one batch of pushes in flight: no more are prepared at once",
            f"set lanes.lookahead to at most {queue.batch}, or queue.batch higher (10 is SQS's "
            "most)",
            (("lanes", "lookahead"), ("queue", "batch")),
        )
    if lanes.retry_first_seconds > lanes.retry_most_seconds:
        yield Doubt(
            "config.retry",
            f"lanes.retry_first_seconds = {lanes.retry_first_seconds:g} is more than "
            f"lanes.retry_most_seconds = {lanes.retry_most_seconds:g}",
            "the second is the limit of the first, so every wait is equally long",
            "set lanes.retry_most_seconds higher",
            (("lanes", "retry_first_seconds"), ("lanes", "retry_most_seconds")),
        )
    if git.silence_timeout_seconds > git.timeout_seconds:
        yield Doubt(
            "config.git-timeouts",
            f"git.silence_timeout_seconds = {git.silence_timeout_seconds:g} is more than "
            f"git.timeout_seconds = {git.timeout_seconds:g}",
            "a fetch ends at the second before its silence could be noticed",
            "set git.timeout_seconds higher than git.silence_timeout_seconds",
            (("git", "silence_timeout_seconds"), ("git", "timeout_seconds")),
        )


def _without_results(settings: Settings) -> Iterator[Doubt]:
    for number, rule in enumerate(settings.rules):
        if rule.cancel_superseded and not settings.results.url:
            yield Doubt(
                "config.cancel-superseded",
                f"{_name(number, rule)}: cancel_superseded = true, and results.url is empty",
                "which builds still run is known from the results, so nothing is stopped",
                "set results.url, or leave cancel_superseded out",
                (("rules", number, "cancel_superseded"), ("results", "url")),
            )
            return


def _remote(settings: Settings) -> Iterator[Doubt]:
    fields = {name for _, name, _, _ in Formatter().parse(settings.git.remote)}
    if "repository" not in fields:
        yield Doubt(
            "config.remote",
            "git.remote has no {repository} in it",
            "pushes of all repositories are fetched from the same one",
            "put {repository} where the repository's name belongs in the URL",
            (("git", "remote"),),
        )


def _shadowed(rules: Sequence[RuleSettings]) -> Iterator[Doubt]:
    for (first, earlier), (second, later) in combinations(enumerate(rules), 2):
        decides = earlier.final and not earlier.changes
        if (
            decides
            and includes_all_repositories(earlier.repository, later.repository)
            and includes_all(full_refs(earlier.ref), full_refs(later.ref))
        ):
            yield Doubt(
                "config.shadowed-rule",
                f"{_name(second, later)} is never reached",
                f"{_name(first, earlier)} comes first and matches every push that it matches",
                "put it before that one, or set final = false there",
                (("rules", second), ("rules", first)),
            )
            return  # each further pair repeats the same fault of order


def _passes(settings: Settings) -> Iterator[Doubt]:
    rules = list(enumerate(settings.rules))
    asking = [each for each in rules if each[1].changes_since is ChangesSince.PASSED]
    if asking and not settings.results.url:
        number, rule = asking[0]
        yield Doubt(
            "config.passed",
            f'{_name(number, rule)} has changes_since = "passed", and results.url is empty',
            "without results it is never known that a project passed, so every push is built",
            'set results.url (docs/results.md), or changes_since = "started"',
            (("rules", number, "changes_since"),),
        )


def _refs(rules: Sequence[RuleSettings]) -> Iterator[Doubt]:
    for number, rule in enumerate(rules):
        for glob in rule.ref:
            bare = glob.removeprefix("!")
            first, slash, rest = bare.partition("/")
            if slash and rest and first in _NO_BRANCH:
                ref = f"refs/{bare}" if first != "origin" else f"refs/heads/{rest}"
                yield Doubt(
                    "config.ref",
                    f"{_name(number, rule)}: ref {glob!r} is the branch refs/heads/{bare}",
                    'a ref without "refs/" in front is the whole name of a branch',
                    f'write "{"!" if glob != bare else ""}{ref}", or "refs/heads/{bare}" if that '
                    "branch is meant",
                    (("rules", number, "ref"),),
                )


def _keys(settings: Settings) -> Iterator[Doubt]:
    for number, rule in enumerate(settings.rules):
        if rule.action is Action.IGNORE:
            continue
        key = rule.key or settings.storage.key
        fields = {name for _, name, _, _ in Formatter().parse(key)}
        if fields & {"commit", "short_commit"}:
            continue
        shared = []
        if "repository" not in fields and _is_wild(rule.repository):
            shared.append("repositories")
        if not fields & {"branch", "ref"} and _is_wild(rule.ref):
            shared.append("refs")
        if shared:
            place: Place = ("rules", number, "key") if rule.key else ("storage", "key")
            yield Doubt(
                "config.key",
                f"{_name(number, rule)}: key {key!r} is the same for different {_and(shared)}",
                "each archive replaces the one of another push, which a build may be about to read",
                "put {repository}, {branch} or {commit} into the key",
                (place,),
            )


def _hints(settings: Settings) -> Iterator[Doubt]:
    """Yield globs that match nothing, or that mean something else in other CI systems."""
    rules = fill_rules(settings.rules, key=settings.storage.key, project=settings.builds.project)
    for hint in iter_hints(rules, hosts=[each.host for each in settings.hosts]):
        yield Doubt(
            f"config.{'value' if hint.setting == 'variables' else 'glob'}",
            f"{_name(hint.rule, settings.rules[hint.rule])}: {hint.setting} {hint.what}",
            "a push that the rule seems to be for is not built by it",
            hint.remedy,
            (("rules", hint.rule, hint.setting),),
        )


def _and(words: Sequence[str]) -> str:
    return " and ".join(words)


def _is_wild(globs: Sequence[str]) -> bool:
    included = [glob for glob in globs if not glob.startswith("!")]
    return len(included) > 1 or any(_WILD.search(glob) for glob in included)


def _name(number: int, rule: RuleSettings) -> str:
    return f"rule {rule.name!r}" if rule.name else f"rules[{number}]"
