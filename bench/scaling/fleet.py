"""Fleets of a fixed size: cold pushes and clones, with and without seeds and shards.

    python bench/scaling/fleet.py [--seed 1]

Prints two tables for docs/scaling.md. The first repeats the load of bench/warm.py, to be compared
with what was measured; the second is 10,000 repositories for half an hour. The same seed gives the
same numbers everywhere. Seconds are those from a push until its mirror has it. Not part of it: a
limit of concurrent builds, the window of 120,000 messages that SQS gives to consumers, and pushes
that share the network of a task.
"""

import argparse
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate

from load import Arrival
from mirrors import MB, MirrorCounts, MirrorModel, Mirrors
from policy import busy_percent
from simulate import CONSUMERS, Limits, Policy, Result, Simulation

_REPOSITORIES = 10_000
_HOURS = 0.5
_WRITE_RATE = 64.0 * 2**20  # git.seed_bytes_per_second
_MEDIAN_SECONDS, _SIGMA = 0.25, 1.0  # a push on a mirror that is there
_MEDIAN_BYTES, _SIZE_SIGMA, _MOST_BYTES = 15 * MB, 1.2, 2_000 * MB


@dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet: number of tasks and queues, and whether seeds are written."""

    tasks: int
    seeds: bool
    shards: int = 1


def simulate_fleet(
    fleet: Fleet, model: MirrorModel, arrivals: Iterator[Arrival], *, hours: float, seed: int
) -> tuple[Result, MirrorCounts]:
    """Return the waits of pushes, and counts of mirrors.

    Args:
        fleet: The fleet; it is not scaled.
        model: Sizes and rates; `write_rate` is that of the fleet.
        arrivals: Pushes in order of time.
        hours: Their duration.
        seed: Seed of what is random.
    """
    mirrors = Mirrors(replace(model, write_rate=_WRITE_RATE if fleet.seeds else 0.0))
    policy = Policy("busy", partial(busy_percent, consumers=CONSUMERS), 70.0)
    result = Simulation(
        arrivals,
        policy,
        Limits(least=fleet.tasks, most=fleet.tasks),
        hours=hours,
        seed=seed,
        mirrors=mirrors,
        shards=fleet.shards,
    ).run()
    return result, mirrors.counts


def measured_load(rate: float = 2.0, *, seed: int = 1) -> Iterator[Arrival]:
    """Yield the load of bench/warm.py: 1,000 pushes to 60 repositories, in random order.

    Args:
        rate: Pushes a second.
        seed: Seed of the order.
    """
    order = [number % 60 for number in range(1_000)]
    random.Random(seed).shuffle(order)  # noqa: S311 - repeatable on purpose
    for place, repository in enumerate(order):
        yield Arrival(place / rate, repository, 0.2)


def measured_model(repository: int) -> int:
    """Return the size of a mirror of bench/warm.py."""
    return 51 * MB if repository < 20 else 9 * MB


def organisation(pushes_a_minute: float, *, seed: int) -> Iterator[Arrival]:
    """Yield pushes to 10,000 repositories; the k-th busiest gets a share of 1 / (k + 20).

    Args:
        pushes_a_minute: How many.
        seed: Seed of all.
    """
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    shares = list(accumulate(1 / (k + 20) for k in range(_REPOSITORIES)))
    now = 0.0
    while (now := now + chance.expovariate(pushes_a_minute / 60)) < _HOURS * 3_600:
        repository = chance.choices(range(_REPOSITORIES), cum_weights=shares)[0]
        yield Arrival(now, repository, chance.lognormvariate(math.log(_MEDIAN_SECONDS), _SIGMA))


def organisation_sizes(seed: int) -> MirrorModel:
    """Return mirrors of 15 MB in the median, and on disks with room for 15 GiB of them."""
    chance = random.Random(f"sizes/{seed}")  # noqa: S311 - repeatable on purpose
    sizes = [
        min(_MOST_BYTES, int(chance.lognormvariate(math.log(_MEDIAN_BYTES), _SIZE_SIGMA)))
        for _ in range(_REPOSITORIES)
    ]
    return MirrorModel(sizes.__getitem__)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=1)
    seed = parser.parse_args().seed
    print(
        "| 60 repositories, 1,000 pushes | clones | MB cloned | cold |\n"
        "| --- | ---: | ---: | ---: |"
    )
    for fleet in (Fleet(1, seeds=False), Fleet(4, seeds=False), Fleet(4, seeds=True)):
        arrivals = measured_load(seed=seed)
        _, counts = simulate_fleet(
            fleet, MirrorModel(measured_model), arrivals, hours=0.14, seed=seed
        )
        name = f"{fleet.tasks} tasks, seeds {'on' if fleet.seeds else 'off'}"
        cloned = f"{counts.cloned_bytes / MB:,.0f} | {counts.cold_share:.0%}"
        print(f"| {name} | {counts.clones} | {cloned} |")
    print(
        "\n| pushes a minute | tasks | queues | seeds | cold | clones | GB cloned | p50 s | p95 s |"
    )
    print("| ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    model = organisation_sizes(seed)
    for rate in (1_000, 10_000):
        for tasks in (1, 4, 20):
            for shards in sorted({1, tasks}):
                for seeds in (False, True):
                    fleet = Fleet(tasks, seeds, shards)
                    result, counts = simulate_fleet(
                        fleet, model, organisation(rate, seed=seed), hours=_HOURS, seed=seed
                    )
                    print(
                        f"| {rate:,} | {tasks} | {shards} | {'on' if seeds else 'off'} "
                        f"| {counts.cold_share:.0%} | {counts.clones:,} "
                        f"| {counts.cloned_bytes / 1e9:,.0f} | {result.wait(50):,.1f} "
                        f"| {result.wait(95):,.1f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
