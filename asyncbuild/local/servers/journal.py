"""Journal of every StartBuild that the stand-in accepted, one line of JSON each, in that order.

A line is on disk before its request is answered, so the journal contains every answered request. A
last line without its end was never answered, and is cut off when the journal is opened again.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.to_thread
import orjson


@dataclass(frozen=True, slots=True)
class AcceptedStart:
    """One accepted StartBuild: epoch seconds, build id and number, the request verbatim."""

    time: float
    build: str
    number: int
    request: dict[str, Any]

    @property
    def project(self) -> str:
        """Project that was built."""
        return str(self.request["projectName"])

    @property
    def location(self) -> str:
        """Location of the source: `bucket/key` for S3."""
        return str(self.request.get("sourceLocationOverride", ""))

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of the build."""
        given = self.request.get("environmentVariablesOverride", [])
        return {variable["name"]: variable["value"] for variable in given}


@dataclass(slots=True)
class Journal:
    """An open journal. `found` are the entries that it had before."""

    path: Path
    found: list[AcceptedStart] = field(default_factory=list)

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open or begin the journal at `path`, without a line that was cut short."""
        return await anyio.to_thread.run_sync(cls._open, path)

    @classmethod
    def _open(cls, path: Path) -> Self:
        path.touch()
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
        return cls(path, read(path))

    async def write(self, started: AcceptedStart) -> None:
        """Append `started`; on disk when this returns."""
        await anyio.to_thread.run_sync(self._write, started)

    def _write(self, started: AcceptedStart) -> None:
        with self.path.open("ab") as file:
            file.write(orjson.dumps(started, option=orjson.OPT_APPEND_NEWLINE))
            file.flush()
            os.fsync(file.fileno())


def read(path: Path) -> list[AcceptedStart]:
    """Return the whole lines of the journal at `path`, oldest first."""
    lines = path.read_bytes().split(b"\n")[:-1]
    return [AcceptedStart(**orjson.loads(line)) for line in lines]
