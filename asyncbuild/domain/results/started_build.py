"""Entry of the index of starts: the push and the target that a build belongs to."""

from dataclasses import dataclass
from datetime import datetime

from asyncbuild.domain.contents.compared_content import ComparedContent
from asyncbuild.domain.events.event import PushIdentity
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.results.build_result import StartedId


@dataclass(frozen=True, slots=True)
class StartedBuild:
    """A build, batch or execution that this service started.

    Results of other builds do not count: variables prove nothing, because anyone who may start a
    build can set them.

    Attributes:
        of: The build.
        record: Key of the push's record in the bucket.
        event_id: Id of the push.
        repository: Repository of the push.
        ref: Full name of the ref.
        commit: The commit that is built: of an annotated tag what it points at.
        rule: Name of the rule that asked for it.
        pushed_at: When it was pushed.
        started_at: When it was started, by the clock of the service.
        arn: ARN of the build, or of the pipeline.
        old_commit: Commit of the ref before the push; empty if it is not known, as of entries that
            older versions wrote.
        beside_order: Whether a request asked for it beside the order of the ref: then it says
            nothing about the ref, but for its commit.
        compared: Content that later pushes are compared with; None for a rule that asks for no such
            comparison, and of a version that knew none.
        is_supersedable: Whether a newer push of the ref that starts the same stops it: its rule
            has `cancel_superseded`.
    """

    of: StartedId
    record: str
    event_id: str
    repository: Repository
    ref: str
    commit: str
    rule: str
    pushed_at: datetime
    started_at: datetime
    arn: str = ""
    old_commit: str = ""
    beside_order: bool = False
    compared: ComparedContent | None = None
    is_supersedable: bool = False

    @property
    def identity(self) -> PushIdentity:
        """Identity of the push in the log."""
        return PushIdentity.of_parts(self.event_id, self.repository, self.ref, self.commit)
