"""Mirrors in the simulation: disks with room for some, seeds, queues with tasks of their own."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from support.stacks import ROOT

NAMES = ("fleet", "load", "mirrors", "policy", "simulate")
Modules = dict[str, Any]


@pytest.fixture(scope="module")
def bench() -> Iterator[Modules]:
    """The modules of bench/scaling, which are in no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "bench" / "scaling"))
        import fleet  # type: ignore[import-not-found] # noqa: PLC0415 - found only now
        import mirrors  # type: ignore[import-not-found] # noqa: PLC0415 - the same

        yield {"fleet": fleet, "mirrors": mirrors}
        for name in NAMES:
            del sys.modules[name]


def counted(bench: Modules, tasks: int, *, seeds: bool = False, shards: int = 1) -> Any:  # noqa: ANN401 - a module without types here
    """Counts of the load that bench/warm.py measures."""
    fleet, mirrors = bench["fleet"], bench["mirrors"]
    _, counts = fleet.simulate_fleet(
        fleet.Fleet(tasks, seeds, shards),
        mirrors.MirrorModel(fleet.measured_model),
        fleet.measured_load(),
        hours=0.14,
        seed=1,
    )
    return counts


def test_clones_are_those_that_were_measured(bench: Modules) -> None:
    """Of 1,000 pushes one process cloned 60 times, 1,387 MB; four did 239 times, 5,529 MB."""
    one, four = counted(bench, 1), counted(bench, 4)
    assert one.clones == 60
    assert one.cloned_bytes == pytest.approx(1_387e6, rel=0.2)
    assert four.clones == pytest.approx(239, rel=0.2)
    assert four.cloned_bytes == pytest.approx(5_529e6, rel=0.2)
    assert four.warm + four.clones == 1_000


def test_seeds_replace_clones(bench: Modules) -> None:
    """As many pushes are cold, and only those clone that come before the seed is written."""
    without, with_seeds = counted(bench, 4), counted(bench, 4, seeds=True)
    cold = without.clones
    assert with_seeds.clones + with_seeds.taken == pytest.approx(cold, rel=0.1)
    assert 60 <= with_seeds.clones < 1.3 * 60


def test_a_queue_for_each_task_needs_no_seeds(bench: Modules) -> None:
    """Each repository has one task, which clones it once."""
    assert counted(bench, 4, shards=4).clones == 60


def test_least_recently_used_mirrors_go(bench: Modules) -> None:
    """A disk with room for two keeps those two that were used last."""
    mirrors = bench["mirrors"]
    model = mirrors.MirrorModel(lambda _: 100, disk_bytes=200, clone_rate=100, least_seconds=0)
    fleet, disk = mirrors.Mirrors(model), mirrors.TaskDisk()
    waits = [fleet.wait(disk, number, float(now)) for now, number in enumerate([1, 2, 1, 3, 1, 2])]
    assert waits == [1, 1, 0, 1, 0, 1]
    assert (fleet.counts.clones, fleet.counts.warm, fleet.counts.evictions) == (4, 2, 2)


def test_a_push_waits_for_the_clone_of_the_one_before(bench: Modules) -> None:
    """Two pushes of a repository share a clone."""
    mirrors = bench["mirrors"]
    model = mirrors.MirrorModel(lambda _: 100, clone_rate=10, least_seconds=0)
    fleet, disk = mirrors.Mirrors(model), mirrors.TaskDisk()
    assert [fleet.wait(disk, 1, now) for now in (0.0, 4.0, 20.0)] == [10, 6, 0]
    assert fleet.counts.clones == 1


def test_a_seed_is_there_once_it_is_written(bench: Modules) -> None:
    """Seeds are written one after the other by the task that cloned; small mirrors have none."""
    mirrors = bench["mirrors"]
    model = mirrors.MirrorModel(
        lambda number: 100 * number, clone_rate=100, seed_rate=1_000, write_rate=10,
        seed_min_bytes=100, least_seconds=0,
    )  # fmt: skip
    fleet, one, other = mirrors.Mirrors(model), mirrors.TaskDisk(), mirrors.TaskDisk()
    assert fleet.wait(one, 1, 0.0) == 1  # its seed is there at 11
    assert fleet.wait(one, 2, 0.0) == 2  # its seed at 31
    assert fleet.wait(one, 0, 0.0) == 0
    assert [fleet.wait(other, number, 12.0) for number in (1, 2, 0)] == [0.1, 2, 0]
    assert (fleet.counts.clones, fleet.counts.taken) == (5, 1)
