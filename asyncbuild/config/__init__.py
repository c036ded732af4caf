"""The configuration: TOML file + environment → one frozen `Settings`.

`config.example.toml` shows every setting; a test compares it with these classes. An environment
variable overrides the file: `ASYNCBUILD_QUEUE__URL` is `url` of `[queue]`.
"""

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
    ResultSettings,
    StatusSettings,
    StorageSettings,
)
from asyncbuild.config.settings import ENV_PREFIX, FILE_VARIABLE, Settings, setting_names

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
