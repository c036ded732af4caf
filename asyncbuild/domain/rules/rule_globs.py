"""Globs of rules, matched with refs and repositories.

Globs are those of a git refspec with additions: `*` means any characters, also `/`; `?` one
character; `[abc]` one of a set; a leading `!` excludes. Later globs of a list override earlier
ones, as in .gitignore. A ref glob without `refs/` in front is a branch's name.
"""

import fnmatch
import re
from collections.abc import Iterator, Sequence

from asyncbuild.domain.repository import Repository

_WILD = re.compile(r"[*?\[!]")
_HOST = re.compile(r"[.:*?\[]")  # characters that neither an owner nor a glob for one has


def matches_repository(repository: Repository, globs: Sequence[str]) -> bool:
    """Return whether the last glob that matches a repository includes it.

    A glob without a slash applies to its name, one with a slash to its path: `account/region/name`;
    of other forges `host/owner/name`, where an owner may be `group/subgroup`, or `owner/name` if
    the part before the first slash cannot be a host's name, because it has no dot. Forges other
    than CodeCommit ignore case in names, so the comparison ignores it there, too.
    """
    exact = not repository.is_foreign
    verdict = False
    for glob in globs:
        bare = glob.removeprefix("!")
        wanted = bare if exact else bare.lower()
        names = _names_for(bare, repository)
        if any(fnmatch.fnmatchcase(each if exact else each.lower(), wanted) for each in names):
            verdict = not glob.startswith("!")
    return verdict


def _names_for(glob: str, repository: Repository) -> Iterator[str]:
    """Yield the names of a repository that a glob is matched with."""
    if "/" not in glob:
        yield repository.name
        return
    yield repository.path
    if repository.is_foreign:
        yield f"{repository.forge}/{repository.full_name}"  # as its pages show it
        if not _HOST.search(glob.partition("/")[0]):
            yield repository.full_name


def matches(name: str, globs: Sequence[str]) -> bool:
    """Return whether the last glob that matches `name` includes it."""
    verdict = False
    for glob in globs:
        excluded = glob.startswith("!")
        if fnmatch.fnmatchcase(name, glob.removeprefix("!")):
            verdict = not excluded
    return verdict


def full_refs(globs: Sequence[str]) -> list[str]:
    """Return the globs as globs of full names: one without `refs/` in front gets `refs/heads/`."""
    full = []
    for glob in globs:
        sign, bare = ("!", glob[1:]) if glob.startswith("!") else ("", glob)
        full.append(sign + (bare if bare.startswith("refs/") else f"refs/heads/{bare}"))
    return full


def are_disjoint(globs: Sequence[str], others: Sequence[str]) -> bool:
    """Return whether no name matches both lists, as far as globs without wildcards tell."""
    plain = not any(has_wildcard(glob) for glob in (*globs, *others))
    return plain and not set(globs) & set(others)


def has_wildcard(glob: str) -> bool:
    """Return whether a glob has a wildcard: then it may match several names."""
    return bool(_WILD.search(glob))
