"""Comments of `config.example.toml`, by section and by setting."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

_HEADER: Final = re.compile(r"(?:# )?(\[\[?)([\w.]+)\]\]?(?:\s+# (.*))?$")
_SETTING: Final = re.compile(r"(?:# )?(\w+) = (.*)$")
_CONTINUED: Final = re.compile(r"#? {6,}# ?(.*)$")
_NOTE: Final = re.compile(r"# (.*)$")
# Tables that may be repeated; what is below them belongs to an entry.
_LISTS: Final = frozenset({"accounts", "hosts", "rules"})


@dataclass(slots=True)
class ExampleComments:
    """Texts of the file.

    Attributes:
        sections: What is said above and beside the header of each section.
        settings: What is said above and beside each setting, by its dotted name.
    """

    sections: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


def read_comments(text: str) -> ExampleComments:
    """Return the comments of the example file; of a name that comes twice, the first."""
    read = ExampleComments()
    for is_section, name, said in _iter_said(text):
        known = read.sections if is_section else read.settings
        if not known.get(name):
            known[name] = said
    return read


def _iter_said(text: str) -> Iterator[tuple[bool, str, str]]:
    """Yield each section and setting in order: whether it is a section, name, comment."""
    section, above = "", ""
    current: tuple[bool, str] = (True, "")
    said = ""
    for line in text.splitlines():
        header, setting = _HEADER.match(line), _SETTING.match(line)
        if header or setting:
            yield *current, said.strip()
        if header:
            section = _dotted(header[2])
            current, said = (True, section), f"{above} {header[3] or ''}"
        elif setting:
            beside = "".join(re.split(r"\s+# ", f"{setting[2]} ", maxsplit=1)[1:])
            current = (False, f"{section}.{setting[1]}".lstrip("."))
            said = f"{above} {beside}"
        elif continued := _CONTINUED.match(line):
            said += f" {continued[1]}"
        above = f"{above} {note[1]}" if (note := _is_note(line)) else ""
    yield *current, said.strip()


def _is_note(line: str) -> re.Match[str] | None:
    """Return the match of a line that is a comment on what follows it."""
    is_other = _HEADER.match(line) or _SETTING.match(line) or _CONTINUED.match(line)
    return None if is_other else _NOTE.match(line)


def _dotted(header: str) -> str:
    first, dot, rest = header.partition(".")
    return f"{first}{'[]' * (first in _LISTS)}{dot}{rest}"
