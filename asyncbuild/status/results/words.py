"""Wording of results for people, on the page, in the terminal view and in `explain`. Pure."""

from collections.abc import Mapping
from typing import Final

from asyncbuild.domain.results.build_result import BuildStatus
from asyncbuild.status.phrases import seconds
from asyncbuild.status.results.shown import is_end
from asyncbuild.status.schema import ResultStatus, SettledPush

_WORDS: Final[Mapping[str, str]] = {
    BuildStatus.SUCCEEDED: "passed",
    BuildStatus.FAILED: "failed",
    BuildStatus.FAULT: "fault",
    BuildStatus.TIMED_OUT: "timed out",
    BuildStatus.STOPPED: "stopped",
}
# With the word there is a sign, so that colour is never the only one.
_SUPERSEDED: Final = "superseded"
_SIGNS: Final = {
    "passed": "✓",
    "failed": "✗",
    "fault": "!",
    "timed out": "✗",
    "stopped": "■",
    _SUPERSEDED: "■",
}
_TONES: Final = {
    "passed": "passed",
    "failed": "failed",
    "fault": "failed",
    "timed out": "failed",
    "stopped": "stopped",
    _SUPERSEDED: "stopped",
}
_COMMIT_LENGTH: Final = 12
_MINUTE: Final = 60


def result_word(row: SettledPush) -> str:
    """Return how a started build ended; `building` or, of a pipeline, `running` before that."""
    if row.result is not None and row.result.superseded_by_commit:
        return _SUPERSEDED
    if row.result is not None and row.result.status in _WORDS:
        return _WORDS[row.result.status]
    return "running" if row.execution_id else "building"


def result_sign(row: SettledPush) -> str:
    """Return the sign of a build's state."""
    return _SIGNS.get(result_word(row), "○")


def result_tone(row: SettledPush) -> str:
    """Return the colour of a build's state: `passed`, `failed`, `stopped` or `unended`."""
    return _TONES.get(result_word(row), "unended")


def result_length(row: SettledPush, now: float) -> str:
    """Return how long a build took, or has run for: then in minutes, which do not flicker."""
    if row.result is not None and is_end(row.result):
        return "" if row.result.total_seconds is None else length(row.result.total_seconds)
    begun = row.result.started_at if row.result else None
    minutes = int(now - (row.time if begun is None else begun)) // _MINUTE
    return length(minutes * _MINUTE, coarse=True) if minutes > 0 else ""


def result_place(result: ResultStatus | None) -> str:
    """Return what failed: `BUILD, exit code 2`; empty if nothing is known to have failed.

    Of a superseded build, the commit by which.
    """
    if result is not None and result.superseded_by_commit:
        return f"by {result.superseded_by_commit[:_COMMIT_LENGTH]}"
    if result is None or not is_end(result) or result.status == BuildStatus.SUCCEEDED:
        return ""
    code = "" if result.exit_code is None else f"exit code {result.exit_code}"
    return ", ".join(filter(None, (result.phase, code)))


def result_sentence(result: ResultStatus) -> str:
    """Return a result such as `failed in BUILD, exit code 2, after 3 min 12 s (queued 4 s)`."""
    if not is_end(result):
        return ", ".join(filter(None, ("not seen to end yet", _attempt(result))))
    word = "ended by a fault of CodeBuild" if result.status == BuildStatus.FAULT else ""
    word = word or _WORDS.get(result.status, result.status)
    place = result_place(result)
    if result.superseded_by_commit:
        word, place = _SUPERSEDED, f" {place}"
    else:
        place = f" in {place}" if place and result.phase else f" with {place}" if place else ""
    parts = {"queued": result.queued_seconds, "provisioning": result.provisioning_seconds}
    known = [f"{name} {length(value)}" for name, value in parts.items() if value]
    after = f"after {length(result.total_seconds)}" if result.total_seconds is not None else ""
    after += f" ({', '.join(known)})" if known and after else ""
    lead = f"{word}{place}{',' if place and after else ''} {after}".rstrip()
    return ", ".join(filter(None, (lead, _attempt(result))))


def length(value: float, *, coarse: bool = False) -> str:
    """Return a duration of a build, which is known in whole seconds: `4 s`, `3 min 12 s`.

    Args:
        value: Seconds.
        coarse: Leave out the seconds of what takes minutes.
    """
    if 1 <= round(value) < _MINUTE:
        return f"{value:.0f} s"
    minutes, separator, _ = (told := seconds(value)).partition(" min ")
    return f"{minutes} min" if coarse and separator else told


def _attempt(result: ResultStatus) -> str:
    return f"attempt {result.attempt}" if result.attempt > 1 else ""
