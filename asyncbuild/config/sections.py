"""Tables of the configuration file that occur once, such as `[queue]`."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from asyncbuild.config.places import event_bus_fault, queue_fault, remote_fault
from asyncbuild.config.secrets import SecretReference
from asyncbuild.domain.key_template import check_template
from asyncbuild.domain.reachable import check_entry

_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - every address, so also this one
MIB = 1024 * 1024
GIB = 1024 * MIB
# Least free space on the disk of the mirrors; with less the service is not ready.
DISK_FREE_LEAST_BYTES = 256 * MIB
TIB = 1024 * GIB

_DAY_SECONDS = 86_400
_HIDDEN_MOST_SECONDS = 43_200  # SQS API reference, ChangeMessageVisibility

# A value beyond these bounds is a typing error or in another unit, and would show late: as a
# process without memory or file descriptors, or as a wait that does not end.
Seconds = Annotated[float, Field(gt=0, le=_DAY_SECONDS, allow_inf_nan=False)]
PauseSeconds = Annotated[float, Field(gt=0, le=_HIDDEN_MOST_SECONDS, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000)]


def _checked_template(template: str) -> str:
    check_template(template)
    return template


def _checked_url(url: str) -> str:
    if not re.match(r"https?://[^/\s]+", url):
        msg = 'write a URL, such as "https://host" or "http://127.0.0.1:4566"'
        raise ValueError(msg)
    return url


Url = Annotated[str, AfterValidator(_checked_url)]
InternalPlace = Annotated[str, AfterValidator(check_entry)]
"""Host or network that may be reached although it is private; see `domain/reachable.py`."""


def _checked_queue(url: str) -> str:
    if url and (fault := queue_fault(url)):
        raise ValueError(fault)
    return url


QueueUrl = Annotated[str, AfterValidator(_checked_queue)]


def _checked_bus(name: str) -> str:
    if name and (fault := event_bus_fault(name)):
        raise ValueError(fault)
    return name


EventBusName = Annotated[str, AfterValidator(_checked_bus)]


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
"""A list of strings; a string alone is a list of one."""


class Section(BaseModel):
    """Base of the tables: frozen, and without unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AwsSettings(Section):
    """Table `[aws]`: endpoint, Region and credentials."""

    region: str | None = None
    profile: str | None = None
    endpoint_url: Url | None = None
    connect_timeout_seconds: Seconds = 5
    read_timeout_seconds: Seconds = 60
    max_tries: int = Field(default=4, ge=1, le=100)


class QueueSettings(Section):
    """Table `[queue]`: the SQS FIFO queue with the push events."""

    url: QueueUrl = ""
    dead_letter_url: QueueUrl | None = None
    endpoint_url: Url | None = None
    wait_seconds: int = Field(default=20, ge=0, le=20)
    visibility_timeout_seconds: int = Field(default=120, ge=3, le=43_200)
    batch: int = Field(default=10, ge=1, le=10)
    polls: int = Field(default=2, ge=1, le=100)


class ResultSettings(Section):
    """Table `[results]`: the SQS standard queue with events of builds that ended."""

    url: QueueUrl = ""
    dead_letter_url: QueueUrl | None = None
    consumers: int = Field(default=2, ge=1, le=100)


class ReportSettings(Section):
    """Table `[reports]`: the queue with commit statuses to post, and the bus of outcome events."""

    url: QueueUrl = ""
    dead_letter_url: QueueUrl | None = None
    consumers: int = Field(default=2, ge=1, le=100)
    event_bus: EventBusName = ""
    event_reasons: bool = False


class ReconcileSettings(Section):
    """Table `[reconcile]`: the SQS FIFO queue of rounds, which look for pushes no event told."""

    url: QueueUrl = ""
    dead_letter_url: QueueUrl | None = None
    consumers: int = Field(default=1, ge=1, le=100)
    grace_seconds: int = Field(default=600, ge=0, le=36_000)


class LaneSettings(Section):
    """Table `[lanes]`: order, attempts and waiting inside one message group."""

    most: int = Field(default=64, ge=1, le=10_000)
    forge_share: Annotated[float, Field(gt=0, le=1)] = 0.75
    lookahead: Count = 4
    max_attempts: Count = 2
    retry_first_seconds: PauseSeconds = 1
    retry_most_seconds: PauseSeconds = 30
    busy_most_seconds: PauseSeconds = 10
    retry_after_most_seconds: Annotated[float, Field(gt=0, le=3_600)] = 300
    longest_wait_seconds: Annotated[float, Field(gt=0, le=21_600)] = 3_600
    stale: Literal["skip", "build"] = "skip"
    superseded: Literal["build", "skip"] = "build"


