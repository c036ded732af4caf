"""Faults of a configuration, described so that they can be mended."""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic_settings import SettingsError

from asyncbuild.config.hosts import SECRET_FIELDS
from asyncbuild.config.keys import key_faults
from asyncbuild.config.lines import Place, line_of
from asyncbuild.config.places import region_fault, region_of_bus
from asyncbuild.config.routing import fill_rules
from asyncbuild.config.sections import MIB
from asyncbuild.config.settings import Settings, names_below, setting_names
from asyncbuild.config.variables import ENV_PREFIX, FILE_VARIABLE
from asyncbuild.domain.model import Action
from asyncbuild.domain.rules.rule_keys import may_share_key

_TOML_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
TOML_REMEDY = 'text stands in "quotes", a table begins with [its name]; see https://toml.io'
# Memory of an archive beside one part: see `archive.writer.WORKING_BYTES`.
ENGINE_BYTES = 8 * MIB


@dataclass(frozen=True, slots=True)
class SettingFault:
    """One fault of the settings.

    Attributes:
        text: Name, value, what is wrong with it and what to do.
        places: The settings concerned; empty for an environment variable without a setting.
    """

    text: str
    places: tuple[Place, ...] = ()


def conflicts(settings: Settings) -> list[SettingFault]:
    """Return the conflicts between settings of different tables, each with what to change."""
    faults = []
    wait_seconds, read_seconds = settings.queue.wait_seconds, settings.aws.read_timeout_seconds
    if read_seconds <= wait_seconds:
        text = (
            f"aws.read_timeout_seconds = {read_seconds:g}: would cut every long poll of "
            f"queue.wait_seconds = {wait_seconds}; set it higher than that, or wait for less long"
        )
        places = (("aws", "read_timeout_seconds"), ("queue", "wait_seconds"))
        faults.append(SettingFault(text, places))
    part_bytes, budget_bytes = settings.storage.part_bytes, settings.archive.memory_budget_bytes
    if part_bytes + ENGINE_BYTES > budget_bytes:
        text = (
            f"storage.part_bytes = {part_bytes}: a part is in memory until it is sent, and "
            f"archive.memory_budget_bytes = {budget_bytes} does not hold one; set that to at least "
            f"{part_bytes + ENGINE_BYTES}, or part_bytes to at most {budget_bytes - ENGINE_BYTES}"
        )
        faults.append(
            SettingFault(text, (("storage", "part_bytes"), ("archive", "memory_budget_bytes")))
        )
    for table, queue in (
        ("queue", settings.queue),
        ("results", settings.results),
        ("reports", settings.reports),
        ("reconcile", settings.reconcile),
    ):
        for name, url in (("url", queue.url), ("dead_letter_url", queue.dead_letter_url or "")):
            if fault := region_fault(url, settings.aws.region):
                places = ((table, name), ("aws", "region"))
                faults.append(SettingFault(f"{table}.{name}: {fault}", places))
    faults += _results(settings)
    faults += _reports(settings)
    faults += _reconcile(settings)
    faults += _event_bus(settings)
    of_keys = (SettingFault(text, (place,)) for text, place in key_faults(settings))
    return [*faults, *_shared_keys(settings), *of_keys]


def _results(settings: Settings) -> Iterator[SettingFault]:
    """Yield faults of the queue of results: it is a standard queue, and no other one."""
    for name, url in (
        ("url", settings.results.url),
        ("dead_letter_url", settings.results.dead_letter_url or ""),
    ):
        place: Place = ("results", name)
        if url and url == settings.queue.url:
            text = "is the queue of pushes; results need a queue of their own, a standard queue"
            yield SettingFault(f"results.{name} = {url!r}: {text}", (place, ("queue", "url")))
        elif url.endswith(".fifo"):
            text = "is a FIFO queue; name a standard queue: results need no order"
            yield SettingFault(f"results.{name} = {url!r}: {text}", (place,))
    url = settings.results.url
    if url and url == settings.results.dead_letter_url:
        text = "is the queue of results: a dead letter would be received again, without end"
        places: tuple[Place, ...] = (("results", "dead_letter_url"), ("results", "url"))
        yield SettingFault(f"results.dead_letter_url = {url!r} {text}", places)


