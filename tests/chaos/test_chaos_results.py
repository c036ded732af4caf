"""Results under faults, the short run; `make chaos-results` is the long one."""

import pytest
from support import chaos_results

from asyncbuild.local.servers.event_sender import EventFaults

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]


async def test_every_end_is_recorded_once_and_right() -> None:
    """Tasks are killed, events are lost, doubled and disordered; a round finds what is missing."""
    plan = chaos_results.ResultPlan(
        seed=3, repositories=6, pushes=36, pushes_per_second=4, processes=2, kills=3,
        kill_seconds=(1.5, 3.0), sweep_seconds=15, older_seconds=3_600, foreign=0.2,
        faults=EventFaults(lost=0.1, doubled=0.1, disordered=0.2),
    )  # fmt: skip
    report = await chaos_results.run(plan)
    told = report.document()
    assert report.wrong == [], "\n".join([*report.wrong, str(told)])
    assert told["started"] == told["passed"] + told["failed"] == 36
    assert told["kills"] == 3
    assert told["statuses"] == 36
    assert min(told["events"].values()) >= 1
    assert min(told["failed"], told["foreign_builds"], told["found_by_rounds"]) >= 1
    assert told["attempts"] > told["started"]  # CodeBuild has tried some again
