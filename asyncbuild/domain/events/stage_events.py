"""Events of a push's stages: their starts and ends.

`prepare` contains `fetch` and `upload`; `start` happens once for each target. A stage that was
started ends once: finished, failed or cancelled. `runtime.emit.stage` emits both events and
measures the duration.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from asyncbuild.domain.errors import Kind
from asyncbuild.domain.events.event import Event, event

STAGES: Final = ("push.prepare", "push.fetch", "push.upload", "push.start")


class StageStarted(Event):
    """A stage began."""

    __slots__ = ()
    stage_name: ClassVar[str]


class StageEnded(Event):
    """A stage ended after `duration_seconds`."""

    __slots__ = ()
    stage_name: ClassVar[str]
    duration_seconds: float


class StageFinished(StageEnded):
    """A stage ended with success."""

    __slots__ = ()


class StageFailed(StageEnded):
    """A stage failed; the lane tries again or gives up.

    Level debug inside another stage, which fails with it; info if nothing is wrong with the push
    (kinds busy, lease-lost, unreachable). `peer` is the other side; `stage` is the innermost stage
    that failed.
    """

    __slots__ = ()
    kind: Kind
    reason: str
    peer: str
    stage: str


class StageCancelled(StageEnded):
    """A shutdown or a lost lease ended a stage."""

    __slots__ = ()


@event("push.prepare.started", "debug", of_push=True)
class PushPrepareStarted(StageStarted):
    """Preparing began: everything that may run beside other pushes, up to the archive in S3."""

    stage_name = "push.prepare"


@event("push.prepare.finished", "info", of_push=True)
class PushPrepareFinished(StageFinished):
    """Preparing ended with success."""

    stage_name = "push.prepare"

    duration_seconds: float
    bytes: int


@event("push.prepare.failed", "debug", "info", "warning", of_push=True)
class PushPrepareFailed(StageFailed):
    """Preparing failed."""

    stage_name = "push.prepare"

    duration_seconds: float
    kind: Kind
    reason: str
    peer: str
    stage: str


@event("push.prepare.cancelled", "debug", of_push=True)
class PushPrepareCancelled(StageCancelled):
    """A shutdown or a lost lease ended preparing."""

    stage_name = "push.prepare"

    duration_seconds: float


@event("push.fetch.started", "debug", of_push=True)
class PushFetchStarted(StageStarted):
    """Fetching of the commit into the mirror began; one fetch may serve several pushes."""

    stage_name = "push.fetch"


@event("push.fetch.finished", "info", of_push=True)
class PushFetchFinished(StageFinished):
    """Fetching ended with success: the commit is present in the mirror."""

    stage_name = "push.fetch"

    duration_seconds: float


@event("push.fetch.failed", "debug", "info", "warning", of_push=True)
class PushFetchFailed(StageFailed):
    """Fetching failed: the commit could not be made present in the mirror."""

    stage_name = "push.fetch"

    duration_seconds: float
    kind: Kind
    reason: str
    peer: str
    stage: str


@event("push.fetch.cancelled", "debug", of_push=True)
class PushFetchCancelled(StageCancelled):
    """A shutdown or a lost lease ended fetching."""

    stage_name = "push.fetch"

    duration_seconds: float


@event("push.upload.started", "debug", of_push=True)
class PushUploadStarted(StageStarted):
    """The upload began: tree to zip to S3, as one stream."""

    stage_name = "push.upload"

    key: str


@event("push.upload.finished", "info", of_push=True)
class PushUploadFinished(StageFinished):
    """The upload ended with success: the archive is whole in S3."""

    stage_name = "push.upload"

    key: str
    duration_seconds: float
    bytes: int
    sent_bytes: int
    copied_bytes: int
    entries: int
    archive_kind: str
    base: str
    files_read: int
    fallback: str


@event("push.upload.failed", "debug", "info", "warning", of_push=True)
class PushUploadFailed(StageFailed):
    """The upload failed."""

    stage_name = "push.upload"

    key: str
    duration_seconds: float
    kind: Kind
    reason: str
    peer: str
    stage: str


@event("push.upload.cancelled", "debug", of_push=True)
class PushUploadCancelled(StageCancelled):
    """A shutdown or a lost lease ended the upload."""

    stage_name = "push.upload"

    key: str
    duration_seconds: float


@event("push.start.started", "debug", of_push=True)
class PushStartStarted(StageStarted):
    """Starting began: in queue order, one target's build or pipeline is started and recorded."""

    stage_name = "push.start"

    rule: str
    project: str | None
    pipeline: str | None


@event("push.start.finished", "info", of_push=True)
class PushStartFinished(StageFinished):
    """Starting a target ended with success."""

    stage_name = "push.start"

    rule: str
    project: str | None
    pipeline: str | None
    duration_seconds: float


@event("push.start.failed", "debug", "info", "warning", of_push=True)
class PushStartFailed(StageFailed):
    """Starting a target failed."""

    stage_name = "push.start"

    rule: str
    project: str | None
    pipeline: str | None
    duration_seconds: float
    kind: Kind
    reason: str
    peer: str
    stage: str


@event("push.start.cancelled", "debug", of_push=True)
class PushStartCancelled(StageCancelled):
    """A shutdown or a lost lease ended the start of a target."""

    stage_name = "push.start"

    rule: str
    project: str | None
    pipeline: str | None
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class StageEnds:
    """Event classes for the ends of a stage. Each takes the fields of its start and its own."""

    finished: Callable[..., StageFinished]
    failed: Callable[..., StageFailed]
    cancelled: Callable[..., StageCancelled]


ENDS: Final[Mapping[type[StageStarted], StageEnds]] = {
    PushPrepareStarted: StageEnds(PushPrepareFinished, PushPrepareFailed, PushPrepareCancelled),
    PushFetchStarted: StageEnds(PushFetchFinished, PushFetchFailed, PushFetchCancelled),
    PushUploadStarted: StageEnds(PushUploadFinished, PushUploadFailed, PushUploadCancelled),
    PushStartStarted: StageEnds(PushStartFinished, PushStartFailed, PushStartCancelled),
}
