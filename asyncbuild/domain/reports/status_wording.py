"""Descriptions and contexts of commit statuses."""

from collections.abc import Mapping
from string import Formatter
from typing import Final

from asyncbuild.domain.contents.known_changes import HasMarker, WhyLeftOut
from asyncbuild.domain.foreign_text import plain
from asyncbuild.domain.results.build_result import BuildResult, BuildStatus

DESCRIPTION_MOST: Final = 140  # GitHub, REST API, "Create a commit status", description
CONTEXT_MOST: Final = 255  # GitLab, "Set the pipeline status of a commit", name
CONTEXT_FIELDS: Final = ("project", "pipeline", "rule", "branch", "repository")
_COMMIT_LENGTH: Final = 12
_MINUTE: Final = 60
_HOUR: Final = 3600

_ENDS: Final = {
    BuildStatus.SUCCEEDED: "passed",
    BuildStatus.FAILED: "failed",
    BuildStatus.FAULT: "no result: a fault of CodeBuild",
    BuildStatus.TIMED_OUT: "timed out",
    BuildStatus.STOPPED: "stopped",
}


def describe_result(result: BuildResult, *, with_reason: bool = False) -> str:
    """Return the description of a build's state, such as `failed in BUILD, after 3 min 12 s`.

    Args:
        result: State of the build.
        with_reason: Add the message of the failed phase, which may quote a command.
    """
    if not result.status.is_end:
        words = ["started" if result.attempt == 1 else f"started again, attempt {result.attempt}"]
    else:
        words = [_ENDS[result.status]]
        if result.superseded_by_commit:
            words = [f"superseded by {result.superseded_by_commit[:_COMMIT_LENGTH]}"]
        if result.phase and result.status is not BuildStatus.SUCCEEDED:
            words[0] += f" in {result.phase}"
        if result.exit_code:
            words.append(f"exit code {result.exit_code}")
        if result.total_seconds is not None:
            joint = "in" if result.status is BuildStatus.SUCCEEDED else "after"
            words.append(f"{joint} {duration(result.total_seconds)}")
        if result.attempt > 1:
            words.append(f"attempt {result.attempt}")
    text = ", ".join(words).replace("passed, in", "passed in")
    if with_reason and result.reason:
        text += f": {result.reason}"
    return plain(text, DESCRIPTION_MOST)


def describe_skip(why: WhyLeftOut) -> str:
    """Return the description for a project that `changes` or `skip` of its rule left out.

    Where it is too long, pathspecs are cut, and not what it was compared with.
    """
    if isinstance(why, HasMarker):
        return plain(f"skipped: the commit's message has {why.marker}", DESCRIPTION_MOST)
    most = DESCRIPTION_MOST - len(why.ending)
    return plain(f"skipped: nothing changed in {', '.join(why.changes)}", most) + why.ending


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: `42 s`, `3 min 12 s`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return _two(whole, _MINUTE, "min", 1, "s")
    return _two(whole, _HOUR, "h", _MINUTE, "min")


def _two(whole: int, large: int, large_name: str, small: int, small_name: str) -> str:
    rest = whole % large // small
    return f"{whole // large} {large_name}" + (f" {rest} {small_name}" if rest else "")


def context_of(template: str, fields: Mapping[str, str]) -> str:
    """Return the context for a build; characters that a forge might not keep are replaced.

    Args:
        template: A template that `check_context` accepts.
        fields: Values of `CONTEXT_FIELDS`.
    """
    return plain(template.format_map(fields), CONTEXT_MOST)


def check_context(template: str) -> None:
    """Refuse a template of contexts with a field that a build does not have.

    Raises:
        ValueError: The template is empty, cannot be read, or has such a field; the text names it.
    """
    if not template.strip():
        msg = "write a context, such as asyncbuild/{project}"
        raise ValueError(msg)
    for _, name, spec, conversion in Formatter().parse(template):
        if name is not None and (name not in CONTEXT_FIELDS or spec or conversion):
            known = ", ".join(f"{{{each}}}" for each in CONTEXT_FIELDS)
            msg = f"{{{name}}} is not a field of a context; there are {known}"
            raise ValueError(msg)
