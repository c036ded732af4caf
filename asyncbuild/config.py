"""TOML file + environment → one frozen `Settings`. All faults at once, each with its remedy.

`config.example.toml` shows every setting; a test compares it with these classes. An environment
variable overrides the file: `ASYNCBUILD_QUEUE__URL` is `url` of `[queue]`.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from asyncbuild.errors import ConfigError
from asyncbuild.model import Action
from asyncbuild.rules import check_template, variable_fault

_ENV_PREFIX = "ASYNCBUILD_"
MIB = 1024 * 1024
GIB = 1024 * MIB

Seconds = Annotated[float, Field(gt=0)]
OneOrMore = Annotated[int, Field(ge=1)]


def _checked_template(template: str) -> str:
    check_template(template)
    return template


def _checked_url(url: str) -> str:
    if not re.match(r"https?://[^/\s]+", url):
        msg = 'write a URL, such as "https://host" or "http://127.0.0.1:4566"'
        raise ValueError(msg)
    return url


Url = Annotated[str, AfterValidator(_checked_url)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AwsSettings(_Section):
    """`[aws]`: where AWS is, and as whom."""

    # botocore itself knows AWS_DEFAULT_REGION only; ECS and Lambda set this one.
    region: str | None = Field(default_factory=lambda: os.environ.get("AWS_REGION") or None)
    profile: str | None = None
    endpoint_url: Url | None = None
    connect_timeout_seconds: Seconds = 5
    read_timeout_seconds: Seconds = 60
    max_tries: OneOrMore = 4


class QueueSettings(_Section):
    """`[queue]`: the SQS FIFO queue with the push events."""

    url: str = ""
    dead_letter_url: Url | None = None
    endpoint_url: Url | None = None
    wait_seconds: int = Field(default=20, ge=0, le=20)
    visibility_timeout_seconds: int = Field(default=120, ge=3, le=43_200)
    batch: int = Field(default=10, ge=1, le=10)
    polls: OneOrMore = 2


class LaneSettings(_Section):
    """`[lanes]`: order, attempts and waiting inside one message group."""

    most: OneOrMore = 64
    lookahead: OneOrMore = 4
    max_attempts: OneOrMore = 2
    retry_first_seconds: Seconds = 1
    retry_most_seconds: Seconds = 30
    busy_most_seconds: Seconds = 60
    stale: Literal["skip", "build"] = "skip"
    superseded: Literal["build", "skip"] = "build"


class GitSettings(_Section):
    """`[git]`: remotes and the cache of bare mirrors."""

    remote: str = "https://git-codecommit.{region}.{dns_suffix}/v1/repos/{repository}"
    credentials: Literal["auto", "codecommit", "none"] = "auto"
    cache_directory: Path = Path("/var/cache/asyncbuild")
    cache_budget_bytes: OneOrMore = 15 * GIB
    depth: int = Field(default=1, ge=0)
    processes: OneOrMore = 8
    silence_timeout_seconds: Seconds = 120
    timeout_seconds: Seconds = 3_600


class ArchiveSettings(_Section):
    """`[archive]`: how a tree becomes a zip."""

    level: int = Field(default=1, ge=0, le=9)
    threads: int = Field(default=0, ge=0)
    memory_budget_bytes: int = Field(default=128 * MIB, ge=48 * MIB)
    delta: Literal["auto", "off"] = "auto"


class StorageSettings(_Section):
    """`[storage]`: where archives and the ledger are kept."""

    bucket: str = ""
    key: str = "{repository}/{branch}/{commit}.zip"
    endpoint_url: Url | None = None
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    part_bytes: int = Field(default=8 * MIB, ge=5 * MIB, le=5 * GIB)
    parts_in_flight: OneOrMore = 4
    checksum: Literal["crc32", "none"] = "crc32"
    sign_payload: bool = False
    encryption: Literal["bucket-default", "AES256", "aws:kms"] = "bucket-default"
    kms_key_id: str | None = None
    ledger_prefix: str = ".asyncbuild/ledger/"

    _key_fields = field_validator("key")(_checked_template)

    @model_validator(mode="after")
    def _key_is_used(self) -> Self:
        if self.kms_key_id and self.encryption != "aws:kms":
            msg = 'kms_key_id is used with encryption = "aws:kms" only; set that, or leave it out'
            raise ValueError(msg)
        return self


class BuildSettings(_Section):
    """`[builds]`: CodeBuild. What is not set here stays as the project has it."""

    project: str = "{repository}"
    endpoint_url: Url | None = None

    _project_fields = field_validator("project")(_checked_template)
    buildspec: str | None = None
    timeout_minutes: int | None = Field(default=None, ge=5, le=2_160)
    queued_timeout_minutes: int | None = Field(default=None, ge=5, le=480)


class LogSettings(_Section):
    """`[log]`: structured logs on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class StatusSettings(_Section):
    """`[status]`: the page, health and metrics."""

    listen: str = "127.0.0.1:8080"
    embedded_metrics: bool = False
    traces: bool = False

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str) -> str:
        host, colon, port = listen.rpartition(":")
        if listen != "off" and not (host and colon and port.isdecimal() and int(port) < 2**16):
            msg = 'write "HOST:PORT", such as "127.0.0.1:8080", or "off"'
            raise ValueError(msg)
        return listen

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen at."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class AccountSettings(_Section):
    """`[[accounts]]`: an account that owns repositories, and the role that may pull them."""

    account: str = Field(pattern=r"^\d{12}$")
    role_arn: str = Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")
    regions: tuple[str, ...] = ()
    external_id: str | None = None
    session_name: str = "asyncbuild"


