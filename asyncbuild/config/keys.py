"""Faults of keys: among the ledger's records, or shared by repositories of two owners. Pure."""

import re
from collections.abc import Iterator, Sequence
from string import Formatter

from asyncbuild.config.lines import Place
from asyncbuild.config.routing import fill_rules
from asyncbuild.config.settings import Settings
from asyncbuild.domain.model import Action

_WILD = re.compile(r"[*?\[]")
_OWN = frozenset({"commit", "short_commit"})


def key_faults(settings: Settings) -> Iterator[tuple[str, Place]]:
    """Yield each fault as a text that says what to change, and the setting concerned."""
    reserved = settings.storage.reserved_prefixes
    filled = fill_rules(settings.rules, key=settings.storage.key, project=settings.builds.project)
    told = set()
    for number, (own, rule) in enumerate(zip(settings.rules, filled, strict=True)):
        if rule.action is Action.IGNORE:
            continue
        place: Place = ("rules", number, "key") if own.key else ("storage", "key")
        name = f"rules[{number}].key" if own.key else "storage.key"
        parts = list(Formatter().parse(rule.key))
        if parts and parts[0][0].startswith(reserved):
            text = (
                f"{name} = {rule.key!r}: records lie below storage.ledger_prefix = "
                f"{settings.storage.ledger_prefix!r}, and seeds of mirrors below "
                f"storage.seed_prefix = {settings.storage.seed_prefix!r}; begin the key otherwise"
            )
        elif _is_shared(settings, {part[1] for part in parts if part[1]}, rule.repository):
            text = (
                f"{name} = {rule.key!r}: repositories of one name and two owners would write one "
                "object; add {region}, which is the owner, to the key, or name the owner in "
                "`repository` of the rule or of [[hosts]]"
            )
        else:
            continue
        if text not in told:
            told.add(text)
            yield text, place


def _is_shared(settings: Settings, fields: set[str], globs: Sequence[str]) -> bool:
    """Return whether a key without a commit may be that of repositories of two owners."""
    if not settings.hosts or fields & _OWN or {"region"} <= fields:
        return False
    hosted = {owner for host in settings.hosts for owner in _owners(host.repository)}
    return all("" in owners or len(owners) > 1 for owners in (hosted, _owners(globs)))


def _owners(globs: Sequence[str]) -> set[str]:
    """Return the parts before repositories' names; an empty text where it may be any."""
    named = [glob.rpartition("/")[0] for glob in globs if not glob.startswith("!")]
    return {"" if _WILD.search(owner) else owner for owner in named}
