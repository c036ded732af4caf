"""Addresses of builds and executions in the consoles of AWS."""

from typing import Final
from urllib.parse import quote

from asyncbuild.domain.results.build_result import BuildResult, StartedId, StartedKind

CONSOLES: Final = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}
ARN_FIELDS: Final = 6


def console_link(of: StartedId, arn: str) -> str:
    """Return the address of a build, batch or execution; empty if it was not at AWS.

    Args:
        of: What was started.
        arn: ARN of the build or batch; of an execution that of its pipeline.
    """
    fields = arn.split(":", ARN_FIELDS - 1)
    if len(fields) < ARN_FIELDS or fields[1] not in CONSOLES:
        return ""
    region, account = quote(fields[3], ""), quote(fields[4], "")
    site = f"https://{console_host(fields[1], fields[3])}/codesuite"
    name, id_ = quote(of.name, ""), quote(of.id, "")
    if of.kind is StartedKind.EXECUTION:
        path = f"codepipeline/pipelines/{name}/executions/{id_}/visualization?region={region}"
    else:
        kind = "batch" if of.kind is StartedKind.BATCH else "build"
        path = f"codebuild/{account}/projects/{name}/{kind}/{id_}/?region={region}"
    return f"{site}/{path}"


def result_link(of: StartedId, arn: str, result: BuildResult) -> str:
    """Return the address of the newest attempt, which has an id of its own if it was a retry.

    Args:
        of: What was started.
        arn: ARN, as `console_link` takes it.
        result: State of the newest attempt.
    """
    if of.kind is not StartedKind.EXECUTION and result.attempt_id:
        of = StartedId(of.kind, of.name, result.attempt_id.rpartition(":")[2])
    return console_link(of, arn)


def console_host(partition: str, region: str) -> str:
    """Return the host of a Region's console; of an unknown partition that of the usual one."""
    return f"{quote(region, '')}.{CONSOLES.get(partition, CONSOLES['aws'])}"
