"""Archives of a part of a tree, made by the command, compared with git's own (I9)."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from support.archives import Member, members_below, members_of_zip
from support.repositories import EPOCH, SourceRepository
from support.wait import PATIENCE_SECONDS

_FILES = {
    ".gitattributes": b"*.secret export-ignore\ninfo export-subst\n*.dos text eol=crlf\n",
    "README": b"all of it",
    "a.dos": b"1\n",
    "libs/x.py": b"x",
    "libs/y.secret": b"y",
    "services/api/.gitattributes": b"/test export-ignore\nversion export-subst\n",
    "services/api/info": b"$Format:%H$",
    "services/api/version": b"$Format:%H %ct$",
    "services/api/main.py": b"main",
    "services/api/key.secret": b"k",
    "services/api/b.dos": b"2\n",
    "services/api/test/t.py": b"t",
    "services/api/-dash/[x]/:(exclude)y": b"odd",
    "services/api/-dash/f": b"dash",
    "services/web/w.py": b"w",
}


@pytest.fixture
def source(tmp_path: Path) -> SourceRepository:
    """A monorepo with attributes above a subtree and in it."""
    repository = SourceRepository(tmp_path / "source")
    repository.commit(dict(_FILES))
    return repository


def _run(source: SourceRepository, *options: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "asyncbuild", "archive", str(source.path), "main", "-o", "-"]
    return subprocess.run(
        [*command, *options], capture_output=True, timeout=PATIENCE_SECONDS, check=False
    )


def _archive(source: SourceRepository, *options: str) -> dict[str, Member]:
    done = _run(source, *options)
    assert done.returncode == 0, done.stderr.decode()
    return members_of_zip(done.stdout)


def _git_archive(source: SourceRepository, *arguments: str) -> dict[str, Member]:
    """Return the members that `git archive` writes."""
    git = ["git", "--git-dir", str(source.path), "-c", "tar.umask=0002", "archive", "--format=tar"]
    done = subprocess.run([*git, *arguments], capture_output=True, check=True)
    members = {}
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as opened:
        for each in opened:
            found = opened.extractfile(each) if each.isfile() else None
            name = f"{each.name}/" if each.isdir() else each.name
            kind = 0o040000 if each.isdir() else 0o100000
            members[name] = Member(kind | each.mode, found.read() if found else b"")
    return members


def test_a_subtree_is_archived_as_by_git(source: SourceRepository) -> None:
    """Its members are those of the whole tree's archive: attributes above it apply, on any git."""
    expected = members_below(_git_archive(source, "main"), "services/api")
    members = _archive(source, "--subtree", "services/api/")
    assert expected == members
    commit = source.tip("main") or ""
    assert members["version"].content == f"{commit} {EPOCH + 60}".encode()
    assert members["info"].content == commit.encode()
    assert members["b.dos"].content == b"2\r\n"
    assert not {"test/", "key.secret"} & set(members)


@pytest.mark.parametrize("left_out", ["services", "/services/api", "api/", "**/api"])
def test_a_subtree_excluded_by_attributes_is_refused(
    source: SourceRepository, left_out: str
) -> None:
    """Its archive would be empty; `--ignore-export-attributes` includes everything."""
    source.commit({".gitattributes": f"{left_out} export-ignore\n".encode()})
    done = _run(source, "--subtree", "services/api")
    assert (done.returncode, done.stdout) == (65, b"")
    assert "export-ignore" in done.stderr.decode()
    members = _archive(source, "--subtree", "services/api", "--ignore-export-attributes")
    assert members["main.py"].content == b"main"