class GitSettings(Section):
    """Table `[git]`: remotes and the cache of bare mirrors."""

    remote: str = "https://git-codecommit.{region}.{dns_suffix}/v1/repos/{repository}"
    credentials: Literal["auto", "codecommit", "none"] = "auto"

    @field_validator("remote")
    @classmethod
    def _can_be_fetched(cls, template: str) -> str:
        if fault := remote_fault(template):
            raise ValueError(fault)
        return template

    cache_directory: Path = Path("/var/cache/asyncbuild")
    cache_budget_bytes: int = Field(default=15 * GIB, ge=1, le=1_024 * TIB)
    depth: int = Field(default=1, ge=0, le=2**31 - 1)  # git-fetch(1): an int
    processes: Count = 8
    silence_timeout_seconds: Seconds = 120
    timeout_seconds: float = Field(default=3_600, gt=0, le=7 * _DAY_SECONDS, allow_inf_nan=False)
    memory_budget_bytes: int = Field(default=0, ge=0, le=TIB)
    cpu_seconds: int = Field(default=20, ge=1, le=_DAY_SECONDS)
    entries_most: int = Field(default=1_000_000, ge=1, le=100_000_000)
    attribute_bytes_most: int = Field(default=4 * MIB, ge=1, le=GIB)
    attribute_patterns_most: int = Field(default=20_000, ge=1, le=100_000_000)
    seeds: bool = True
    seed_min_bytes: int = Field(default=8 * MIB, ge=1, le=1_024 * TIB)
    seed_share: float = Field(default=0.25, ge=0, le=1_000, allow_inf_nan=False)
    seed_bytes_per_second: int = Field(default=64 * MIB, ge=0, le=TIB)
    seed_exclude: Texts = ()
    replication_lag_seconds: float = Field(default=180, ge=0, le=_DAY_SECONDS, allow_inf_nan=False)
    internal: tuple[InternalPlace, ...] = ()


class ArchiveSettings(Section):
    """Table `[archive]`: conversion of a tree to a zip."""

    level: int = Field(default=1, ge=0, le=9)
    threads: int = Field(default=0, ge=0, le=1_000)
    memory_budget_bytes: int = Field(default=96 * MIB, ge=48 * MIB, le=TIB)
    delta: Literal["auto", "off"] = "auto"


class StorageSettings(Section):
    """Table `[storage]`: the bucket of archives and ledger."""

    bucket: str = ""
    key: str = "{repository}/{branch}/{commit}.zip"
    endpoint_url: Url | None = None
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    part_bytes: int = Field(default=8 * MIB, ge=5 * MIB, le=5 * GIB)
    parts_in_flight: Count = 4
    checksum: Literal["crc32", "none"] = "crc32"
    sign_payload: bool = False
    encryption: Literal["bucket-default", "AES256", "aws:kms"] = "bucket-default"
    kms_key_id: str | None = None
    ledger_prefix: str = ".asyncbuild/ledger/"
    seed_prefix: str = ".asyncbuild/seeds/"

    _key_fields = field_validator("key")(_checked_template)

    @field_validator("ledger_prefix", "seed_prefix")
    @classmethod
    def _is_a_folder(cls, prefix: str) -> str:
        return prefix if prefix.endswith("/") or not prefix else prefix + "/"

    @property
    def reserved_prefixes(self) -> tuple[str, ...]:
        """Prefixes of records and of seeds, below which no archive lies."""
        return tuple(filter(None, (self.ledger_prefix, self.seed_prefix)))

    @model_validator(mode="after")
    def _seeds_have_a_place(self) -> Self:
        records, seeds = self.ledger_prefix, self.seed_prefix
        if not seeds or records.startswith(seeds) or (records and seeds.startswith(records)):
            msg = "seed_prefix must have a value, and neither of the two prefixes lie in the other"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _key_is_used(self) -> Self:
        if self.kms_key_id and self.encryption != "aws:kms":
            msg = 'kms_key_id is used with encryption = "aws:kms" only; set that, or leave it out'
            raise ValueError(msg)
        return self


class BuildSettings(Section):
    """Table `[builds]`: CodeBuild. A value that is not set here stays as the project has it."""

    project: str = "{repository}"
    endpoint_url: Url | None = None

    _project_fields = field_validator("project")(_checked_template)
    buildspec: str | None = None
    timeout_minutes: int | None = Field(default=None, ge=5, le=2_160)
    queued_timeout_minutes: int | None = Field(default=None, ge=5, le=480)
    request_variables: Texts = ("*",)


class PipelineSettings(Section):
    """Table `[pipelines]`: CodePipeline. The `[[rules]]` name the pipelines."""

    endpoint_url: Url | None = None


class LogSettings(Section):
    """Table `[log]`: structured logs on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class StatusSettings(Section):
    """Table `[status]`: the page, health and metrics."""

    listen: str = "127.0.0.1:8080"
    hosts: tuple[str, ...] = ()
    token: SecretReference | None = None
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

    @property
    def local_address(self) -> tuple[str, int]:
        """Host and port for requests from this machine."""
        host, port = self.address
        return _HERE.get(host, host), port
