"""The status port alone: answers, headers, limits, and faults behind it."""

import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import anyio.to_thread
import orjson
import pytest
from support.listening import hearing
from support.proxy import closed_port
from support.status import built, held, state
from support.wait import PATIENCE_SECONDS

from asyncbuild.config import GitSettings, Settings, StatusSettings
from asyncbuild.domain.errors import Busy, NoPermission, Outage, Reject, Retry
from asyncbuild.domain.events.queue_events import ConsumerStoppedReceiving
from asyncbuild.domain.results.build_result import BuildResult, BuildStatus, StartedId
from asyncbuild.runtime import log as logs
from asyncbuild.runtime.emit import about, emit, subscribed
from asyncbuild.status import health, remote, top
from asyncbuild.status.results.lookup import FindResult
from asyncbuild.status.server import Sources, open_status


async def _depth() -> tuple[int, int, int]:
    return 1, 2, 3


async def _credentials() -> object:
    return "found"


@asynccontextmanager
async def _serving(
    directory: Path,
    *,
    credentials: Callable[[], Awaitable[object]] = _credentials,
    listen: str = "127.0.0.1:0",
    hosts: tuple[str, ...] = (),
    token: str | None = None,
    find_result: FindResult | None = None,
) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the address, and the lines that are logged."""
    settings = Settings(
        git=GitSettings(cache_directory=directory),
        status=StatusSettings(listen=listen, hosts=hosts, token=token),
        results={"url": "https://sqs.eu-west-1.amazonaws.com/123456789012/results"},
    )
    logs.mute()
    sources = Sources(state, _depth, credentials, _depth, find_result)
    with hearing() as lines:
        async with open_status(settings, sources):
            address = next((str(each["address"]) for each in lines if "address" in each), "")
            yield address, lines


async def _get(address: str, **headers: str) -> tuple[int, str, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(address, headers=headers) as answer,
    ):
        return answer.status, await answer.text(), answer.headers


async def test_only_reading_is_allowed(tmp_path: Path) -> None:
    """Strict headers on every answer; other methods and other host names are refused."""
    async with _serving(tmp_path) as (address, _):
        for path in ("", "page.css", "page.js", "favicon.svg", "status.json", "healthz", "none"):
            status, _, headers = await _get(address + path)
            assert status == (404 if path == "none" else 200)
            policy = headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self';")
            assert "unsafe" not in policy
            assert headers["X-Content-Type-Options"] == "nosniff"
        async with aiohttp.ClientSession() as session, session.post(address) as answer:
            assert answer.status == 405
        assert (await _get(address, Host="rebound.example"))[0] == 403
        assert (await _get(address, Host="localhost:1234"))[0] == 200


@pytest.mark.parametrize(
    ("listen", "name", "status"),
    [
        ("127.0.0.1", "rebound.example", 403),
        ("127.0.0.1", "192.0.2.7", 403),
        ("127.0.0.1", "Builds.Example", 200),
        ("0.0.0.0", "rebound.example", 403),  # noqa: S104 - reached by 127.0.0.1 alone
        ("0.0.0.0", "192.0.2.7", 200),  # noqa: S104 - the same
        ("0.0.0.0", "[2001:db8::7]:80", 200),  # noqa: S104 - the same
        ("0.0.0.0", "builds.example:8080", 200),  # noqa: S104 - the same
    ],
)
async def test_a_foreign_name_is_refused_on_every_address(
    tmp_path: Path, listen: str, name: str, status: int
) -> None:
    """An IP address in Host comes from a user.

    A name may be a foreign page's, unless configured.
    """
    async with _serving(tmp_path, listen=f"{listen}:0", hosts=("builds.example",)) as (address, _):
        here = address.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - where to reach it
        assert (await _get(here + "status.json", Host=name))[0] == status


async def test_all_but_probes_need_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token may be a bearer token or a password; the commands send it; it is never shown."""
    monkeypatch.setenv("STATUS_TOKEN", "s3cret-é")
    basic, wrong = (
        f"Basic {b64encode(pair.encode()).decode()}"
        for pair in ("anyone:s3cret-é", "s3cret-é:wrong")
    )
    reference = "env:STATUS_TOKEN"
    async with _serving(tmp_path, token=reference) as (address, lines):
        for path in ("", "metrics", "status.json", "page.js"):
            for given in ("", "Bearer wrong", "Basic !", "Digest x", wrong):
                status, text, headers = await _get(address + path, Authorization=given)
                assert (status, headers["WWW-Authenticate"][:5]) == (401, "Basic")
                assert "s3cret" not in text
            assert (await _get(address + path, Authorization=basic))[0] == 200
        assert (await _get(address + "healthz"))[0] == 200
        assert (await _get(address + "readyz"))[0] in {200, 503}
        settings = Settings(status=StatusSettings(token=reference))
        async with remote.open_session(settings) as session:
            assert (await remote.fetch(session, address + "status.json")).version
        async with remote.open_session(None) as session:
            with pytest.raises(Reject, match="answers 401"):
                await remote.fetch(session, address + "status.json")
    assert "s3cret" not in str(lines)


