"""Recorder of AWS calls, which Python imports at its start where PYTHONPATH names this folder.

With RECORDED_CALLS, a directory, every call that aiobotocore makes becomes a line of JSON in a file
of this process there: operation, what it was about, the command, and the modules of asyncbuild that
asked for it, outermost first. Nothing is loaded for it that the program would not load itself.
"""

import importlib.abc
import importlib.machinery
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

DIRECTORY = "RECORDED_CALLS"
_PATCHED = "aiobotocore.client"
_seen: set[str] = set()


def install() -> None:
    """Record from now on, if the environment names a directory."""
    if not os.environ.get(DIRECTORY):
        return
    loaded = sys.modules.get(_PATCHED)
    if loaded is not None:
        _patch(loaded)
    else:
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finder that patches the client's module when it is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find the module as Python would, with a loader that patches it afterwards."""
        if fullname != _PATCHED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _patch(module)

            loader.exec_module = exec_module
        return spec


def _patch(module: ModuleType) -> None:
    client: Any = vars(module)["AioBaseClient"]
    original = client._make_api_call
    if getattr(original, "records", False):
        return

    async def recorded(self: Any, operation: str, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 - botocore's own
        _write(self.meta.service_model.service_name, operation, parameters)
        return await original(self, operation, parameters)

    recorded.records = True  # type: ignore[attr-defined]
    client._make_api_call = recorded


def _write(service: str, operation: str, parameters: Mapping[str, Any]) -> None:
    source = parameters.get("CopySource")
    line = json.dumps(
        {
            "operation": f"{service}.{operation}",
            "queue": str(parameters.get("QueueUrl", "")).rpartition("/")[2],
            "folder": _folder(parameters.get("Key")),
            "source": _folder(source.get("Key")) if isinstance(source, Mapping) else "",
            "version": "VersionId" in (source if isinstance(source, Mapping) else parameters),
            "command": _command(),
            "modules": _modules(),
        }
    )
    if line in _seen:
        return
    _seen.add(line)
    file = Path(os.environ[DIRECTORY], f"{os.getpid()}.jsonl")
    with file.open("a", encoding="utf-8") as lines:
        lines.write(line + "\n")


def _command() -> str:
    """Return the command of `asyncbuild COMMAND`; empty for any other program."""
    program, *arguments = sys.argv or [""]
    ours = program.endswith(("/asyncbuild", "asyncbuild/__main__.py"))
    return arguments[0] if ours and arguments else ""


def _folder(key: object) -> str:
    """Return the folder of a key: the policy distinguishes two, among many keys."""
    if key is None:
        return ""
    return "ledger" if str(key).startswith(".asyncbuild/") else "archives"


def _modules() -> list[str]:
    """Return the modules that await this call; a task's coroutines are frames of one stack."""
    found: list[str] = []
    frame = sys._getframe(2)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.startswith("asyncbuild.") and name not in found:
            found.insert(0, name)
        frame = frame.f_back  # type: ignore[assignment]
    return found


if __name__ == "sitecustomize":
    install()
