"""Loader of TOML file + environment → `Settings`: all faults at once, each with its remedy."""

import codecs
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from asyncbuild.config.faults import (
    TOML_REMEDY,
    SettingFault,
    conflicts,
    explain,
    no_json,
    no_toml,
    origins_of,
    unknown_variables,
    variable_of,
)
from asyncbuild.config.lines import lines_of
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import ConfigError

if TYPE_CHECKING:
    from asyncbuild.config.doubts import Doubt


def load(path: Path | None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Return the validated settings of a file and the environment.

    Args:
        path: The TOML file, or None for defaults and environment alone.
        overrides: Values by section that replace those of the file, such as the demo's ports.

    Raises:
        ConfigError: The file is missing, not TOML, or has faults; the reason lists all of them.
    """
    text = _read(path) if path else ""
    document = _parse(path, text) if path else {}
    for key, value in (overrides or {}).items():
        section = document.get(key)
        document[key] = {**section, **value} if isinstance(section, dict) else value
    unknown = unknown_variables()
    try:
        settings = Settings(**document)
    except ValidationError as error:
        found = filter(None, map(explain, error.errors()))
        raise _config_error(path, text, [*found, *unknown]) from error
    except SettingsError as error:
        raise _config_error(None, "", [no_json(error), *unknown]) from error
    if faults := [*conflicts(settings), *unknown]:
        raise _config_error(path, text, faults)
    return settings


def warnings(path: Path | None, settings: Settings) -> "list[Doubt]":
    """Return the doubts about `settings` of the file at `path`, each with the lines concerned."""
    # Only `check` and the service ask for doubts.
    from asyncbuild.config.doubts import doubts  # noqa: PLC0415

    lines = lines_of(_read(path) if path else "")
    found = ((each, " and ".join(origins_of(each.places, lines))) for each in doubts(settings))
    return [
        replace(each, what=f"{where}: {each.what}" if where else each.what) for each, where in found
    ]


def _read(path: Path) -> str:
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
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError(f"{path} is UTF-16, and TOML is UTF-8", remedy="save the file as UTF-8")
    content = content.removeprefix(codecs.BOM_UTF8)  # some editors begin every file with it
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        reason = f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8"
        raise ConfigError(reason, remedy="save the file as UTF-8") from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(no_toml(error, path, text), remedy=TOML_REMEDY) from error


def _config_error(path: Path | None, text: str, faults: Sequence[SettingFault]) -> ConfigError:
    lines = lines_of(text)
    told, in_file, in_environment = [], False, False
    for fault in faults:
        origins = origins_of(fault.places, lines)
        variables = not fault.places or any(map(variable_of, fault.places))
        in_environment |= variables
        in_file |= not variables or any(origin.startswith("line ") for origin in origins)
        told.append(": ".join([*filter(None, [" and ".join(origins)]), fault.text]))
    wheres = [str(path)] if path and in_file else []
    wheres += ["the environment"] if in_environment or not path else []
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return ConfigError("\n  ".join([f"{count} in {' and '.join(wheres)}:", *told]))
