"""Outcome of a request, from the records of its push and the results of what they started. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from asyncbuild.commands.exit_codes import NOT_BUILT
from asyncbuild.commands.explain_results import started_id_of
from asyncbuild.domain.model import Verdict
from asyncbuild.domain.results.build_result import BuildResult, StartedId
from asyncbuild.domain.results.console_links import console_link
from asyncbuild.status.results.shown import shown_record
from asyncbuild.status.results.words import result_sentence

Record = Mapping[str, Any]
Results = Mapping[StartedId, BuildResult]

_REFUSED: Final = frozenset({Verdict.REJECTED, "unreadable"})


class WaitEnd(StrEnum):
    """End of `asyncbuild build` in one word, the first that is true."""

    FAILED = "failed"  # a build or pipeline failed, was stopped or timed out
    REJECTED = "rejected"  # the request is a dead letter
    UNFINISHED = "unfinished"  # the time is up
    SENT = "sent"  # nothing was waited for
    PASSED = "passed"  # also what was uploaded, which nothing builds here
    NOT_BUILT = "not-built"  # by the rules, or because the ref is gone

    @property
    def exit_code(self) -> int:
        """Exit code of the command."""
        return _EXIT_CODES[self]


_EXIT_CODES: Final = {
    WaitEnd.FAILED: 1,
    WaitEnd.REJECTED: 65,  # EX_DATAERR of sysexits(3)
    WaitEnd.UNFINISHED: 75,  # EX_TEMPFAIL
    WaitEnd.SENT: 0,
    WaitEnd.PASSED: 0,
    WaitEnd.NOT_BUILT: NOT_BUILT,
}


def wait_end_of(records: Sequence[Record], results: Results) -> WaitEnd:
    """Return the end that settled records and the results so far amount to.

    Args:
        records: Records of the push; none while it is not settled.
        results: Results by what was started.
    """
    if not records:
        return WaitEnd.UNFINISHED
    started = [of for each in records if (of := started_id_of(each)) is not None]
    found = [results.get(of) for of in started]
    ended = [each for each in found if each is not None and each.status.is_end]
    verdicts = {str(each.get("verdict")) for each in records}
    facts = {
        WaitEnd.FAILED: any(not each.status.is_passed for each in ended),
        WaitEnd.REJECTED: bool(verdicts & _REFUSED),
        WaitEnd.UNFINISHED: len(ended) < len(started),
        WaitEnd.PASSED: bool(started) or Verdict.UPLOADED in verdicts,
    }
    return next((end for end, holds in facts.items() if holds), WaitEnd.NOT_BUILT)


def iter_unfinished(records: Sequence[Record], results: Results) -> Iterator[StartedId]:
    """Yield what was started and has no end yet.

    Args:
        records: Records of the push.
        results: Results by what was started.
    """
    for each in records:
        of = started_id_of(each)
        if of is not None and (of not in results or not results[of].status.is_end):
            yield of


def describe_record(record: Record) -> str:
    """Return what was done for one target: a line, and another with the link if there is one."""
    name = name_of_target(record)
    verdict, reason = str(record.get("verdict")), str(record.get("reason"))
    of = started_id_of(record)
    if of is not None:
        link = console_link(of, _arn(record))
        return "\n".join(filter(None, (f"started {name}: {of.id}", link)))
    match verdict:
        case Verdict.UPLOADED:
            archive = record.get("archive") or {}
            return f"uploaded s3://{archive.get('bucket')}/{archive.get('key')}"
        case Verdict.REJECTED | "unreadable":
            return f"rejected: {reason}"
        case _:
            return f"not built{f', {name}' if name else ''}: {reason}"


def describe_end(of: StartedId, result: BuildResult) -> str:
    """Return how a build stands: a line, and another one with the log if it has one."""
    told = shown_record(result)
    if not result.status.is_end:
        return f"{of.name} is running"
    return "\n".join(filter(None, (f"{of.name} {result_sentence(told)}", result.log_link)))


def name_of_target(record: Record) -> str:
    """Return the project or pipeline of a record; empty if it names none."""
    return str(record.get("project") or record.get("pipeline") or "")


def _arn(record: Record) -> str:
    started = record.get("build") or record.get("execution") or {}
    return str(started.get("arn", "")) if isinstance(started, Mapping) else ""
