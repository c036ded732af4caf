"""Hints at globs and values of rules that match nothing, or not what they seem to. Pure.

Other CI systems read globs in other ways. A difference by which something is *not* built, and a
glob that can match no name at all, is a hint; a difference by which more is built (`*` crosses
slashes) is only documented in docs/rules.md, as it is what most globs are meant to do.
"""

import fnmatch
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from string import Formatter
from typing import Final

from asyncbuild.config.globs import includes_all_repositories
from asyncbuild.domain.archive_options import split_pathspec
from asyncbuild.domain.model import Action
from asyncbuild.domain.refs import is_ref_name
from asyncbuild.domain.repository import decode_host
from asyncbuild.domain.rules.rule import Rule
from asyncbuild.domain.rules.rule_globs import full_refs

# StartBuild, environment variables (CodeBuild quotas); CodePipeline API, PipelineVariable, value.
_VALUE_MOST: Final = {Action.BUILD: 4_096, Action.PIPELINE: 1_000}
_BELOW: Final = ("refs/heads/", "refs/tags/")
_NAME: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,99}")
_ACCOUNT: Final = re.compile(r"\d{12}")
_WILD: Final = re.compile(r"[*?\[]")
_SET: Final = re.compile(r"\[!?\]?[^\]]*\]")
_SAMPLES: Final = "xa0A_-.b19"  # characters tried for a set of a glob
_STARS_MOST: Final = 6
_Foreign = tuple[tuple[re.Pattern[str], str, str], ...]
# Patterns that have a meaning elsewhere, why they have none here, and what to write.
_FOREIGN: Final[_Foreign] = (
    (
        re.compile(r"\{"),
        "braces are literal here, not alternatives",
        "write one glob for each alternative",
    ),
    (
        re.compile(r"[\])]\+|\.\+"),
        "`+` is literal here and repeats nothing",
        "write `*`, or one glob for each length",
    ),
    (
        re.compile(r"^/.*/i?$|^\^|\$$|\||\\"),
        "it is not a regular expression",
        "write a glob: `*` is anything, `?` one character, `[ab]` one of a set",
    ),
)
_FOREIGN_GLOBS: Final[_Foreign] = (
    *_FOREIGN,
    (re.compile(r"\[\^"), "a set is negated by `!` here", "write [!…]"),
)
_KEYWORDS: Final = frozenset({"branches", "tags", "merge_requests"})
_DEEP_REF: Final = re.compile(r"(^|/)\*\*/|(^)\*/")
_DEEP_PATH: Final = re.compile(r"(/)\*\*/")


@dataclass(frozen=True, slots=True)
class Hint:
    """One value in a rule that is hardly intended.

    Attributes:
        rule: The rule's number, from 0.
        setting: The rule's setting.
        what: The value, and what of it is odd.
        remedy: What to write.
    """

    rule: int
    setting: str
    what: str
    remedy: str


def iter_hints(rules: Sequence[Rule], *, hosts: Collection[str] = ()) -> Iterator[Hint]:
    """Yield the hints about all rules, in their order.

    Args:
        rules: Rules with their defaults filled in.
        hosts: Names of `[[hosts]]`: the repositories that have a host in front.
    """
    for number, rule in enumerate(rules):
        for setting, told in (
            ("ref", _of_refs(rule.ref)),
            ("repository", _of_repositories(rule.repository, hosts)),
            ("ref", _of_list(rule.ref, full_refs(rule.ref))),
            ("repository", _of_list(rule.repository, rule.repository)),
            ("changes", _of_pathspecs(rule.changes)),
            ("paths", _of_pathspecs(rule.options.paths)),
            ("variables", _of_variables(rule)),
        ):
            for what, remedy in told:
                yield Hint(number, setting, what, remedy)


_Told = Iterator[tuple[str, str]]


# --- refs -----------------------------------------------------------------------------------------


def _of_refs(globs: Sequence[str]) -> _Told:
    for glob in globs:
        bare = glob.removeprefix("!")
        found = (
            _other_syntax_hint(bare, _FOREIGN_GLOBS)
            or _of_ref(bare)
            or _slash_hint(_DEEP_REF, bare, globs)
        )
        if found:
            yield f"{glob!r}: {found[0]}", found[1]


def _of_ref(glob: str) -> tuple[str, str] | None:
    if glob in _KEYWORDS:
        return (
            f"it names a branch {glob}",
            "write refs/heads/* for all branches, refs/tags/* for tags",
        )
    full = full_refs([glob])[0]
    if not _can_match(full, lambda name: name.startswith(_BELOW) and is_ref_name(name)):
        return (
            "no branch and no tag can have such a name",
            "write globs of branches, or full names below refs/heads/ and refs/tags/, one each",
        )
    return None


# --- repositories ---------------------------------------------------------------------------------


def _of_repositories(globs: Sequence[str], hosts: Collection[str]) -> _Told:
    for glob in globs:
        bare = glob.removeprefix("!")
        found = (
            _other_syntax_hint(bare, _FOREIGN_GLOBS)
            or _of_repository(bare, hosts)
            or _slash_hint(_DEEP_PATH, bare, globs)
        )
        if found:
            yield f"{glob!r}: {found[0]}", found[1]


def _of_repository(glob: str, hosts: Collection[str]) -> tuple[str, str] | None:
    first, slash, rest = glob.partition("/")
    if not slash and not _can_match(glob, lambda name: bool(_NAME.fullmatch(name))):
        return "no repository can have such a name", "write globs of names, one each"
    if not slash or _WILD.search(first):
        return None
    if _ACCOUNT.fullmatch(first):
        if "*" not in rest and rest.count("/") != 1:
            return "CodeCommit's repositories are ACCOUNT/REGION/NAME", f"write {first}/*/NAME"
        return None
    known = {host.lower() for host in hosts}
    if decode_host(first.lower()) in known or (known and "." not in first):
        return None
    there = ", ".join(sorted(known)) or "none"
    return (
        f"no [[hosts]] entry has the host {first!r}; there are: {there}",
        "write HOST/OWNER/NAME as the entry has the host, or ACCOUNT/REGION/NAME for CodeCommit",
    )