_ODD = (
    *(
        b"",
        b" ",
        b":",
        b"[",
        b"[::1",
        b"::1",
        b"[::1]:x",
        b"h:99999",
        b"h:-1",
        b"h:1:2",
        b"@",
        b"a@b",
    ),
    *(
        b"h/../x",
        b"h?x",
        b"h#x",
        b"%",
        b"%00",
        b"%zz",
        b"xn--a",
        b"a..b",
        b"1.2.3.4.5",
        b"\x80",
        b"\xff",
    ),
    *("é".encode(), "h\u0131".encode(), "\u202e".encode(), b"a" * 7_000, b"9" * 5_000, b"[v1.a]"),
)


@pytest.mark.parametrize("name", [b"Host", b"Authorization", b"path"])
async def test_no_bytes_of_a_request_are_a_server_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    """Any request is answered with a status of 4xx, and logs no line."""
    monkeypatch.setenv("STATUS_TOKEN", "s3cret")
    values = [
        prefix + each
        for each in _ODD
        for prefix in ((b"Basic ", b"Bearer ", b"") if name == b"Authorization" else (b"",))
    ]
    async with _serving(tmp_path, token="env:STATUS_TOKEN") as (address, lines):
        port = int(address.rstrip("/").rpartition(":")[2])
        before = list(lines)
        for value in values:
            said = {b"Host": b"localhost", b"path": b"/status.json"} | {name: value}
            path = said.pop(b"path")
            head = b"".join(b"%s: %s\r\n" % each for each in said.items())
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(b"GET %s HTTP/1.1\r\n%sConnection: close\r\n\r\n" % (path, head))
                answer = await stream.receive()
            assert re.match(rb"HTTP/1\.[01] 4\d\d ", answer), (value, answer[:100])
        assert lines == before


async def test_not_ready_has_a_reason(tmp_path: Path) -> None:
    """503 while the queue has not answered or credentials are refused, but alive all the same."""

    async def refused() -> object:
        raise NoPermission("no credentials", remedy="give the task a role")

    async with _serving(tmp_path, credentials=refused) as (address, _):
        with anyio.fail_after(PATIENCE_SECONDS):
            while "no credentials" not in (said := await _get(address + "readyz"))[1]:  # noqa: ASYNC110 - seen from outside
                await anyio.sleep(0.02)
        assert said[0] == 503
        assert "FAIL queue: the queue has not answered yet" in said[1]
        assert "ok   disk:" in said[1]
        assert (await _get(address + "healthz"))[0] == 200


