"""Lost, late and doubled events under faults, the short run; `make chaos-lost` is the long one."""

import pytest
from support import chaos_lost
from support.chaos import Plan

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]


async def test_each_tip_is_built_once_after_one_round() -> None:
    """Tasks are killed while events are lost; a round finds what no event told."""
    chaos = Plan(
        seed=4, repositories=4, pushes=40, processes=2, kills=2, kill_seconds=(1.0, 2.0),
        big_pushes=0, depth=0,
    )  # fmt: skip
    plan = chaos_lost.LostPlan(chaos, lost=0.15, late=0.1, twice=0.1, late_seconds=8)
    report = await chaos_lost.run(plan)
    assert report.wrong == [], report.text()
    assert report.tips_lost >= 1, report.text()
    assert report.found >= report.tips_lost
    assert report.chaos.kills == 2
