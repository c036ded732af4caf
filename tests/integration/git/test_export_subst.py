"""Placeholders of `export-subst`: filled in as by `git archive`, or reported as different."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.archives import members_of_commit, members_of_zip
from support.repositories import SourceRepository
from support.wait import PATIENCE_SECONDS

from asyncbuild.git.tree.export_subst import find_asking

_ASKING = ["%(describe:tags=true)", "%(describe)", "%D", "%d", "%(decorate)", "%N", "%G?", "%ar"]
_SAME = [
    *("%H", "%T", "%P", "%an", "%ae", "%ad", "%aI", "%ct", "%cn", "%s", "%b", "%%d", "%x44"),
    *("%aN", "%aE", "%cN", "%cE", "%aL", "%cL", "%(trailers)", "%<(20)%s", "%+s", "no placeholder"),
]


@pytest.fixture
def source(tmp_path: Path) -> SourceRepository:
    """Return a tagged commit with a mailmap; every placeholder is a file."""
    repository = SourceRepository(tmp_path / "source")
    files = {f"v/{n}": f"$Format:{each}$\n".encode() for n, each in enumerate(_ASKING + _SAME)}
    files["v/.gitattributes"] = b"* export-subst"
    files[".mailmap"] = b"Right Name <right@x> <committer@example.com>\n"
    commit = repository.commit(files)
    repository.tag("v1.2.3", commit)
    return repository


def _archive(source: SourceRepository, *options: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "asyncbuild", "archive", str(source.path), "main", "-o", "-"]
    done = subprocess.run(
        [*command, *options], capture_output=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done


@pytest.mark.parametrize("subtree", ["", "v"])
def test_each_placeholder_equals_gits_or_is_reported(
    source: SourceRepository, subtree: str
) -> None:
    """Each differs from git's and is named, or is equal and is not."""
    done = _archive(source, *(("--subtree", subtree) if subtree else ()))
    members, expected = members_of_zip(done.stdout), members_of_commit(source, "main")
    above = "" if subtree else "v/"
    said = done.stderr.decode()
    for number, placeholder in enumerate(_ASKING + _SAME):
        name = f"{above}{number}"
        line = f"'{name}' has {placeholder}"
        if placeholder in _ASKING:
            assert line in said
        else:
            assert line not in said
            assert members[name] == expected[f"v/{number}"]
    assert members[f"{above}{len(_ASKING) + _SAME.index('%aN')}"].content == b"Right Name\n"


def test_unchanged_placeholders_are_not_reported(source: SourceRepository) -> None:
    """Placeholders without the attribute are not filled in."""
    assert not _archive(source, "--ignore-export-attributes").stderr
    source.commit({"v/.gitattributes": None})
    assert not _archive(source).stderr


@pytest.mark.parametrize(
    ("content", "asking"),
    [
        (b"$Format:%H$ $Format:%(describe:match=v[0-9]*)$", ["%(describe:match=v[0-9]*)"]),
        (b"$Format:%d %-D %+d % N$", ["%d", "%D", "%N"]),
        (b"%d $Format:%%d %x64 %H$ %D", []),
        (b"$Format:%d", []),
        (b"\xff$Format:\xff%D$", ["%D"]),
        (b"", []),
    ],
)
def test_placeholders_are_found_in_contents(content: bytes, asking: list[str]) -> None:
    """Only between `$Format:` and `$`, and only those that git has."""
    assert find_asking(content) == asking


def test_a_partial_clone_without_objects_is_named_as_such(
    source: SourceRepository, tmp_path: Path
) -> None:
    """`git archive` would fetch them; here nothing is fetched, and it is not an outage either."""
    source.git("config", "uploadpack.allowFilter", "true")
    source.git("config", "uploadpack.allowAnySHA1InWant", "true")
    clone = tmp_path / "clone"
    url = f"file://{source.path.absolute()}"
    git = ["git", "clone", "-q", "--no-checkout", "--filter=blob:none", url, str(clone)]
    subprocess.run(git, check=True)
    command = [sys.executable, "-m", "asyncbuild", "archive", str(clone), "HEAD", "-o", "-", "-q"]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=False)
    assert (done.returncode, done.stdout) == (65, b"")
    assert "is a partial clone" in done.stderr.decode()
    refetch = ["git", "-C", str(clone), "fetch", "-q", "--refetch", "--no-filter"]
    subprocess.run(refetch, check=True)
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr.decode()
