"""Ratios of times between ways, within runs that had both: the claims, as numbers."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Protocol


class Sample(Protocol):
    """Interface of a run's figures."""

    @property
    def wall_seconds(self) -> float:
        """Return seconds from the start to the end."""

    @property
    def server_seconds(self) -> float:
        """Return CPU seconds of the S3 server, on the same cores."""


_Samples = Mapping[str, Sequence[Sample]]
_FASTER = (  # ratio of the first one's time to the second one's
    ("ours-null", "floor"),
    ("git-zip-1", "ours-null"),
    ("git-zip-6", "ours-null"),
    ("stream-zip-from-tar", "ours-from-tar"),
    ("zipstream-ng-from-tar", "ours-from-tar"),
    ("git-zip-6-s3", "ours-s3"),
    ("old-script-s3", "ours-s3"),
    ("ours-s3", "ours-null"),
)
_APART = (("git-zip-6-s3", "ours-s3"), ("old-script-s3", "ours-s3"), ("ours-s3", "ours-null"))


def as_table(samples: _Samples, cores: int) -> str:
    """Return a table in Markdown; its last rows are ways to S3 as if the server ran elsewhere.

    Its CPU seconds are then taken off as if they had filled all cores, which is the least that
    they can have cost.
    """
    rows = [
        (f"{long} : {short}", _ratio(samples[long], samples[short]))
        for long, short in _FASTER
        if long in samples and short in samples
    ]
    rows += [
        (f"{long} : {short}, the server apart", _ratio(samples[long], samples[short], cores=cores))
        for long, short in _APART
        if long in samples and short in samples
    ]
    lines = [
        "| wall time | ratio |",
        "| --- | ---: |",
        *(f"| {name} | {x:.2f} |" for name, x in rows),
    ]
    return "\n".join(lines) + "\n"


def _ratio(long: Sequence[Sample], short: Sequence[Sample], cores: int = 0) -> float:
    """Return the median of the ratios; within a run, since a machine has its slow minutes.

    A way that ran less often than the other one did so in the last runs.
    """

    def seconds(sample: Sample) -> float:
        return sample.wall_seconds - (sample.server_seconds / cores if cores else 0)

    return statistics.median(
        seconds(one) / seconds(other)
        for one, other in zip(reversed(long), reversed(short), strict=False)
    )
