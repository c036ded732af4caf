"""Pages of the JSON Schemas: the push message, and the outcome events."""

import json
from pathlib import Path
from typing import Final

from manual.markdown import block

_SCHEMAS: Final = {
    "push message": (
        "asyncbuild/domain/requests/push-message.schema.json",
        "[What the fields do](../docs/push-message.md), and who may send one.",
    ),
    "outcome events": (
        "asyncbuild/domain/outcomes/outcome_event.schema.json",
        "[Which events there are](../docs/outcome-events.md), and how to subscribe.",
    ),
}


def schemas_page(root: Path) -> str:
    """Return the page of both schemas, as they are in the wheel."""
    text = "# JSON Schemas\n"
    for title, (path, about) in _SCHEMAS.items():
        schema = json.loads((root / path).read_text("utf-8"))
        whole = json.dumps(schema, indent=2, ensure_ascii=False)
        text += f"\n## Of the {title}\n\n{about} The file: [{path}](../{path}).\n\n"
        text += block(whole, "json")
    return text
