"""Check of the event bus that outcome events are sent to. Changes nothing anywhere."""

from collections.abc import AsyncIterator

from asyncbuild.aws.classify import errors_of
from asyncbuild.aws.error_codes import lacks_right
from asyncbuild.aws.session import Aws
from asyncbuild.checks.judges.bus import (
    judge_bus,
    judge_missing_bus,
    judge_unknown_bus,
)
from asyncbuild.checks.judges.finding import Finding
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import StageError


async def look_at_bus(aws: Aws, settings: Settings) -> AsyncIterator[Finding]:
    """Yield the finding about the event bus; none without one.

    Args:
        aws: Session of the service.
        settings: The whole configuration.

    Raises:
        StageError: EventBridge cannot be reached.
    """
    name = settings.reports.event_bus
    if not name:
        return
    async with aws.open_events(pool=1) as events:
        try:
            with errors_of(f"look for event bus {name}", peer="events"):
                await events.describe_event_bus(Name=name)
        except StageError as error:
            if lacks_right(error.code):
                yield judge_unknown_bus(name, error)
            elif error.code == "ResourceNotFoundException":
                yield judge_missing_bus(name)
            else:
                raise
        else:
            yield judge_bus(name)
