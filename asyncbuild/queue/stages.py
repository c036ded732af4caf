"""Stages of a message, as a lane calls them; `pushes.pipeline.Pipeline` has them."""

from typing import Protocol

from asyncbuild.domain.errors import StageError
from asyncbuild.domain.model import Guard, Message
from asyncbuild.domain.statistics import PipelineStatistics
from asyncbuild.domain.tally import Tally
from asyncbuild.pushes.work import Dispatch, PreparedMessage, Work


class Stages(Protocol):
    """Stages of a message, each called when the lane decides."""

    def read(self, message: Message) -> Work:
        """Return what a message asks for, or why it cannot be understood."""

    async def prepare(self, work: Work, *, guard: Guard, suspect: bool = False) -> PreparedMessage:
        """Do everything that may run in parallel. Raises StageError.

        Args:
            work: The message.
            guard: Asked before anything is committed (I4).
            suspect: Whether the message may have killed its process before.
        """

    async def dispatch(self, order: Dispatch, *, guard: Guard, tally: Tally) -> None:
        """Do everything that happens in order. Raises StageError.

        Args:
            order: The prepared message.
            guard: Asked before anything is committed (I4).
            tally: Collects what was done for each part of the message.
        """

    async def supersede(self, work: Work, *, by: Work, guard: Guard) -> None:
        """Record that a newer push of the same ref covers this one. Raises StageError.

        Args:
            work: The message that is covered.
            by: The message of the newer push.
            guard: Asked before anything is committed (I4).
        """

    async def keeps(self, work: Work, error: StageError) -> bool:
        """Return whether a message that is given up becomes a dead letter. Raises StageError."""

    async def dead_letter(self, work: Work, error: StageError, *, attempts: int) -> None:
        """Record why a message is in the dead-letter queue. Raises StageError.

        Args:
            work: The message.
            error: Why it was given up.
            attempts: Number of counted attempts.
        """

    def statistics(self) -> PipelineStatistics:
        """Return what is in progress now."""
