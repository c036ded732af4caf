"""Verification of build results: the records in S3 against the ends of the stand-in's builds.

asyncbuild itself is not asked. A build of another user that carries the same variables must have no
record.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from asyncbuild.local.servers.codebuild_state import CodeBuildStandin
from asyncbuild.local.servers.stored_build import StoredBuild

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

Record = Mapping[str, Any]


@dataclass(slots=True)
class ResultFindings:
    """Faults of the results, each as a sentence; `statuses` has the recorded end of each build."""

    statuses: dict[str, str] = field(default_factory=dict)
    without_result: list[str] = field(default_factory=list)
    wrong_result: list[str] = field(default_factory=list)

    @property
    def passed(self) -> int:
        """Number of builds that passed."""
        return sum(status == "succeeded" for status in self.statuses.values())

    @property
    def failed(self) -> int:
        """Number of builds that ended otherwise."""
        return len(self.statuses) - self.passed

    @property
    def faults(self) -> list[str]:
        """All faults, of every kind."""
        return [*self.without_result, *self.wrong_result]


async def count_results(s3: "S3Client", bucket: str, prefix: str) -> int:
    """Return the number of records of results, in any state.

    Args:
        s3: Client of the bucket.
        bucket: The bucket.
        prefix: Prefix of the ledger.
    """
    return len([key async for key in _iter_keys(s3, bucket, prefix)])


async def read_results(s3: "S3Client", bucket: str, prefix: str) -> list[Record]:
    """Return all records of results; arguments as for `count_results`."""
    records = []
    async for key in _iter_keys(s3, bucket, prefix):
        body = (await s3.get_object(Bucket=bucket, Key=key))["Body"]
        records.append(orjson.loads(await body.read()))
    return records


async def _iter_keys(s3: "S3Client", bucket: str, prefix: str) -> AsyncIterator[str]:
    pages = s3.get_paginator("list_objects_v2")
    async for page in pages.paginate(Bucket=bucket, Prefix=f"{prefix}result/"):
        for each in page.get("Contents", []):
            yield each["Key"]


def compare_results(
    standin: CodeBuildStandin, started: Iterable[str], records: Iterable[Record]
) -> ResultFindings:
    """Compare records with the ends of builds.

    Args:
        standin: The stand-in, which knows how each build ended.
        started: Ids of the builds that the service started.
        records: Records of results.
    """
    findings, waiting = ResultFindings(), set(started)
    for record in records:
        id_ = f"{record.get('name')}:{record.get('id')}"
        if id_ not in waiting:
            findings.wrong_result.append(f"result of {id_}: the service did not start this build")
            continue
        waiting.remove(id_)
        wrong = list(_iter_wrong(record, standin.build(id_).newest(), standin.clock()))
        findings.wrong_result.extend(f"result of {id_}: {each}" for each in wrong)
        findings.statuses[id_] = str(record.get("status"))
    findings.without_result = [f"build {id_} has no result" for id_ in sorted(waiting)]
    return findings


def _iter_wrong(record: Record, build: StoredBuild, now: float) -> Iterator[str]:
    truth = build.seen_at(now)
    status = truth["buildStatus"].lower().replace("_", "-")
    bad = [each for each in truth["phases"] if each.get("phaseStatus") == truth["buildStatus"]]
    failed = bad[0]["phaseType"] if status in {"failed", "fault", "timed-out"} else ""
    by_command = status == "failed" and "COMMAND" in bad[0]["contexts"][0]["statusCode"]
    expected = {
        "status": status,
        "attempt": build.retry_number + 1,
        "attempt_id": build.id,
        "number": build.started.number,
        "phase": failed,
        "exit_code": build.script.exit_code if by_command else None,
        "log_link": truth["logs"].get("deepLink", ""),
        "initiator": truth["initiator"],
    }
    for name, value in expected.items():
        if record.get(name) != value:
            yield f"{name} is {record.get(name)!r}, not {value!r}"
