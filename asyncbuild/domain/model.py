"""The nouns that travel from stage to stage. Frozen values; none does I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

from asyncbuild.domain.archive_options import WHOLE, ArchiveOptions
from asyncbuild.domain.repository import Repository


class RefKind(StrEnum):
    """What a ref's name begins with."""

    BRANCH = "branch"  # refs/heads/
    TAG = "tag"  # refs/tags/


class Change(StrEnum):
    """What the push did to the ref."""

    CREATED = "created"
    UPDATED = "updated"


@dataclass(frozen=True, slots=True)
class Push:
    """One ref of one repository now points at `commit`.

    `ref` is the full name (`refs/heads/main`); `commit` and `old_commit` are 40 or 64 lower-case
    hex digits, `commit` possibly an annotated tag's object. `id` is the event's id: the identity
    under which the push is built once (I12). `timed` tells whether `time` is that of the push; if
    the event does not say when it was, `time` is when the event came, which another delivery of the
    same event does not share. `body_id` is equal for pushes that one signed body of a webhook
    tells of, under whatever id it is delivered; empty if there is no such body.
    """

    id: str
    repository: Repository
    ref: str
    commit: str
    change: Change
    time: datetime
    old_commit: str | None = None
    pusher: str | None = None
    timed: bool = True
    body_id: str = field(default="", compare=False)

    @property
    def kind(self) -> RefKind:
        """Branch or tag."""
        return RefKind.TAG if self.ref.startswith("refs/tags/") else RefKind.BRANCH

    @property
    def branch(self) -> str:
        """The short name: `feature/x` of `refs/heads/feature/x`, `v1` of `refs/tags/v1`."""
        return self.ref.split("/", 2)[2]


def trace_id(event_id: str) -> str:
    """The trace of a push (W3C Trace Context, trace-id): it follows from the event's id.

    So all tries of a push, in whatever process, are one trace, and nobody need be asked for it.
    """
    return sha256(event_id.encode()).hexdigest()[:32]


def root_span_id(event_id: str) -> str:
    """The span of the whole push in that trace (W3C Trace Context, parent-id)."""
    return sha256(event_id.encode()).hexdigest()[32:48]


@dataclass(frozen=True, slots=True)
class Nothing:
    """A well-formed event that asks for no build: a deletion, a merge commit without a ref.

    Attributes:
        id: The event's.
        reason: Why there is nothing to do.
        repository: Whose event it is, if it tells.
        ref: Of a deletion.
        unverified: The segment of the `[[hosts]]` entry by which it came without a good signature;
            empty for one that can be trusted.
    """

    id: str
    reason: str
    repository: Repository | None = None
    ref: str | None = None
    unverified: str = ""


class Action(StrEnum):
    """What a rule asks for."""

    BUILD = "build"
    UPLOAD = "upload"
    PIPELINE = "pipeline"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to do for one push: upload its tree to `key`, then start what is named, if any.

    `options` say what of the tree. With a `fault` nothing can be done for it, for that reason.
    """

    action: Action
    key: str = ""
    project: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    rule: str = ""
    pipeline: str | None = None
    source_action: str = ""  # of the pipeline; empty: the only one that reads the archive's bucket
    options: ArchiveOptions = WHOLE
    fault: str = ""


@dataclass(frozen=True, slots=True)
class StoredArchive:
    """An archive that is whole in S3.

    Attributes:
        bucket: Where it is.
        key: There.
        size_bytes: Of the object.
        etag: As S3 gives it, quoted.
        version_id: If the bucket keeps versions.
        reused: It was there already.
        kind: How it was made: `full`, `delta` or `copy`.
        sent_bytes: So much of it was sent,
        copied_bytes: and so much copied by S3 on its side,
        base: from the object at this key.
        files_read: Entries that were read from git for it.
    """

    bucket: str
    key: str
    size_bytes: int
    etag: str
    version_id: str | None = None
    reused: bool = False
    kind: str = "full"
    sent_bytes: int = 0
    copied_bytes: int = 0
    base: str = ""
    files_read: int = 0


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What StartBuild is asked for. `token` is the idempotency token: equal for equal requests."""

    project: str
    bucket: str
    key: str
    token: str
    variables: Mapping[str, str]
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class Build:
    """A build that was started."""

    id: str
    arn: str = ""
    number: int | None = None


@dataclass(frozen=True, slots=True)
class HandOver:
    """What a pipeline is asked to run. `token` is the idempotency token.

    `variables` are offered: a pipeline is given those that it declares. It must declare `required`.
    """

    pipeline: str
    source_action: str
    bucket: str
    key: str
    version_id: str | None
    token: str
    variables: Mapping[str, str]
    required: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Execution:
    """An execution of a pipeline that was started. `arn` is the pipeline's."""

    id: str
    pipeline: str
    arn: str = ""


class Verdict(StrEnum):
    """How a push was settled."""

    BUILT = "built"
    HANDED_OVER = "handed-over"  # to a pipeline
    UPLOADED = "uploaded"
    IGNORED = "ignored"  # by rule, or nothing to do
    STALE = "stale"  # its commit was built already on that ref, or cannot be reached any more
    SUPERSEDED = "superseded"  # a newer push of the ref stood in for it
    REJECTED = "rejected"  # dead-lettered


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was decided and done for one push and target; the ledger keeps it."""

    verdict: Verdict
    reason: str
    target: Target | None = None
    archive: StoredArchive | None = None
    build: Build | None = None
    execution: Execution | None = None
    timings: Mapping[str, float] = field(default_factory=dict)  # stage → seconds


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it was received. `receipt_handle` is good for this delivery alone.

    `sequence` is SQS's sequence number: within a group, larger is later. `receive_count` counts
    deliveries, this one included. `attributes` are those that are text, such as the headers of a
    webhook; they may be secrets (I10).
    """

    id: str
    body: str
    receipt_handle: str
    group: str
    sequence: int
    receive_count: int = 1
    sent: datetime | None = None
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)


class Account(Protocol):
    """A share of the process's memory budget (I6), in bytes.

    Who produces a chunk takes its bytes first; who has consumed the chunk (sent, written, dropped)
    gives them back. Chunks travel as plain bytes; the account travels beside them.
    """

    async def take(self, nbytes: int) -> None:
        """Wait until `nbytes` more may be held. A cancelled wait takes nothing."""

    def give_back(self, nbytes: int) -> None:
        """Say that `nbytes` are no longer held."""


class Guard(Protocol):
    """Asked right before anything is committed; raises `LeaseLost` if it must not be (I4)."""

    def __call__(self) -> None:
        """Return if the commit may go on."""
