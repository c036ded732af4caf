"""Page of all error messages with their remedies."""

import re
from pathlib import Path

from manual.markdown import code, plain, table
from manual.raised_messages import all_raised


def messages_page(root: Path) -> str:
    """Return the page: the operators' index, and after it every message of the code."""
    operations = (root / "docs" / "operations.md").read_text("utf-8")
    index = operations.split("<!-- messages -->")[1].split("<!-- /messages -->")[0]
    listed = re.sub(r"\]\((#[\w-]+)\)", r"](../docs/operations.md\1)", index)
    listed = re.sub(r"\]\(((?!\.\.)[\w-]+\.md)", r"](../docs/\1", listed)
    rows = sorted(
        {
            (code(each.reason), plain(each.remedy), str(each.exit_code or ""))
            for each in all_raised(root / "asyncbuild")
            if re.search(r"\w", each.reason)
        },
        key=lambda row: row[0].lower().lstrip("`…'\" "),
    )
    return (
        "# Messages and remedies\n\n`…` stands for a value. A message comes with its remedy, on "
        "the terminal in parentheses, in the log as the field `remedy`.\n\n"
        "## The usual ones\n\n"
        f"{listed.strip()}\n\n"
        "## All of them\n\nThe exit code is that of a command that the error ends.\n\n"
        + table(("message", "remedy", "exit code"), rows)
    )
