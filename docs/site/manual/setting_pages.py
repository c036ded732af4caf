"""Pages of the settings and of the rules: schema of the code, comments of `config.example.toml`."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from asyncbuild.config import ENV_PREFIX
from manual.example_comments import ExampleComments, read_comments
from manual.markdown import code, plain, table
from manual.setting_schema import settings_with_defaults

_UNITS: Final = {
    "_bytes_per_second": "bytes a second",
    "_seconds": "seconds",
    "_minutes": "minutes",
    "_bytes": "bytes",
    "_bytes_most": "bytes",
    "_per_hour": "an hour",
}
_BOUNDS: Final = (
    ("minimum", "at least"),
    ("exclusiveMinimum", "more than"),
    ("maximum", "at most"),
)
_HEADER: Final = ("setting", "default", "unit and limits", "")
_RULES: Final = "rules[]"
_BEFORE_DEFAULTS: Final = "These two are the default:"


def settings_page(root: Path) -> str:
    """Return the page of all settings but those of rules."""
    comments, sections = _read(root)
    text = (
        "# Settings\n\nOf the configuration file, in TOML. A setting is also an environment "
        f"variable: `url` of `[queue]` is `{ENV_PREFIX}QUEUE__URL`, which comes before the file. "
        "Two are required: `queue.url` and `storage.bucket`. Those of `[[rules]]` are on "
        "[a page of their own](rules.md).\n"
    )
    for section, rows in sections.items():
        if section != _RULES:
            about = _prose(comments.sections.get(section, ""))
            text += f"\n## {_title(section)}\n\n{about}\n\n{table(_HEADER, rows)}"
    return text


def rules_page(root: Path) -> str:
    """Return the page of the settings of a rule."""
    comments, sections = _read(root)
    return (
        "# Settings of a rule\n\n"
        f"{_prose(comments.sections[_RULES].removesuffix(_BEFORE_DEFAULTS))}\n\n"
        "[How rules work together](../docs/rules.md), with examples.\n\n"
        f"{table(_HEADER, sections[_RULES])}"
    )


def _read(root: Path) -> tuple[ExampleComments, dict[str, list[tuple[str, ...]]]]:
    comments = read_comments((root / "config.example.toml").read_text("utf-8"))
    sections: dict[str, list[tuple[str, ...]]] = {}
    for name, schema in _flat(settings_with_defaults()):
        section, _, own = name.rpartition(".")
        said = comments.settings.get(name, "")
        limits = "; ".join(filter(None, (_unit(own), _limits(schema))))
        default = "required" if schema.get("required") else code(_default(schema))
        row = (code(own), default, limits, _linked(said))
        sections.setdefault(section, []).append(row)
    return comments, sections


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield settings; those of a table that may be left out as settings of their own."""
    for name, schema in settings.items():
        tables = [each for each in schema.get("anyOf", ()) if "properties" in each]
        if not tables:
            yield name, schema
        for each in tables:
            yield from ((f"{name}.{own}", part) for own, part in each["properties"].items())


def _title(section: str) -> str:
    if not section:
        return "Above all tables"
    first, dot, rest = section.partition(".")
    brackets = "[[{}]]" if first.endswith("[]") and not rest else "[{}]"
    return code(brackets.format(first.removesuffix("[]") + dot + rest))


def _prose(text: str) -> str:
    """Return a comment as a sentence."""
    return _linked(f"{text[:1].upper()}{text[1:].rstrip(' .')}." if text else "")


def _linked(text: str) -> str:
    """Return a comment with the pages that it names as links."""
    return re.sub(r"(?<!/)docs/([\w-]+)\.md", r"[\g<0>](../\g<0>)", plain(text))


def _default(schema: Mapping[str, Any]) -> str:
    value = schema.get("default")
    return "" if value in (None, "", []) else json.dumps(value, ensure_ascii=False)


def _unit(name: str) -> str:
    return next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")


def _limits(schema: Mapping[str, Any]) -> str:
    kinds = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    bounds = kinds[0] if kinds else {}
    if "enum" in bounds:
        return " ".join(code(json.dumps(each)) for each in bounds["enum"])
    told = [f"{words} {bounds[name]:,}" for name, words in _BOUNDS if name in bounds]
    return ", ".join(told) or {"boolean": "`true` `false`", "array": "a list"}.get(
        bounds.get("type", ""), ""
    )
