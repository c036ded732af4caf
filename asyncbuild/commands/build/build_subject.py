"""Subject of `asyncbuild build`: the repository, ref and commit that its words mean."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from asyncbuild.builds.ledger import Ledger
from asyncbuild.domain.errors import Reject, show
from asyncbuild.domain.git_names import check_repository, is_commit
from asyncbuild.domain.model import TIP, Verdict
from asyncbuild.domain.refs import check_pushed_ref
from asyncbuild.domain.repository import Repository

LOOK_BACK: Final = timedelta(days=30)  # for records of a commit
DONE: Final = frozenset({Verdict.BUILT, Verdict.HANDED_OVER, Verdict.UPLOADED})
_ABBREVIATED: Final = re.compile(r"[0-9a-f]{7,64}")
_ACCOUNT: Final = re.compile(r"[0-9]{12}")
_USUAL: Final = ("refs/heads/main", "refs/heads/master")
_SHOWN_MOST: Final = 10

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BuildSubject:
    """Subject of a build: a ref, and a commit or its tip.

    Attributes:
        ref: Full name of the ref.
        commit: Full id, or `TIP`.
        records: Records of the newest push of that commit that built something, or of the newest
            of all; none for a tip.
    """

    ref: str
    commit: str
    records: Sequence[Record] = ()


async def find_repository(ledger: Ledger, name: str) -> Repository:
    """Return the repository that a word of the command line names.

    Args:
        ledger: Knows the repositories that were pushed to.
        name: Name, ACCOUNT/REGION/NAME, or HOST/OWNER/NAME, where the owner may have slashes.

    Raises:
        Reject: No repository has that name, or several have.
        StageError: The ledger could not be read.
    """
    if "/" in name:
        return check_repository(_repository_at(name))
    found = await ledger.find_repositories(name) if name else []
    if len(found) == 1:
        return found[0]
    if found:
        raise Reject(
            f"{len(found)} repositories are named {show(name)}",
            remedy=f"name one of {_listed(sorted(each.path for each in found))}",
        )
    raise Reject(
        f"no repository named {show(name)} was pushed to yet",
        remedy="name it whole: ACCOUNT/REGION/NAME, or HOST/OWNER/NAME",
    )


def _repository_at(path: str) -> Repository:
    account, *owners, name = path.split("/")
    if not owners or {"", ".", ".."} & {account, *owners, name}:
        raise Reject(
            f"repository {show(path)} is not whole",
            remedy="write NAME, ACCOUNT/REGION/NAME, or HOST/OWNER/NAME",
        )
    if _ACCOUNT.fullmatch(account):
        return Repository.of_codecommit(account, "/".join(owners), name)
    owner = "/".join(owners).replace("..", "/")
    return Repository.of_host(account.replace("..", ":"), owner, name)


class SubjectFinder:
    """Finds what is to be built in a repository, by what the ledger knows.

    Args:
        ledger: Knows refs and commits that were built.
        repository: The repository.
        now: The current time.
    """

    def __init__(self, ledger: Ledger, repository: Repository, now: datetime) -> None:
        self._ledger = ledger
        self._repository = repository
        self._since = now - LOOK_BACK

    async def find(self, what: str | None, ref: str) -> BuildSubject:
        """Return what is to be built.

        Args:
            what: A branch, a full ref, a commit or the beginning of one; None for the usual branch.
            ref: Ref of a commit; empty if the ledger knows it.

        Raises:
            Reject: The words name nothing, or nothing that is known.
            StageError: The ledger could not be read.
        """
        if what is None:
            return BuildSubject(_full(ref) if ref else await self._usual_ref(), TIP)
        if _ABBREVIATED.fullmatch(what) and not await self._is_built(_full(what)):
            return await self._find_commit(what, ref)
        if ref:
            raise Reject(f"{show(what)} is not a commit, so --ref says nothing", remedy="leave it")
        return BuildSubject(_full(what), TIP)

    async def _is_built(self, ref: str) -> bool:
        return await self._ledger.find_head(self._repository, ref) is not None

    async def _usual_ref(self) -> str:
        """Return the one of the usual default branches that was built before."""
        known = [ref for ref in _USUAL if await self._is_built(ref)]
        if len(known) == 1:
            return known[0]
        listed = known or await self._ledger.find_refs(self._repository)
        told = f"{_listed(listed)} were built before" if listed else "none was built before"
        raise Reject(
            f"which branch of {self._repository.path} is meant is not known",
            remedy=f"name it after the repository; {told}",
        )

    async def _find_commit(self, commit: str, ref: str) -> BuildSubject:
        wanted = _full(ref) if ref else ""

        def is_about(record: Record) -> bool:
            there = str(record.get("commit")).startswith(commit)
            return there and (not wanted or record.get("ref") == wanted)

        records = await self._ledger.find_newest_about(
            self._repository, is_about, verdicts=DONE, since=self._since
        )
        if records:
            return BuildSubject(str(records[0]["ref"]), str(records[0]["commit"]), records)
        if not is_commit(commit):
            raise Reject(
                f"no branch {commit} was built, and no push of a commit {commit}… came in "
                f"{LOOK_BACK.days} days",
                remedy="write the whole id, with --ref; a branch as refs/heads/NAME",
            )
        if not wanted:
            raise Reject(
                f"no push of commit {commit} came in {LOOK_BACK.days} days, so its ref is not "
                "known",
                remedy="name the branch or tag that it is on: --ref NAME",
            )
        return BuildSubject(wanted, commit)


def _full(name: str) -> str:
    """Return a full ref name; a short one is a branch's."""
    return check_pushed_ref(name if name.startswith("refs/") else f"refs/heads/{name}")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_MOST} more" if len(names) > _SHOWN_MOST else ""
    return ", ".join(names[:_SHOWN_MOST]) + more
