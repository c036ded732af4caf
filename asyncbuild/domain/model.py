"""Nouns that travel from stage to stage. Frozen values; none does I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final, Protocol

from asyncbuild.domain.archive_options import WHOLE, ArchiveOptions
from asyncbuild.domain.contents.compared_content import ComparedContent
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.requests.request_terms import RequestTerms

TIP: Final = "tip"  # commit of a request for what its ref points at, until that is looked up


class RefKind(StrEnum):
    """Kind of a ref, by the prefix of its name."""

    BRANCH = "branch"  # refs/heads/
    TAG = "tag"  # refs/tags/


class Change(StrEnum):
    """Effect of a push on its ref."""

    CREATED = "created"
    UPDATED = "updated"
    REQUESTED = "requested"  # none that is known: a build was asked for


@dataclass(frozen=True, slots=True)
class Push:
    """Move of one ref of one repository to `commit`.

    `ref` is the full name (`refs/heads/main`); `commit` and `old_commit` are 40 or 64 lower-case
    hex digits, `commit` possibly an annotated tag's object. `id` is the event's id: the identity
    under which the push is built once (I12). `time` is the time of the push if `timed` is True;
    otherwise the event does not name one, and `time` is when the event arrived, which differs
    between deliveries of the same event. `body_id` is equal for pushes from one signed body of a
    webhook, under whatever id it is delivered; empty for events without such a body. `terms` are
    those of the request that it was made of; None for a push that a forge told. The commit of a
    request may be `TIP` until it is prepared.
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
    terms: RequestTerms | None = field(default=None, compare=False)

    @property
    def kind(self) -> RefKind:
        """Kind of the ref: branch or tag."""
        return RefKind.TAG if self.ref.startswith("refs/tags/") else RefKind.BRANCH

    @property
    def branch(self) -> str:
        """Short name of the ref: `feature/x` of `refs/heads/feature/x`, `v1` of `refs/tags/v1`."""
        return self.ref.split("/", 2)[2]

    @property
    def joins_order(self) -> bool:
        """True if it moves its ref; a request may ask for a build beside the order of the ref."""
        return self.terms is None or self.terms.as_push

    @property
    def is_requested(self) -> bool:
        """True if someone asked for the build; what was found by comparing refs is a push."""
        return self.terms is not None and not self.terms.is_found


def trace_id(event_id: str) -> str:
    """Return the trace id of a push (W3C Trace Context, trace-id), derived from the event's id.

    So all tries of a push, in whatever process, are one trace without any coordination.
    """
    return sha256(event_id.encode()).hexdigest()[:32]


def root_span_id(event_id: str) -> str:
    """Return the id of the span of the whole push in its trace (W3C Trace Context, parent-id)."""
    return sha256(event_id.encode()).hexdigest()[32:48]


def run_span_id(event_id: str, build_id: str, attempt: int) -> str:
    """Return the id of the span of one attempt of a build in the trace of its push.

    Args:
        event_id: Id of the push.
        build_id: Id of the build or execution that the push started.
        attempt: Number of the attempt.
    """
    return sha256(f"{event_id} {build_id} {attempt}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Nothing:
    """A well-formed event that asks for no build: a deletion, a merge commit without a ref.

    Attributes:
        id: The event's id.
        reason: Why there is nothing to do.
        repository: The repository of the event, if the event names it.
        ref: The ref that was deleted; None for other events.
        requested: Whether a request asked for a build, whose sender waits for an answer.
        unverified: The segment of the `[[hosts]]` entry by which it came without a good signature;
            empty for one that can be trusted.
        time: When it happened, if the event says so.
    """

    id: str
    reason: str
    repository: Repository | None = None
    ref: str | None = None
    unverified: str = ""
    time: datetime | None = None
    requested: bool = False


class Action(StrEnum):
    """Action that a rule asks for."""

    BUILD = "build"
    UPLOAD = "upload"
    PIPELINE = "pipeline"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to do for one push: upload its tree to `key`, then start what is named, if any.

    `options` select a part of the tree. A target with a `fault` cannot be carried out, for that
    reason. What it starts is stopped by a newer push's start if `cancel_superseded` is True.
    """

    action: Action
    key: str = ""
    project: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    rule: str = ""
    pipeline: str | None = None
    source_action: str = ""  # empty: the pipeline's only action that reads the archive's bucket
    options: ArchiveOptions = WHOLE
    fault: str = ""
    cancel_superseded: bool = False


@dataclass(frozen=True, slots=True)
class StoredArchive:
    """An archive that is whole in S3.

    Attributes:
        bucket: Name of the bucket.
        key: Key in the bucket.
        size_bytes: Size of the object.
        etag: ETag as S3 returns it, quoted.
        version_id: Version of the object, if the bucket keeps versions.
        reused: Whether the object existed before.
        kind: The way that it was made: `full`, `delta` or `copy`.
        sent_bytes: Bytes of it that were sent.
        copied_bytes: Bytes of it that S3 copied on its side from `base`.
        base: Key of the object that was copied from; empty if there was none.
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
class StoredRecord:
    """A small object as it was read: its body, and the ETag that it had, quoted."""

    body: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """Input of StartBuild. `token` is the idempotency token: equal for equal requests."""

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
    """Input of an execution of a pipeline. `token` is the idempotency token.

    `variables` are offered: a pipeline gets those that it declares. It must declare `required`.
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
    """Outcome of a push in one word."""

    BUILT = "built"
    HANDED_OVER = "handed-over"  # to a pipeline
    UPLOADED = "uploaded"
    IGNORED = "ignored"  # by rule, or nothing to do
    STALE = "stale"  # its commit was built before on that ref, or cannot be reached any more
    SUPERSEDED = "superseded"  # a newer push of the ref was built in its place
    REJECTED = "rejected"  # dead-lettered


@dataclass(frozen=True, slots=True)
class Outcome:
    """Decision about one push and target, and its result; the ledger keeps it.

    `commit` is what was built, of an annotated tag what it points at; empty if nothing was started.
    `compared` is the content that later pushes are compared with; None for a rule that asks for no
    such comparison.
    """

    verdict: Verdict
    reason: str
    target: Target | None = None
    archive: StoredArchive | None = None
    build: Build | None = None
    execution: Execution | None = None
    timings: Mapping[str, float] = field(default_factory=dict)  # stage → seconds
    commit: str = ""
    compared: ComparedContent | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it was received. `receipt_handle` is valid for this delivery alone.

    `sequence` is SQS's sequence number: within a group, larger is later. `receive_count` counts
    deliveries, this one included. `attributes` are the text attributes, such as the headers of a
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


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes of an object from `begin` up to, not including, `end`."""

    begin: int
    end: int

    def __len__(self) -> int:
        return self.end - self.begin


class Account(Protocol):
    """A share of the process's memory budget (I6), in bytes.

    The producer of a chunk takes its bytes first; the consumer returns them after it sent, wrote or
    dropped the chunk. Chunks travel as plain bytes; the account travels beside them.
    """

    async def take(self, nbytes: int) -> None:
        """Wait until `nbytes` more may be held. A cancelled wait takes nothing."""

    def give_back(self, nbytes: int) -> None:
        """Return `nbytes` to the budget, because they are no longer held."""


class Guard(Protocol):
    """Check called right before each commit; raises `LeaseLost` if it must not happen (I4)."""

    def __call__(self) -> None:
        """Return if the commit may go on."""
