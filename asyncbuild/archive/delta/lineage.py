"""Lineages of archives: each newer archive of a lineage may be made from the one before. Pure."""

from dataclasses import dataclass, replace

from asyncbuild.domain.archive_options import ArchiveOptions
from asyncbuild.domain.repository import Repository


@dataclass(frozen=True, slots=True)
class ArchiveLineage:
    """Archives of one ref with the same options."""

    repository: Repository
    ref: str


def with_options(origin: ArchiveLineage, options: ArchiveOptions) -> ArchiveLineage:
    """Return the lineage for other options of the ref, with its own bases; refs have no colon."""
    return replace(origin, ref=f"{origin.ref}:{options.digest}") if options.digest else origin
