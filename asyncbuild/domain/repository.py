"""Repository: where a push happened, and the path that names it in keys, records and on disks.

CodeCommit tells repositories apart by account, region and name; other forges by host, owner and
name, where a host may have a port and an owner may be a group in a group. A path has three parts
in any case, so `:` and `/` inside a part are written `..` there. `encode_repository` and
`decode_repository` are the only functions that know this.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

CODECOMMIT: Final = "codecommit"

_ACCOUNT: Final = re.compile(r"[0-9]{12}")
_JOINT: Final = ".."  # neither a host nor a part of an owner contains it (I11)


class ForgeKind(StrEnum):
    """Software of a forge other than CodeCommit; several hosts may run the same."""

    GITHUB = "github"
    GITLAB = "gitlab"
    BITBUCKET = "bitbucket"
    BITBUCKET_SERVER = "bitbucket-server"
    GITEA = "gitea"
    FORGEJO = "forgejo"
    AZURE_DEVOPS = "azure-devops"


@dataclass(frozen=True, slots=True)
class CodeCommitNamespace:
    """AWS account (twelve digits) and region of a repository of CodeCommit."""

    account: str
    region: str


class PathSegments(NamedTuple):
    """Three parts of a path, by the names that they have in records, log lines and templates.

    For other forges than CodeCommit `account` is the host and `region` the owner, both encoded.
    """

    account: str
    region: str
    name: str


@dataclass(frozen=True, slots=True)
class Repository:
    """Place of a push. Two repositories of one name in two accounts are two repositories.

    Attributes:
        forge: `codecommit`, or the host of another forge, with a port where it differs from the
            usual one: `git.example.org:8443`.
        namespace: Account and region for CodeCommit; for other forges the owner, `acme` or
            `group/subgroup`.
        name: Name, checked against the forge's own rules (I11).
    """

    forge: str
    namespace: CodeCommitNamespace | str
    name: str

    def __post_init__(self) -> None:
        """Refuse a namespace that the forge does not have.

        Raises:
            ValueError: An AWS account with a forge other than CodeCommit, or in place of a host.
        """
        elsewhere = self.forge != CODECOMMIT and not self.is_foreign
        if elsewhere or _ACCOUNT.fullmatch(self.forge):
            msg = f"forge {self.forge!a} has no namespace {self.namespace!a}"
            raise ValueError(msg)

    @classmethod
    def of_codecommit(cls, account: str, region: str, name: str) -> "Repository":
        """Return a repository of CodeCommit.

        Args:
            account: AWS account, twelve digits.
            region: AWS region.
            name: Name of the repository.
        """
        return cls(CODECOMMIT, CodeCommitNamespace(account, region), name)

    @classmethod
    def of_host(cls, host: str, owner: str, name: str) -> "Repository":
        """Return a repository of another forge; the host is written in lower case.

        Args:
            host: Host, with a port where it differs from the usual one.
            owner: Owner, such as `acme` or `group/subgroup`.
            name: Name of the repository.
        """
        return cls(host.lower(), owner, name)

    @property
    def segments(self) -> PathSegments:
        """Segments of the path."""
        return encode_repository(self)

    @property
    def path(self) -> str:
        """Path `account/region/name` or `host/owner/name`: unique, and safe as a relative path."""
        return "/".join(self.segments)

    @property
    def is_foreign(self) -> bool:
        """Return whether another forge than CodeCommit has the repository."""
        return isinstance(self.namespace, str)

    @property
    def owner(self) -> str:
        """Owner `group/subgroup`, as the forge's pages show it; for CodeCommit `account/region`."""
        match self.namespace:
            case CodeCommitNamespace(account, region):
                return f"{account}/{region}"
            case owner:
                return owner

    @property
    def full_name(self) -> str:
        """Owner and name: `group/subgroup/name`."""
        return f"{self.owner}/{self.name}"


def encode_segment(text: str) -> str:
    """Return a host or an owner as one part of a path: `..` for `:` and `/`."""
    return text.replace(":", _JOINT).replace("/", _JOINT)


def encode_repository(repository: Repository) -> PathSegments:
    """Return the segments of a repository's path, without a check; see `check_repository`."""
    match repository.namespace:
        case CodeCommitNamespace(account, region):
            return PathSegments(account, region, repository.name)
        case owner:
            host = encode_segment(repository.forge)
            return PathSegments(host, encode_segment(owner), repository.name)


def decode_repository(account: str, region: str, name: str) -> Repository:
    """Return the repository whose path, or whose page on its forge, has these parts.

    Args:
        account: An account of twelve digits, or a host: `host..8443` or `host:8443`.
        region: A region, or an owner: `group..subgroup` or `group/subgroup`.
        name: Name of the repository.
    """
    if _ACCOUNT.fullmatch(account):
        return Repository.of_codecommit(account, region, name)
    host = decode_host(account)
    return Repository(host, region.replace(_JOINT, "/"), name)


def decode_host(segment: str) -> str:
    """Return the host, such as `host:8443`, in the first segment of a path or of a glob for one."""
    return segment.replace(_JOINT, ":")