async def test_a_probe_reports_the_services_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alive at once; ready only when every check is; the address comes from the settings."""

    async def ask(port: int, *, ready: bool) -> str:
        at = StatusSettings(listen=f"0.0.0.0:{port}")
        return await anyio.to_thread.run_sync(partial(health.ask, at, ready=ready))

    monkeypatch.setattr(health, "_TIMEOUT_SECONDS", PATIENCE_SECONDS)
    async with _serving(tmp_path) as (address, _):
        port = int(address.rstrip("/").rpartition(":")[2])
        assert await ask(port, ready=False) == "alive\n"
        with pytest.raises(Busy, match=r"(?s)/readyz at .* answers 503: not ready.*FAIL queue"):
            await ask(port, ready=True)
    with (
        closed_port() as port,
        pytest.raises(Outage, match=r"no service answers at status\.listen = '0.0.0.0:"),
    ):
        await ask(port, ready=False)


def test_a_probe_succeeds_without_a_page() -> None:
    """The page is off by setting, so there is nothing to ask."""
    assert "off" in health.ask(StatusSettings(listen="off"), ready=True)


def test_the_probe_reads_the_services_file(tmp_path: Path) -> None:
    """The file is named by a variable, as in a container.

    Exit code and remedy if nothing answers.
    """
    path = tmp_path / "config.toml"
    path.write_text('[status]\nlisten = "127.0.0.1:1"\n')
    done = subprocess.run(
        [sys.executable, "-m", "asyncbuild", "health"],
        env={**os.environ, "ASYNCBUILD_CONFIG": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 69
    assert "status.listen = '127.0.0.1:1': [Errno 111] Connection refused" in done.stderr
    assert "ASYNCBUILD_CONFIG" in done.stderr


async def test_a_bug_in_the_status_page_stops_nothing(tmp_path: Path) -> None:
    """The bug is logged once, as an error; the port still answers."""

    async def broken() -> object:
        raise ZeroDivisionError

    async with _serving(tmp_path, credentials=broken) as (address, lines):
        with anyio.fail_after(PATIENCE_SECONDS):
            while not any(line["event"] == "status.bug" for line in lines):  # noqa: ASYNC110 - a log has no event
                await anyio.sleep(0.02)
        assert (await _get(address + "healthz"))[0] == 200


async def test_a_failing_listener_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Other listeners receive the line, and the caller goes on."""

    def broken(_: object) -> None:
        raise ZeroDivisionError

    async with _serving(tmp_path) as (_, lines):
        with subscribed(broken):
            emit(ConsumerStoppedReceiving(lanes=0))
    assert any(line["event"] == "consumer.stopped-receiving" for line in lines)
    assert "a listener failed at consumer.stopped-receiving" in caplog.text


async def test_the_number_of_readers_is_limited(tmp_path: Path) -> None:
    """Thirty-two may stay; the next is asked to come again."""
    async with (
        _serving(tmp_path) as (address, _),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        answers = [await session.get(address + "events") for _ in range(33)]
        assert [answer.status for answer in answers] == [200] * 32 + [503]
        assert answers[-1].headers["Retry-After"] == "30"
        for answer in answers:
            answer.close()


async def test_a_reader_sees_results_that_another_task_recorded(tmp_path: Path) -> None:
    """While somebody reads the document, the ledger is asked about builds without an end."""

    async def find(of: StartedId) -> BuildResult:
        return BuildResult(of, BuildStatus.FAILED, datetime.now(UTC), phase="BUILD")

    async with _serving(tmp_path, find_result=find) as (address, _):
        push = held("event-1").work.push
        assert push
        with about(push):
            emit(built().event)
        with anyio.fail_after(PATIENCE_SECONDS):
            while True:
                _, text, _ = await _get(f"{address}status.json")
                (row,) = orjson.loads(text)["recent"]
                if row["result"] is not None:
                    break
                await anyio.sleep(0.1)
        assert (row["result"]["status"], row["result"]["phase"]) == ("failed", "BUILD")
        depth = orjson.loads(text)["results"]["queue"]
        assert (depth["waiting"], depth["dead_letters"]) == (1, 3)


async def test_top_shows_the_status_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses may be URLs or host and port; one without a server has a remedy."""
    monkeypatch.setattr(remote, "TIMEOUT_SECONDS", PATIENCE_SECONDS)
    async with _serving(tmp_path) as (address, _):
        for where in (address, address.removeprefix("http://").removesuffix("/")):
            await top.run(where, every_seconds=1, once=True)
            assert "nothing in flight" in capsys.readouterr().out
        with pytest.raises(Reject, match="404"):
            await top.run(f"{address}none", every_seconds=1, once=True)
    with closed_port() as port, pytest.raises(Retry, match="no answer from"):
        await top.run(f"http://127.0.0.1:{port}/", every_seconds=1, once=True)
    with pytest.raises(Reject, match=r"status\.listen is off"):
        await top.run("off", every_seconds=1, once=True)


@pytest.mark.parametrize(
    ("listen", "asked"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("[::]:8080", "[::1]:8080"),
        ("status.example:1", "status.example:1"),
    ],
)
def test_without_an_address_the_service_of_this_machine_is_asked(listen: str, asked: str) -> None:
    """At `status.listen`, by an address that a request can be sent to; an address comes first."""
    settings = StatusSettings(listen=listen)
    assert remote.document_url("", settings) == f"http://{asked}/status.json"
    assert remote.document_url("host:1", settings) == "http://host:1/status.json"


async def test_an_address_of_off_opens_no_port(tmp_path: Path) -> None:
    """No line is logged about one."""
    async with _serving(tmp_path, listen="off") as (address, lines):
        assert (address, lines) == ("", [])
