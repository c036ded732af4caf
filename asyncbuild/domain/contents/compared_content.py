"""Comparison of a push with earlier ones: what it is compared with, and the content that counts."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_NAME: Final = re.compile(r"[0-9a-f]{64}")


class ChangesSince(StrEnum):
    """Base that the tree of a push is compared with, for the `changes` of a rule."""

    PUSH = "push"  # the commit that the ref was at before
    STARTED = "started"  # the newest push of the ref for which the project was started
    PASSED = "passed"  # the newest push of the ref with which the project passed


@dataclass(frozen=True, slots=True)
class ComparedContent:
    """Content of a rule in a push, and the name of the history that it belongs to.

    Attributes:
        history: Digest of the ref, the target and the rule's settings.
        digest: Digest of what the rule's `changes` match.
    """

    history: str
    digest: str


def is_history_name(text: str) -> bool:
    """Return whether a text can be the name of a history, which is a part of a key."""
    return _NAME.fullmatch(text) is not None
