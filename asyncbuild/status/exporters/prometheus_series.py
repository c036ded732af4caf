"""Counters and histograms of Prometheus whose series all exist from the start."""

from collections.abc import Sequence
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Histogram


class SeriesMaker:
    """Maker of metrics in one registry; their names begin with `asyncbuild_`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, says: str, **labels: Sequence[str]) -> Counter:
        """Return a counter with a series for each combination of its labels' values.

        Args:
            name: Its name, without the prefix.
            says: Its HELP text.
            labels: All values of each label.
        """
        made = Counter(f"asyncbuild_{name}", says, list(labels), registry=self._registry)
        for values in product(*labels.values()) if labels else ():
            made.labels(*values)
        return made

    def histogram(
        self, name: str, says: str, buckets: Sequence[float], **labels: Sequence[str]
    ) -> Histogram:
        """Return a histogram with a series for each combination of its labels' values.

        Args:
            name: Its name, without the prefix.
            says: Its HELP text.
            buckets: Upper bounds of its buckets.
            labels: All values of each label.
        """
        made = Histogram(
            f"asyncbuild_{name}", says, list(labels), buckets=buckets, registry=self._registry
        )
        for values in product(*labels.values()) if labels else ():
            made.labels(*values)
        return made
