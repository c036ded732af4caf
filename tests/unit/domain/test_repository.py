"""Repository and its path: equality, and reading a path."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.domain.repository import (
    CodeCommitNamespace,
    Repository,
    decode_repository,
    encode_repository,
)

_ACCOUNTS = st.from_regex(r"[0-9]{12}", fullmatch=True)
_REGIONS = st.sampled_from(["eu-west-1", "us-gov-east-1", "cn-north-1"])
# Names that the settings of hosts and the readers of payloads allow.
_HOSTS = st.from_regex(
    r"[a-z0-9]([a-z0-9-]|\.(?=[a-z0-9])){0,10}(:[1-9][0-9]{0,4})?", fullmatch=True
).filter(lambda host: not re.fullmatch(r"[0-9]{12}", host))
_PARTS = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_-]|\.(?=[A-Za-z0-9_-])){0,5}", fullmatch=True)
_OWNERS = st.lists(_PARTS, min_size=1, max_size=4).map("/".join)
_NAMES = st.from_regex(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,20}", fullmatch=True)
_REPOSITORIES = st.builds(Repository.of_codecommit, _ACCOUNTS, _REGIONS, _NAMES) | st.builds(
    Repository.of_host, _HOSTS, _OWNERS, _NAMES
)
_SEGMENTS = st.text("ab.-0", max_size=6)


@given(_REPOSITORIES)
def test_a_path_is_read_as_the_repository_that_wrote_it(repository: Repository) -> None:
    """Mirrors and records are found by it, and repositories are read from their paths."""
    segments = encode_repository(repository)
    assert decode_repository(*segments) == repository
    assert repository.path.split("/") == [*segments]


@given(_REPOSITORIES, _REPOSITORIES)
def test_different_repositories_have_different_paths(one: Repository, other: Repository) -> None:
    """Any forges, owners and names are drawn."""
    assert (one == other) is (one.path == other.path)


@given(_ACCOUNTS | _SEGMENTS, _REGIONS | _SEGMENTS, _SEGMENTS)
def test_a_folder_of_records_keeps_its_path(account: str, region: str, name: str) -> None:
    """Records are found even in a folder that no forge would have made."""
    assert encode_repository(decode_repository(account, region, name)) == (account, region, name)


@given(_HOSTS, _OWNERS, _NAMES)
def test_both_spellings_of_a_host_and_an_owner_are_read(host: str, owner: str, name: str) -> None:
    """Rules and commands are written as on a forge's pages, or as in keys."""
    repository = Repository.of_host(host, owner, name)
    assert decode_repository(host, owner, name) == repository
    assert repository.is_foreign
    assert (repository.forge, repository.full_name) == (host, f"{owner}/{name}")


def test_an_account_belongs_to_codecommit_alone() -> None:
    """Constructors that are mixed up fail at once instead of making another path."""
    repository = Repository.of_codecommit("123456789012", "eu-west-1", "web")
    assert repository == decode_repository("123456789012", "eu-west-1", "web")
    assert repository.namespace == CodeCommitNamespace("123456789012", "eu-west-1")
    assert (repository.forge, repository.is_foreign) == ("codecommit", False)
    with pytest.raises(ValueError, match="has no namespace"):
        Repository("123456789012", "eu-west-1", "web")
    with pytest.raises(ValueError, match="has no namespace"):
        Repository("github.com", CodeCommitNamespace("123456789012", "eu-west-1"), "web")