def _reports(settings: Settings) -> Iterator[SettingFault]:
    """Yield faults of the queue of reports: a FIFO queue of its own, beside one of results."""
    url = settings.reports.url
    place: Place = ("reports", "url")
    if url and not url.endswith(".fifo"):
        text = "is not a FIFO queue; reports of one commit must not overtake each other"
        yield SettingFault(f"reports.url = {url!r}: {text}", (place,))
    dead_url = settings.reports.dead_letter_url or ""
    dead_place: Place = ("reports", "dead_letter_url")
    if dead_url and not dead_url.endswith(".fifo"):
        text = "is not a FIFO queue; a report that is sent again must keep its group"
        yield SettingFault(f"reports.dead_letter_url = {dead_url!r}: {text}", (dead_place,))
    elif url and url == dead_url:
        text = "is the queue of reports itself, so a dead letter would be received without end"
        yield SettingFault(f"reports.dead_letter_url = {dead_url!r}: {text}", (place, dead_place))
    if url and url == settings.queue.url:
        text = "is the queue of pushes; reports need a queue of their own"
        yield SettingFault(f"reports.url = {url!r}: {text}", (place, ("queue", "url")))
    if url and not settings.results.url:
        text = "needs results.url: without results no build is seen to end"
        yield SettingFault(f"reports.url = {url!r} {text}", (place, ("results", "url")))


def _reconcile(settings: Settings) -> Iterator[SettingFault]:
    """Yield faults of the queue of rounds: a FIFO queue of its own."""
    url = settings.reconcile.url
    place: Place = ("reconcile", "url")
    if url and not url.endswith(".fifo"):
        text = "is not a FIFO queue; two rounds must not look at one repository at a time"
        yield SettingFault(f"reconcile.url = {url!r}: {text}", (place,))
    others = {"queue": settings.queue.url, "reports": settings.reports.url}
    for table in (name for name, other in others.items() if url and url == other):
        text = f"is {table}.url; rounds need a queue of their own"
        yield SettingFault(f"reconcile.url = {url!r}: {text}", (place, (table, "url")))
    if url and url == settings.reconcile.dead_letter_url:
        text = "is the queue of rounds itself, so a dead letter would be received without end"
        dead_place: Place = ("reconcile", "dead_letter_url")
        yield SettingFault(f"reconcile.dead_letter_url = {url!r}: {text}", (place, dead_place))


def _event_bus(settings: Settings) -> Iterator[SettingFault]:
    """Yield faults of the bus of outcome events: it needs results, and is in the same Region."""
    bus, region = settings.reports.event_bus, settings.aws.region
    place: Place = ("reports", "event_bus")
    if bus and not settings.results.url:
        text = "needs results.url: without results no build is seen to end"
        yield SettingFault(f"reports.event_bus = {bus!r} {text}", (place, ("results", "url")))
    named = region_of_bus(bus)
    if named and region and named != region:
        text = (
            f"is in {named}, and calls go to {region}; name a bus there, and send its events on by "
            "a rule"
        )
        yield SettingFault(f"reports.event_bus = {bus!r} {text}", (place, ("aws", "region")))


def _shared_keys(settings: Settings) -> Iterator[SettingFault]:
    """Yield pairs of rules that may write different archives to one key, so that one is lost."""
    filled = fill_rules(settings.rules, key=settings.storage.key, project=settings.builds.project)
    rules = [(n, rule) for n, rule in enumerate(filled) if rule.action is not Action.IGNORE]
    for (first, earlier), (second, later) in combinations(rules, 2):
        if may_share_key(earlier, later):
            text = (
                f"rules: {earlier.name!r} and {later.name!r} make different archives of a commit, "
                f"and may put both at key = {later.key!r}; add {{options}} to the key of one, or "
                "give them different keys"
            )
            yield SettingFault(text, (("rules", first), ("rules", second)))


def no_toml(error: tomllib.TOMLDecodeError, path: Path, text: str) -> str:
    """Return where a file stops being TOML: line, column and the line itself.

    Args:
        error: The error of `tomllib`.
        path: Path of the file, for people.
        text: The whole file.
    """
    lines = text.rstrip().split("\n")
    found = _TOML_PLACE.fullmatch(str(error))
    what, line, column = found.groups() if found else (str(error), None, None)
    number = min(int(line), len(lines)) if line else len(lines)
    shown = lines[number - 1].rstrip()
    place = int(column) if column else len(shown) + 1
    mark = "".join("\t" if sign == "\t" else " " for sign in shown[: place - 1]) + "^"
    return (
        f"{path} is not valid TOML: line {number}, column {place}: {what[:1].lower()}{what[1:]}\n"
        f"  {shown}\n  {mark}"
    )


