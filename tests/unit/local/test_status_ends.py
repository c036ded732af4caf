"""Verification of commit statuses: finds each kind of fault, and no other."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from asyncbuild.domain.reports.commit_status import StatusState
from asyncbuild.local.forge.forge_standin import ForgeStandin
from asyncbuild.local.forge.hosting import status_of
from asyncbuild.local.forge.status_ends import builds_of, compare_statuses, count_ended
from asyncbuild.local.servers.journal import AcceptedStart
from asyncbuild.local.verify import Pushed

_PUSH = Pushed("e1", "g", "shop", "refs/heads/main", "c" * 40, Path("/nowhere"), 1.0)
_LATER = replace(_PUSH, id="e2", ref="refs/heads/x", time=2.0)
_ELSEWHERE = replace(_PUSH, id="e3", repository="web")
_AT = status_of("shop", "c" * 40, "shop")
_TRUTH = {"shop:e1": StatusState.FAILURE, "shop:e2": StatusState.SUCCESS}


def _started(push: Pushed) -> AcceptedStart:
    variables = [{"name": "EVENT_ID", "value": push.id}]
    request = {"projectName": "shop", "environmentVariablesOverride": variables}
    return AcceptedStart(push.time, f"shop:{push.id}", 1, request)


@pytest.mark.parametrize(
    ("pushes", "states", "pending", "wrong"),
    [
        ([_PUSH], "pending failure", 0, 0),
        ([_PUSH], "failure", 0, 0),
        ([_PUSH], "pending", 1, 0),
        ([_PUSH], "pending success", 0, 1),
        ([_PUSH], "failure pending failure", 0, 1),  # backwards
        ([_PUSH], "", 0, 1),  # it has none
        ([_PUSH, _LATER], "pending failure pending success", 0, 0),
        ([_LATER, _PUSH], "pending failure pending success", 0, 0),
        ([_PUSH, _LATER], "pending success pending failure", 0, 1),  # the later push owns it
        ([_ELSEWHERE], "", 0, 0),  # not on the forge
        ([], "pending", 0, 1),  # of no build
    ],
)
def test_faults_of_statuses(
    pushes: Sequence[Pushed], states: str, pending: int, wrong: int
) -> None:
    """The forge's state is compared with the truth about the last push's build."""
    forge = ForgeStandin()
    for state in states.split():
        body = {"state": state, "context": _AT.context, "target_url": "https://example.org"}
        assert forge.post_github(_AT, body).status == 201
    builds = builds_of(pushes, [_started(each) for each in pushes], ["shop"])
    found = compare_statuses(forge, builds, _TRUTH.__getitem__)
    assert (len(found.pending), len(found.wrong)) == (pending, wrong)
    assert len(found.faults) == pending + wrong
    assert count_ended(forge) == (1 if states and not states.endswith("pending") else 0)