@pytest.mark.parametrize(
    ("pathspecs", "names"),
    [
        (("*.py",), {"main.py"}),
        ((":(glob)*.py",), {"main.py"}),
        ((":!*.py", ":!-dash"), {".gitattributes", "info", "version", "b.dos"}),
        ((":(icase)MAIN.*",), {"main.py"}),
        (("-dash/[[]x]/*",), {"-dash/", "-dash/[x]/", "-dash/[x]/:(exclude)y"}),
        ((":(literal)-dash/[x]",), {"-dash/", "-dash/[x]/", "-dash/[x]/:(exclude)y"}),
        (("*", ":(exclude)-*", ":(exclude,glob)*.*"), {"info", "version"}),
    ],
)
def test_paths_in_a_subtree_are_relative_to_it(
    source: SourceRepository, pathspecs: tuple[str, ...], names: set[str]
) -> None:
    """Pathspecs with any magic are."""
    options = [word for each in pathspecs for word in ("--path", each)]
    assert names == set(_archive(source, "--subtree", "services/api", *options))


def test_unzip_finds_the_same_subtree(source: SourceRepository, tmp_path: Path) -> None:
    """An independent reader, and the time of the commit."""
    done = _run(source, "--subtree", "services/web")
    (tmp_path / "web.zip").write_bytes(done.stdout)
    subprocess.run(
        ["unzip", "-q", "web.zip", "-d", "out"],
        cwd=tmp_path,
        check=True,
        env={**os.environ, "TZ": "UTC"},
    )
    (file,) = (tmp_path / "out").iterdir()
    assert (file.name, file.read_bytes(), int(file.stat().st_mtime)) == ("w.py", b"w", EPOCH + 60)


@pytest.mark.parametrize(
    "pathspecs",
    [
        ("services/api", "libs"),
        ("*.py",),
        ("services", ":(exclude)services/api"),
        (":!services",),
        (":(glob)services/*/*.py",),
        (":(icase)readme",),
        ("libs/",),
    ],
)
def test_pathspecs_select_as_in_git(source: SourceRepository, pathspecs: tuple[str, ...]) -> None:
    """Attributes of all directories apply."""
    options = [word for each in pathspecs for word in ("--path", each)]
    assert _git_archive(source, "main", "--", *pathspecs) == _archive(source, *options)


def test_odd_names_are_taken_literally(source: SourceRepository) -> None:
    """A dash, a glob and magic in a subtree's name; literal pathspecs below it."""
    expected = members_below(_git_archive(source, "main"), "services/api/-dash")
    assert expected == _archive(source, "--subtree", "services/api/-dash")
    odd = _archive(source, "--subtree", "services/api/-dash/[x]", "--path", ":(literal):(exclude)y")
    assert {":(exclude)y"} == set(odd)
    dash = _archive(source, "--subtree", "services/api", "--path", "-dash/f")
    assert {"-dash/", "-dash/f"} == set(dash)


def test_export_attributes_can_be_ignored(source: SourceRepository) -> None:
    """All files are there, as committed, apart from line ends."""
    members = _archive(source, "--ignore-export-attributes")
    assert set(_FILES) == {name for name in members if not name.endswith("/")}
    assert members["services/api/version"].content == b"$Format:%H %ct$"
    assert members["a.dos"].content == b"1\r\n"
    below = _archive(source, "--ignore-export-attributes", "--subtree", "services/api")
    assert below["test/t.py"].content == b"t"
    assert below["version"].content == b"$Format:%H %ct$"


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--subtree", "services/none"), 65, "has no directory 'services/none'"),
        (("--subtree", "README"), 65, "has no directory 'README'"),
        (("--path", "none"), 65, "did not match any files"),
        (("--path", "libs", "--path", "none*"), 65, "did not match any files"),
        (("--subtree", "../x"), 2, "--subtree '../x'"),
        (("--path", "/etc/passwd"), 2, "--path '/etc/passwd'"),
        (("--path", ":(attr:x)y"), 2, "magic"),
    ],
)
def test_a_missing_path_is_reported(
    source: SourceRepository, options: tuple[str, ...], code: int, words: str
) -> None:
    """One sentence, no traceback."""
    done = _run(source, *options)
    assert (code, b"") == (done.returncode, done.stdout), done.stderr.decode()
    assert words in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
