"""Globs of other CI systems, as their documentation explains them: equal here, or reported.

Each row is a setting of another system, names for which its documentation says whether they are
matched, and what is known to differ here:

    same    all names are matched as there
    warned  not, and `doubts` says so at the start and in `check`
    wider   `*` crosses slashes here, so that more names are matched; on the page, without a warning
    sign    `?` is one character here, and none or one of the sign before it there; on the page
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.stacks import ROOT

from asyncbuild.config import RuleSettings, Settings
from asyncbuild.config.doubts import doubts
from asyncbuild.domain.rules.rule_globs import full_refs, matches

PAGE = (ROOT / "docs" / "rules.md").read_text()


@dataclass(frozen=True)
class _Row:
    """One pattern of another system."""

    system: str
    globs: tuple[str, ...]
    yes: tuple[str, ...]
    no: tuple[str, ...]
    here: str


def _row(system: str, globs: str, yes: str, no: str, here: str) -> _Row:
    return _Row(system, tuple(globs.split()), tuple(yes.split()), tuple(no.split()), here)


# GitHub Docs, "Workflow syntax", filter pattern cheat sheet. GitLab Docs, "CI/CD YAML syntax",
# rules:changes, only/except, and "Protected branches", wildcards. Microsoft Learn, "Azure
# Repos Git", CI triggers. Buildkite Docs, "Branch configuration", pattern examples. Atlassian
# Support, "Use glob patterns on the Pipelines yaml file". Jenkins, git plugin, branch specifier.
_BRANCHES = (
    _row("GitHub Actions", "feature/*", "feature/my-branch", "feature", "same"),
    _row("GitHub Actions", "feature/*", "feature/x", "feature/mona/x", "wider"),
    _row("GitHub Actions", "feature/**", "feature/a/b feature/x", "feature main", "same"),
    _row("GitHub Actions", "main releases/mona-x", "main releases/mona-x", "mainx", "same"),
    _row("GitHub Actions", "*", "main releases", "all/the/branches", "wider"),
    _row("GitHub Actions", "**", "all/the/branches every/branch main", "", "same"),
    _row("GitHub Actions", "*feature", "mona-feature feature ver-10-feature", "features", "same"),
    _row("GitHub Actions", "v2*", "v2 v2.0 v2.9", "v3 av2", "same"),
    _row("GitHub Actions", "v[12].[0-9]+.[0-9]+", "v1.10.1 v2.0.0", "v3.0.0", "warned"),
    _row(
        "GitHub Actions", "releases/** !releases/**-alpha", "releases/1", "releases/1-alpha", "same"
    ),
    _row("GitHub Actions", "!main *", "main x", "", "warned"),
    _row("GitHub Actions", "releases?", "release releases", "releasesx", "sign"),
    _row("GitHub Actions", "**/hotfix", "a/hotfix hotfix", "hotfixes", "warned"),
    _row("GitLab protected branches", "*-stable", "production-stable a/b-stable", "stable", "same"),
    _row(
        "GitLab protected branches", "production/*", "production/app/server", "production", "same"
    ),
    _row("GitLab protected branches", "*gitlab*", "gitlab gitlab/staging x/gitlab/y", "x", "same"),
    _row("GitLab only", "/^release-.*$/", "release-1", "xrelease-1", "warned"),
    _row("GitLab only", "/^issue-.*$/i", "issue-1 ISSUE-1", "x", "warned"),
    _row("GitLab only", "tags", "", "main", "warned"),
    _row("Azure Pipelines", "main releases/*", "main releases/1", "develop", "same"),
    _row("Azure Pipelines", "refs/heads/* !refs/heads/old", "main", "old", "same"),
    _row("Azure Pipelines", "refs/heads/users/?", "users/a", "users/ab users/", "same"),
    _row("Buildkite", "features/*", "features/a", "feature main", "same"),
    _row("Buildkite", "*-test", "my-test", "test", "same"),
    _row("Buildkite", "* !production !features/*", "main", "production features/x", "same"),
    _Row("Buildkite", ("main features/*",), ("main", "features/x"), ("other",), "warned"),
    _row("Bitbucket Pipelines", "{main,develop}", "main develop", "x", "warned"),
    _row("Bitbucket Pipelines", "feature/*", "feature/x", "feature/x/y", "wider"),
    _row("Bitbucket Pipelines", "feature/bb-123-*", "feature/bb-123-fix", "feature/bb-12", "same"),
    _row("Bitbucket Pipelines", "**", "main a/b", "", "same"),
    _row("Bitbucket Pipelines", "feature/**", "feature/x feature/x/y", "features", "same"),
    _row("Jenkins", "*/main", "main", "mainx", "warned"),
    _row("Jenkins", "origin/main", "main", "x", "warned"),
    _row("Jenkins", "**", "main a/b", "", "same"),
    _row("CircleCI", "/server-.*/", "server-x", "user-x", "warned"),
    _row("Drone", "feature/*", "feature/x", "main", "same"),
)

_PATHS = (
    _row("GitHub Actions", "*", "README.md server.rb", "docs/x", "wider"),
    _row("GitHub Actions", "*.jsx?", "page.js page.jsx", "page.jsxx", "sign"),
    _row("GitHub Actions", "**", "all/the/files.md README.md", "", "same"),
    _row("GitHub Actions", "*.js", "app.js index.js", "src/js/app.js", "wider"),
    _row("GitHub Actions", "**.js", "index.js js/index.js src/js/app.js", "a.jsx", "same"),
    _row("GitHub Actions", "docs/*", "docs/README.md docs/file.txt", "README.md", "same"),
    _row("GitHub Actions", "docs/*", "docs/a", "docs/a/b", "wider"),
    _row("GitHub Actions", "docs/**", "docs/README.md docs/mona/octocat.txt", "adocs/x", "same"),
    _row("GitHub Actions", "docs/**/*.md", "docs/README.md docs/a/b.md", "x.md", "warned"),
    _row("GitHub Actions", "**/docs/**", "docs/hello.md dir/docs/my.txt", "x", "warned"),
    _row("GitHub Actions", "**/README.md", "README.md js/README.md", "READM.md", "warned"),
    _row("GitHub Actions", "**/*-post.md", "my-post.md path/their-post.md", "x", "warned"),
    _row("GitHub Actions", "*.md !README.md", "hello.md", "README.md", "same"),
    _row(
        "GitHub Actions",
        "sub-project/** !sub-project/docs/**",
        "sub-project/a",
        "sub-project/docs/b",
        "same",
    ),
    _row(
        "GitHub Actions", "*.md !README.md README*", "hello.md README.md README.doc", "", "warned"
    ),
    _row("GitLab rules:changes", "Dockerfile", "Dockerfile", "docker/Dockerfile", "same"),
    _row("GitLab rules:changes", "docker/scripts/*", "docker/scripts/a", "docker/b", "same"),
    _row(
        "GitLab rules:changes", "dockerfiles/**/*", "dockerfiles/a dockerfiles/b/c", "d", "warned"
    ),
    _row(
        "GitLab rules:changes", "more_scripts/*.{rb,py,sh}", "more_scripts/a.rb", "a.rb", "warned"
    ),
    _row("GitLab rules:changes", "**/*.json", "a.json b/c.json", "a.js", "warned"),
    _row("Azure Pipelines", "docs !docs/README.md", "docs/a", "docs/README.md x", "same"),
    _row("Azure Pipelines", "docs/*", "docs/a docs/a/b", "x", "same"),
    _row("Bitbucket changesets", "path1/*.xml", "path1/a.xml", "path2/a.xml", "same"),
    _row("Bitbucket changesets", "path2/**", "path2/a path2/a/b", "a", "same"),
    _row("Buildkite if_changed", "**.go", "a.go b/c.go", "go", "same"),
    _row("Buildkite if_changed", "{src,lib}/**", "src/a lib/b", "x", "warned"),
)


def _told(**rule: object) -> bool:
    settings = [RuleSettings.model_validate({"action": "build", **rule})]
    return any(
        each.name in {"config.glob", "config.ref"} for each in doubts(Settings(rules=settings))
    )


def _id(row: _Row) -> str:
    return f"{row.system}: {' '.join(row.globs)} ({row.here})"


@pytest.mark.parametrize("row", _BRANCHES, ids=_id)
def test_globs_of_branches(row: _Row) -> None:
    """Globs match the same names here, or a doubt reports the difference."""
    globs = full_refs(row.globs)
    matched = {name for name in (*row.yes, *row.no) if matches(f"refs/heads/{name}", globs)}
    _judge(row, matched, _told(ref=row.globs))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository in which every path of the table was changed."""
    directory: Path = tmp_path_factory.mktemp("paths")
    subprocess.run(["git", "init", "-q", directory], check=True)
    blob = subprocess.run(
        ["git", "-C", directory, "hash-object", "-w", "--stdin"],
        input=b"",
        capture_output=True,
        check=True,
    ).stdout.decode()
    (directory / "blob").write_text(blob.strip())
    return directory


