"""Store of the contents of a repository's large files beside its mirror, evicted with it.

Files are named as git-lfs names them, `lfs/objects/12/34/1234…`; partial contents are in
`lfs/incomplete`, where the next try continues. The time of a file is that of its last use.
"""

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from asyncbuild.config.sections import GitSettings
from asyncbuild.domain.errors import Busy, Reject, Retry
from asyncbuild.forges.git_remote import Remote
from asyncbuild.git.content.lfs.batch_api import find_server
from asyncbuild.git.content.lfs.lfs_server import LfsServer
from asyncbuild.git.content.lfs.stored_file import (
    MissingContent,
    Verified,
    chunks_of,
    open_private,
)
from asyncbuild.git.formats.error_classes import machine_error
from asyncbuild.git.formats.lfs_pointers import Pointer
from asyncbuild.git.process.command import Git
from asyncbuild.runtime.locks import open_lock
from asyncbuild.runtime.write_all import write_all

_ASKED_MOST_SECONDS: Final = 60.0  # longest wait of a command; beyond that it reports the limit
_UNUSED_SECONDS: Final = 7 * 24 * 3600.0
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


async def _nothing() -> None:
    """Do nothing: a store without a budget."""


async def _for_nothing(_size_bytes: int) -> None:
    """Do nothing: a store without a budget."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Objects that are fetched when they are needed (`contents.Objects`).

    Attributes:
        directory: `lfs` of a bare repository.
        lock: Held during a fetch, so that two pushes at once fetch each object once.
        remote: Returns the repository's remote.
        settings: `[git]`.
        git: Runs programs.
        before: Called with the bytes that will be fetched, to make room in the budget.
        grown: Called after something was fetched.
        full: Called when the disk is full, to make room.
        verified: Contents that need not be hashed again before they are used.
        pauses_seconds: Pauses before further tries if the server is busy or away; empty if the
            caller tries again.
    """

    directory: Path
    lock: Path
    remote: Callable[[], Remote]
    settings: GitSettings
    git: Git
    before: Callable[[int], Awaitable[None]] = _for_nothing
    grown: Callable[[], Awaitable[None]] = _nothing
    full: Callable[[], Awaitable[None]] = _nothing
    verified: Verified = field(default_factory=Verified)
    pauses_seconds: Sequence[float] = ()

    def path(self, pointer: Pointer) -> Path:
        """Return the path of the file with a content."""
        return self.directory / "objects" / pointer.path

    async def bring(self, pointers: Mapping[bytes, Pointer], *, url: str) -> None:
        """Make sure that all of these are here, as `contents.Objects.bring`."""
        if not await to_thread.run_sync(self._missing, pointers):
            return
        remote = self.remote()
        doing = f"fetch LFS objects of {remote.name}"
        wait_seconds = self.settings.timeout_seconds
        try:
            await anyio.Path(self.directory).mkdir(parents=True, exist_ok=True)
            async with open_lock(self.lock, shared=False, wait_seconds=wait_seconds, doing=doing):
                missing = await to_thread.run_sync(self._missing, pointers)
                if missing:
                    await self._fetch(remote, missing, url, doing)
        except OSError as error:
            if error.errno in _NO_ROOM:
                await self.full()
            raise machine_error(error, doing) from error
        await self.grown()

    async def doubt(self, pointer: Pointer) -> None:
        """Forget that the file was verified: the next try fetches it again if it is wrong."""
        self.verified.forget(self.path(pointer))

    async def _fetch(
        self, remote: Remote, missing: list[MissingContent], url: str, doing: str
    ) -> None:
        with anyio.move_on_after(self.settings.timeout_seconds) as scope:
            server = await find_server(remote, url, self.git)
            if server.directory is not None:
                await self._admit(sum(each.pointer.size for each in missing))
                await to_thread.run_sync(_copy, server.directory, missing, remote.name)
            else:
                await self._download(server, remote.name, missing)
            await to_thread.run_sync(self._forget_unused)
        if scope.cancelled_caught:
            raise Retry(
                f"{doing}: not done after {self.settings.timeout_seconds:g} s",
                remedy="raise git.timeout_seconds; the next try goes on where this one ended",
            )

    async def _download(
        self, server: LfsServer, name: str, missing: Sequence[MissingContent]
    ) -> None:
        """Fetch from a server, after deleting damaged files."""
        # An HTTP client that a repository without LFS files never needs.
        from asyncbuild.git.content.lfs.download import Download  # noqa: PLC0415

        silence_seconds = self.settings.silence_timeout_seconds
        await to_thread.run_sync(_take_away, missing)
        for pause_seconds in (*self.pauses_seconds, None):
            left = [each for each in missing if not each.target.exists()]
            download = Download(server, name, silence_seconds=silence_seconds, admit=self._admit)
            try:
                await download.get(left)
            except Busy as error:
                asked_seconds = error.after_seconds or 0
                if pause_seconds is None or asked_seconds > _ASKED_MOST_SECONDS:
                    raise
                await anyio.sleep(max(pause_seconds, asked_seconds))
            else:
                return

    async def _admit(self, size_bytes: int) -> None:
        """Make room in the budget for a fetch; a size beyond the budget evicts nothing.

        A server may claim any size.

        Raises:
            Reject: The contents exceed the whole disk.
        """
        whole_bytes = shutil.disk_usage(self.directory).total
        if size_bytes > whole_bytes:
            raise Reject(
                f"LFS contents of {size_bytes} bytes are more than the whole disk of "
                f"{self.settings.cache_directory}, which has {whole_bytes}",
                remedy='leave files out with `paths`, or set lfs = "pointers"',
            )
        if size_bytes <= self.settings.cache_budget_bytes:
            await self.before(size_bytes)

    def _missing(self, pointers: Mapping[bytes, Pointer]) -> list[MissingContent]:
        """Return contents that are absent or damaged; mark the others as used."""
        missing: dict[str, MissingContent] = {}
        for path, pointer in pointers.items():
            target = self.path(pointer)
            if pointer.size and not self.verified.use(target, pointer):
                part = self.directory / "incomplete" / f"{pointer.oid}.part"
                missing[pointer.oid] = MissingContent(
                    pointer, ascii(os.fsdecode(path)), target, part
                )
        return list(missing.values())

    def _forget_unused(self) -> None:
        """Delete contents that no archive has used for a week, and abandoned partial ones."""
        oldest = time.time() - _UNUSED_SECONDS
        for pattern in ("objects/*/*/*", "incomplete/*"):
            for path in self.directory.glob(pattern):
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime < oldest:
                        path.unlink()


