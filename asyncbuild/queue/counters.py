"""Messages in flight as values: the consumer counts them, `status` shows them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from asyncbuild.domain.statistics import PipelineStatistics
from asyncbuild.pushes.work import Work


@dataclass(frozen=True, slots=True)
class InFlight:
    """One message in flight: its work, its state in the lane, and the reason of a wait.

    `state` is one of `queue.lane.protocol.State`; `reason` is the last error, empty if there was
    none.
    """

    work: Work
    state: str
    reason: str = ""

    @property
    def sent(self) -> datetime | None:
        """Time when it entered the queue."""
        return self.work.message.sent


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """Messages in flight, of each lane in order, and the consumers.

    `jobs_waiting` have no consumer yet; `consumers_free` have no job.
    """

    lanes: Mapping[str, tuple[InFlight, ...]]
    consumers: int
    consumers_free: int
    jobs_waiting: int
    stopping: bool
    pipeline: PipelineStatistics
