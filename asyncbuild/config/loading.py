"""TOML file + environment → `Settings`: all faults at once, each with its remedy."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from asyncbuild.config.faults import (
    TOML_REMEDY,
    conflicts,
    explain,
    no_json,
    no_toml,
    unknown_variables,
)
from asyncbuild.config.settings import Settings
from asyncbuild.errors import ConfigError


def load(path: Path | None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read and validate.

    Args:
        path: The TOML file, or None for defaults and environment alone.
        overrides: Values by section that stand in for the file's (the demo's ports, say).

    Raises:
        ConfigError: the file is missing, no TOML, or holds faults; the reason lists all of them.
    """
    document = _read(path) if path else {}
    for key, value in (overrides or {}).items():
        section = document.get(key)
        document[key] = {**section, **value} if isinstance(section, dict) else value
    unknown = unknown_variables()
    try:
        settings = Settings(**document)
    except ValidationError as error:
        faults = [*(explain(item, document) for item in error.errors()), *unknown]
        raise _config_error(path, faults) from error
    except SettingsError as error:
        raise _config_error(None, [no_json(error), *unknown]) from error
    if faults := [*conflicts(settings), *unknown]:
        raise _config_error(path, faults)
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(
            f"configuration file {path} does not exist",
            remedy="copy config.example.toml to that place, or name another file with --config",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"configuration file {path} cannot be read: {error.strerror}",
            remedy=f"make it a file that user {os.geteuid()}, who runs this, may read",
        ) from error
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        reason = f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8"
        raise ConfigError(reason, remedy="save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        reason = no_toml(error, path, content.decode("utf-8"))
        raise ConfigError(reason, remedy=TOML_REMEDY) from error


def _config_error(path: Path | None, faults: list[str]) -> ConfigError:
    where = str(path) if path else "the environment"
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return ConfigError("\n  ".join([f"{count} in {where}:", *faults]))