class RuleSettings(_Section):
    """`[[rules]]`: the first rule that matches a push decides. `!` before a glob excludes."""

    name: str = ""
    repository: tuple[str, ...] = ("*",)
    ref: tuple[str, ...] = ("refs/heads/*",)
    action: Action
    project: tuple[str, ...] = ()
    key: str | None = None
    variables: Mapping[str, str] = Field(default_factory=dict)

    @field_validator("repository", "ref", "project", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("repository", "ref")
    @classmethod
    def _something_included(cls, globs: tuple[str, ...]) -> tuple[str, ...]:
        if not any(glob and not glob.startswith("!") for glob in globs):
            msg = 'names nothing to include; begin with a glob without "!", such as "*"'
            raise ValueError(msg)
        return globs

    @field_validator("variables")
    @classmethod
    def _names_are_free(cls, variables: Mapping[str, str]) -> Mapping[str, str]:
        faults = [fault for name in variables if (fault := variable_fault(name))]
        if faults:
            raise ValueError("; ".join(faults))
        return variables

    @model_validator(mode="after")
    def _templates(self) -> Self:
        for template in (*self.project, *self.variables.values(), self.key or ""):
            check_template(template)
        return self


def default_rules() -> tuple[RuleSettings, ...]:
    """The old script's behaviour: upload every branch, build all but three."""
    kept = ("refs/heads/test", "refs/heads/develop", "refs/heads/staging")
    return (
        RuleSettings(name="deployment-branches", ref=kept, action=Action.UPLOAD),
        RuleSettings(name="every-branch", action=Action.BUILD),
    )


class Settings(BaseSettings):
    """Everything that can be set, validated and frozen."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=_ENV_PREFIX,
        env_nested_delimiter="__",
    )

    consumers: OneOrMore = 8
    shutdown_grace_seconds: Seconds = 110
    aws: AwsSettings = Field(default_factory=AwsSettings)
    queue: QueueSettings = QueueSettings()
    lanes: LaneSettings = LaneSettings()
    git: GitSettings = GitSettings()
    archive: ArchiveSettings = ArchiveSettings()
    storage: StorageSettings = StorageSettings()
    builds: BuildSettings = BuildSettings()
    log: LogSettings = LogSettings()
    status: StatusSettings = StatusSettings()
    accounts: tuple[AccountSettings, ...] = ()
    rules: tuple[RuleSettings, ...] = Field(default_factory=default_rules)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings names the arguments
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - no .env: one place to look
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment comes before the file."""
        return (env_settings, init_settings)


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
    unknown = _unknown_variables()
    try:
        settings = Settings(**document)
    except ValidationError as error:
        faults = [*(_explain(item, document) for item in error.errors()), *unknown]
        raise _config_error(path, faults) from error
    except SettingsError as error:
        raise _config_error(None, [_no_json(error), *unknown]) from error
    if unknown:
        raise _config_error(path, unknown)
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"configuration file {path} does not exist",
            remedy="copy config.example.toml to that place, or name another file with --config",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"configuration file {path} is not valid TOML: {error}") from error


