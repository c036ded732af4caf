"""`asyncbuild forget`: a person's name leaves the ledger, on real buckets with versions."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.codebuild import make_push
from support.servers import REGION

from asyncbuild.aws.session import Aws
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.persons.name_removal import NameRemoval
from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.commands import forget
from asyncbuild.commands.forget import ForgetRequest
from asyncbuild.config import AwsSettings, Settings, StorageSettings
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Action, Build, Message, Outcome, StoredRecord, Target, Verdict
from asyncbuild.domain.results.build_result import BuildResult, BuildStatus
from asyncbuild.storage.s3 import Store

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from asyncbuild.local.servers.children import LocalServer

JANE = "arn:aws:sts::123456789012:assumed-role/Dev/jane"
PREFIX = "ledger/"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
TARGET = Target(Action.BUILD, "web.zip", "web", rule="all")


@dataclass
class ForgetSite:
    """Bucket that keeps versions, and the ledger in it."""

    settings: Settings
    s3: "S3Client"
    store: Store

    async def fill(self) -> None:
        """Write four pushes, one of them rejected, and two results."""
        ledger, results = Ledger(self.store, prefix=PREFIX), ResultLedger(self.store, prefix=PREFIX)
        pushers = (JANE, "john", "jane")
        for number, pusher in enumerate(pushers, 1):
            push = replace(make_push(number), pusher=pusher)
            build = Build(f"web:u{number}")
            outcome = Outcome(Verdict.BUILT, f"rule all, of {pusher}", TARGET, build=build)
            await ledger.record(push, outcome)
            if number < 3:
                started = await results.record_start(push, outcome)
                assert started is not None
                by = "Dev/jane" if number == 2 else "asyncbuild"
                result = BuildResult(started.of, BuildStatus.FAILED, NOON, initiator=by)
                await results.record_result(started, result)
        rejected = replace(make_push(9), pusher="Jane")
        for _ in range(2):  # the second replaces the first, which stays as a version
            message = Message("m", "{}", "handle", "g", 1)
            await ledger.record_rejected(message, rejected, Reject("no"), attempts=1)

    async def bodies(self, *, old: bool = False) -> dict[str, list[Any]]:
        """Return the JSON of all records, or of their older versions, by key."""
        found: dict[str, list[Any]] = {}
        answer = await self.s3.list_object_versions(Bucket=self.settings.storage.bucket)
        for each in answer.get("Versions", []):
            if each["Size"] and each["IsLatest"] is not old:
                body = await self.s3.get_object(
                    Bucket=self.settings.storage.bucket,
                    Key=each["Key"],
                    VersionId=each["VersionId"],
                )
                found.setdefault(each["Key"], []).append(orjson.loads(await body["Body"].read()))
        return found

    async def forget(self, **asked: bool) -> int:
        """Run the command."""
        wanted = {"change": False, "versions": False, "as_json": False, **asked}
        return await forget.run(self.settings, ForgetRequest("jane", **wanted))


@pytest.fixture(params=["ministack", "seaweedfs"])
async def site(request: pytest.FixtureRequest) -> AsyncIterator[ForgetSite]:
    """Yield a bucket that keeps versions, with records."""
    server: LocalServer = request.getfixturevalue(request.param)
    name = f"forget-{uuid.uuid4().hex[:12]}"
    aws = AwsSettings(region=REGION, endpoint_url=server.endpoint_url, max_tries=1)
    storage = StorageSettings(bucket=name, ledger_prefix=PREFIX, addressing_style="path")
    settings = Settings(aws=aws, storage=storage)
    async with Aws(settings).open_s3(pool=8) as s3:
        await s3.create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        await s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        made = ForgetSite(settings, s3, Store(s3, storage))
        await made.fill()
        yield made


def _names(bodies: dict[str, list[Any]]) -> list[str]:
    fields = ("pusher", "initiator")
    told = [
        str(body.get(name) or "") for each in bodies.values() for body in each for name in fields
    ]
    return sorted(filter(None, told))


async def test_without_yes_nothing_changes(
    site: ForgetSite, capsys: pytest.CaptureFixture[str]
) -> None:
    """The counts are told, and exit code 1 says that the name is there."""
    before = await site.bodies()
    assert await site.forget(versions=True) == 1
    assert await site.bodies() == before
    told = capsys.readouterr().out
    assert "4 of 6 records name jane (initiator: 1, pusher: 3)" in told
    assert "1 older versions name it" in told
    assert "nothing was changed" in told


async def test_the_name_is_gone_and_all_else_as_it_was(
    site: ForgetSite, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records stay whole and readable; a second run finds nothing."""
    before = await site.bodies()
    assert await site.forget(change=True) == 0
    assert "4 records rewritten" in capsys.readouterr().out
    after = await site.bodies()
    assert _names(after) == ["asyncbuild", "john"]
    for key, bodies in before.items():
        for old, new in zip(bodies, after[key], strict=True):
            gone = {"pusher": new.get("pusher"), "initiator": new.get("initiator")}
            assert {**old, **gone} == {**new, **gone}
    ledger = ResultLedger(site.store, prefix=PREFIX)
    found = await ledger.find_results(make_push().repository, since=make_push().time)
    assert [each.result.initiator for each in found] == ["asyncbuild", ""]
    assert await site.forget() == 0
    told = capsys.readouterr().out
    assert "0 of 6 records name jane" in told
    assert "older ones name it" in told
    assert "2 records with the name in another text" in told  # reasons of records


async def test_older_versions_are_deleted_on_request(site: ForgetSite) -> None:
    """Also those that the removal itself has left, and no others."""
    assert "Jane" in _names(await site.bodies(old=True))
    assert await site.forget(change=True, versions=True) == 0
    assert _names(await site.bodies(old=True)) == []
    assert _names(await site.bodies()) == ["asyncbuild", "john"]
    assert await site.forget(versions=True) == 0


async def test_what_the_service_writes_meanwhile_stays(site: ForgetSite) -> None:
    """A record that changes between read and write is read again; one that always does is told."""
    store = site.store

    class Busy(Store):
        """Another writer is first, once for pushes and each time for results."""

        async def read_stored(self, key: str, **more: int) -> StoredRecord | None:
            """Read, and let the other write afterwards."""
            found = await super().read_stored(key, **more)
            if found is not None and (key not in written or key.startswith(f"{PREFIX}result/")):
                told = orjson.loads(found.body)
                written[key] = told.get("attempts", 0) + len(written) + 100
                body = orjson.dumps({**told, "attempts": written[key]})
                await store.replace_record(key, body)
            return found

    written: dict[str, int] = {}
    busy = Busy(site.s3, site.settings.storage)
    removal = NameRemoval(busy, prefix=PREFIX, name="jane", change=True)
    await removal.run()
    assert removal.count.rewritten == 3
    assert len(removal.count.busy) == 1
    after = await site.bodies()
    assert _names(after) == ["Dev/jane", "asyncbuild", "john"]
    assert {
        key: bodies[0]["attempts"] for key, bodies in after.items() if key in written
    } == written
