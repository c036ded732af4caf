"""One memory budget for the process, shared by all archives in flight (I6).

Each archive opens an account with a reservation: so many bytes are its own until it closes, and
taking them never waits for another archive. Beyond its reservation an account draws on what is
free, as long as something is.

Why nothing can deadlock. Let an account be *healthy* when its archive comes to its end with the
reservation alone: the producer never needs more than that at once, and the consumer returns
what it holds without asking for more. Then:

1. A take that fits into the reservation is granted at once, so a healthy account never waits for
   another one. It ends, and returns its reservation and all that it drew beyond it.
2. All requests for free bytes (to open an account, or to take beyond the reservation) wait in one
   queue, first come first served. They wait for bytes held by accounts that end, by 1; so the first
   request is granted, and by induction all behind it.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from asyncbuild.domain.errors import ConfigError
from asyncbuild.domain.statistics import BudgetStatistics


class MemoryBudget:
    """Distributor of `total_bytes` of memory to accounts.

    Belongs to one event loop; nothing in it may be called from another thread.
    """

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._accounts: set[MemoryAccount] = set()
        self._queue: deque[_MemoryRequest] = deque()

    @asynccontextmanager
    async def open_account(self, reserved_bytes: int) -> AsyncIterator["MemoryAccount"]:
        """Wait, in turn, until `reserved_bytes` can be promised; on exit all is returned.

        Raises:
            ConfigError: The whole budget is smaller than the reservation.
        """
        self._check_fits(reserved_bytes)
        account = MemoryAccount(self, reserved_bytes)
        await self._acquire(_AccountOpening(account, self._accounts))
        try:
            yield account
        finally:
            self._accounts.remove(account)
            account.close()
            self._serve()

    def statistics(self) -> BudgetStatistics:
        """Return the bytes promised and held, and the number of requests that wait."""
        return BudgetStatistics(
            total_bytes=self._total_bytes,
            reserved_bytes=sum(account.reserved_bytes for account in self._accounts),
            held_bytes=sum(account.held_bytes for account in self._accounts),
            accounts=len(self._accounts),
            waiting=len(self._queue),
        )

    async def _acquire(self, request: "_MemoryRequest") -> None:
        self._queue.append(request)
        self._serve()
        if request.granted.is_set():
            return
        try:
            await request.granted.wait()
        except BaseException:
            if request.granted.is_set():
                request.revoke()
            else:
                self._queue.remove(request)
            self._serve()
            raise

    def _serve(self) -> None:
        """Grant requests in order; one that lacks no bytes any more is granted out of turn."""
        blocked = False
        for request in tuple(self._queue):
            wanted = request.lacking_bytes()
            if wanted == 0 or (not blocked and wanted <= self._free_bytes()):
                self._queue.remove(request)
                request.grant()
                request.granted.set()
            else:
                blocked = True

    def _free_bytes(self) -> int:
        return self._total_bytes - sum(account.claimed_bytes for account in self._accounts)

    def _check_fits(self, reserved_bytes: int) -> None:
        if reserved_bytes > self._total_bytes:
            raise ConfigError(
                f"An archive needs {reserved_bytes} bytes of memory, archive.memory_budget_bytes "
                f"is {self._total_bytes}",
                remedy=f"set archive.memory_budget_bytes to at least {reserved_bytes}, "
                "or lower storage.part_bytes",
            )


class MemoryAccount:
    """Share of one archive in the budget (`model.Account`), from `MemoryBudget.open_account`."""

    def __init__(self, budget: MemoryBudget, reserved_bytes: int) -> None:
        self._budget = budget
        self._closed = False
        self.reserved_bytes = reserved_bytes
        self.held_bytes = 0

    @property
    def claimed_bytes(self) -> int:
        """Bytes that other accounts cannot have: the reservation, and all bytes held beyond it."""
        return max(self.reserved_bytes, self.held_bytes)

    async def take(self, nbytes: int) -> None:
        """Wait until `nbytes` more may be held. A cancelled wait takes nothing.

        Within the reservation it never waits for another account. A single take must not exceed
        the reservation, or it might wait endlessly.
        """
        if nbytes > self.reserved_bytes:
            raise ValueError(
                f"take of {nbytes} bytes beyond a reservation of {self.reserved_bytes}"
            )
        await self._budget._acquire(_Take(self, nbytes))  # noqa: SLF001 - two halves of one thing

    def give_back(self, nbytes: int) -> None:
        """Return `nbytes` to the budget. Has no effect after the account was closed."""
        if self._closed:
            return
        if nbytes > self.held_bytes:
            raise ValueError(f"{nbytes} bytes returned, {self.held_bytes} held")
        self.held_bytes -= nbytes
        self._budget._serve()  # noqa: SLF001 - two halves of one thing

    def close(self) -> None:
        """Release all held bytes; later returns have no effect."""
        self._closed = True
        self.held_bytes = 0


class _MemoryRequest(Protocol):
    """Request of a caller that waits."""

    granted: anyio.Event

    def lacking_bytes(self) -> int:
        """Return the free bytes that it takes to grant the request; may change while it waits."""

    def grant(self) -> None:
        """Book the bytes of the request."""

    def revoke(self) -> None:
        """Undo the booking, because the caller was cancelled before it learnt of the grant."""


@dataclass(slots=True, eq=False)
class _AccountOpening:
    account: MemoryAccount
    accounts: set[MemoryAccount]
    granted: anyio.Event = field(default_factory=anyio.Event)

    def lacking_bytes(self) -> int:
        return self.account.reserved_bytes

    def grant(self) -> None:
        self.accounts.add(self.account)

    def revoke(self) -> None:
        self.accounts.remove(self.account)


@dataclass(slots=True, eq=False)
class _Take:
    account: MemoryAccount
    nbytes: int
    granted: anyio.Event = field(default_factory=anyio.Event)

    def lacking_bytes(self) -> int:
        return max(0, self.account.held_bytes + self.nbytes - self.account.claimed_bytes)

    def grant(self) -> None:
        self.account.held_bytes += self.nbytes

    def revoke(self) -> None:
        self.account.held_bytes -= self.nbytes
