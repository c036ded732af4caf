"""What one way's time is to another's, within the runs that had both: the claims, as numbers."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Protocol


class Sample(Protocol):
    """What one run took."""

    @property
    def wall_seconds(self) -> float:
        """From the start to the end."""

    @property
    def server_seconds(self) -> float:
        """Of CPU, that the S3 server took on the same cores meanwhile."""


_Samples = Mapping[str, Sequence[Sample]]
_FASTER = (  # how much longer the first takes than the second
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
    """Markdown; the last rows are ways to S3 as if the server ran elsewhere.

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
    """The median of the ratios; within a run, since a machine has its slow minutes.

    A way that ran less often than the other one did so in the last runs.
    """

    def seconds(sample: Sample) -> float:
        return sample.wall_seconds - (sample.server_seconds / cores if cores else 0)

    return statistics.median(
        seconds(one) / seconds(other)
        for one, other in zip(reversed(long), reversed(short), strict=False)
    )
