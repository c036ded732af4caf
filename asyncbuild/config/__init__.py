"""The configuration: TOML file + environment → one frozen `Settings`.

`config.example.toml` shows every setting; a test compares it with these classes. An environment
variable overrides the file: `ASYNCBUILD_QUEUE__URL` is `url` of `[queue]`.

Importing this package imports none of its modules: each name brings its own when it is first used
(PEP 562), because pydantic takes longer to load than `asyncbuild --help` to end.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from asyncbuild.config.variables import ENV_PREFIX, FILE_VARIABLE

if TYPE_CHECKING:
    from asyncbuild.config.doubts import Doubt
    from asyncbuild.config.hosts import HostSettings
    from asyncbuild.config.loading import load, warnings
    from asyncbuild.config.places import region_fault
    from asyncbuild.config.routing import AccountSettings, RuleSettings, default_rules, fill_rules
    from asyncbuild.config.secrets import SecretReference
    from asyncbuild.config.sections import (
        DISK_FREE_LEAST_BYTES,
        GIB,
        MIB,
        ArchiveSettings,
        AwsSettings,
        BuildSettings,
        GitSettings,
        LaneSettings,
        LogSettings,
        PipelineSettings,
        QueueSettings,
        ReconcileSettings,
        ReportSettings,
        ResultSettings,
        StatusSettings,
        StorageSettings,
    )
    from asyncbuild.config.settings import Settings, setting_names

__all__ = [
    "DISK_FREE_LEAST_BYTES",
    "ENV_PREFIX",
    "FILE_VARIABLE",
    "GIB",
    "MIB",
    "AccountSettings",
    "ArchiveSettings",
    "AwsSettings",
    "BuildSettings",
    "Doubt",
    "GitSettings",
    "HostSettings",
    "LaneSettings",
    "LogSettings",
    "PipelineSettings",
    "QueueSettings",
    "ReconcileSettings",
    "ReportSettings",
    "ResultSettings",
    "RuleSettings",
    "SecretReference",
    "Settings",
    "StatusSettings",
    "StorageSettings",
    "default_rules",
    "fill_rules",
    "load",
    "region_fault",
    "setting_names",
    "warnings",
]

_ELSEWHERE: Final = {
    "Doubt": "doubts",
    "HostSettings": "hosts",
    "load": "loading",
    "warnings": "loading",
    "region_fault": "places",
    "AccountSettings": "routing",
    "RuleSettings": "routing",
    "default_rules": "routing",
    "fill_rules": "routing",
    "SecretReference": "secrets",
    "Settings": "settings",
    "setting_names": "settings",
}


def _import(name: str) -> object:
    """Import and return a name of `__all__`; most are of `sections`.

    Raises:
        AttributeError: The package has no such name.
    """
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'sections')}"), name)


if not TYPE_CHECKING:  # with it mypy would take any name for one of this package
    __getattr__ = _import
