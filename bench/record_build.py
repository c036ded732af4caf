"""Recording of `asyncbuild build --wait` on the demo, as an SVG whose lines appear when they did.

    python bench/record_build.py docs/img/build.svg

The demo runs as a process with `--keep`; the commands are those of a user, in the environment that
the demo prints.
"""

import html
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_COMMANDS = (
    "asyncbuild build payments --wait",
    "asyncbuild build payments --again --wait --reason 'once more, for the picture'",
    "echo exit code $?",
)
_OPENING_SECONDS = 300
_LINE, _LEFT, _COLUMN = 20, 14, 7.85  # pixels
_COLUMNS_MOST = 112
_TYPING_SECONDS = 1.0  # before a command's own first line

_FRAME = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}"
  width="{width:.0f}" height="{height}">
<style>
rect{{fill:#14181d}}
.asked{{fill:#7cc4ff}}.good{{fill:#7ddc8a}}.bad{{fill:#ff8f86}}.said{{fill:#d7dde4}}
text{{font:13px ui-monospace,Menlo,Consolas,monospace;white-space:pre;animation:show 0s both}}
@keyframes show{{from{{opacity:0}}to{{opacity:1}}}}
@media (prefers-reduced-motion:reduce){{text{{animation:none}}}}
</style>
<rect width="{width:.0f}" height="{height}" rx="8"/>
{rows}
</svg>
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """A line of the terminal, and when it appeared, in seconds since the begin."""

    at: float
    text: str


def main(target: Path) -> None:
    """Run the demo, record the commands, and write the picture."""
    asyncbuild = Path(sys.executable).parent / "asyncbuild"
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "demo.txt"
        with told.open("w") as output:
            demo = subprocess.Popen([asyncbuild, "demo", "--keep"], stdout=output)
        try:
            environment = _environment(told, demo)
            environment["PATH"] = f"{asyncbuild.parent}:{os.environ['PATH']}"
            lines = list(_record(_COMMANDS, environment))
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(60)
    target.write_text(_picture(lines), "utf-8")


def _environment(told: Path, demo: subprocess.Popen[bytes]) -> dict[str, str]:
    """Return the variables that the demo prints when it is done."""
    end = time.monotonic() + _OPENING_SECONDS
    while time.monotonic() < end and demo.poll() is None:
        found = re.search(r"^\s*export (.*)$", told.read_text("utf-8"), re.MULTILINE)
        if found:
            pairs = (each.split("=", 1) for each in shlex.split(found[1]))
            return {**os.environ, **dict(pairs)}
        time.sleep(0.2)
    sys.exit("the demo did not print its variables")


def _record(commands: Sequence[str], environment: dict[str, str]) -> Iterator[Shown]:
    """Yield the lines of one shell that runs the commands."""
    script = "\n".join(f"echo {shlex.quote(f'$ {each}')}\n{each}" for each in commands)
    begun = time.monotonic()
    shell = subprocess.Popen(
        ["bash", "-c", script],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    paused = 0.0
    for line in shell.stdout or ():
        if line.startswith("$ "):
            paused += _TYPING_SECONDS
        yield Shown(time.monotonic() - begun + paused, line.rstrip("\n"))
    shell.wait()


def _picture(lines: Sequence[Shown]) -> str:
    """Return the lines as an SVG without scripts and fonts of its own."""
    height = _LINE * (len(lines) + 1)
    width = _COLUMN * _COLUMNS_MOST + 2 * _LEFT
    rows = [
        f'<text x="{_LEFT}" y="{_LINE * (number + 1)}" class="{_class(each.text)}" '
        f'style="animation-delay:{each.at:.1f}s">{html.escape(_cut(each.text))}</text>'
        for number, each in enumerate(lines)
    ]
    return _FRAME.format(width=width, height=height, rows="\n".join(rows))


def _cut(text: str) -> str:
    return text if len(text) <= _COLUMNS_MOST else text[: _COLUMNS_MOST - 1] + "…"


def _class(text: str) -> str:
    if text.startswith("$ "):
        return "asked"
    if re.search(r"\bpassed\b", text):
        return "good"
    return "bad" if re.search(r"\bfailed\b", text) else "said"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
