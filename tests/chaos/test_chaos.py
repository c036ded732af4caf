"""Order under faults, the short run; `make chaos` is the long one."""

import pytest
from support import chaos

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]


async def test_nothing_is_lost_doubled_or_out_of_order() -> None:
    """Two processes, killed and stopped behind bad connections; the servers' records decide."""
    plan = chaos.Plan(
        seed=7, repositories=8, pushes=48, big_pushes=1, processes=2, kills=3,
        kill_seconds=(1.0, 2.5), visibility_seconds=4,
    )  # fmt: skip
    report = await chaos.run(plan)
    assert report.wrong == [], report.text()
    assert report.findings.built == 48
    assert report.records == 48
    assert report.kills + report.terms >= 1
    assert report.kinds["delta"] >= 1
    assert sum(report.faults.values()) >= 20