def _changed(tree: Path, names: set[str], pathspecs: tuple[str, ...]) -> set[str]:
    """Return the paths that git matches with the pathspecs, each asked in a tree of its own."""
    blob = (tree / "blob").read_text()
    found = set()
    for name in names:
        environment = {"GIT_INDEX_FILE": str(tree / "index"), "PATH": "/usr/bin:/bin"}
        (tree / "index").unlink(missing_ok=True)
        add = ["git", "-C", str(tree), "update-index", "--add", "--cacheinfo"]
        subprocess.run([*add, f"100644,{blob},{name}"], env=environment, check=True)
        listed = subprocess.run(
            ["git", "-C", str(tree), "ls-files", "--", *pathspecs],
            env=environment,
            capture_output=True,
            check=True,
        ).stdout
        found |= {name} if listed else set()
    return found


@pytest.mark.parametrize("row", _PATHS, ids=_id)
def test_pathspecs_of_changes(row: _Row, tree: Path) -> None:
    """The rule's pathspecs are matched by git itself."""
    settings = RuleSettings.model_validate({"action": "build", "changes": row.globs})
    matched = _changed(tree, {*row.yes, *row.no}, settings.changes)
    _judge(row, matched, _told(changes=row.globs))


def _judge(row: _Row, matched: set[str], told: bool) -> None:  # noqa: FBT001 - a table
    if row.here == "same":
        assert matched == set(row.yes)
        assert not told
        return
    assert told is (row.here == "warned")
    if row.here != "warned":
        assert matched != set(row.yes)
    if row.here == "wider":
        assert matched > set(row.yes)
    shown = f"`{row.globs[0] if len(row.globs) == 1 else ' '.join(row.globs)}`"
    assert shown.replace("|", "\\|") in PAGE, f"docs/rules.md does not name {shown}"
