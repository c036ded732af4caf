"""Checks of names before they become a path, a refspec or an argument (I11). Pure.

All values come from events, so other people wrote them. Each check returns its value or raises
`Reject` with the reason.
"""

import hashlib
import re

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.refs import is_ref_name
from asyncbuild.domain.repository import Repository

# Account or host; region or owner; name. A personal project of Bitbucket Data Center begins with
# `~`, and names of Azure DevOps have spaces inside.
_SEGMENTS = (
    re.compile(r"[A-Za-z0-9_.-]{1,100}"),
    re.compile(r"(?=.{1,100}\Z)~?[A-Za-z0-9_.-]+( [A-Za-z0-9_.-]+)*"),
    re.compile(r"(?=.{1,100}\Z)[A-Za-z0-9_.-]+( [A-Za-z0-9_.-]+)*"),
)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def check_repository(repository: Repository) -> Repository:
    """Return the repository if each of its three path segments can name a directory."""
    for part, pattern in zip(repository.segments, _SEGMENTS, strict=True):
        if not pattern.fullmatch(part) or part in {".", ".."}:
            raise Reject(
                f"repository {_shown(repository.path)}: {_shown(part)} is not a name of 1 to 100 "
                "of A-Z a-z 0-9 _ . - and single spaces inside"
            )
    return repository


def check_revision(revision: str) -> str:
    """Return a ref's name or an object id if it can be the left side of a refspec.

    The name may be full or short.
    """
    if not revision or revision.startswith(("-", "+")) or not is_ref_name(f"refs/{revision}"):
        raise Reject(
            f"revision {_shown(revision)} is not the name of a branch or tag, nor a commit"
        )
    return revision


def check_commit(commit: str) -> str:
    """Return a whole object id: SHA-1 or SHA-256, lower case."""
    if not _COMMIT.fullmatch(commit):
        raise Reject(f"commit {_shown(commit)} is not an object id of 40 or 64 hex digits")
    return commit


def is_commit(text: str) -> bool:
    """Return whether a text has the form of a whole object id."""
    return bool(_COMMIT.fullmatch(text))


def object_format(object_id: str) -> str:
    """Return the object format for ids of this length, as `git init --object-format` names it."""
    return "sha256" if len(object_id) == 64 else "sha1"  # noqa: PLR2004 - hex digits of SHA-256


def kept_ref(ref: str) -> str:
    """Return the ref under which a mirror keeps what `ref` pointed at.

    It contains a hash, because a mirror outlives branches: `a` may be deleted and `a/b` created,
    and two names may differ in case alone. Such pairs cannot be kept side by side under their own
    names.
    """
    name = ref.encode("utf-8", "surrogateescape")
    return f"refs/asyncbuild/refs/{hashlib.sha256(name).hexdigest()[:40]}"


def kept_commit(commit: str) -> str:
    """Return the ref under which a mirror keeps a commit that was fetched by its id."""
    return f"refs/asyncbuild/commits/{commit}"


def _shown(value: str) -> str:
    return ascii(value if len(value) <= 120 else value[:117] + "...")  # noqa: PLR2004 - a line for people
