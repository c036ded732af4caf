"""What is wrong with a configuration, said so that it can be mended."""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic_settings import SettingsError

from asyncbuild.config.hosts import SECRET_FIELDS
from asyncbuild.config.routing import fill_rules
from asyncbuild.config.sections import MIB
from asyncbuild.config.settings import (
    ENV_PREFIX,
    FILE_VARIABLE,
    Settings,
    names_below,
    setting_names,
)
from asyncbuild.model import Action
from asyncbuild.rules import may_share_key

_TOML_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
TOML_REMEDY = 'text stands in "quotes", a table begins with [its name]; see https://toml.io'
# What an archive takes besides one part: see `archive.writer.WORKING_BYTES`.
ENGINE_BYTES = 8 * MIB


def conflicts(settings: Settings) -> list[str]:
    """Settings of different tables that cannot work together, each with what to change."""
    faults = []
    wait_seconds, read_seconds = settings.queue.wait_seconds, settings.aws.read_timeout_seconds
    if read_seconds <= wait_seconds:
        faults.append(
            f"aws.read_timeout_seconds = {read_seconds:g}: would cut every long poll of "
            f"queue.wait_seconds = {wait_seconds}; set it higher than that, or wait for less long"
        )
    part_bytes, budget_bytes = settings.storage.part_bytes, settings.archive.memory_budget_bytes
    if part_bytes + ENGINE_BYTES > budget_bytes:
        faults.append(
            f"storage.part_bytes = {part_bytes}: a part is in memory until it is sent, and "
            f"archive.memory_budget_bytes = {budget_bytes} does not hold one; set that to at least "
            f"{part_bytes + ENGINE_BYTES}, or part_bytes to at most {budget_bytes - ENGINE_BYTES}"
        )
    return [*faults, *_shared_keys(settings)]


def _shared_keys(settings: Settings) -> Iterator[str]:
    """Pairs of rules that may write different archives to one key, where one would be lost."""
    filled = fill_rules(settings.rules, key=settings.storage.key, project=settings.builds.project)
    rules = [rule for rule in filled if rule.action is not Action.IGNORE]
    for earlier, later in combinations(rules, 2):
        if may_share_key(earlier, later):
            yield (
                f"rules: {earlier.name!r} and {later.name!r} make different archives of a commit, "
                f"and may put both at key = {later.key!r}; add {{options}} to the key of one, or "
                "give them different keys"
            )


def no_toml(error: tomllib.TOMLDecodeError, path: Path, text: str) -> str:
    """Where a file stops being TOML: line, column and the line itself."""
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


def explain(item: Any, document: Mapping[str, Any]) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    """One fault as `section.name = value: what is wrong`, with the variable that it came from."""
    place = tuple(item["loc"])
    name = _dotted(place)
    if item["type"] == "extra_forbidden":
        return f"{name}: no such setting{_nearest(place)}"
    text = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"{name}: {text.lower()}"
    if text.startswith("Input "):  # pydantic's own sentences; ours begin as they are meant to
        text = text[:1].lower() + text[1:]
    # Who takes a secret's place for the secret itself must not find it in a log (I10).
    untold = isinstance(item["input"], Mapping) or place[-1] in SECRET_FIELDS
    told = "" if untold else f" = {item['input']!r}"
    return f"{name}{told}: {text}{_source(place, document)}"


def _source(place: tuple[int | str, ...], document: Mapping[str, Any]) -> str:
    value: Any = document
    for step in place:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            variable = ENV_PREFIX + "__".join(str(part) for part in place).upper()
            return f" (from {variable})" if variable in os.environ else ""
    return ""


def _dotted(place: tuple[int | str, ...]) -> str:
    name = ""
    for step in place:
        name += f"[{step}]" if isinstance(step, int) else f".{step}" if name else step
    return name


def _nearest(place: tuple[int | str, ...]) -> str:
    last = str(place[-1])
    near = difflib.get_close_matches(last, names_below(place[:-1]), n=1, cutoff=0.5)
    if near:
        return f"; did you mean {_dotted((*place[:-1], near[0]))}?"
    for section in setting_names():
        if section.endswith(f".{last}"):
            return f"; did you mean {section}?"
    return ""


def no_json(error: SettingsError) -> str:
    """Lists and whole sections are JSON in the environment; the first that is none is told."""
    name = next((each for each in Settings.model_fields if f'"{each}"' in str(error)), "")
    return f"environment variable {ENV_PREFIX}{name.upper()}: not JSON: {error.__cause__}"


def unknown_variables() -> list[str]:
    """Environment variables with our prefix that set nothing, each with the nearest that does."""
    known = {ENV_PREFIX + name.replace(".", "__").upper() for name in setting_names()}
    known |= {FILE_VARIABLE, *(ENV_PREFIX + name.upper() for name in Settings.model_fields)}
    faults = []
    for variable in sorted(os.environ):
        if variable.startswith(ENV_PREFIX) and variable.upper() not in known:
            near = difflib.get_close_matches(variable, known, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]}?" if near else ""
            faults.append(f"environment variable {variable}: no such setting{hint}")
    return faults
