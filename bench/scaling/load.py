"""Arrivals of pushes: seeded days at the office.

A push is when it came, whose it is, and how long its preparation takes (fetch, archive, upload)
with one consumer. The preparation times are an assumption: log-normal with a median of 4 s and a
mean of 6.6 s, cut at 100 s. Two policies are compared here under the same load, not the service.
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

MEDIAN_SECONDS = 4.0
SIGMA = 1.0
MOST_SECONDS = 100.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """Arrival of one push."""

    at: float  # seconds since the start of the day
    repository: int
    seconds: float  # of preparation


@dataclass(frozen=True, slots=True)
class Scenario:
    """A load with a name. `rate` returns pushes a minute at a time in seconds."""

    name: str
    title: str
    hours: float
    repositories: int
    rate: Callable[[float], float]
    peak: float  # pushes a minute that `rate` never exceeds
    hot_share: float = 0.0  # of the pushes, those to repository 0

    def iter_arrivals(self, seed: int) -> Iterator[Arrival]:
        """Yield all pushes in order of time; equal for the same seed."""
        chance = random.Random(f"{self.name}/{seed}")  # noqa: S311 - repeatable on purpose
        # Zipf and Mandelbrot: the k-th busiest repository gets a share of 1 / (k + 20).
        shares = list(accumulate(1 / (k + 20) for k in range(self.repositories)))
        names = range(self.repositories)
        now = 0.0
        while (now := now + chance.expovariate(self.peak / 60)) < self.hours * 3_600:
            if chance.random() >= self.rate(now) / self.peak:  # thinning
                continue
            hot = chance.random() < self.hot_share
            repository = 0 if hot else chance.choices(names, cum_weights=shares)[0]
            seconds = chance.lognormvariate(math.log(MEDIAN_SECONDS), SIGMA)
            yield Arrival(now, repository, min(seconds, MOST_SECONDS))


def _steady(_now: float) -> float:
    return 30.0


def _monday(now: float) -> float:
    hour = now / 3_600  # the office opens in the second hour
    return 1.0 + 240.0 * math.exp(-(((hour - 2.25) / 0.45) ** 2)) + (40.0 if hour > 2.25 else 0.0)


def _hot(now: float) -> float:
    return 50.0 if 1 <= now / 3_600 < 3 else 5.0


def _organisation(now: float) -> float:
    return min(1_000.0, 1_000.0 * now / 1_800)  # ramps up over half an hour


def _stampede(now: float) -> float:
    return 600.0 if 3_600 <= now < 5_400 else 5.0


SCENARIOS = (
    Scenario("steady", "Steady: 30 pushes a minute to 200 repositories", 8, 200, _steady, 30),
    Scenario(
        "monday",
        "Monday morning: from 1 to 270 pushes a minute, 500 repositories",
        6,
        500,
        _monday,
        285,
    ),
    Scenario(
        "monorepo",
        "One hot monorepo: two hours of 30 a minute, beside 20 a minute to 200 others",
        5,
        200,
        _hot,
        50,
        hot_share=0.6,
    ),
    Scenario(
        "organisation",
        "10,000 repositories, 1,000 pushes a minute",
        2.5,
        10_000,
        _organisation,
        1_000,
    ),
    Scenario(
        "stampede",
        "Stampede: a bot pushes to 2,000 repositories, 600 a minute for half an hour",
        4,
        2_000,
        _stampede,
        600,
    ),
)
