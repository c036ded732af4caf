"""Reader of the ledger for `asyncbuild explain`: records of pushes, with their results."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import anyio

from asyncbuild.aws.session import Aws
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.commands.explain_results import Record, has_failed, started_id_of, with_result
from asyncbuild.commands.explain_text import is_record_about
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.results.build_result import BuildResult, StartedId
from asyncbuild.runtime.tasks import for_each
from asyncbuild.storage.s3 import Store

_AT_ONCE: Final = 16


class LedgerReader:
    """Reads records of pushes, and results of what they started.

    Args:
        ledger: Records of pushes.
        results: Results.
    """

    def __init__(self, ledger: Ledger, results: ResultLedger) -> None:
        self._ledger = ledger
        self._results = results

    async def find_records(
        self, name: str, what: str | None, *, since: datetime, failed: bool
    ) -> list[Record]:
        """Return the records of a repository, or of all.

        Args:
            name: Name of the repository, or ACCOUNT/REGION/NAME; empty for all.
            what: A branch, a ref, a commit or an event id; None for all.
            since: Earliest time of a push.
            failed: Only records of what has failed; these have the field `result`.

        Raises:
            StageError: S3 refused.
        """
        found: list[Record] = []
        room = anyio.CapacityLimiter(_AT_ONCE)

        async def read(repository: Repository) -> None:
            async with room:
                results = await self._results_of(repository, since) if failed else {}
                async for record in self._ledger.iter_pushes(repository, since=since):
                    if what is None or is_record_about(record, what):
                        told = with_result(record, results) if failed else record
                        found.append(told)

        async with anyio.create_task_group() as tasks:
            for each in await self._ledger.find_repositories(name):
                tasks.start_soon(read, each)
        return [each for each in found if has_failed(each)] if failed else found

    async def with_results(self, records: Sequence[Record]) -> list[Record]:
        """Return records with the field `result`, where something was started.

        Costs two reads for each. A result that cannot be read is left out.

        Raises:
            StageError: S3 refused.
        """
        unknown = [each for each in records if "result" not in each]
        started = [of for each in unknown if (of := started_id_of(each)) is not None]
        found = await for_each(self._find, started)
        results = {of: result for of, result in zip(started, found, strict=True) if result}
        return [each if "result" in each else with_result(each, results) for each in records]

    async def _results_of(
        self, repository: Repository, since: datetime
    ) -> dict[StartedId, BuildResult]:
        listed = await self._results.find_results(repository, since=since)
        return {each.result.of: each.result for each in listed}

    async def _find(self, of: StartedId) -> BuildResult | None:
        try:
            return await self._results.find_result_of(of)
        except Reject:
            return None


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator[LedgerReader]:
    """Open a reader of the bucket's ledger."""
    async with Aws(settings).open_s3(pool=_AT_ONCE) as s3:
        store, prefix = Store(s3, settings.storage), settings.storage.ledger_prefix
        yield LedgerReader(Ledger(store, prefix=prefix), ResultLedger(store, prefix=prefix))
