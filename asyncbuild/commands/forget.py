"""`asyncbuild forget`: count the records that name a person, or remove the name."""

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

from asyncbuild.aws.session import Aws
from asyncbuild.builds.persons.name_removal import NameCount, NameRemoval
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import ConfigError
from asyncbuild.domain.foreign_text import plain, to_json
from asyncbuild.storage.old_versions import StoredVersions
from asyncbuild.storage.s3 import Store

_SHOWN_MOST: Final = 10
_AT_ONCE: Final = 16
OUT_OF_REACH: Final = (
    "logs and traces (their own retention)",
    "messages and dead letters of the queues (14 days at most; dead-letters drop)",
    "CodeBuild's and CodePipeline's own histories, where PUSHER is a variable of the builds",
    "commits, webhooks and events at the forge",
    "copies of the bucket: replicas, backups, inventories",
)


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """Name to remove, and how far to go.

    Attributes:
        name: The name.
        change: Remove it; only count otherwise.
        versions: Look at older versions, too.
        as_json: Tell the counts as JSON.
    """

    name: str
    change: bool
    versions: bool
    as_json: bool


async def run(settings: Settings, request: ForgetRequest) -> int:
    """Count or remove, and tell; return 1 if the name is still there, else 0.

    Args:
        settings: All settings.
        request: What to remove.

    Raises:
        ConfigError: storage.bucket is empty.
        StageError: S3 refused, or cannot be reached; what was removed stays so.
    """
    if not settings.storage.bucket:
        raise ConfigError("storage.bucket is empty", remedy="set it to the bucket of the ledger")
    async with Aws(settings).open_s3(pool=_AT_ONCE + 2) as s3:
        versions = StoredVersions(s3, settings.storage.bucket)
        kept = await versions.are_kept()
        removal = NameRemoval(
            Store(s3, settings.storage),
            prefix=settings.storage.ledger_prefix,
            name=request.name,
            change=request.change,
        )
        await removal.run()
        if request.versions:  # afterwards: a rewritten record has left one, too
            await removal.run_versions(versions)
    count = removal.count
    if request.as_json:
        told = {**asdict(count), "changed": request.change, "versions_are_kept": kept}
        sys.stdout.buffer.write(to_json({**told, "out_of_reach": OUT_OF_REACH}, newline=True))
    else:
        for line in _lines(count, request, kept=kept):
            sys.stdout.write(f"{line}\n")
    return 1 if _is_left(count, request) else 0


def _is_left(count: NameCount, request: ForgetRequest) -> bool:
    if not request.change:
        return bool(count.records or count.versions)
    return bool(count.busy) or count.deleted < count.versions


def _lines(count: NameCount, request: ForgetRequest, *, kept: bool) -> Iterator[str]:
    fields = ", ".join(f"{name}: {number}" for name, number in sorted(count.fields.items()))
    where = f" ({fields})" if fields else ""
    yield f"{count.records} of {count.looked} records name {plain(request.name, 200)}{where}"
    if request.versions:
        done = f", {count.deleted} deleted" if request.change else ""
        yield f"{count.versions} older versions name it{done}"
    elif kept:
        yield (
            "the bucket keeps versions: older ones name it until a lifecycle rule deletes them, "
            "or --versions does"
        )
    if request.change:
        yield f"{count.rewritten} records rewritten"
    elif _is_left(count, request):
        yield "nothing was changed: say --yes to remove the name"
    yield from _keys("written by others each time; repeat the command", count.busy)
    yield from _keys("not readable, and left alone", count.unreadable)
    yield from _keys("with the name in another text, such as a ref or a reason", count.mentioned)
    yield "out of reach: " + "; ".join(OUT_OF_REACH)


def _keys(what: str, keys: list[str]) -> Iterator[str]:
    if keys:
        yield f"{len(keys)} records {what}:"
        yield from (f"  {plain(key, 300)}" for key in sorted(keys)[:_SHOWN_MOST])
        if len(keys) > _SHOWN_MOST:
            yield f"  and {len(keys) - _SHOWN_MOST} more (--json lists them)"
