"""Names that may become a path, a refspec or an argument of git (I11)."""

import pytest

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.git_names import check_commit, check_repository, kept_ref
from asyncbuild.domain.repository import Repository


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "../x",
        "a\n",
        "a  b",
        " a",
        "é",
        "a\x00",
        "x" * 101,
        "a\\b",
        "~",
        "\uff41",
    ],
)
def test_names_that_are_unsafe_as_a_directory_are_rejected(name: str) -> None:
    """Rejected in each of the three places, with the value shown in ASCII."""
    parts = ["123456789012", "eu-west-1", "web"]
    for place in range(3):
        changed = [*parts]
        changed[place] = name
        _is_rejected(Repository.of_codecommit(*changed))


@pytest.mark.parametrize(
    "name", ["", ".", "a\n", "a  b", "é", "a\x00", "x" * 101, "a\\b", "~", "\uff41", "x/" * 60]
)
def test_unsafe_hosts_and_owners_are_rejected(name: str) -> None:
    """Rejected as host and as owner of another forge, too; an owner may have several parts."""
    _is_rejected(Repository.of_host(name, "acme", "web"))
    _is_rejected(Repository.of_host("github.com", name, "web"))
    repository = Repository.of_host("github.com:8443", "acme/platform", "web")
    assert check_repository(repository) == repository


def _is_rejected(repository: Repository) -> None:
    with pytest.raises(Reject) as caught:
        check_repository(repository)
    assert str(caught.value).isascii()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a", "-rf", "x" * 100, "A.b_c-1", "...", "web.git", ".hidden"])
def test_names_of_codecommit_are_accepted(name: str) -> None:
    """Letters, digits and `_.-`; a leading dash too, which in a path is only a letter."""
    repository = Repository.of_codecommit("123456789012", "eu-west-1", name)
    assert check_repository(repository) == repository


@pytest.mark.parametrize(
    "commit",
    ["", "HEAD", "a" * 39, "a" * 41, "A" * 40, "g" * 40, "-" + "a" * 39, "a" * 40 + "\n", "٣" * 40],
)
def test_abbreviated_or_invalid_commit_ids_are_rejected(commit: str) -> None:
    """Only a whole object id is looked up."""
    with pytest.raises(Reject, match="commit"):
        check_commit(commit)


def test_kept_refs_never_collide() -> None:
    """A name, a directory of that name and the name in capitals are different, and all flat."""
    refs = ["refs/heads/a", "refs/heads/a/b", "refs/heads/A", "refs/tags/a"]
    kept = {kept_ref(ref) for ref in refs}
    assert len(kept) == 4
    assert {each.count("/") for each in kept} == {3}
