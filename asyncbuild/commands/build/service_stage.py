"""Stage of a push in the service that shows its status on this machine, if one does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import StageError
from asyncbuild.status import remote
from asyncbuild.status.phrases import doing

_ASK_SECONDS: Final = 2.0


class ServiceStage:
    """Asks the service; after a failure it is not asked again.

    Args:
        session: Session for its address.
        url: URL of its status document; empty if there is none.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def find(self, event_id: str) -> str:
        """Return what the service does for a push, in words; empty if that is not known."""
        if not self._url:
            return ""
        try:
            status = await remote.fetch(self._session, self._url)
        except StageError:
            self._url = ""
            return ""
        held = (push for lane in status.lanes for push in lane.pushes if push.event_id == event_id)
        found = next(held, None)
        return doing(found) if found is not None else "waits in the queue"


@asynccontextmanager
async def open_stage(settings: Settings) -> AsyncIterator[ServiceStage]:
    """Open the stage of pushes in the service at `status.listen`.

    Raises:
        StageError: Its token cannot be read.
    """
    async with remote.open_session(settings, timeout_seconds=_ASK_SECONDS) as session:
        try:
            url = remote.document_url("", settings.status)
        except StageError:
            url = ""
        yield ServiceStage(session, url)
