"""Parsers of URLs of CodeCommit's git servers and of git-remote-codecommit. Pure."""

import re
from typing import Final

from asyncbuild.aws.partitions import dns_suffix
from asyncbuild.domain.errors import Reject

REPOS: Final = "/v1/repos/"  # beginning of a URL's path
_HOST: Final = re.compile(
    r"""
    (?P<endpoint>vpce-[a-z0-9-]+\.)? git-codecommit(-fips)? \. (?P<region>[a-z0-9-]+) \.
    (?(endpoint) vpce\. ) (?P<suffix>[a-z0-9.-]+)
    """,
    re.VERBOSE,
)
# git-remote-codecommit: codecommit::eu-west-1://profile@web, or codecommit://web
_HELPER_URL: Final = re.compile(
    r"codecommit:(?::(?P<region>[a-z0-9-]+):)?//(?:[^/@]+@)?(?P<name>[^/@]+)"
)


def region_of_host(host: str) -> str | None:
    """Return the region of a CodeCommit host: public, FIPS or a VPC endpoint; None for other hosts.

    A credential goes to AWS only: the domain must be the one of the region's partition.
    """
    found = _HOST.fullmatch(host)
    if found is None:
        return None
    region = found["region"]
    try:
        return region if found["suffix"] == dns_suffix(region) else None
    except Reject:
        return None


def parse_codecommit(url: str) -> tuple[str, str] | None:
    """Return region (empty: the parent's) and name in a URL of git-remote-codecommit, or None."""
    found = _HELPER_URL.fullmatch(url)
    return (found["region"] or "", found["name"]) if found else None
