"""Checks of addresses in the configuration: queues and remotes. Pure."""

import re
from string import Formatter
from urllib.parse import urlsplit

REMOTE_FIELDS = frozenset({"account", "region", "dns_suffix", "repository"})
"""Fields that `git.remote` may have in braces."""

_REMOTE_SCHEMES = frozenset({"file", "http", "https", "ssh"})
_REGION = r"[a-z]{2,4}(?:-[a-z]+)+-\d+"
_SUFFIX = r"amazonaws\.com(\.cn)?"
# AWS General Reference, "Amazon SQS endpoints and quotas", with the legacy and the FIPS endpoints;
# the host of a VPC endpoint has the Region in the same place.
_SQS_HOST = re.compile(
    rf"((vpce-[a-z0-9-]+\.)?sqs(-fips)?\.(?P<region>{_REGION})\.(vpce\.)?"
    rf"|(?P<legacy>{_REGION})\.queue\.){_SUFFIX}"
)
_SQS_ARN = re.compile(
    rf"arn:aws(?P<partition>[a-z-]*):sqs:(?P<region>{_REGION}):"
    r"(?P<account>\d{12}):(?P<name>[\w-]+(\.fifo)?)"
)

# EventBridge API reference, PutEventsRequestEntry, EventBusName.
_BUS = re.compile(
    rf"(arn:aws[\w-]*:events:(?P<region>{_REGION}):\d{{12}}:event-bus/)?[.\w-]{{1,256}}", re.ASCII
)


def event_bus_fault(name: str) -> str:
    """Return why a text is not the name or ARN of an event bus; empty if it is one."""
    if _BUS.fullmatch(name):
        return ""
    return 'write the name or the ARN of an event bus, such as "default"'


def region_of_bus(name: str) -> str | None:
    """Return the Region that the ARN of an event bus names; None for a name."""
    found = _BUS.fullmatch(name)
    return found["region"] if found else None


def queue_fault(url: str) -> str:
    """Return why a text is not the URL of a queue, with the likely URL; empty if it is one."""
    if found := _SQS_ARN.fullmatch(url):
        suffix = "amazonaws.com" + (".cn" if found["partition"] == "-cn" else "")
        meant = f"https://sqs.{found['region']}.{suffix}/{found['account']}/{found['name']}"
        return f'is the ARN of the queue; write its URL: "{meant}"'
    if not re.match(r"https?://[^/\s]+/[^\s]", url):
        return (
            'write the URL of the queue, such as "https://sqs.REGION.amazonaws.com/ACCOUNT/NAME", '
            "which `aws sqs get-queue-url --queue-name NAME` tells"
        )
    return ""


def region_of_queue(url: str) -> str | None:
    """Return the Region that the URL of a queue names; None for hosts that are not AWS's."""
    found = _SQS_HOST.fullmatch(urlsplit(url).hostname or "")
    return (found["region"] or found["legacy"]) if found else None


def region_fault(url: str, region: str | None) -> str:
    """Return that a queue is in another Region than the one called; empty if it is not."""
    named = region_of_queue(url)
    if named is None or region is None or named == region:
        return ""
    return (
        f"the queue {url} is in {named}, and calls go to {region}; correct the URL, or set "
        f'aws.region = "{named}"'
    )


def remote_fault(template: str) -> str:
    """Return why nothing could be fetched by `git.remote`; empty if it could.

    The template itself is not quoted: it may contain a login (I10).
    """
    try:
        fields = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
        url = template.format(**dict.fromkeys(REMOTE_FIELDS, "x"))
        scheme = urlsplit(url).scheme
    except (ValueError, KeyError, IndexError):
        fields, url, scheme = [""], "", ""
    if not REMOTE_FIELDS.issuperset(fields):
        known = " ".join(f"{{{each}}}" for each in sorted(REMOTE_FIELDS))
        return f"has a placeholder that is not known; there are {known}"
    by_path = not scheme and ":" not in url.partition("/")[0]
    if not by_path and scheme not in _REMOTE_SCHEMES:
        kind = f"{scheme}://" if "://" in url else "this form"
        return f"nothing is fetched by {kind}; begin with https://, ssh:// or file://"
    return ""
