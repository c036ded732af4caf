"""Placeholders of `export-subst` that depend on more than a commit: they come out differently here.

git fills `$Format:…$` in (git-archive(1), git-log(1) PRETTY FORMATS). An archive is made from one
commit alone, so that it is the same from every mirror, at any time; it has no names of refs, no
tags near a commit, no notes and no verdicts on signatures. In a repository that has them, `git
archive` would write them.
"""

import os
import re
from collections.abc import Iterable
from contextlib import aclosing
from typing import Final

from asyncbuild.domain.archive_options import ExportAttributes
from asyncbuild.domain.errors import StageError
from asyncbuild.domain.events.git_events import ArchivePlaceholders
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.runtime.emit import emit
from asyncbuild.runtime.recent import Recent

_SUBSTITUTE: Final = "export-subst"
_FILE: Final = b".gitattributes"
_BYTES_MOST: Final = 1024 * 1024
_FORMAT: Final = re.compile(rb"\$Format:([^$]*)\$")
_PLACEHOLDER: Final = re.compile(
    rb"""%[-+\ ]?(?:
      % | x[0-9A-Fa-f]{2}                             # no placeholder: itself, a byte
    | (?P<asks>
        [dDNS] | G[?GSKFPT] | g[dDnNeEs]              # refs, notes, source, signature, reflog
      | \((?:decorate|describe)[^)]*\)                # refs, tags
      | [ac][rh]                                      # dates by the time of now
      )
    )""",
    re.VERBOSE,
)
_TOLD_MOST: Final = 1_000


def find_asking(content: bytes) -> list[str]:
    """Return the placeholders in a file that depend on more than the commit, once each."""
    found = (
        match["asks"]
        for format_ in _FORMAT.findall(content)
        for match in _PLACEHOLDER.finditer(format_)
        if match["asks"]
    )
    return list(dict.fromkeys(f"%{each.decode('utf-8', 'replace')}" for each in found))


async def find_placeholders(snapshot: Snapshot) -> dict[str, list[str]]:
    """Return the paths in the snapshot's archive that have such placeholders, with these.

    Raises:
        StageError: The repository cannot be read.
    """
    if snapshot.options.export_attributes is ExportAttributes.IGNORE:
        return {}
    files = {path: object_id for path, (_, object_id) in snapshot.attributes_above.items()}
    if not await _may_substitute(snapshot, files.values()):
        return {}
    ids: dict[bytes, str] = {}
    async with aclosing(snapshot.iter_tree()) as batches:
        async for entries in batches:
            ids |= {each.path: each.object_id for each in entries if each.kind == "blob"}
    files |= {snapshot.above + path: ids[path] for path in ids if path.split(b"/")[-1] == _FILE}
    contents = await _read(snapshot, files.values())
    if not any(_SUBSTITUTE.encode() in content for content in contents.values()):
        return {}
    marked = sorted(await snapshot.find_attribute(_SUBSTITUTE, files, ids))
    contents = await _read(snapshot, (ids[path] for path in marked))
    asking = {os.fsdecode(path): find_asking(contents.get(ids[path], b"")) for path in marked}
    return {path: found for path, found in asking.items() if found}


async def _may_substitute(snapshot: Snapshot, above: Iterable[str]) -> bool:
    """Return False if it is known without a listing that no attribute substitutes anything."""
    worktrees = snapshot.worktrees
    if worktrees is not None and worktrees.converts_nothing(snapshot.root or snapshot.tree):
        return False
    summary = await snapshot.reader.summarise(snapshot.path, snapshot.tree)
    if summary is None:
        return True
    facts = await snapshot.reader.read_attributes(
        snapshot.path,
        [*above, *(each.object_id for each in summary.attributes)],
        most_bytes=_BYTES_MOST,
        doing=f"look for {_SUBSTITUTE} in {snapshot.name} {snapshot.commit}",
    )
    return facts is None or any(each.substitutes for each in facts.values())


async def _read(snapshot: Snapshot, ids: Iterable[str]) -> dict[str, bytes]:
    names = list(dict.fromkeys(ids))
    contents = await snapshot.read_blobs(names, most_bytes=_BYTES_MOST)
    return dict(zip(names, contents or (), strict=False))


class Placeholders:
    """Warns of placeholders that depend on more than a commit, once per repository and path."""

    def __init__(self) -> None:
        self._told: Recent[tuple[str, str], None] = Recent(_TOLD_MOST)

    async def tell(self, snapshot: Snapshot) -> None:
        """Examine a snapshot whose archive was made; a failure is ignored."""
        try:
            found = await find_placeholders(snapshot)
        except StageError:
            return  # the archive is complete without the warning
        for path, asking in found.items():
            about = (snapshot.name, f"{path} {asking}")
            if about not in self._told:
                self._told[about] = None
                emit(ArchivePlaceholders(path=path, placeholders=" ".join(asking)))
