"""Fetches of the refs that pushes named, and the answers to those who wait for commits."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import anyio

from asyncbuild.domain.errors import Reject, Unreachable
from asyncbuild.domain.git_names import kept_ref, object_format
from asyncbuild.forges.git_remote import Remote
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.mirrors.shared_fetch import DEFAULT_BRANCH, CommitRequest
from asyncbuild.git.mirrors.transport import FetchTarget, Transfers
from asyncbuild.git.reader import Reader


class RefFetches:
    """Fetches refs into repositories, and settles requests.

    Args:
        transfers: Talks to remotes.
        reader: Looks commits up.
    """

    def __init__(self, transfers: Transfers, reader: Reader) -> None:
        self._transfers = transfers
        self._reader = reader

    async def fetch_refs_left(
        self, target: FetchTarget, wishes: Sequence[CommitRequest], depth: int
    ) -> bool:
        """Fetch the refs of all open requests that exist; return False if none does."""
        try:
            await self.fetch_refs(target, wishes, depth)
        except GitFailed as error:
            if not await self.leave_out_gone(error, target.remote, wishes):
                return False
            await self.fetch_refs(target, wishes, depth)
        return True

    async def leave_out_gone(
        self, error: GitFailed, remote: Remote, wishes: Sequence[CommitRequest]
    ) -> bool:
        """Settle requests whose refs are gone; return whether others are open.

        One missing ref fails the whole fetch.

        Raises:
            GitFailed: `error`, if it has another cause.
        """
        if error.fault is not GitFault.NO_REF:
            raise error
        await self._settle_gone(remote, wishes)
        return bool(open_ones(wishes))

    async def fetch_refs(
        self, target: FetchTarget, wishes: Sequence[CommitRequest], depth: int
    ) -> None:
        """Fetch the refs of all open requests; a ref that does not exist is an error."""
        if refs := refs_of(wishes):
            await self._transfers.fetch(target, [f"+{ref}:{kept_ref(ref)}" for ref in refs], depth)

    async def settle_present(
        self, repository: Path, remote: Remote, wishes: Sequence[CommitRequest]
    ) -> None:
        """Settle the requests whose commits are in a repository."""
        if not open_ones(wishes) or not await anyio.Path(repository).exists():
            return
        found = await self._reader.find(
            repository, (wish.commit for wish in open_ones(wishes)), f"look into {remote.name}"
        )
        for wish in open_ones(wishes):
            if wish.commit in found:
                wish.settle(found[wish.commit])

    async def _settle_gone(self, remote: Remote, wishes: Sequence[CommitRequest]) -> None:
        there = await self._transfers.list_refs(remote)
        for wish in open_ones(wishes):
            if wish.ref == DEFAULT_BRANCH and wish.ref not in there:
                wish.ref = ""  # another branch or tag may have it
            elif wish.ref and wish.ref not in there:
                wish.settle(Unreachable(f"{wish.ref} of {remote.name} does not exist"))


def settle_misfits(wishes: Sequence[CommitRequest], format_: str) -> None:
    """Settle requests for commits that a repository of this object format cannot have."""
    for wish in open_ones(wishes):
        if format_ not in {"", object_format(wish.commit)}:
            wish.settle(Reject(f"{wish.commit} is not an id of a repository of {format_} objects"))


def refs_of(wishes: Iterable[CommitRequest]) -> list[str]:
    """Return the refs of all open requests."""
    return sorted({wish.ref for wish in open_ones(wishes) if wish.ref})


def open_ones(wishes: Iterable[CommitRequest]) -> list[CommitRequest]:
    """Return the requests that a caller still waits for."""
    return [wish for wish in wishes if wish.open]
