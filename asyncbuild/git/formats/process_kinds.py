"""Kinds of git processes. Pure."""

from enum import StrEnum


class ProcessKind(StrEnum):
    """Purpose of a git process; each kind has its own limit of `git.processes`.

    A stream stays open as long as its reader takes. If look-ups and fetches shared its limit, as
    many open streams as there are processes could wait for each other without end. A tree is listed
    while its archive is read, so that has a limit of its own, too, and so have the gits that stay
    and wait for questions.
    """

    LOOK_UP = "look-up"
    FETCH = "fetch"
    STREAM = "stream"
    TREE = "tree"
    UPKEEP = "upkeep"
    READER = "reader"


SMALL = frozenset({ProcessKind.LOOK_UP, ProcessKind.TREE, ProcessKind.READER})
"""Kinds that wait for no memory: they are small, and some are part of a stream that has its own."""
