"""The workflow, the hook before a commit and the issue forms, read as YAML."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).parents[3]
_TEXT = (_ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
_NEWER = (_ROOT / ".github" / "workflows" / "newer-aws.yml").read_text("utf-8")
_WORKFLOW: dict[Any, Any] = yaml.safe_load(_TEXT)
_JOBS: dict[str, Any] = _WORKFLOW["jobs"]
_TESTING = [name for name, job in _JOBS.items() if "strategy" in job]
_MAKEFILE = (_ROOT / "Makefile").read_text("utf-8")


def _steps() -> Iterator[tuple[str, dict[str, Any]]]:
    """Steps of all jobs, each with the name of its job."""
    return ((name, step) for name, job in _JOBS.items() for step in job["steps"])


def _scripts(job: str) -> str:
    return "\n".join(step.get("run", "") for step in _JOBS[job]["steps"])


def _actions(job: str) -> list[str]:
    return [step["uses"].partition("@")[0] for step in _JOBS[job]["steps"] if "uses" in step]


def _tested(row: str) -> str:
    """Third cell of a row of README's table of versions."""
    readme = (_ROOT / "README.md").read_text("utf-8")
    (cell,) = re.findall(rf"^\| {row} \| [^|]+ \| ([^|]+) \|$", readme, re.MULTILINE)
    return str(cell)


def test_the_pythons_are_those_of_the_classifiers_and_of_the_readme() -> None:
    """A version that is named to users is one that is tested, and the other way round."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"Python :: (3\.\d+)$", "\n".join(project["classifiers"]), re.MULTILINE)
    assert _JOBS["python"]["strategy"]["matrix"] == {"python": named}
    assert _tested("CPython") == ", ".join(named)
    assert project["requires-python"] == f">={named[0]}"


def test_the_gits_are_those_of_the_readme() -> None:
    """Each git comes with a distribution's image of its own, and the job checks its version."""
    include = _JOBS["git"]["strategy"]["matrix"]["include"]
    *versions, newest = [each["git"] for each in include]
    assert newest == "newest"
    assert _tested("git") == f"{', '.join(versions)} and the newest"
    assert _JOBS["git"]["container"] == "${{ matrix.image }}"
    assert len({each["image"] for each in include}) == len(include)
    assert "${{ matrix.git }}" in str(_JOBS["git"]["steps"])


def test_the_wheel_is_built_once_and_tested() -> None:
    """No job with a matrix installs the checkout; each takes the wheel that one job has made."""
    building = [name for name in _JOBS if "make wheel" in _scripts(name)]
    assert building == ["wheel"]
    assert "actions/upload-artifact" in _actions("wheel")
    assert _TESTING == ["python", "git"]
    for name in _TESTING:
        assert _JOBS[name]["needs"] == ["wheel"]
        assert "actions/download-artifact" in _actions(name)
        assert re.findall(r"^make .*", _scripts(name), re.MULTILINE)[0].startswith(
            "make test-wheel"
        )
        assert "pip install" not in _scripts(name)
        assert _JOBS[name]["strategy"]["fail-fast"] is False


def test_the_last_job_needs_all_others() -> None:
    """Branch protection asks for it alone, so it runs also if another failed."""
    *others, last = _JOBS
    assert last == "all"
    assert _JOBS["all"]["needs"] == others
    assert _JOBS["all"]["if"] == "always()"


@pytest.mark.parametrize(
    ("results", "passes"),
    [
        ("success success", True),
        ("success failure", False),
        ("failure success", False),
        ("success cancelled", False),
        ("skipped success", False),
    ],
)
def test_the_last_job_fails_unless_all_others_succeeded(results: str, *, passes: bool) -> None:
    """A job that was skipped or cancelled has proven nothing."""
    (step,) = _JOBS["all"]["steps"]
    assert step["env"] == {"RESULTS": "${{ join(needs.*.result, ' ') }}"}
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        env={"RESULTS": results},
        check=False,
        capture_output=True,
    )
    assert (done.returncode == 0) is passes


