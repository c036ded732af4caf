"""Beginnings and ends of a push's stages.

`prepare` holds `fetch` and `upload`; `start` is once for each target. A stage that was begun ends
once: finished, failed or cancelled. `runtime.emit.stage` tells both and measures the duration.
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
    """A stage ended well."""

    __slots__ = ()


class StageFailed(StageEnded):
    """A stage could not be done; the lane tries again or gives up.

    Level debug inside another stage, which fails with it; info if nothing is wrong with the push
    (kinds busy, lease-lost, unreachable). `peer`: the other side; `stage`: the innermost that
    failed.
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
    """Began: everything that may run beside other pushes: it ends with an archive in S3."""

    stage_name = "push.prepare"


@event("push.prepare.finished", "info", of_push=True)
class PushPrepareFinished(StageFinished):
    """Preparing ended well."""

    stage_name = "push.prepare"

    duration_seconds: float
    bytes: int


@event("push.prepare.failed", "debug", "info", "warning", of_push=True)
class PushPrepareFailed(StageFailed):
    """Preparing could not be done."""

    stage_name = "push.prepare"

    duration_seconds: float
    kind: Kind
    reason: str
    peer: str
    stage: str


@event("push.prepare.cancelled", "debug", of_push=True)
class PushPrepareCancelled(StageCancelled):
    """Preparing was ended by a shutdown or a lost lease."""

    stage_name = "push.prepare"

    duration_seconds: float


@event("push.fetch.started", "debug", of_push=True)
class PushFetchStarted(StageStarted):
    """Began: making the commit present in the mirror; a fetch may serve several pushes."""

    stage_name = "push.fetch"


@event("push.fetch.finished", "info", of_push=True)
class PushFetchFinished(StageFinished):
    """Making the commit present ended well."""

    stage_name = "push.fetch"

    duration_seconds: float


@event("push.fetch.failed", "debug", "info", "warning", of_push=True)
class PushFetchFailed(StageFailed):
    """Making the commit present could not be done."""

    stage_name = "push.fetch"

    duration_seconds: float
    kind: Kind
    reason: str
    peer: str
    stage: str


@event("push.fetch.cancelled", "debug", of_push=True)
class PushFetchCancelled(StageCancelled):
    """Making the commit present was ended by a shutdown or a lost lease."""

    stage_name = "push.fetch"

    duration_seconds: float


@event("push.upload.started", "debug", of_push=True)
class PushUploadStarted(StageStarted):
    """Began: tree to zip to S3, as one stream."""

    stage_name = "push.upload"

    key: str


@event("push.upload.finished", "info", of_push=True)
class PushUploadFinished(StageFinished):
    """The archive's upload ended well."""

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
    """The archive's upload could not be done."""

    stage_name = "push.upload"

    key: str
    duration_seconds: float
    kind: Kind
    reason: str
    peer: str
    stage: str


@event("push.upload.cancelled", "debug", of_push=True)
class PushUploadCancelled(StageCancelled):
    """The archive's upload was ended by a shutdown or a lost lease."""

    stage_name = "push.upload"

    key: str
    duration_seconds: float


@event("push.start.started", "debug", of_push=True)
class PushStartStarted(StageStarted):
    """Began: one target in its turn: build or pipeline is started, the outcome recorded."""

    stage_name = "push.start"

    rule: str
    project: str | None
    pipeline: str | None


@event("push.start.finished", "info", of_push=True)
class PushStartFinished(StageFinished):
    """Starting a target ended well."""

    stage_name = "push.start"

    rule: str
    project: str | None
    pipeline: str | None
    duration_seconds: float


@event("push.start.failed", "debug", "info", "warning", of_push=True)
class PushStartFailed(StageFailed):
    """Starting a target could not be done."""

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
    """Starting a target was ended by a shutdown or a lost lease."""

    stage_name = "push.start"

    rule: str
    project: str | None
    pipeline: str | None
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class StageEnds:
    """The events of a stage's ends. Each takes the fields of its start and those of its own."""

    finished: Callable[..., StageFinished]
    failed: Callable[..., StageFailed]
    cancelled: Callable[..., StageCancelled]


ENDS: Final[Mapping[type[StageStarted], StageEnds]] = {
    PushPrepareStarted: StageEnds(PushPrepareFinished, PushPrepareFailed, PushPrepareCancelled),
    PushFetchStarted: StageEnds(PushFetchFinished, PushFetchFailed, PushFetchCancelled),
    PushUploadStarted: StageEnds(PushUploadFinished, PushUploadFailed, PushUploadCancelled),
    PushStartStarted: StageEnds(PushStartFinished, PushStartFailed, PushStartCancelled),
}
