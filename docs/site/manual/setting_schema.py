"""Settings as JSON Schema has them, by dotted name: the site's page, and what tests pin."""

from collections.abc import Iterator, Mapping
from typing import Any

from asyncbuild.config import Settings


def settings_with_defaults() -> dict[str, Any]:
    """Return each setting by its dotted name: default, type and bounds, as JSON schema has them."""
    schema = Settings.model_json_schema()
    return dict(_iter_fields(schema, schema["$defs"], ""))


def _iter_fields(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], above: str
) -> Iterator[tuple[str, object]]:
    for name, field in schema["properties"].items():
        told = _inline(field, definitions)
        told |= {"required": True} if name in schema.get("required", ()) else {}
        table = told if "properties" in told else told.get("items", {})
        if "properties" not in table:
            yield above + name, told
            continue
        yield from _iter_fields(table, definitions, f"{above}{name}{'[]' * (table is not told)}.")


def _inline(node: Any, definitions: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """Replace references by their definitions, and leave out names of classes."""
    if isinstance(node, list):
        return [_inline(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    whole = {**definitions[node["$ref"].rpartition("/")[2]], **node} if "$ref" in node else node
    return {
        name: value if name in {"default", "properties"} else _inline(value, definitions)
        for name, value in whole.items()
        if name not in {"$ref", "title", "description"}
    }
