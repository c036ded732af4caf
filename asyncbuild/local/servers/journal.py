"""Every StartBuild that the stand-in accepted, one line of JSON each, in the order accepted.

A line is on disk before its request is answered, so what a client was told is always here. A
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
        """The project that was built."""
        return str(self.request["projectName"])

    @property
    def location(self) -> str:
        """Where the source was taken from: `bucket/key` for S3."""
        return str(self.request.get("sourceLocationOverride", ""))

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables it was started with."""
        given = self.request.get("environmentVariablesOverride", [])
        return {variable["name"]: variable["value"] for variable in given}


@dataclass(slots=True)
class Journal:
    """An open journal. `found` is what it held already."""

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
    """The whole lines of the journal at `path`, oldest first."""
    lines = path.read_bytes().split(b"\n")[:-1]
    return [AcceptedStart(**orjson.loads(line)) for line in lines]
