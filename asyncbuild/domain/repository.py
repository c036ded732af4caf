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
_JOINT: Final = ".."  # neither a host nor a part of an owner holds it (I11)


class ForgeKind(StrEnum):
    """What another forge than CodeCommit runs; several hosts may run the same."""

    GITHUB = "github"
    GITLAB = "gitlab"
    BITBUCKET = "bitbucket"
    BITBUCKET_SERVER = "bitbucket-server"


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
    """Where a push happened. Two repositories of one name in two accounts are two repositories.

    Attributes:
        forge: `codecommit`, or the host of another forge, with a port where one is not the usual:
            `git.example.org:8443`.
        namespace: Account and region for CodeCommit; for other forges the owner, `acme` or
            `group/subgroup`.
        name: Checked against the forge's own rules (I11).
    """

    forge: str
    namespace: CodeCommitNamespace | str
    name: str

    def __post_init__(self) -> None:
        """Refuse a namespace that the forge does not have.

        Raises:
            ValueError: an account elsewhere than at CodeCommit, or an account in place of a host.
        """
        elsewhere = self.forge != CODECOMMIT and not self.is_foreign
        if elsewhere or _ACCOUNT.fullmatch(self.forge):
            msg = f"forge {self.forge!a} has no namespace {self.namespace!a}"
            raise ValueError(msg)

    @classmethod
    def of_codecommit(cls, account: str, region: str, name: str) -> "Repository":
        """Return a repository of CodeCommit."""
        return cls(CODECOMMIT, CodeCommitNamespace(account, region), name)

    @classmethod
    def of_host(cls, host: str, owner: str, name: str) -> "Repository":
        """Return a repository of another forge; hosts do not tell capitals from small letters."""
        return cls(host.lower(), owner, name)

    @property
    def segments(self) -> PathSegments:
        """The parts of the path."""
        return encode_repository(self)

    @property
    def path(self) -> str:
        """`account/region/name` or `host/owner/name`: unique, and safe as a relative path."""
        return "/".join(self.segments)

    @property
    def is_foreign(self) -> bool:
        """Return whether another forge than CodeCommit has it."""
        return isinstance(self.namespace, str)

    @property
    def owner(self) -> str:
        """`group/subgroup`, as the pages of its forge have it; for CodeCommit `account/region`."""
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
    """Return the parts of a repository's path. Nothing is checked here, see `check_repository`."""
    match repository.namespace:
        case CodeCommitNamespace(account, region):
            return PathSegments(account, region, repository.name)
        case owner:
            host = encode_segment(repository.forge)
            return PathSegments(host, encode_segment(owner), repository.name)


def decode_repository(account: str, region: str, name: str) -> Repository:
    """Return the repository whose path has these parts, or whose pages have them.

    Args:
        account: An account of twelve digits, or a host: `host..8443` or `host:8443`.
        region: A region, or an owner: `group..subgroup` or `group/subgroup`.
        name: Of the repository.
    """
    if _ACCOUNT.fullmatch(account):
        return Repository.of_codecommit(account, region, name)
    host = decode_host(account)
    return Repository(host, region.replace(_JOINT, "/"), name)


def decode_host(segment: str) -> str:
    """Return a host of the first part of a path, or of a glob for one: `host:8443`."""
    return segment.replace(_JOINT, ":")
