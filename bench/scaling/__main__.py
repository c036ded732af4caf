"""`python bench/scaling`: both policies under four loads; writes docs/scaling.md and its pictures.

The same seed gives the same numbers on every machine.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from load import SCENARIOS, Scenario
from policy import busy_percent, depth_per_task
from report import plot, write_tables
from simulate import CONSUMERS, Limits, Policy, Result, Simulation

ROOT = Path(__file__).resolve().parents[2]
DEPTHS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
PERCENTS = (40.0, 50.0, 60.0, 70.0, 80.0)
DEFAULT_PERCENT = 70.0


@dataclass(frozen=True, slots=True)
class Job:
    """One run with all its values, for another process."""

    scenario: str
    kind: str
    target: float
    seed: int


def policy_of(job: Job) -> Policy:
    """Return the policy that a job names."""
    if job.kind == "depth":
        return Policy("depth", depth_per_task, job.target)
    return Policy("busy", partial(busy_percent, consumers=CONSUMERS), job.target)


def run(job: Job) -> Result:
    """Simulate one job."""
    scenario = next(each for each in SCENARIOS if each.name == job.scenario)
    arrivals = scenario.iter_arrivals(job.seed)
    return Simulation(arrivals, policy_of(job), Limits(), hours=scenario.hours, seed=job.seed).run()


def iter_jobs(seed: int) -> Iterator[Job]:
    """Yield both policies, each with all its targets, under each load."""
    for scenario in SCENARIOS:
        for target in DEPTHS:
            yield Job(scenario.name, "depth", target, seed)
        for target in PERCENTS:
            yield Job(scenario.name, "busy", target, seed)


def main() -> None:
    """Run everything, and write the report."""
    parser = argparse.ArgumentParser(prog="bench/scaling", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    jobs = list(iter_jobs(options.seed))
    with ProcessPoolExecutor(options.processes) as pool:
        results: Mapping[Job, Result] = dict(zip(jobs, pool.map(run, jobs), strict=True))
    by_scenario: dict[Scenario, dict[tuple[str, float], Result]] = {
        scenario: {
            (job.kind, job.target): result
            for job, result in results.items()
            if job.scenario == scenario.name
        }
        for scenario in SCENARIOS
    }
    for scenario, runs in by_scenario.items():
        plot(runs, DEFAULT_PERCENT, ROOT / "docs" / "img" / f"scaling-{scenario.name}.svg")
    text = write_tables(by_scenario, DEFAULT_PERCENT, ROOT / "docs" / "scaling.md")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
