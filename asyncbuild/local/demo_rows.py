"""Rows of the demo's table, and its verdict as a JSON document."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from asyncbuild.builds.requests.start_build import EVENT_ID
from asyncbuild.local.build_ends import ResultFindings
from asyncbuild.local.display import Row
from asyncbuild.local.servers.journal import AcceptedStart
from asyncbuild.local.verify import Findings, Pushed


def rows_of(
    pushes: Iterable[Pushed],
    started: Sequence[AcceptedStart],
    *,
    findings: Findings,
    results: ResultFindings,
    ways: Mapping[str, str],
) -> list[Row]:
    """Return a row for each push, with the first build that was started for it.

    Args:
        pushes: Pushes in the order of the table.
        started: Builds in the order they were accepted.
        findings: Archives that were read back.
        results: Ends of builds that are on record.
        ways: How the archive of each push was made, by push id.
    """
    builds: dict[str, AcceptedStart] = {}
    for build in started:
        builds.setdefault(build.variables.get(EVENT_ID, ""), build)
    rows = []
    for push in pushes:
        size_bytes, way = findings.sizes.get(push.id), ways.get(push.id, "")
        build_ = builds.get(push.id)
        if build_ is None:
            rows.append(Row(push, size_bytes, way=way))
            continue
        seconds, result = build_.time - push.time, results.statuses.get(build_.build)
        rows.append(Row(push, size_bytes, seconds, build_.build, way, result))
    return rows


def document_of(rows: Sequence[Row], findings: Findings, results: ResultFindings) -> dict[str, Any]:
    """Return the verdict as a document for programs.

    Args:
        rows: Rows of the table.
        findings: Findings about pushes.
        results: Findings about the ends of their builds.
    """
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
        "faults": [*findings.faults, *results.faults],
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
