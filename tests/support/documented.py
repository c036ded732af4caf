"""Commands, settings and stack parameters that documents name, as a reader would copy them."""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_BLOCK: Final = re.compile(r"^( *)(```|~~~)(\w*)\n(.*?)^\1\2", re.MULTILINE | re.DOTALL)
_INDENTED: Final = re.compile(r"(?:^    .*\n(?:[ \t]*\n)*)+", re.MULTILINE)
_PROMPT: Final = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?asyncbuild(?= |$)")
_INLINE: Final = re.compile(r"`(?:\.venv/bin/)?(asyncbuild [a-z][^`]*)`")
_WORDS: Final = re.compile(r"\[[^\]]*\]|'[^']*'|\"[^\"]*\"|[^\s\[\]'\"]+")


class CommandLine(NamedTuple):
    """A command line of a document.

    Attributes:
        page: Path of the page.
        text: As it is written, on one line.
        is_whole: It can be typed as it is, and stands for itself alone.
    """

    page: str
    text: str
    is_whole: bool


def iter_blocks(text: str, language: str = "") -> Iterator[str]:
    """Yield the code blocks of a page, without indentation; of one language, only the fenced."""
    fenced = list(_BLOCK.finditer(text))
    for each in fenced:
        if language in {"", each[3]}:
            yield re.sub(f"^{each[1]}", "", each[4], flags=re.MULTILINE)
    if not language:
        for each in _INDENTED.finditer(_BLOCK.sub("", text)):
            yield re.sub(r"^ {4}", "", each[0], flags=re.MULTILINE)


def iter_command_lines(page: Path, root: Path) -> Iterator[CommandLine]:
    """Yield the command lines of asyncbuild that a page names, in blocks and in sentences."""
    text, name = page.read_text("utf-8"), page.relative_to(root).as_posix()
    for block in iter_blocks(text):
        for line in block.replace("\\\n", " ").splitlines():
            if _PROMPT.match(line):
                is_whole = not re.search(r"[\w\[\]]\|", line)
                yield CommandLine(name, _PROMPT.sub("asyncbuild", line), is_whole)
    for each in _INLINE.findall(" ".join(text.split())):
        yield CommandLine(name, each, is_whole=False)


def spellings(line: str) -> Iterator[list[str]]:
    """Yield the arguments of each command that a line stands for.

    `[X]` may be left out, `A|B` is one or the other, `…` says that something may be repeated. What
    follows ` #`, `>`, `<`, `|` or `&&` is no argument.
    """
    bare = re.split(r"(?: #| >| <| \| | && )", line, maxsplit=1)[0]
    choices = [_choices(word) for word in _WORDS.findall(bare)[1:]]
    for chosen in itertools.product(*choices):
        yield shlex.split(" ".join(each for each in chosen if each))


def _choices(word: str) -> list[str]:
    if word.startswith(("'", '"')):
        return [word]
    inner = word.removeprefix("[").removesuffix("]").replace("…", "")
    return ["", *inner.split("|")] if word.startswith("[") else inner.split("|")
