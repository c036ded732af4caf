"""Addresses of builds and executions in the consoles of AWS."""

from typing import Final
from urllib.parse import quote

from asyncbuild.domain.results.build_result import StartedId, StartedKind

_CONSOLES: Final = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}
_ARN_FIELDS: Final = 6


def console_link(of: StartedId, arn: str) -> str:
    """Return the address of a build, batch or execution; empty if it was not at AWS.

    Args:
        of: What was started.
        arn: ARN of the build or batch; of an execution that of its pipeline.
    """
    fields = arn.split(":", _ARN_FIELDS - 1)
    if len(fields) < _ARN_FIELDS or fields[1] not in _CONSOLES:
        return ""
    region, account = quote(fields[3], ""), quote(fields[4], "")
    site = f"https://{region}.{_CONSOLES[fields[1]]}/codesuite"
    name, id_ = quote(of.name, ""), quote(of.id, "")
    if of.kind is StartedKind.EXECUTION:
        path = f"codepipeline/pipelines/{name}/executions/{id_}/visualization?region={region}"
    else:
        kind = "batch" if of.kind is StartedKind.BATCH else "build"
        path = f"codebuild/{account}/projects/{name}/{kind}/{id_}/?region={region}"
    return f"{site}/{path}"
