"""A message group belongs to one repository; any other grouping is reported."""

import pytest

from asyncbuild.queue.lane.message_groups import Grouping


def test_a_group_of_one_repository_has_no_fault() -> None:
    """The group may be received any number of times."""
    grouping = Grouping()
    for _ in range(3):
        assert grouping.find_fault("web", ["1/eu/web", "1/eu/web"]) == ""
        assert grouping.find_fault("till", ["1/eu/till"]) == ""


@pytest.mark.parametrize("group", ["$.detail.repositoryId", "<$.detail.repositoryId>"])
def test_an_unfilled_path_is_reported_once(group: str) -> None:
    """All repositories would wait in one line, and the cause would be hard to find."""
    grouping = Grouping()
    assert group in grouping.find_fault(group, ["1/eu/web"])
    assert grouping.find_fault(group, ["1/eu/till"]) == ""


def test_two_repositories_in_one_group_are_reported_once() -> None:
    """One delivery has both, or two deliveries; the names are reported."""
    grouping = Grouping()
    assert grouping.find_fault("all", ["1/eu/web"]) == ""
    fault = grouping.find_fault("all", ["1/eu/till"])
    assert "1/eu/web" in fault
    assert "1/eu/till" in fault
    assert grouping.find_fault("all", ["1/eu/shop"]) == ""
    assert "wait for each other" in grouping.find_fault("both", ["a", "b"])
    assert grouping.find_fault("none", []) == ""
