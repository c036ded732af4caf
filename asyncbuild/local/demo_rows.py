"""Rows of the demo's table, and its verdict as a JSON document."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asyncbuild.builds.requests.start_build import EVENT_ID
from asyncbuild.local.build_ends import ResultFindings
from asyncbuild.local.display import Row
from asyncbuild.local.forge.status_ends import StatusFindings
from asyncbuild.local.servers.journal import AcceptedStart
from asyncbuild.local.verify import Findings, Pushed


@dataclass(frozen=True, slots=True)
class DemoFindings:
    """Findings about pushes, about the ends of their builds, and about commit statuses."""

    pushes: Findings
    results: ResultFindings
    statuses: StatusFindings

    @property
    def faults(self) -> list[str]:
        """All faults, of every kind."""
        return [*self.pushes.faults, *self.results.faults, *self.statuses.faults]


def rows_of(
    pushes: Iterable[Pushed],
    started: Sequence[AcceptedStart],
    found: DemoFindings,
    *,
    ways: Mapping[str, str],
) -> list[Row]:
    """Return a row for each push, with the first build that was started for it.

    Args:
        pushes: Pushes in the order of the table.
        started: Builds in the order they were accepted.
        found: Archives that were read back, ends of builds on record, and commit statuses.
        ways: How the archive of each push was made, by push id.
    """
    builds: dict[str, AcceptedStart] = {}
    for build in started:
        builds.setdefault(build.variables.get(EVENT_ID, ""), build)
    rows = []
    for push in pushes:
        size_bytes, way = found.pushes.sizes.get(push.id), ways.get(push.id, "")
        build_ = builds.get(push.id)
        if build_ is None:
            rows.append(Row(push, size_bytes, way=way))
            continue
        seconds, result = build_.time - push.time, found.results.statuses.get(build_.build)
        state = found.statuses.states.get(build_.build)
        rows.append(Row(push, size_bytes, seconds, build_.build, way, result, state))
    return rows


def document_of(rows: Sequence[Row], found: DemoFindings) -> dict[str, Any]:
    """Return the verdict as a document for programs.

    Args:
        rows: Rows of the table.
        found: All findings.
    """
    findings, results, statuses = found.pushes, found.results, found.statuses
    return {
        "pushes": findings.pushes,
        "built": findings.built,
        "uploaded": findings.uploaded,
        "passed": results.passed,
        "failed": results.failed,
        "missing": len(findings.missing),
        "duplicated": len(findings.duplicated),
        "out_of_order": len(findings.out_of_order),
        "unexpected": len(findings.unexpected),
        "wrong_content": len(findings.wrong_content),
        "without_result": len(results.without_result),
        "wrong_result": len(results.wrong_result),
        "statuses_pending": len(statuses.pending),
        "statuses_wrong": len(statuses.wrong),
        "faults": found.faults,
        "builds": [
            {
                "repository": row.push.repository,
                "ref": row.push.ref,
                "commit": row.push.commit,
                "event_id": row.push.id,
                "build": row.build,
                "result": row.result,
                "size_bytes": row.size_bytes,
                "archive_kind": row.way,
                "seconds": round(row.seconds, 3) if row.seconds is not None else None,
            }
            for row in rows
            if row.build is not None
        ],
    }
