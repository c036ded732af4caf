"""Reports: their order, their messages, and which of them are posted."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise, permutations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.reports.commit_status import CommitStatus, StatusState
from asyncbuild.domain.reports.report import (
    SKIPPED,
    PostedStatus,
    Report,
    ReportOrder,
    dump_report,
    is_due,
    read_report,
)
from asyncbuild.domain.repository import decode_repository

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
REPOSITORY = decode_repository("github.com", "acme", "shop")


def report_of(state: StatusState, order: ReportOrder, context: str = "asyncbuild/shop") -> Report:
    """Return a report of a commit status."""
    status = CommitStatus(state, context, "words", "https://example.org/build")
    return Report(REPOSITORY, "refs/heads/main", "a" * 40, status, order)


orders = st.builds(
    ReportOrder,
    st.integers(0, 2).map(lambda hours: NOON + timedelta(hours=hours)),
    st.sampled_from(["e1", "e2"]),
    st.integers(SKIPPED, 3),
)
reports = st.builds(
    lambda state, order: report_of(StatusState.SUCCESS if order.is_skip else state, order),
    st.sampled_from(StatusState),
    orders,
)


def post_all(given_reports: list[Report]) -> list[PostedStatus]:
    """Return what is posted of reports that come one after the other."""
    posted: list[PostedStatus] = []
    for each in given_reports:
        if is_due(each, posted[-1] if posted else None):
            posted.append(PostedStatus(each.status.state, each.order))
    return posted


@given(st.lists(reports, max_size=8))
def test_nothing_posted_goes_back(given_reports: list[Report]) -> None:
    """Orders of builds only grow, no end is replaced by the same attempt, a skip comes first."""
    posted = post_all(given_reports)
    assert not any(each.order.is_skip for each in posted[1:])
    orders = [each.order for each in posted if not each.order.is_skip]
    assert orders == sorted(orders)
    assert len(set(posted)) == len(posted)
    for earlier, later in pairwise(posted):
        assert not (earlier.state.is_end and earlier.order == later.order)


@pytest.mark.parametrize("minutes", [-1, 0, 1])
def test_a_skip_never_replaces_a_build_of_the_commit(minutes: int) -> None:
    """Whichever push came first, and in whatever order the reports come."""
    skip = report_of(StatusState.SUCCESS, ReportOrder(NOON, "e1", SKIPPED))
    order = ReportOrder(NOON + timedelta(minutes=minutes), "e1")
    told = [
        report_of(StatusState.PENDING, order),
        report_of(StatusState.FAILURE, order),
        skip,
        skip,
    ]
    for each in permutations(told):
        assert post_all(list(each))[-1] == PostedStatus(StatusState.FAILURE, order)
    assert post_all([skip, skip]) == [PostedStatus(StatusState.SUCCESS, skip.order)]


def test_every_order_of_delivery_ends_in_the_same_state() -> None:
    """The end of the last attempt is what remains."""
    first, second = ReportOrder(NOON, "e1"), ReportOrder(NOON, "e1", 2)
    told = [
        report_of(StatusState.PENDING, first),
        report_of(StatusState.PENDING, second),
        report_of(StatusState.FAILURE, second),
        report_of(StatusState.FAILURE, second),
    ]
    for order in permutations(told):
        assert post_all(list(order))[-1] == PostedStatus(StatusState.FAILURE, second)


@given(reports)
def test_a_message_is_read_as_it_was_written(report: Report) -> None:
    """Unknown fields are passed over."""
    document = {**orjson.loads(dump_report(report)), "of_a_later_version": 1}
    assert read_report(document) == report


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("asyncbuild", "push"),
        ("version", 2),
        ("state", "green"),
        ("attempt", -1),
        ("attempt", True),
        ("pushed_at", "noon"),
        ("commit", None),
        ("commit", "../../" + "0" * 34),  # it would lead to another address of the forge
        ("ref", "main"),
        ("repository", "shop"),
        ("context", 7),
    ],
)
def test_what_is_no_report_is_rejected(name: str, value: object) -> None:
    """A field that is wrong or missing."""
    document = orjson.loads(dump_report(report_of(StatusState.PENDING, ReportOrder(NOON, "e"))))
    with pytest.raises(Reject):
        read_report({**document, name: value})
    del document[name]
    with pytest.raises(Reject):
        read_report(document)


def test_reports_of_one_context_share_a_group_and_each_state_has_its_own_id() -> None:
    """So SQS orders and deduplicates."""
    order = ReportOrder(NOON, "e1")
    pending, end = report_of(StatusState.PENDING, order), report_of(StatusState.SUCCESS, order)
    assert pending.group == end.group
    assert pending.deduplication_id != end.deduplication_id
    assert pending.group != report_of(StatusState.PENDING, order, "asyncbuild/other").group
