"""Proofs that one glob of a rule matches all that another one matches. Pure."""

import fnmatch
import re
from collections.abc import Sequence

_SIGN = re.compile(r"\[!?\]?[^\]]*\]|.", re.DOTALL)  # one element of a glob, as fnmatch reads it


def includes_all(globs: Sequence[str], others: Sequence[str]) -> bool:
    """Return whether every name that `others` match is sure to be matched by `globs`.

    True is proved; False may be a proof that was not found.
    """
    if any(glob.startswith("!") for glob in globs):
        return False
    included = [glob for glob in others if not glob.startswith("!")]
    return all(any(_covers(wide, glob) for wide in globs) for glob in included)


def includes_all_repositories(globs: Sequence[str], others: Sequence[str]) -> bool:
    """Return whether `globs` of repositories match all that `others` match, as `includes_all` does.

    Globs with a slash and those without are not compared: they match different names of a
    repository. Only `*` matches all of them.
    """
    if any(glob.startswith("!") for glob in globs):
        return False
    included = [glob for glob in others if not glob.startswith("!")]
    return all(
        includes_all(
            [wide for wide in globs if wide == "*" or ("/" in wide) == ("/" in glob)], [glob]
        )
        for glob in included
    )


def _covers(wide: str, narrow: str) -> bool:
    """Return whether a glob matches all that another one matches, which is read sign by sign."""
    return _covers_signs(tuple(_SIGN.findall(wide)), tuple(_SIGN.findall(narrow)))


def _covers_signs(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    reached = {0}  # numbers of signs of `wide` that can match what was read of `narrow`
    for sign in (*narrow, ""):
        for at in range(len(wide)):  # a star may match nothing
            if at in reached and wide[at] == "*":
                reached.add(at + 1)
        if not sign:
            return len(wide) in reached
        kept = {at for at in reached if at < len(wide) and wide[at] == "*"}
        if sign == "*":
            reached = kept
        else:
            one = {at + 1 for at in reached if at < len(wide) and _takes(wide[at], sign)}
            reached = kept | one
    return False


def _takes(wide: str, sign: str) -> bool:
    """Return whether one sign of a glob matches all that one sign of another matches."""
    if wide in {"?", sign}:
        return True
    return len(sign) == 1 and sign != "?" and fnmatch.fnmatchcase(sign, wide)
