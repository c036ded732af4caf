"""Pages of what the service tells: events of the log, and metrics."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import get_type_hints

from prometheus_client.parser import text_string_to_metric_families
from support.status import Clock, survey

from asyncbuild.domain.events.catalogue import EVENTS, PUSH_FIELDS
from asyncbuild.domain.events.event import Event
from asyncbuild.status.exporters.prometheus import Metrics
from asyncbuild.status.history import Chronicle
from asyncbuild.status.schema import Depth
from manual.markdown import code, plain, table

_DEPTH_OF_QUEUE = Depth(0, 0, 0, 0.0)


def events_page(_: Path) -> str:
    """Return the page of all events, with level, meaning and fields."""
    fields = " ".join(map(code, PUSH_FIELDS))
    text = (
        "# Events of the log\n\nThe log has no other lines. Each has `event`, `level` and "
        "`timestamp`; an event of a push also has\n"
        f"{fields}. A field with `?` is left out where there is nothing to say. Questions to the "
        "log are on [the page of observability](../docs/observability.md#logs).\n\n"
    )
    header = ("event", "level", "of a push", "means", "fields")
    return text + table(header, (_event_row(EVENTS[name]) for name in sorted(EVENTS)))


def metrics_page(_: Path) -> str:
    """Return the page of all metrics for Prometheus, as a service that just started has them."""
    clock = Clock()
    look = survey(Chronicle(clock), clock)
    look.sampled.depth = _DEPTH_OF_QUEUE
    body, _content_type = Metrics(look).expose("")
    rows = []
    for family in text_string_to_metric_families(body.decode()):
        if family.name.endswith("_created"):  # when a counter began, for Prometheus itself
            continue
        values: dict[str, list[str]] = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label not in {"le", "version"} and value not in values.setdefault(label, []):
                    values[label].append(value)
        name = family.name + "_total" * (family.type == "counter")
        rows.append((code(name), family.type, _labels(values), plain(family.documentation)))
    return (
        "# Metrics\n\nFor Prometheus, at `/metrics` of the status port. What to watch, alerts and "
        "the same for CloudWatch: [observability](../docs/observability.md#metrics).\n\n"
        + table(("metric", "type", "labels", "means"), rows)
    )


def _event_row(event: type[Event]) -> tuple[str, ...]:
    hints = get_type_hints(event)
    fields = (
        f"{code(name)}{'?' * (name in event.optional)} {code(_type(hints[name]))}"
        for name in event.field_names
    )
    says = plain(inspect.cleandoc(event.__doc__ or "").split("\n\n")[0])
    push = "yes" if event.of_push else ""
    return code(event.name), ", ".join(event.levels), push, says, "; ".join(fields)


def _type(hint: object) -> str:
    text = hint.__name__ if isinstance(hint, type) else str(hint)
    return re.sub(r"\b\w+\.", "", text)


def _labels(values: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{code(name)}: {' '.join(map(code, each))}" for name, each in values.items())
