"""Sentences of `asyncbuild explain` about the ends of what a push started. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, Final

from asyncbuild.domain.errors import Reject, reading
from asyncbuild.domain.results.build_result import BuildResult, StartedId, StartedKind
from asyncbuild.domain.times import read_time
from asyncbuild.status.results.shown import build_id_of, shown_record
from asyncbuild.status.results.words import result_sentence

# A build may wait for eight hours and run for 36 (CodeBuild User Guide, quotas).
_LONGEST: Final = timedelta(hours=45)
# An execution may wait for an approval; it is asked for as long as its mark is kept: 30 days.
_LONGEST_EXECUTION: Final = timedelta(days=30)
_NOT_SHOWN: Final = frozenset({"of"})

Record = Mapping[str, Any]


def started_id_of(record: Record) -> StartedId | None:
    """Return the build, batch or execution that a record names; None if it names none."""
    build, execution = record.get("build"), record.get("execution")
    try:
        with reading("record"):
            if build:
                return build_id_of(str(build["id"]), str(build.get("arn", "")))
            if execution:
                name, number = str(execution["pipeline"]), str(execution["id"])
                return StartedId(StartedKind.EXECUTION, name, number)
    except Reject:
        pass  # another version's, or damaged
    return None


def with_result(record: Record, results: Mapping[StartedId, BuildResult]) -> Record:
    """Return a record with the field `result` if it started something: None without a result.

    Args:
        record: A record of the ledger.
        results: Results by what was started.
    """
    started = started_id_of(record)
    return record if started is None else {**record, "result": results.get(started)}


def has_failed(record: Record) -> bool:
    """Return whether what a record started has failed, timed out or ended by a fault."""
    result = record.get("result")
    return isinstance(result, BuildResult) and result.status.is_failed


def dumped(record: Record) -> Record:
    """Return a record for `--json`: its result has the fields of the ledger's."""
    result = record.get("result")
    if not isinstance(result, BuildResult):
        return record
    names = [each.name for each in fields(result) if each.name not in _NOT_SHOWN]
    return {**record, "result": {name: getattr(result, name) for name in names}}


def result_lines(record: Record, *, now: datetime | None) -> Iterator[tuple[str, str]]:
    """Yield label and text of each line about the result of a record.

    Args:
        record: The record, as `with_result` returned it.
        now: The current time, if the service asks for results; else None: then a missing result
            says nothing.
    """
    if "result" not in record:
        return
    result = record["result"]
    if isinstance(result, BuildResult):
        yield "result", result_sentence(shown_record(result))
        yield "message", result.reason
        yield "log", result.log_link
    elif now is not None:
        started = read_time(record.get("recorded_at"))
        longest = _LONGEST_EXECUTION if record.get("execution") else _LONGEST
        young = started is not None and now - started < longest
        yield "result", "none yet" if young else "none was recorded"
