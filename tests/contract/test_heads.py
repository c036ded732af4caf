"""Heads of refs on two servers with versioned buckets: several writers, and lost answers."""

import uuid
from collections.abc import AsyncIterator  # noqa: TC003 - in an annotation as a string
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.chaos_proxy import Fault, Odds, open_chaos_proxy
from support.codebuild import make_push
from support.servers import REGION
from support.wait import PATIENCE_SECONDS
from support.wire import Call, Tapped, open_cutting_proxy, refused

from asyncbuild.aws.session import Aws
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.ledger_records import Head, head_record, read_head
from asyncbuild.config import AwsSettings, Settings, StorageSettings
from asyncbuild.domain.errors import StageError
from asyncbuild.domain.model import Push
from asyncbuild.local.servers.children import LocalServer
from asyncbuild.storage.s3 import Store

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

BUCKET = "heads"

pytestmark = pytest.mark.parametrize("server_name", ["seaweedfs", "ministack"])


@pytest.fixture
def server(request: pytest.FixtureRequest, server_name: str) -> LocalServer:
    """Return the server that the test's parameter names."""
    found = request.getfixturevalue(server_name)
    assert isinstance(found, LocalServer)
    return found


@asynccontextmanager
async def _open_client(endpoint_url: str, *, max_tries: int = 3) -> "AsyncIterator[S3Client]":
    """Open the client that the service itself would use."""
    aws = AwsSettings(region=REGION, endpoint_url=endpoint_url, max_tries=max_tries)
    settings = Settings(aws=aws, storage=StorageSettings(addressing_style="path"))
    async with Aws(settings).open_s3(pool=20) as client:
        yield client


@pytest.fixture
async def client(server: LocalServer) -> "AsyncIterator[S3Client]":
    """Open a client of the server, and create a bucket that keeps versions on it."""
    async with _open_client(server.endpoint_url) as client:
        try:
            await client.head_bucket(Bucket=BUCKET)
        except ClientError:
            await client.create_bucket(
                Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
            await client.put_bucket_versioning(
                Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}
            )
        yield client


def _ledger(client: object, prefix: str) -> Ledger:
    store = Store(client, StorageSettings(bucket=BUCKET))  # type: ignore[arg-type] # may be Tapped
    return Ledger(store, prefix=prefix)


def _pushes(count: int) -> list[Push]:
    """Return pushes of one ref, a second apart, each of a commit of its own."""
    first = make_push(1)
    return [
        replace(make_push(n), id=f"e{n}", time=first.time + timedelta(seconds=n))
        for n in range(1, count + 1)
    ]


async def _versions(client: "S3Client", prefix: str) -> int:
    listed = await client.list_object_versions(Bucket=BUCKET, Prefix=prefix)
    return len(listed.get("Versions", []))


# --- several writers ------------------------------------------------------------------------------

_FAULTS = ("unsent", "unanswered", "repeated", "conflict")


@dataclass
class _Race:
    """Writers of one head, each of whose calls waits for its turn in a schedule."""

    client: "S3Client"
    prefix: str
    faults: list[str]
    written: list[Head] = field(default_factory=list)
    gates: dict[int, anyio.Semaphore] = field(default_factory=dict)
    called: dict[int, anyio.Event] = field(default_factory=dict)

    def tapped(self, writer: int) -> Tapped:
        """Return the client of a writer."""
        self.gates[writer], self.called[writer] = anyio.Semaphore(0), anyio.Event()

        async def turn(call: Call, parameters: dict[str, Any]) -> object:
            await self.gates[writer].acquire()
            try:
                return await self._call(call, parameters)
            finally:
                self.called[writer].set()

        return Tapped(self.client, get_object=turn, put_object=turn)

    async def _call(self, call: Call, parameters: dict[str, Any]) -> object:
        fault = self.faults.pop() if self.faults else ""
        if "Body" not in parameters:
            return await call(**parameters)
        if fault == "unsent":
            raise ConnectionClosedError(endpoint_url="http://s3")
        if fault == "conflict":
            raise refused("ConditionalRequestConflict", status=409)
        answer = await call(**parameters)
        self.written.append(read_head("", parameters["Body"]))
        if fault == "unanswered":
            raise ConnectionClosedError(endpoint_url="http://s3")
        if fault == "repeated":  # by botocore, whose first answer was lost
            return await call(**parameters)
        return answer

    async def write(self, writer: int, push: Push) -> None:
        """Read and write the head, as a dispatch does; a failed one is tried again."""
        ledger = _ledger(self.tapped(writer), self.prefix)
        try:
            while True:
                try:
                    known = await ledger.set_head(push, await ledger.read_head(push))
                except StageError:
                    continue  # each takes a fault, and there are few
                assert known.newest is not None
                assert known.newest.time >= push.time
                return
        finally:
            self.gates[writer] = anyio.Semaphore(10**9)
            self.called[writer].set()

    async def step(self, writer: int) -> None:
        """Let one call of a writer pass, and wait until it was made."""
        self.called[writer] = anyio.Event()
        called = self.called[writer]
        gate = self.gates[writer]
        if gate.value > 1:  # it has ended
            return
        gate.release()
        await called.wait()


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    order=st.permutations([0, 1, 2]),
    schedule=st.lists(st.sampled_from([0, 1, 2]), max_size=12),
    faults=st.lists(st.sampled_from(["", *_FAULTS]), max_size=4),
)
async def test_a_head_never_goes_back(
    client: "S3Client", order: list[int], schedule: list[int], faults: list[str]
) -> None:
    """However three writers' calls interleave: otherwise a push between two heads looks new."""
    prefix = f"{uuid.uuid4()}/"
    pushes = _pushes(3)
    race = _Race(client, prefix, list(faults))
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            for writer, number in enumerate(order):
                tasks.start_soon(race.write, writer, pushes[number])
            while len(race.gates) < len(order):
                await anyio.lowlevel.checkpoint()
            for writer in schedule:
                await race.step(writer)
            for gate in race.gates.values():
                for _ in range(100):
                    gate.release()
    times = [each.time for each in race.written]
    assert times == sorted(set(times)), "an older push replaced a newer one"
    head = await _ledger(client, prefix).head(pushes[0])
    assert head is not None
    assert head.event_id == pushes[-1].id
    assert head == race.written[-1]
    befores = ["", *(each.commit for each in race.written[:-1])]
    assert [each.before for each in race.written] == befores
    assert await _versions(client, prefix) == len(race.written)


