"""The simulation behind docs/scaling.md: nothing lost, in order, repeatable."""

import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from support.stacks import ROOT

HOURS = 0.5


@pytest.fixture(scope="module")
def bench() -> Iterator[dict[str, Any]]:
    """The modules of bench/scaling, which are in no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "bench" / "scaling"))
        import load  # type: ignore[import-not-found] # noqa: PLC0415 - found only now
        import policy  # type: ignore[import-not-found] # noqa: PLC0415 - the same
        import simulate  # type: ignore[import-not-found] # noqa: PLC0415 - the same

        yield {"load": load, "policy": policy, "simulate": simulate}
        for name in ("load", "mirrors", "policy", "simulate"):
            del sys.modules[name]


def scenario(bench: dict[str, Any], **changes: Any) -> Any:  # noqa: ANN401 - a module without types here
    """Half an hour of sixty pushes a minute to fifty repositories."""
    given = {"hot_share": 0.0, "repositories": 50, "rate": lambda _: 60.0, "peak": 60.0}
    return bench["load"].Scenario(name="test", title="", hours=HOURS, **{**given, **changes})


def simulated(bench: dict[str, Any], load: Any, *, kind: str = "busy") -> Any:  # noqa: ANN401 - as above
    """One run with the given policy."""
    simulate, policy = bench["simulate"], bench["policy"]
    chosen = (
        simulate.Policy(kind, partial(policy.busy_percent, consumers=simulate.CONSUMERS), 70.0)
        if kind == "busy"
        else simulate.Policy(kind, policy.depth_per_task, 2.0)
    )
    arrivals = load.iter_arrivals(seed=3)
    return simulate.Simulation(arrivals, chosen, simulate.Limits(), hours=HOURS, seed=3).run()


def test_every_push_is_prepared_once(bench: dict[str, Any]) -> None:
    """Each push has one wait, and no wait ends before its push."""
    load = scenario(bench)
    result = simulated(bench, load)
    assert len(result.waits) == len(list(load.iter_arrivals(seed=3)))
    assert len(result.waits) > 1_000
    assert min(result.waits) >= 0
    assert result.minutes[-1].seen.visible == 0


def test_same_seed_has_same_result(bench: dict[str, Any]) -> None:
    """The tables of the document are reproducible."""
    load = scenario(bench, hot_share=0.3)
    first, second = simulated(bench, load), simulated(bench, load)
    assert first.waits == second.waits
    assert first.task_seconds == second.task_seconds


def test_hot_repository_uses_no_more_than_its_lookahead(bench: dict[str, Any]) -> None:
    """If all pushes go to one repository, more tasks do not shorten the waits."""
    load = scenario(bench, repositories=1)
    busy, depth = simulated(bench, load), simulated(bench, load, kind="depth")
    assert busy.peak_tasks == pytest.approx(1)
    assert depth.peak_tasks > 5
    assert busy.wait(95) == pytest.approx(depth.wait(95), rel=0.1)


def test_only_tasks_with_work_are_billed_as_useful(bench: dict[str, Any]) -> None:
    """Idle hours are part of all hours; with one task that has work there are none."""
    load = scenario(bench, repositories=1)
    busy, depth = simulated(bench, load), simulated(bench, load, kind="depth")
    assert busy.idle_seconds == 0
    assert 0 < depth.idle_seconds < depth.task_seconds
