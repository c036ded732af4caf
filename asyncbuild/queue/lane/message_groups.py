"""Check that message groups keep the order of pushes: one group per repository. Pure.

An event rule whose target does not support paths as message group sends the path itself,
`$.detail.repositoryId`, and then all repositories wait for each other. Everything still works, so
only the waiting would show it.
"""

from collections.abc import Iterable

_MOST_GROUPS = 10_000  # remembered; beyond that nothing more is found
REMEDY = "give each repository a message group of its own: docs/accounts.md shows both ways"


class Grouping:
    """Detector of faulty message groups; reports each group once."""

    def __init__(self) -> None:
        self._repositories: dict[str, str] = {}
        self._told: set[str] = set()

    def find_fault(self, group: str, repositories: Iterable[str]) -> str:
        """Return the fault of `group` that holds pushes of `repositories`; empty if it has none."""
        if group in self._told:
            return ""
        fault = self._literal(group) or self._shared(group, repositories)
        if fault:
            self._told.add(group)
        return fault

    def _literal(self, group: str) -> str:
        if not group.startswith(("$.", "<$.")):
            return ""
        return (
            f"message group {group} is a path that was never filled in: all pushes wait in one line"
        )

    def _shared(self, group: str, repositories: Iterable[str]) -> str:
        for repository in repositories:
            if len(self._repositories) >= _MOST_GROUPS and group not in self._repositories:
                return ""
            other = self._repositories.setdefault(group, repository)
            if other != repository:
                return (
                    f"message group {group} holds pushes of {other} and of {repository}: "
                    "they wait for each other"
                )
        return ""
