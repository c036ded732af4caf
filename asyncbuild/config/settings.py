"""Configuration as one frozen value."""

from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from asyncbuild.config.hosts import HostSettings
from asyncbuild.config.routing import AccountSettings, RuleSettings, default_rules, fill_rules
from asyncbuild.config.sections import (
    ArchiveSettings,
    AwsSettings,
    BuildSettings,
    Count,
    GitSettings,
    LaneSettings,
    LogSettings,
    PipelineSettings,
    QueueSettings,
    ReconcileSettings,
    ReportSettings,
    ResultSettings,
    Seconds,
    StatusSettings,
    StorageSettings,
)
from asyncbuild.config.variables import ENV_PREFIX
from asyncbuild.domain.rules.rule import Rule


class _RegionSource(EnvSettingsSource):
    """Environment variable AWS_REGION as the default of `aws.region`.

    ECS and Lambda set that variable; botocore itself reads AWS_DEFAULT_REGION only.
    """

    def __call__(self) -> dict[str, Any]:
        region = self.env_vars.get("aws_region")
        return {"aws": {"region": region}} if region else {}


class Settings(BaseSettings):
    """All settings, validated and frozen."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
    )

    consumers: Count = 8
    shutdown_grace_seconds: Seconds = 110
    scale_in_protection: Literal["auto", "off"] = "auto"
    aws: AwsSettings = AwsSettings()
    queue: QueueSettings = QueueSettings()
    results: ResultSettings = ResultSettings()
    reports: ReportSettings = ReportSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    lanes: LaneSettings = LaneSettings()
    git: GitSettings = GitSettings()
    archive: ArchiveSettings = ArchiveSettings()
    storage: StorageSettings = StorageSettings()
    builds: BuildSettings = BuildSettings()
    pipelines: PipelineSettings = PipelineSettings()
    log: LogSettings = LogSettings()
    status: StatusSettings = StatusSettings()
    accounts: tuple[AccountSettings, ...] = ()
    hosts: tuple[HostSettings, ...] = ()
    rules: tuple[RuleSettings, ...] = Field(default_factory=default_rules)

    @property
    def forges(self) -> int:
        """Number of forges that pushes may come from: CodeCommit, and each host of `[[hosts]]`."""
        return 1 + len({each.host for each in self.hosts})

    @property
    def reserved_consumers(self) -> int:
        """Consumers kept for each forge, CodeCommit and `[[hosts]]`; 0 with CodeCommit alone."""
        others, share = self.forges - 1, self.lanes.forge_share
        if not others or share == 1:
            return 0
        return max(1, int(self.consumers * (1 - share)) // others)

    @field_validator("rules")
    @classmethod
    def _something_is_done(cls, rules: tuple[RuleSettings, ...]) -> tuple[RuleSettings, ...]:
        if not rules:
            msg = (
                "without a rule every push is ignored; leave rules out for the default ones, or "
                'write a rule with action = "ignore" if that is meant'
            )
            raise ValueError(msg)
        return rules

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - no .env: one place to look
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources by precedence: the environment comes before the file."""
        return (env_settings, init_settings, _RegionSource(settings_cls))


def rules_of(settings: Settings) -> tuple[Rule, ...]:
    """Return `[[rules]]` with the defaults of `[storage]` and `[builds]` filled in."""
    return fill_rules(
        settings.rules,
        key=settings.storage.key,
        project=settings.builds.project,
        buildspec=settings.builds.buildspec or "",
        reserved=settings.storage.reserved_prefixes,
    )


def setting_names() -> list[str]:
    """Return every setting as `section.name`; for lists of tables, the names of one table."""
    return [name for each in Settings.model_fields for name in _names_from((each,))]


def _names_from(path: tuple[str, ...]) -> list[str]:
    """Return the setting at a path, or those of its table."""
    inner = names_below(path)
    if not inner:
        return [".".join(path)]
    return [name for each in inner for name in _names_from((*path, each))]


def names_below(parents: tuple[int | str, ...]) -> list[str]:
    """Return the names of the settings inside a table; empty for a single value."""
    model: Any = Settings
    for step in parents:
        if isinstance(step, int):
            continue
        annotation = model.model_fields[step].annotation if hasattr(model, "model_fields") else None
        arguments = getattr(annotation, "__args__", None)
        model = arguments[0] if arguments else annotation
    return list(getattr(model, "model_fields", {}))