def explain(item: Any) -> SettingFault | None:  # noqa: ANN401 - pydantic's ErrorDetails
    """Return one fault as `section.name = value: what is wrong`.

    None for a variable without a setting: `unknown_variables` returns those.
    """
    place = tuple(item["loc"])
    name = _dotted(place)
    if item["type"] == "extra_forbidden":
        if _is_variable(place):
            return None
        return SettingFault(f"{name}: no such setting{_nearest(place)}", (place,))
    text = _brackets(place, item) or str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "missing":
        return SettingFault(f"{name}: {text.lower()}", (place,))
    if text.startswith("Input "):  # pydantic's sentences; ours are in lower case
        text = text[:1].lower() + text[1:]
    # A user may write the secret itself in place of its reference; a log must not show it (I10).
    untold = isinstance(item["input"], Mapping | list) or place[-1] in SECRET_FIELDS
    told = "" if untold or place == ("git", "remote") else f" = {item['input']!r}"
    return SettingFault(f"{name}{told}: {text}", (place,))


def _brackets(place: Place, item: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    """Return the fault that `[rules]` is written for `[[rules]]`, or the reverse; else empty."""
    if len(place) == 1 and item["type"] == "tuple_type" and isinstance(item["input"], Mapping):
        return f"is a list of tables; write [[{place[0]}]], with two brackets, above each of them"
    if len(place) == 1 and item["type"] == "model_type" and isinstance(item["input"], list):
        return f"is one table; write [{place[0]}], with one bracket, and only once"
    return ""


def origins_of(places: Iterable[Place], lines: Mapping[Place, int]) -> list[str]:
    """Return where settings get their values from: `line 3`, or an environment variable's name.

    Args:
        places: The settings.
        lines: Line numbers of the settings that the file has.

    Returns:
        Origins without repetition. For settings without an origin, the line of a table around
        them.
    """
    variables = [(place, variable_of(place)) for place in places]
    found = [
        variable or f"line {lines[place]}"
        for place, variable in variables
        if variable or place in lines
    ]
    if not found:
        around = (line_of(lines, place) for place, _ in variables)
        found = [f"line {line}" for line in around if line is not None][:1]
    return list(dict.fromkeys(found))


def variable_of(place: Place) -> str:
    """Return the environment variable that sets a setting; empty if none does."""
    present = {name.upper(): name for name in os.environ}
    for length in range(len(place), 0, -1):
        name = _variable_name(place[:length])
        if name in present and _says(os.environ[present[name]], place[length:]):
            return present[name]
    return ""


def _is_variable(place: Place) -> bool:
    """Return whether a variable sets this setting or something inside it."""
    name = _variable_name(place)
    return any(f"{each.upper()}__".startswith(f"{name}__") for each in os.environ)


def _variable_name(place: Place) -> str:
    return ENV_PREFIX + "__".join(str(part) for part in place).upper()


def _says(value: str, inner: Place) -> bool:
    """Return whether the JSON of a variable contains a setting at `inner`."""
    try:
        found: Any = json.loads(value) if inner else None
        for step in inner[:-1] or inner:
            found = found[step]
    except (ValueError, KeyError, IndexError, TypeError):
        return False
    return True


def _dotted(place: Place) -> str:
    name = ""
    for step in place:
        name += f"[{step}]" if isinstance(step, int) else f".{step}" if name else step
    return name


def _nearest(place: Place) -> str:
    last = str(place[-1])
    near = difflib.get_close_matches(last, names_below(place[:-1]), n=1, cutoff=0.5)
    if near:
        return f"; did you mean {_dotted((*place[:-1], near[0]))}?"
    for section in setting_names():
        if section.endswith(f".{last}"):
            return f"; did you mean {section}?"
    return ""


def no_json(error: SettingsError) -> SettingFault:
    """Return the fault of the first list or section in the environment that is not JSON."""
    name = next((each for each in Settings.model_fields if f'"{each}"' in str(error)), "")
    return SettingFault(
        f"environment variable {ENV_PREFIX}{name.upper()}: not JSON: {error.__cause__}"
    )


def unknown_variables() -> list[SettingFault]:
    """Return a fault for each `ASYNCBUILD_` variable that sets nothing, with the nearest name."""
    known = {ENV_PREFIX + name.replace(".", "__").upper() for name in setting_names()}
    known |= {FILE_VARIABLE, *(ENV_PREFIX + name.upper() for name in Settings.model_fields)}
    faults = []
    for variable in sorted(os.environ):
        if variable.startswith(ENV_PREFIX) and variable.upper() not in known:
            near = difflib.get_close_matches(variable, known, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]}?" if near else ""
            faults.append(SettingFault(f"environment variable {variable}: no such setting{hint}"))
    return faults
