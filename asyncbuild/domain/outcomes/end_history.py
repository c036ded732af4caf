"""History of the ends of one ref and project, and what a further end means."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from asyncbuild.domain.outcomes.build_end import BuildEnd, EndVerdict, is_later

KEPT_MOST: Final = 32
"""Ends that a history keeps: an end that is decided again after so many later ones is late."""


class Transition(StrEnum):
    """Change from one verdict to the other."""

    BROKE = "broke"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True)
class EndMeaning:
    """Meaning of one end in the history of its ref and project.

    Attributes:
        late: The end of a newer push was known before, so this one changes nothing.
        previous: The end with a verdict before it; None if none is known, and of a late one.
        transition: Change that it makes; None without one.
    """

    late: bool = False
    previous: BuildEnd | None = None
    transition: Transition | None = None


EndHistory = tuple[BuildEnd, ...]
"""Ends that were the newest when they were told, newest first."""


def add_end(history: EndHistory, end: BuildEnd) -> EndHistory:
    """Return the history with a further end: the same object if it is in it, or late.

    The end of a build that was asked for beside the order is one more attempt of the newest push,
    if it is of the same commit; of another commit it says nothing about the ref, and is late.

    Args:
        history: The ends before.
        end: The end of a build that was not stopped.
    """
    known = any(each.is_same(end) for each in history)
    if end.beside_order and not known:
        if not history or history[0].commit != end.commit:
            return history
        newest = history[0]
        end = replace(
            end,
            event_id=newest.event_id,
            pushed_at=newest.pushed_at,
            old_commit=newest.old_commit,
        )
    if known or (history and not is_later(end, history[0])):
        return history
    return (end, *history)[:KEPT_MOST]


def meaning_of_end(history: EndHistory, end: BuildEnd) -> EndMeaning:
    """Return what an end means, in the history that `add_end` returned for it or a later one.

    So an end that is told again, after a process died or before EventBridge took it, means the same
    as the first time.

    Args:
        history: The history with the end, unless that is late.
        end: The end.
    """
    places = [place for place, each in enumerate(history) if each.is_same(end)]
    if not places:
        return EndMeaning(late=True)
    earlier = history[places[0] + 1 :]
    previous = next((each for each in earlier if each.verdict is not EndVerdict.NONE), None)
    return EndMeaning(previous=previous, transition=_transition(previous, end))


def _transition(previous: BuildEnd | None, end: BuildEnd) -> Transition | None:
    if previous is None or EndVerdict.NONE in {end.verdict, previous.verdict}:
        return None
    if previous.verdict is end.verdict:
        return None
    return Transition.BROKE if end.verdict is EndVerdict.FAILED else Transition.FIXED
