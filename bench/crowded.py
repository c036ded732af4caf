"""500 repositories through a cache for 100 of them: is its budget kept, and at what cost?

    PYTHONPATH=tests python bench/crowded.py --repositories 500 --room 100 --at-once 8

Each repository is pushed to once, then others at random, several pushes in work at once, each
holding its mirror while its archive is read and compared. A thread adds up all mirrors on the disk
meanwhile.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import anyio
import structlog
from support.crowded import Crowd, Figures


def main() -> int:
    """Run, print the figures, and return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repositories", type=int, default=500)
    parser.add_argument("--room", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--pushes", type=int, default=0, help="default: twice the repositories")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    with tempfile.TemporaryDirectory(prefix="crowded-") as directory:
        crowd = Crowd(
            Path(directory),
            repositories=given.repositories,
            room=given.room,
            at_once=given.at_once,
        )
        crowd.prepare()
        figures = anyio.run(crowd.run, given.pushes or 2 * given.repositories)
    _show(figures)
    kept = figures.overshoot_mirrors <= 1 and figures.left_bytes <= figures.budget_bytes
    good = kept and not figures.evicted_in_use and not figures.failures
    sys.stdout.write("kept\n" if good else "NOT KEPT\n")
    return 0 if good else 1


def _show(figures: Figures) -> None:
    rows = {
        "repositories": f"{figures.repositories:,}",
        "pushes, so many at once": f"{figures.pushes:,}, {figures.at_once}",
        "budget": f"{figures.budget_bytes:,} bytes, {figures.room} mirrors of middling size",
        "largest mirror": f"{figures.mirror_bytes:,} bytes",
        "most at any look": f"{figures.most_bytes:,} bytes, {figures.most_mirrors} mirrors",
        "overshoot": f"{figures.overshoot_bytes:,} bytes, {figures.overshoot_mirrors:.2f} of the "
        "largest mirror",
        "left at the end": f"{figures.left_bytes:,} bytes",
        "looks at the disk": f"{figures.looks:,}",
        "fetches": f"{figures.fetches:,}",
        "evictions": f"{figures.evictions:,}",
        "evicted while in use": f"{figures.evicted_in_use}",
        "failures": f"{len(figures.failures)}",
        "seconds": f"{figures.seconds:.1f}",
    }
    for name, value in rows.items():
        sys.stdout.write(f"{name:<26}{value}\n")
    for failure in figures.failures[:10]:
        sys.stdout.write(f"  {failure}\n")


if __name__ == "__main__":
    sys.exit(main())