def _config_error(path: Path | None, faults: list[str]) -> ConfigError:
    where = str(path) if path else "the environment"
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return ConfigError("\n  ".join([f"{count} in {where}:", *faults]))


def _explain(item: Any, document: Mapping[str, Any]) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    place = tuple(item["loc"])
    name = _dotted(place)
    if item["type"] == "extra_forbidden":
        return f"{name}: no such setting{_nearest(place)}"
    text = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"{name}: {text.lower()}"
    if text.startswith("Input "):  # pydantic's own sentences; ours begin as they are meant to
        text = text[:1].lower() + text[1:]
    told = "" if isinstance(item["input"], Mapping) else f" = {item['input']!r}"
    return f"{name}{told}: {text}{_source(place, document)}"


def _source(place: tuple[int | str, ...], document: Mapping[str, Any]) -> str:
    value: Any = document
    for step in place:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            variable = _ENV_PREFIX + "__".join(str(part) for part in place).upper()
            return f" (from {variable})" if variable in os.environ else ""
    return ""


def _dotted(place: tuple[int | str, ...]) -> str:
    name = ""
    for step in place:
        name += f"[{step}]" if isinstance(step, int) else f".{step}" if name else step
    return name


def _nearest(place: tuple[int | str, ...]) -> str:
    last = str(place[-1])
    near = difflib.get_close_matches(last, _known(place[:-1]), n=1, cutoff=0.5)
    if near:
        return f"; did you mean {_dotted((*place[:-1], near[0]))}?"
    for section in setting_names():
        if section.endswith(f".{last}"):
            return f"; did you mean {section}?"
    return ""


def _known(parents: tuple[int | str, ...]) -> list[str]:
    model: Any = Settings
    for step in parents:
        if isinstance(step, int):
            continue
        annotation = model.model_fields[step].annotation if hasattr(model, "model_fields") else None
        arguments = getattr(annotation, "__args__", None)
        model = arguments[0] if arguments else annotation
    return list(getattr(model, "model_fields", {}))


def setting_names() -> list[str]:
    """Every setting as `section.name`; for lists of tables, the names of one table."""
    names: list[str] = []
    for name in Settings.model_fields:
        inner = [inner for inner in _known((name,)) if inner]
        names.extend(f"{name}.{each}" for each in inner) if inner else names.append(name)
    return names


def _no_json(error: SettingsError) -> str:
    """Lists and whole sections are JSON in the environment; the first that is none is told."""
    name = next((each for each in Settings.model_fields if f'"{each}"' in str(error)), "")
    return f"environment variable {_ENV_PREFIX}{name.upper()}: not JSON: {error.__cause__}"


def _unknown_variables() -> list[str]:
    known = {_ENV_PREFIX + name.replace(".", "__").upper() for name in setting_names()}
    known |= {_ENV_PREFIX + name.upper() for name in Settings.model_fields}
    faults = []
    for variable in sorted(os.environ):
        if variable.startswith(_ENV_PREFIX) and variable.upper() not in known:
            near = difflib.get_close_matches(variable, known, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]}?" if near else ""
            faults.append(f"environment variable {variable}: no such setting{hint}")
    return faults