@dataclass(frozen=True, slots=True)
class Present:
    """Objects in a user's own repository: read, never changed (`contents.Objects`)."""

    directory: Path
    name: str

    def path(self, pointer: Pointer) -> Path:
        """Return the path of the file with a content."""
        return self.directory / "objects" / pointer.path

    async def bring(self, pointers: Mapping[bytes, Pointer], *, url: str) -> None:  # noqa: ARG002 - nothing is fetched
        """Check that all of these are here.

        Raises:
            Reject: One is missing.
        """
        for path, pointer in pointers.items():
            if pointer.size and not await to_thread.run_sync(
                _is_there, self.path(pointer), pointer
            ):
                raise _not_here(self.name, ascii(os.fsdecode(path)), pointer)

    async def doubt(self, pointer: Pointer) -> None:
        """Raise, because this is the only source.

        Raises:
            Reject: Always.
        """
        raise _not_it(self.name, pointer)


def _is_there(path: Path, pointer: Pointer) -> bool:
    return path.is_file() and path.stat().st_size == pointer.size


def _copy(repository: Path, missing: list[MissingContent], name: str) -> None:
    """Copy from a repository of this machine, as git-lfs does for file:// remotes."""
    stores = (
        repository / "lfs",
        repository / ".git" / "lfs",
        repository.with_suffix(".git") / "lfs",
    )
    for each in missing:
        paths = [store / "objects" / each.pointer.path for store in stores]
        found = next((path for path in paths if _is_there(path, each.pointer)), None)
        if found is None:
            raise _not_here(name, each.file, each.pointer)
        each.part.parent.mkdir(parents=True, exist_ok=True)
        each.target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with found.open("rb", buffering=0) as source, open_private(each.part, keep=False) as part:
            for chunk in chunks_of(source):
                digest.update(chunk)
                write_all(part.write, chunk)
        if digest.hexdigest() != each.pointer.oid:
            each.part.unlink()
            raise _not_it(name, each.pointer)
        each.part.replace(each.target)


def _take_away(missing: Sequence[MissingContent]) -> None:
    for each in missing:
        each.target.unlink(missing_ok=True)


def _not_here(name: str, file: str, pointer: Pointer) -> Reject:
    return Reject(
        f"{name} has not got the content of LFS file {file}, object {pointer.oid}",
        remedy="fetch it there (git lfs fetch --all)",
    )


def _not_it(name: str, pointer: Pointer) -> Reject:
    return Reject(
        f"{name} has something else under the name of LFS object {pointer.oid}",
        remedy="mend it there (git lfs fsck, then git lfs fetch --all)",
    )
