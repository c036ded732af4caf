"""Reasons why an archive is made in full although an older one might do."""

from typing import Final

# Every `reason`, of `FallBack` or of the archiver itself; each is a series of a metric.
REASONS: Final = (
    "attributes-changed",
    "attributes-unknown",
    "directory-too-large",
    "does-not-pay",
    "failed",
    "lfs",
    "no-base",
    "odd-path",
    "off",
    "other-format",
    "paths",
    "small",
    "submodules",
    "table-mismatch",
    "too-many-paths",
    "unexpected-entry",
)


class FallBack(Exception):
    """A delta is not possible or does not pay, so the archive is made in full.

    Args:
        reason: One of `REASONS`, to be counted.
        detail: An explanation, for people.
        changes: How many paths differ from the base, if they were counted.
    """

    def __init__(self, reason: str, detail: str = "", *, changes: int = 0) -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail
        self.changes = changes
