"""EventBridge of a world of results, and what its outcome events must be."""

from typing import TYPE_CHECKING, Any

import orjson
from botocore.exceptions import ClientError
from botocore.session import get_session
from botocore.validate import ParamValidator
from support.result_world_servers import RefusedCall

from asyncbuild.domain.outcomes.build_end import BuildEnd, EndVerdict
from asyncbuild.domain.outcomes.end_history import KEPT_MOST
from asyncbuild.domain.results.build_result import BuildResult, BuildStatus, StartedKind
from asyncbuild.reports.outcomes.outcome_records import read_history

if TYPE_CHECKING:
    from support.result_world import Course, ResultWorld

_MODEL = get_session().get_service_model("events")
_ENDS = {
    BuildStatus.SUCCEEDED: "BuildPassed",
    BuildStatus.FAILED: "BuildFailed",
    BuildStatus.TIMED_OUT: "BuildFailed",
    BuildStatus.FAULT: "BuildFailed",
}


class WorldBus:
    """EventBridge, as botocore's client answers; `taken` has the details by id, checked.

    `refused` is the share of requests that it refuses, with one of `codes`, and `refusals` how many
    next events it does.
    """

    def __init__(self, world: "ResultWorld") -> None:
        self._world = world
        self.taken: dict[str, dict[str, Any]] = {}
        self.refused = 0.0
        self.codes = ["ThrottlingException", "InternalException", "AccessDeniedException"]
        self.refusals = 0

    async def put_events(self, **call: Any) -> Any:  # noqa: ANN401 - botocore's shapes
        """Answer PutEvents: all, none, or some of the entries are taken."""
        shape = _MODEL.operation_model("PutEvents").input_shape
        assert shape is not None
        report = ParamValidator().validate(call, shape)
        assert not report.has_errors(), report.generate_report()
        world = self._world
        try:
            await world.call(before=True)
            if world.random.random() < self.refused:
                raise RefusedCall  # noqa: TRY301 - as the call does
        except RefusedCall:
            error: Any = {"Error": {"Code": world.random.choice(self.codes), "Message": "no"}}
            raise ClientError(error, "PutEvents") from None
        entries = [self._take(each) for each in call["Entries"]]
        await world.call(before=False)
        return {"FailedEntryCount": sum("ErrorCode" in e for e in entries), "Entries": entries}

    def _take(self, entry: dict[str, Any]) -> dict[str, str]:
        if self.refusals > 0 or self._world.random.random() < self._world.failing:
            self.refusals -= 1
            return {"ErrorCode": "InternalFailure", "ErrorMessage": "no"}
        detail = {**orjson.loads(entry["Detail"]), "detail-type": entry["DetailType"]}
        known = self.taken.setdefault(detail["id"], detail)
        assert known == detail, "an event came again with another detail"
        return {"EventId": "e"}


class WorldHistories:
    """Ends in the order in which the ledger took them for the newest, by the key of their record.

    `results` has all ends that were ever on record.
    """

    def __init__(self, world: "ResultWorld") -> None:
        self._world = world
        self.accepted: dict[str, list[BuildEnd]] = {}

    def check_write(self, key: str, body: bytes) -> bool:
        """Return whether a record is one of ends; fail if it has a step that is not allowed."""
        if "/outcome/" not in key:
            return False
        ends, known = read_history(key, body), self.accepted.setdefault(key, [])
        assert list(ends[1:]) == known[::-1][: KEPT_MOST - 1], "more than one end was added"
        if known:
            assert self._number(ends[0]) >= self._number(known[-1]), "an older push came back"
        known.append(ends[0])
        return True

    def check(self) -> None:
        """Fail if an event is missing, or one is there that should not be."""
        world, taken = self._world, self._world.bus.taken
        assert not [key for key in world.kept if key.startswith(world.keys.all_unsent)]
        found = {(each["detail-type"], each["build"]["id"]) for each in taken.values()}
        assert len(found) <= len(taken)
        for course in filter(lambda each: each.is_ours, world.courses):
            result = world.result_of(course)
            assert result is not None
            self._check_course(course, result, found)
        changes = {change for known in self.accepted.values() for change in _changes(known)}
        told = {each for each in found if each[0] in {"BuildBroke", "BuildFixed"}}
        assert told <= changes, "a change that is none"
        # A stage of an execution that was tried again before the failure was told hides that.
        lacking = {each for each in changes - told if not self._ended_again(each[1])}
        assert not lacking, f"a change was not told: {lacking}"

    def _check_course(
        self, course: "Course", result: BuildResult, found: set[tuple[str, str]]
    ) -> None:
        assert course.started is not None
        own = {kind for kind, id_ in found if id_ == course.started.of.id}
        expected = _ENDS.get(result.status)
        assert expected is None or expected in own, f"{course} has no event"
        if course.kind is not StartedKind.EXECUTION:
            assert own & {"BuildPassed", "BuildFailed"} == ({expected} if expected else set())

    def _number(self, end: BuildEnd) -> int:
        return next(each.push for each in self._world.courses if _is_of(each, end.of.id))

    def _ended_again(self, id_: str) -> bool:
        """Return whether an execution ended twice: its first end may be replaced untold."""
        course = next(each for each in self._world.courses if _is_of(each, id_))
        return course.kind is StartedKind.EXECUTION and len(course.attempts) > 1


def _is_of(course: "Course", id_: str) -> bool:
    return course.started is not None and course.started.of.id == id_


def _changes(known: list[BuildEnd]) -> list[tuple[str, str]]:
    """Return the changes along ends, computed the simple way."""
    found, last = [], EndVerdict.NONE
    for end in known:
        if end.verdict is EndVerdict.NONE:
            continue
        if last not in {EndVerdict.NONE, end.verdict}:
            broke = end.verdict is EndVerdict.FAILED
            found.append(("BuildBroke" if broke else "BuildFixed", end.of.id))
        last = end.verdict
    return found
