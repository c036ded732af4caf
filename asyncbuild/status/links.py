"""Links to builds, executions of pipelines and archives in the AWS consoles."""

from urllib.parse import quote, urlsplit

from asyncbuild.status.schema import SettledPush

_CONSOLES = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}
_ARN_FIELDS = 6


def build_link(settled: SettledPush) -> str:
    """Return the link to a build or execution in its console; empty if it was not at AWS."""
    if settled.execution_id:
        return _execution_link(settled)
    arn = (settled.build_arn or "").split(":", _ARN_FIELDS - 1)
    if len(arn) < _ARN_FIELDS or arn[1] not in _CONSOLES or not settled.build_id:
        return ""
    partition, region, account = arn[1], arn[3], arn[4]
    project = settled.build_id.partition(":")[0]
    return (
        f"https://{_host(partition, region)}/codesuite/codebuild/{quote(account, '')}/projects/"
        f"{quote(project, '')}/build/{quote(settled.build_id, '')}/?region={quote(region, '')}"
    )


def _execution_link(settled: SettledPush) -> str:
    arn = (settled.pipeline_arn or "").split(":", _ARN_FIELDS - 1)
    if len(arn) < _ARN_FIELDS or arn[1] not in _CONSOLES or not settled.execution_id:
        return ""
    partition, region, pipeline = arn[1], arn[3], arn[5]
    return (
        f"https://{_host(partition, region)}/codesuite/codepipeline/pipelines/"
        f"{quote(pipeline, '')}/executions/{quote(settled.execution_id, '')}/visualization"
        f"?region={quote(region, '')}"
    )


def archive_link(settled: SettledPush, region: str | None) -> str:
    """Return the link to the archive in S3's console, or empty."""
    arn = (settled.build_arn or settled.pipeline_arn or "arn:aws").split(":", _ARN_FIELDS - 1)
    region = region or (arn[3] if len(arn) == _ARN_FIELDS else None)
    if not (settled.bucket and settled.key and region):
        return ""
    partition = arn[1]
    return (
        f"https://{_host(partition, region)}/s3/object/{quote(settled.bucket, '')}"
        f"?region={quote(region, '')}&prefix={quote(settled.key, '')}"
    )


def log_link(row: SettledPush) -> str:
    """Return the link to a build's log, as its service gave it; empty if it leads elsewhere."""
    link = row.result.log_link if row.result else None
    try:
        parts = urlsplit(link or "")
    except ValueError:
        return ""
    host = f".{parts.hostname}"
    named = any(host.endswith(f".{console}") for console in _CONSOLES.values())
    return link if link and named and parts.scheme == "https" else ""


def _host(partition: str, region: str) -> str:
    return f"{quote(region, '')}.{_CONSOLES.get(partition, _CONSOLES['aws'])}"
