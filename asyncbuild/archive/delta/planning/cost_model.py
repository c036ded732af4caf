"""Cost model that chooses between a full archive and a delta, by measured rates."""

from dataclasses import dataclass
from enum import StrEnum

from asyncbuild.archive.delta.planning.plan import DeltaPlan


class Way(StrEnum):
    """Way in which an archive is made."""

    FULL = "full"
    DELTA = "delta"


@dataclass(frozen=True, slots=True)
class Rates:
    """Costs of the work in seconds; measured by `make bench-delta`, rounded.

    They need not be right, only their proportions: they decide between two ways.
    """

    make_byte: float = 1 / 60e6  # per byte made from git: read, compressed
    make_entry: float = 15e-6
    send_byte: float = 1 / 100e6
    fetch_byte: float = 1 / 200e6
    request: float = 0.010  # per request, with several in parallel
    begin: float = 0.150  # base, comparison, the requests that begin and end an upload
    index_entry: float = 1.5e-6  # per entry of the table: read, found, moved


@dataclass(frozen=True, slots=True)
class WayChoice:
    """The cheaper way, and the estimates for both in seconds."""

    kind: Way
    full_seconds: float
    delta_seconds: float


def decide(plan: DeltaPlan, rates: Rates | None = None) -> WayChoice:
    """Return the cheaper way. Costs that both share, those of fresh members, are left out."""
    rates = rates or Rates()
    table = plan.table
    full = plan.kept_bytes * (rates.make_byte + rates.send_byte)
    full += plan.entries * rates.make_entry + len(table.directory) * rates.send_byte
    spans = plan.resent_spans()
    fetched_bytes = sum(span[-1].end - span[0].begin for span in spans)
    requests = len(plan.copies) + len(spans) + (plan.prefix_bytes > 0)
    delta = rates.begin + requests * rates.request + len(table) * rates.index_entry
    delta += fetched_bytes * rates.fetch_byte + plan.resent_bytes * rates.send_byte
    delta += (plan.kept_directory_bytes - plan.prefix_bytes) * rates.send_byte
    pays = bool(plan.copies) and delta < full
    return WayChoice(Way.DELTA if pays else Way.FULL, full, delta)