async def test_an_older_versions_write_is_seen(client: "S3Client") -> None:
    """A task of the version before writes without a condition, between our read and our write."""
    prefix = f"{uuid.uuid4()}/"
    ledger, (first, second, third) = _ledger(client, prefix), _pushes(3)
    key = LedgerKeys(prefix).head(first)
    await ledger.set_head(first)
    known = await ledger.read_head(second)
    store = Store(client, StorageSettings(bucket=BUCKET))
    newer = Head(third.commit, third.time, third.id, first.commit)
    await store.replace_record(key, head_record(newer, ref=third.ref))
    assert (await ledger.set_head(second, known)).newest == newer
    assert await ledger.head(second) == newer


async def test_a_head_that_was_deleted_is_written(client: "S3Client") -> None:
    """S3 says NoSuchKey to a condition on what is not there (user guide, "Conditional writes")."""
    prefix = f"{uuid.uuid4()}/"
    ledger, (first, second) = _ledger(client, prefix), _pushes(2)
    await ledger.set_head(first)
    known = await ledger.read_head(second)
    await client.delete_object(Bucket=BUCKET, Key=LedgerKeys(prefix).head(first))
    await ledger.set_head(second, known)
    head = await ledger.head(second)
    assert head is not None
    assert (head.event_id, head.before) == (second.id, "")


# --- lost answers ---------------------------------------------------------------------------------


async def test_a_head_whose_answer_was_lost_is_written_once(
    server: LocalServer, client: "S3Client"
) -> None:
    """The call is repeated, and refused because of itself; it is not taken for another's."""
    prefix = f"{uuid.uuid4()}/"
    pushes = _pushes(2)
    for push in pushes:
        lose = f"PUT /{BUCKET}/".encode()
        async with (
            open_cutting_proxy(server.endpoint_url, lose_answer=lose) as url,
            _open_client(url) as cut,
        ):
            ledger = _ledger(cut, prefix)
            known = await ledger.set_head(push, await ledger.read_head(push))
        assert known.newest is not None
        assert known.newest.event_id == push.id
    head = await _ledger(client, prefix).head(pushes[1])
    assert head is not None
    assert (head.event_id, head.before) == (pushes[1].id, pushes[0].commit)
    assert await _versions(client, prefix) == len(pushes)


async def test_heads_follow_each_other_through_faults(
    server: LocalServer, client: "S3Client"
) -> None:
    """Half of the requests fail in some way: each head still names the one before it."""
    prefix = f"{uuid.uuid4()}/"
    rates = {Fault.ERROR: 0.1, Fault.THROTTLE: 0.1, Fault.CUT_BEFORE: 0.1, Fault.CUT_AFTER: 0.2}
    before = ""
    async with (
        open_chaos_proxy("s3", server.endpoint_url, seed=1, odds=Odds(rates)) as proxy,
        _open_client(proxy.endpoint_url(0), max_tries=1) as faulty,
    ):
        ledger = _ledger(faulty, prefix)
        for push in _pushes(12):
            for _ in range(50):
                try:
                    known = await ledger.set_head(push, await ledger.read_head(push))
                    break
                except StageError:
                    continue
            else:
                pytest.fail("no try worked")
            assert known.newest is not None
            assert (known.newest.event_id, known.newest.before) == (push.id, before)
            before = push.commit
    assert proxy.counts["PutObject", Fault.CUT_AFTER] > 0
    assert await _versions(client, prefix) == 12


# --- servers that lack the condition --------------------------------------------------------------


@pytest.mark.parametrize("lacks", ["refuses it", "ignores it"])
async def test_a_server_without_the_condition_gets_heads_all_the_same(
    client: "S3Client", lacks: str
) -> None:
    """The server is asked once for what it does not know; then heads are written as before."""
    prefix = f"{uuid.uuid4()}/"
    asked: list[str] = []

    async def lack(call: Call, parameters: dict[str, Any]) -> object:
        if etag := parameters.pop("IfMatch", ""):
            asked.append(etag)
            if lacks == "refuses it":
                raise refused("NotImplemented", status=501)
        return await call(**parameters)

    ledger = _ledger(Tapped(client, put_object=lack), prefix)
    for push in _pushes(3):
        await ledger.set_head(push, await ledger.read_head(push))
        head = await ledger.head(push)
        assert head is not None
        assert head.event_id == push.id
    assert len(asked) == (1 if lacks == "refuses it" else 2)
    assert await _versions(client, prefix) == 3