@pytest.mark.parametrize(
    ("wanted", "version", "passes"),
    [
        ("2.39", "2.39.5", True),
        ("2.39", "2.3.95", False),
        ("2.39", "2.47.3", False),
        ("newest", "2.53.0", True),
        ("newest", "2.47.3", False),
    ],
)
def test_another_git_than_the_one_that_is_meant_fails(
    tmp_path: Path, wanted: str, version: str, *, passes: bool
) -> None:
    """An image that has got another git would leave a version untested without a word."""
    (script,) = [step["run"] for step in _JOBS["git"]["steps"] if "WANTED" in step.get("env", {})]
    git = tmp_path / "git"
    git.write_text(f"#!/bin/sh\necho git version {version}\n")
    git.chmod(0o755)
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        env={"WANTED": wanted, "PATH": f"{tmp_path}:/usr/bin:/bin"},
        check=False,
        capture_output=True,
    )
    assert (done.returncode == 0) is passes


def test_rights_time_and_actions_are_bounded() -> None:
    """Reads the repository and nothing more; ends; runs actions by commit, with the tag beside."""
    assert _WORKFLOW["permissions"] == {"contents": "read"}
    assert set(_WORKFLOW["concurrency"]) == {"group", "cancel-in-progress"}
    assert "pull_request_target" not in _WORKFLOW[True]  # YAML 1.1 reads the key `on` as true
    for name, job in _JOBS.items():
        assert 0 < job["timeout-minutes"] <= 90, name
        assert "permissions" not in job, name
    uses = re.findall(r"uses: (.*)$", _TEXT, re.MULTILINE)
    assert len(uses) == sum("uses" in step for _, step in _steps())
    pinned = re.compile(r"(actions/[a-z-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)")
    found = [pinned.fullmatch(each) for each in uses]
    assert all(found), uses
    versions = {(match[1], match[2], match[3]) for match in found if match}
    assert len(versions) == len({action for action, _, _ in versions})
    for name, step in _steps():
        if "actions/checkout@" in step.get("uses", ""):
            assert step["with"] == {"persist-credentials": False}, name


def test_the_newest_aws_libraries_are_tested_apart_from_changes() -> None:
    """A run that may fail holds up nothing: it has times of its own, and no push starts it."""
    workflow = yaml.safe_load(_NEWER)
    assert set(workflow[True]) == {"schedule", "workflow_dispatch"}
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert 0 < job["timeout-minutes"] <= 90
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make test-newer-aws"]
    uses = re.compile(r"uses: (.*)$", re.MULTILINE)
    assert set(uses.findall(_NEWER)) <= set(uses.findall(_TEXT))
    assert "newer-aws" not in (_ROOT / ".ci" / "run").read_text()


def test_scripts_are_shell_and_call_targets_that_exist() -> None:
    """A misspelt target, or a value of an event in a script, is found before a run."""
    for name, step in _steps():
        script = step.get("run", "")
        subprocess.run(["bash", "-n", "-c", script], check=True)
        assert "${{" not in script, name
        for command in re.findall(r"^make (.*)$", script, re.MULTILINE):
            for target in re.findall(r"(?:^|\s)([a-z-]+)(?=\s|$)", command):
                assert re.search(rf"^{target}:", _MAKEFILE, re.MULTILINE), command


def test_the_hook_before_a_commit_calls_make_lint() -> None:
    """The only hook, and one that downloads nothing."""
    (repository,) = yaml.safe_load((_ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (hook,) = repository["hooks"]
    assert repository["repo"] == "local"
    assert (hook["entry"], hook["language"], hook["pass_filenames"]) == (
        "make lint",
        "system",
        False,
    )


@pytest.mark.parametrize("name", ["fault", "wish"])
def test_issue_forms_are_as_github_reads_them(name: str) -> None:
    """Source: GitHub documentation, "Syntax for GitHub's form schema"."""
    form = yaml.safe_load((_ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
    assert {"name", "description", "body"} <= set(form)
    inputs = [each for each in form["body"] if each["type"] != "markdown"]
    assert all(each["type"] in {"textarea", "input", "dropdown"} for each in inputs)
    ids = [each["id"] for each in inputs]
    assert len(set(ids)) == len(ids)
    assert all(each["attributes"]["label"] for each in inputs)
    assert any(each.get("validations", {}).get("required") for each in inputs)
