"""Answers of the rules about repositories and refs that no event names. Pure."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from asyncbuild.domain.model import Action, Change, Push
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.rules.route import route
from asyncbuild.domain.rules.rule import Rule
from asyncbuild.domain.rules.rule_globs import full_refs, matches_repository

_TAGS: Final = "refs/tags/"
_WILD: Final = re.compile(r"[*?\[]")
_ANY_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)


class WantedRefs:
    """Rules, asked about repositories and refs.

    Args:
        rules: All rules, in their order.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._asking = [each for each in rules if each.action is not Action.IGNORE]

    def covers(self, repository: Repository) -> bool:
        """Return whether a rule asks for anything in a repository."""
        return any(matches_repository(repository, each.repository) for each in self._asking)

    def tags(self, repository: Repository) -> bool:
        """Return whether a rule may ask for anything when a tag of a repository moves."""
        return any(
            matches_repository(repository, each.repository)
            and any(_may_be_tag(glob) for glob in full_refs(each.ref))
            for each in self._asking
        )

    def asks(self, repository: Repository, ref: str, commit: str) -> bool:
        """Return whether the rules ask for anything when a ref moves to a commit.

        Args:
            repository: The repository.
            ref: Full name of the ref.
            commit: Id of the commit.
        """
        push = Push("asked", repository, ref, commit, Change.UPDATED, _ANY_TIME)
        return any(each.action is not Action.IGNORE for each in route(push, self._rules))


def _may_be_tag(glob: str) -> bool:
    if glob.startswith("!"):
        return False
    wild = _WILD.search(glob)
    fixed = glob[: wild.start()] if wild else glob
    return fixed.startswith(_TAGS) or (bool(wild) and _TAGS.startswith(fixed))