# --- both -----------------------------------------------------------------------------------------


def _other_syntax_hint(glob: str, known: _Foreign) -> tuple[str, str] | None:
    return next(((why, remedy) for sign, why, remedy in known if sign.search(glob)), None)


def _slash_hint(
    pattern: re.Pattern[str], glob: str, globs: Sequence[str]
) -> tuple[str, str] | None:
    """Return a hint that `**/x` and `*/x` do not match `x` here; None if another glob does.

    Elsewhere `**/x` is also `x`, and `*/x` is `x` of a remote; here both need a slash in the name.
    """
    found = pattern.search(glob)
    if found is None:
        return None
    flat = glob[: found.start()] + (found[1] or "") + glob[found.end() :]
    others = (other.removeprefix("!") for other in globs if other.removeprefix("!") != glob)
    if any(_covers(other, flat) for other in others):
        return None
    return f"it does not match {flat!r}: a slash in a glob is never left out", f"add {flat!r}"


def _of_list(written: Sequence[str], globs: Sequence[str]) -> _Told:
    """Yield hints at globs that a later glob overrides; in many systems an exclusion always wins.

    Args:
        written: The globs of a setting, as the user wrote them.
        globs: The same globs in full, for the comparison with each other.
    """
    included = [number for number, glob in enumerate(globs) if not glob.startswith("!")]
    for number, glob in enumerate(globs):
        later = range(number + 1, len(globs))
        if glob.startswith("!"):
            again = [n for n in later if _covers(globs[n], glob[1:])]
            again += included[:1] if included and number < included[0] else []
            if again:
                why = f"it excludes nothing: {written[again[0]]!r}, behind it, counts more"
                yield f"{written[number]!r}: {why}", "put it behind what it is to be excluded from"
        elif wider := [n for n in later if globs[n][0] == "!" and _covers(globs[n][1:], glob)]:
            why = f"it includes nothing: {written[wider[0]]!r}, behind it, excludes all of it"
            yield f"{written[number]!r}: {why}", "put it behind that, or take it out"


def _of_pathspecs(pathspecs: Sequence[str]) -> _Told:
    for number, pathspec in enumerate(pathspecs):
        magic, path = split_pathspec(pathspec)
        if "literal" in magic:
            continue
        if again := _included_again(path, magic, pathspecs[:number]):
            what = f"{again!r} stays out: in pathspecs an exclusion counts wherever it stands"
            yield f"{pathspec!r}: {what}", "exclude only what is never wanted"
        found = _other_syntax_hint(path, _FOREIGN)
        if found is None and "glob" not in magic and path.startswith("**/"):
            flat = path.removeprefix("**/")
            found = (
                f"it does not match {flat!r} in the root: a slash in a pathspec is never left out",
                f"write {flat!r} for anywhere, if it begins with *, or ':(glob){path}'",
            )
        if found is None and "glob" not in magic and "/**/" in path:
            flat = path.replace("/**/", "/", 1)
            found = (
                f"it does not match {flat!r}: a slash in a pathspec is never left out",
                f"write ':(glob){path}'",
            )
        if found:
            yield f"{pathspec!r}: {found[0]}", found[1]


def _included_again(path: str, magic: Collection[str], before: Sequence[str]) -> str:
    """Return an exclusion before `path` that leaves it out here, but not in other CIs; or ""."""
    # `:!x` is git's own spelling: users who write it know what it means there.
    excluded = [each.removeprefix(":(exclude)") for each in before if each.startswith(":(exclude)")]
    if "exclude" in magic:
        return ""
    return next((each for each in excluded if fnmatch.fnmatchcase(each, path)), "")


def _of_variables(rule: Rule) -> _Told:
    most = _VALUE_MOST.get(rule.action)
    for name, template in rule.variables.items():
        length = sum(len(text) for text, _, _, _ in Formatter().parse(template))
        if most is not None and length > most:
            service = "CodeBuild" if rule.action is Action.BUILD else "CodePipeline"
            what = f"{name} has {length} characters; {service} takes {most}"
            yield what, "put it into a file of the repository, or into the project"


def _covers(wide: str, narrow: str) -> bool:
    return includes_all_repositories([wide], [narrow])


def _can_match(glob: str, is_legal: Callable[[str], bool]) -> bool:
    """Return whether a legal name can match: some are tried, with several texts for each `*`."""
    samples = [_sample(part) for part in _SET.split(glob)]
    sets = [_member(found) for found in _SET.findall(glob)]
    text = samples[0] + "".join(a + b for a, b in zip(sets, samples[1:], strict=True))
    pieces = re.split(r"\*+", text)
    if len(pieces) - 1 > _STARS_MOST:
        return True
    choices = [("x", "", "heads/x", "tags/x")] + [("x", "")] * (len(pieces) - 2)
    for chosen in product(*choices[: len(pieces) - 1]):
        name = pieces[0] + "".join(a + b for a, b in zip(chosen, pieces[1:], strict=True))
        if is_legal(name):
            return True
    return False


def _sample(text: str) -> str:
    return text.replace("?", "x")


def _member(found: str) -> str:
    """Return a character of a set that serves as well as any in a name."""
    return next((each for each in _SAMPLES if fnmatch.fnmatchcase(each, found)), found[-2])
