"""Keys of archives that rules ask for: escaped, and apart from those of other options."""

import hashlib
import re
from collections.abc import Sequence
from string import Formatter

from asyncbuild.domain.archive_options import ArchiveOptions
from asyncbuild.domain.rules.rule import Rule
from asyncbuild.domain.rules.rule_globs import are_disjoint, full_refs, has_wildcard

_MOST_VALUE = 400
# The characters that the same page calls safe; `!` itself is the escape.
_NOT_SAFE_IN_KEY = re.compile(rb"[^A-Za-z0-9\-_.*'()/]")


def key_of(template: str, options: ArchiveOptions) -> str:
    """Return a template of the default key in which the options take part, for a rule with options.

    Archives of other options need other keys.
    """
    if not options.digest or "{options}" in template:
        return template
    stem, dot, suffix = template.rpartition(".")
    return (
        f"{stem}-{{options}}.{suffix}" if dot and "/" not in suffix else f"{template}-{{options}}"
    )


def may_share_key(earlier: Rule, later: Rule) -> bool:
    """Return whether archives of different options may get one key, by their templates.

    Either one push matches both rules, or one commit is pushed to two refs.
    """
    if earlier.options.digest == later.options.digest or earlier.key != later.key:
        return False
    fields = {name for _, name, _, _ in Formatter().parse(earlier.key)}
    if "options" in fields or are_disjoint(_names(earlier.repository), _names(later.repository)):
        return False
    refs, more = full_refs(earlier.ref), full_refs(later.ref)
    if not earlier.final and not are_disjoint(refs, more):
        return True
    if "ref" in fields or {"branch", "kind"} <= fields:
        return False
    kinds = {glob.split("/")[1] for glob in (*refs, *more) if not glob.startswith("!")}
    return "branch" not in fields or len(kinds) > 1 or has_wildcard("".join(kinds))


def _names(repositories: Sequence[str]) -> list[str]:
    return [glob.rpartition("/")[2] for glob in repositories]


def escape_key(value: str) -> str:
    """Return `value` made safe inside an S3 key: other bytes become `!` and two hex digits.

    Different values stay different; a very long one is cut and ends in a hash of the whole.
    """
    safe = _NOT_SAFE_IN_KEY.sub(lambda match: b"!%02X" % match[0][0], value.encode()).decode()
    if len(safe) <= _MOST_VALUE:
        return safe
    return f"{safe[: _MOST_VALUE - 34]}!-{hashlib.sha256(value.encode()).hexdigest()[:32]}"
