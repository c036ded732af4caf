"""Links to builds, executions of pipelines and archives in the AWS consoles."""

import re
from urllib.parse import quote, urlsplit

from asyncbuild.domain.results.build_result import StartedId, StartedKind
from asyncbuild.domain.results.console_links import ARN_FIELDS, CONSOLES, console_host, console_link
from asyncbuild.status.schema import SettledPush

# Browsers read a backslash as a slash (URL Standard, "Authority state"), urlsplit does not.
_HOST = re.compile(r"[a-z0-9.-]+", re.ASCII)


def build_link(settled: SettledPush) -> str:
    """Return the link to a build or execution in its console; empty if it was not at AWS."""
    if settled.execution_id:
        pipeline_arn = settled.pipeline_arn or ""
        name = pipeline_arn.rpartition(":")[2]
        of = StartedId(StartedKind.EXECUTION, name, settled.execution_id)
        return console_link(of, pipeline_arn)
    project, _, number = (settled.build_id or "").rpartition(":")
    if not settled.build_id:
        return ""
    return console_link(StartedId(StartedKind.BUILD, project, number), settled.build_arn or "")


def archive_link(settled: SettledPush, region: str | None) -> str:
    """Return the link to the archive in S3's console, or empty."""
    arn = (settled.build_arn or settled.pipeline_arn or "arn:aws").split(":", ARN_FIELDS - 1)
    region = region or (arn[3] if len(arn) == ARN_FIELDS else None)
    if not (settled.bucket and settled.key and region):
        return ""
    partition = arn[1]
    return (
        f"https://{console_host(partition, region)}/s3/object/{quote(settled.bucket, '')}"
        f"?region={quote(region, '')}&prefix={quote(settled.key, '')}"
    )


def log_link(row: SettledPush) -> str:
    """Return the link to a build's log, as its service gave it; empty if it leads elsewhere."""
    link = row.result.log_link if row.result else None
    try:
        parts = urlsplit(link or "")
    except ValueError:
        return ""
    host = f".{parts.netloc}"
    named = any(host.endswith(f".{console}") for console in CONSOLES.values())
    plain = parts.scheme == "https" and _HOST.fullmatch(parts.netloc) is not None
    return link if link and named and plain else ""
