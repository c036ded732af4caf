"""Rule: one entry of `[[rules]]`, with the defaults filled in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from asyncbuild.domain.archive_options import WHOLE, ArchiveOptions
from asyncbuild.domain.contents.compared_content import ChangesSince
from asyncbuild.domain.model import Action


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `[[rules]]`, with the defaults filled in."""

    name: str
    repository: Sequence[str]
    ref: Sequence[str]
    action: Action
    projects: Sequence[str] = ()
    key: str = "{repository}/{branch}/{commit}.zip"
    variables: Mapping[str, str] = field(default_factory=dict)
    pipelines: Sequence[str] = ()
    source_action: str = ""
    options: ArchiveOptions = WHOLE
    changes: tuple[str, ...] = ()  # pathspecs, from the root of the repository
    changes_since: ChangesSince = ChangesSince.PUSH
    final: bool = True
    buildspec: str = ""  # of all builds; empty: each project's own
    reserved: tuple[str, ...] = ()  # prefixes of records and seeds: no archive's key has one
    cancel_superseded: bool = False
    skip: tuple[str, ...] = ()  # texts in a commit's message that leave out all of the rule
