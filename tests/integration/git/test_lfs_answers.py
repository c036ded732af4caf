"""Answers of LFS servers and stores: signed URLs, redirects, expiry, limits, and malformed ones."""

import gzip
import hashlib
import json
import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.lfs import pointer_of
from support.mirrors import ACCOUNT, MAIN, REGION, Site, repository, zip_of
from support.repositories import SourceRepository
from support.wait import PATIENCE_SECONDS

from asyncbuild.config import GitSettings
from asyncbuild.domain.archive_options import ArchiveOptions, Lfs
from asyncbuild.domain.errors import Busy, Outage, Reject, Retry, StageError
from asyncbuild.domain.reachable import Reach
from asyncbuild.forges.remotes import Remotes
from asyncbuild.git.content.lfs.batch_api import find_server
from asyncbuild.git.content.lfs.download import Download
from asyncbuild.git.content.lfs.http import open_web
from asyncbuild.git.content.lfs.lfs_server import LfsServer
from asyncbuild.git.content.lfs.stored_file import MissingContent
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.formats.lfs_pointers import Pointer, parse_pointer
from asyncbuild.git.process.command import Git

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_CONTENT = b"large content\n" * 100
_LARGE = b"*.bin filter=lfs diff=lfs merge=lfs -text\n"


@dataclass
class _Lfs:
    """A server with scripted answers; `href` is its URL for each object."""

    url: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    batches: int = 0
    batch: _Handler | None = None
    get: _Handler | None = None
    action: Callable[[str], dict[str, Any]] = lambda _: {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a batch or a download, depending on the path."""
        raw = request.raw_path
        self.asked.append((raw, dict(request.headers)))
        if request.method == "POST":
            self.batches += 1
            return await (self.batch or self.say)(request)
        if self.get is not None:
            return await self.get(request)
        return web.Response(body=_CONTENT)

    async def say(self, request: web.Request) -> web.Response:
        """Return an answer of the batch API."""
        asked = (await request.json())["objects"]
        return web.json_response(
            {
                "objects": [
                    {**each, "actions": {"download": self._download(each["oid"])}} for each in asked
                ]
            }
        )

    def _download(self, oid: str) -> dict[str, Any]:
        return {"href": f"{self.url}/o/{oid}", **self.action(oid)}


@asynccontextmanager
async def _serve() -> AsyncIterator[_Lfs]:
    server = _Lfs()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


@pytest.fixture
async def lfs() -> AsyncIterator[_Lfs]:
    """Open a server of 127.0.0.1."""
    async with _serve() as server:
        yield server


def _missing(directory: Path, *contents: bytes, size: int | None = None) -> list[MissingContent]:
    found = []
    for number, content in enumerate(contents or (_CONTENT,)):
        pointer = parse_pointer(pointer_of(content))
        assert pointer
        if size is not None:
            pointer = Pointer(pointer.oid, size)
        part = directory / "incomplete" / f"{pointer.oid}.part"
        found.append(MissingContent(pointer, f"'{number}.bin'", directory / pointer.path, part))
    return found


async def _get(lfs: _Lfs, missing: list[MissingContent], reach: Reach | None = None) -> None:
    if reach is None:
        reach = Reach(trusted=[("127.0.0.1", int(lfs.url.rpartition(":")[2]))])
    server = LfsServer(f"{lfs.url}/r.git/info/lfs", {"Authorization": "Basic b3du"}, reach)
    with anyio.fail_after(PATIENCE_SECONDS):
        await Download(server, "web", silence_seconds=PATIENCE_SECONDS).get(missing)


def _is_whole(missing: list[MissingContent]) -> bool:
    return all(
        hashlib.sha256(each.target.read_bytes()).hexdigest() == each.pointer.oid
        and not each.part.exists()
        for each in missing
    )


_SAFE = st.sampled_from("/?&=%~:'()!*,;@$+-._|aZ09[]{}^`\"<>\\")


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(target=st.lists(_SAFE | st.sampled_from(["%2F", "%7e", "%27", "%3A", "//"])).map("".join))
async def test_a_url_is_requested_byte_for_byte(tmp_path: Path, target: str) -> None:
    """A signature covers its bytes: nothing is quoted or unquoted."""
    assume(target.find("?") != len(target) - 1)  # yarl drops the mark of an empty query
    async with _serve() as lfs:
        lfs.action = lambda _: {"href": f"{lfs.url}/{target}"}
        await _get(lfs, missing := _missing(tmp_path))
        assert _is_whole(missing)
        assert lfs.asked[-1][0] == f"/{target}"
        missing[0].target.unlink()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("relative", [False, True])
async def test_a_renamed_repository_is_followed_on_its_server(
    lfs: _Lfs, tmp_path: Path, status: int, *, relative: bool
) -> None:
    """Like git-lfs: the same request again, with the login, on the same server only."""

    async def batch(request: web.Request) -> web.Response:
        if request.path.startswith("/r.git/"):
            place = "/new.git/info/lfs/objects/batch"
            where = place if relative else lfs.url + place
            return web.Response(status=status, headers={"Location": where})
        assert request.headers["Authorization"] == "Basic b3du"
        return await lfs.say(request)

    lfs.batch = batch
    await _get(lfs, missing := _missing(tmp_path))
    assert _is_whole(missing)


async def test_a_batch_is_not_sent_to_another_server(lfs: _Lfs, tmp_path: Path) -> None:
    """The other server's answer is not quoted either."""
    async with _serve() as other:

        async def batch(_: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": f"{other.url}/x?secret=1"})

        lfs.batch = batch
        with pytest.raises(Retry, match="sends to another server") as caught:
            await _get(lfs, _missing(tmp_path), Reach(["127.0.0.0/8"]))
        assert not other.asked
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("way", ["expires_in", "expires_at", "unsaid"])
async def test_an_expired_url_is_requested_again(lfs: _Lfs, tmp_path: Path, way: str) -> None:
    """Each URL is valid for the first downloads after it was issued, and then refused."""
    contents = [b"content %d\n" % number for number in range(60)]
    by_oid = {hashlib.sha256(each).hexdigest(): each for each in contents}
    used: dict[int, int] = {}

    def action(oid: str) -> dict[str, Any]:
        more: dict[str, dict[str, Any]] = {
            "expires_in": {"expires_in": 3600},
            "expires_at": {"expires_at": "2099-01-01T00:00:00Z"},
        }
        return {"href": f"{lfs.url}/o/{oid}?given={lfs.batches}", **more.get(way, {})}

    async def get(request: web.Request) -> web.Response:
        given_ = int(request.query["given"])
        used[given_] = used.get(given_, 0) + 1
        if used[given_] > 25:
            return web.Response(status=403, text="Request has expired")
        return web.Response(body=by_oid[request.path.rpartition("/")[2]])

    lfs.action, lfs.get = action, get
    await _get(lfs, missing := _missing(tmp_path, *contents))
    assert _is_whole(missing)
    assert lfs.batches == 3


async def test_a_url_about_to_expire_is_not_used(lfs: _Lfs, tmp_path: Path) -> None:
    """Stores get no URL whose time will be over by then."""
    contents = [b"content %d\n" % number for number in range(30)]
    by_oid = {hashlib.sha256(each).hexdigest(): each for each in contents}
    refused = []

    async def get(request: web.Request) -> web.Response:
        until = float(request.query["until"])
        if anyio.current_time() > until:
            refused.append(until)
            return web.Response(status=400, text="ExpiredToken")
        await anyio.sleep(0.3)
        return web.Response(body=by_oid[request.path.rpartition("/")[2]])

    lfs.get = get
    lfs.action = lambda oid: {
        "href": f"{lfs.url}/o/{oid}?until={anyio.current_time() + 1.2}",
        "expires_in": 1.2,
    }
    await _get(lfs, missing := _missing(tmp_path, *contents))
    assert _is_whole(missing)
    assert lfs.batches > 1


async def test_a_store_that_refuses_every_url_ends_the_attempt(lfs: _Lfs, tmp_path: Path) -> None:
    """After three tries; the reason does not say that the repository's login is refused."""

    async def get(_: web.Request) -> web.Response:
        return web.Response(status=403, text="no")

    lfs.get = get
    lfs.action = lambda _: {"header": {"Authorization": "Bearer x"}}
    with pytest.raises(Retry, match="are refused where they lead") as caught:
        await _get(lfs, _missing(tmp_path))
    assert not isinstance(caught.value, GitFailed)
    assert lfs.batches == 3
    lfs.action = lambda _: {}
    with pytest.raises(GitFailed) as refused:
        await _get(lfs, _missing(tmp_path))
    assert refused.value.fault is GitFault.LOGIN


_TEXT = st.text(max_size=20) | st.sampled_from(
    [
        *("http://[", "http://127.0.0.1:99999999/", "http://127.0.0.1:abc/", "http://a b/"),
        *("http://a..b/", "file:///etc/passwd", "ftp://127.0.0.1/x", "//x", "/x", "x", "http:///"),
        *("http://xn--\u00fc.example/", "http://\u212a/", "http://u:p@127.0.0.1/", "a\r\nb: c"),
        *("http://[::1%25lo]:1/", "http://127.1:1/", "http://0x7f000001:1/", "\ud800", "\x00"),
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_ACTION = st.fixed_dictionaries(
    {},
    optional={
        "href": _JSON,
        "header": st.dictionaries(_TEXT, _TEXT, max_size=2) | _JSON,
        "expires_in": _JSON,
        "expires_at": _JSON,
    },
)
_OBJECT = st.fixed_dictionaries(
    {"oid": st.just(hashlib.sha256(_CONTENT).hexdigest()) | _JSON},
    optional={
        "size": _JSON,
        "authenticated": _JSON,
        "error": st.fixed_dictionaries({}, optional={"code": _JSON, "message": _JSON}) | _JSON,
        "actions": st.fixed_dictionaries({}, optional={"download": _ACTION | _JSON}) | _JSON,
    },
)
_BATCH = st.fixed_dictionaries({"objects": st.lists(_OBJECT | _JSON, max_size=2) | _JSON}) | _JSON
_STATUS = st.sampled_from(
    [200, 200, 200, 201, 204, 206, 301, 302, 400, 403, 404, 416, 429, 503, 600, 999]
)
_HEADER = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=20)
_HEADERS = st.dictionaries(
    st.sampled_from(
        ["Location", "Retry-After", "Content-Range", "Content-Type", "Content-Encoding", "ETag"]
    ),
    _HEADER
    | st.sampled_from(["9" * 400, "-1", "bytes 5-9/10", "bytes 0-1399/1400", "http://[", "/r"]),
    max_size=3,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    document=_BATCH,
    statuses=st.tuples(_STATUS, _STATUS),
    headers=st.tuples(_HEADERS, _HEADERS),
    body=st.sampled_from([_CONTENT, _CONTENT[:-1], _CONTENT + b"x", b"", bytes(1400)]),
    left=st.sampled_from([b"", _CONTENT[:5], b"wrong", _CONTENT + b"xx"]),
)
async def test_no_answer_raises_another_error(
    tmp_path: Path,
    document: Any,  # noqa: ANN401 - that is the point
    statuses: tuple[int, int],
    headers: tuple[dict[str, str], dict[str, str]],
    body: bytes,
    left: bytes,
) -> None:
    """Any value in each field makes the content, or an error of ours, and nothing else."""
    missing = _missing(tmp_path)
    missing[0].part.parent.mkdir(exist_ok=True)
    missing[0].part.write_bytes(left)
    async with _serve() as lfs:

        async def batch(request: web.Request) -> web.StreamResponse:
            usual = (await lfs.say(request)).body
            odd = _dumps(document)
            return web.Response(
                status=statuses[0], body=odd if statuses[0] == 200 else usual, headers=headers[0]
            )

        async def get(_: web.Request) -> web.StreamResponse:
            return web.Response(status=statuses[1], body=body, headers=headers[1])

        for answer in (batch, None):  # odd answers of the batch API, odd answers of a store
            lfs.batch, lfs.get = answer, get
            try:
                await _get(lfs, missing)
            except StageError as error:
                odd = len(error.reason) > 1_000 or not 0 <= (error.after_seconds or 0) <= 1e9
            else:
                odd = False
                assert _is_whole(missing)
                missing[0].target.unlink()
            assert not odd
            assert not missing[0].part.exists() or missing[0].part.stat().st_size < 1_400 or left


def _dumps(document: Any) -> bytes:  # noqa: ANN401 - any
    return json.dumps(document).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    ("size", "chunked"), [(1_399, False), (1_401, False), (1_399, True), (1_401, True), (0, False)]
)
async def test_a_pointer_with_a_wrong_size_counts(
    lfs: _Lfs, tmp_path: Path, size: int, *, chunked: bool
) -> None:
    """A pusher made the mistake: after `lanes.max_attempts` it is a dead letter."""
    size = size or 10**12

    async def get(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if not chunked:
            response.content_length = len(_CONTENT)
        await response.prepare(request)
        await response.write(_CONTENT)
        return response

    lfs.get = get
    missing = _missing(tmp_path, size=size)
    said = "is not object" if chunked else "its pointer says"  # before any byte is kept
    with pytest.raises(Retry, match=said) as caught:
        await _get(lfs, missing)
    assert not isinstance(caught.value, Busy)
    assert not missing[0].part.exists()


async def test_a_size_that_the_server_denies_is_rejected(lfs: _Lfs, tmp_path: Path) -> None:
    """No content is fetched, and no mirror is evicted for it."""

    async def batch(request: web.Request) -> web.Response:
        asked = (await request.json())["objects"]
        return web.json_response({"objects": [{**each, "size": 5} for each in asked]})

    lfs.batch = batch
    with pytest.raises(Reject, match="its pointer says 1400 bytes, and the server has 5"):
        await _get(lfs, _missing(tmp_path))


async def test_a_partial_content_is_resumed_at_once_and_privately(
    lfs: _Lfs, tmp_path: Path
) -> None:
    """A connection that breaks counts no attempt, as long as each brings more bytes."""
    content = os.urandom(5_000_000)
    ranges, modes = [], []
    missing = _missing(tmp_path, content)

    async def get(request: web.Request) -> web.StreamResponse:
        wanted = request.headers.get("Range", "bytes=0-")
        ranges.append(wanted)
        if missing[0].part.exists():
            modes.append(missing[0].part.stat().st_mode & 0o777)
        begin = int(wanted.removeprefix("bytes=").partition("-")[0])
        response = web.StreamResponse(status=206 if begin else 200)
        response.content_length = len(content) - begin
        await response.prepare(request)
        await response.write(content[begin : begin + 3_000_000])
        if begin + 3_000_000 < len(content) and request.transport is not None:
            request.transport.close()
        return response

    lfs.get = get
    await _get(lfs, missing)
    assert _is_whole(missing)
    assert len(ranges) == 2
    assert ranges[1] != "bytes=0-"
    assert modes == [0o600]


async def test_a_body_that_always_breaks_counts(lfs: _Lfs, tmp_path: Path) -> None:
    """Otherwise a server could fail without end as an outage."""

    async def get(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(_CONTENT)
        await response.prepare(request)
        await response.write(_CONTENT[:100])
        assert request.transport
        request.transport.close()
        return response

    lfs.get = get
    with pytest.raises(Retry, match="broke off") as caught:
        await _get(lfs, _missing(tmp_path))
    assert not isinstance(caught.value, Outage)


@pytest.mark.parametrize("of", ["batch", "content"])
async def test_nothing_is_decompressed(lfs: _Lfs, tmp_path: Path, of: str) -> None:
    """94 bytes of gzip may be a gigabyte."""
    bomb = gzip.compress(bytes(10_000_000))

    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    lfs.batch, lfs.get = (answer, None) if of == "batch" else (None, answer)
    with pytest.raises(Retry, match="compressed"):
        await _get(lfs, missing := _missing(tmp_path))
    assert not missing[0].part.exists()


async def test_an_endless_answer_is_cut(lfs: _Lfs, tmp_path: Path) -> None:
    """The batch API has a limit; contents have a length."""

    async def batch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 100_000)

    lfs.batch = batch
    with pytest.raises(Retry, match="too long"):
        await _get(lfs, _missing(tmp_path))


@pytest.mark.parametrize("where", ["batch", "content"])
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_the_command_retries(site: Site, where: str, status: int) -> None:
    """`asyncbuild archive` waits out a limit or a short outage itself, since it has no lane."""
    content = os.urandom(1_000)
    site.server.keys = {}
    site.source.commit({".gitattributes": _LARGE, "a.bin": site.server.lfs.add(content)})
    lfs, times = site.server.lfs, []
    usual = {"batch": lfs.batch, "content": lfs.download}

    async def once(request: web.Request) -> web.StreamResponse:
        times.append(request.path)
        if len(times) == 1:
            return web.Response(status=status, headers={"Retry-After": "1"})
        return await usual[where](request)

    setattr(lfs, {"batch": "batch", "content": "download"}[where], once)
    url = f"{site.server.url}/v1/repos/web"
    command = [sys.executable, "-m", "asyncbuild", "archive", url, "main", "-o", "-", "--lfs"]
    done = await anyio.run_process(command, check=False, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    assert zipfile.ZipFile(BytesIO(done.stdout)).read("a.bin") == content
    assert len(times) > 1


_NUMBERS = ["127.1", "2130706433"]  # aiohttp itself does not accept them as hosts
_WAYS = ["127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]", "[::1]", *_NUMBERS]


@pytest.mark.parametrize("host", _WAYS)
@pytest.mark.parametrize("by", ["href", "redirect"])
async def test_contents_come_from_no_private_address(
    lfs: _Lfs, tmp_path: Path, host: str, by: str
) -> None:
    """The server itself is an exception; another port of this machine is another server."""
    async with _serve() as inside:
        there = inside.url.replace("127.0.0.1", host)

        async def get(_: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": f"{there}/meta-data"})

        lfs.get = get
        if by == "href":
            lfs.action = lambda _: {"href": f"{there}/meta-data", "header": {"X": "chosen"}}
        said = "cannot be read" if host in _NUMBERS else "private address"
        with pytest.raises((Reject, Retry), match=rf"fetch LFS file '0\.bin' of web: .*{said}"):
            await _get(lfs, _missing(tmp_path))
        assert not inside.asked
        if "[" not in host and host not in _NUMBERS:  # it listens on one address
            port = int(lfs.url.rpartition(":")[2])
            reach = Reach(["127.0.0.0/8"], trusted=[("127.0.0.1", port)])
            await _get(lfs, missing := _missing(tmp_path), reach)
            assert _is_whole(missing)
            assert "Authorization" not in inside.asked[0][1]


async def test_another_servers_text_is_not_quoted(lfs: _Lfs, tmp_path: Path) -> None:
    """Another server may be an internal one, and errors go into logs, records and dead letters."""
    async with _serve() as other:

        async def refuse(_: web.Request) -> web.Response:
            return web.json_response({"message": "the password is hunter2"}, status=418)

        other.get = lfs.batch = refuse
        reach = Reach(["127.0.0.0/8"])
        with pytest.raises(Retry, match="hunter2"):
            await _get(lfs, _missing(tmp_path), reach)
        lfs.batch = None
        lfs.action = lambda _: {"href": f"{other.url}/x?signature=s3cret"}
        with pytest.raises(Retry, match=r"418$") as caught:
            await _get(lfs, _missing(tmp_path), reach)
        assert "s3cret" not in str(caught.value)


async def test_only_permitted_addresses_of_a_host_are_used() -> None:
    """The connection goes to the address that was looked up."""
    async with open_web(Reach(["127.0.0.0/8"]), silence_seconds=1) as opened:
        resolver = opened.direct.connector._resolver  # type: ignore[union-attr]
        found = await resolver.resolve("localhost", 80, socket.AF_UNSPEC)
        assert {"127.0.0.1"} == {each["host"] for each in found}


@pytest.mark.parametrize(
    "answer",
    [
        *('{"href": "http://["}', '{"href": 5}', '{"href": "file:///etc"}', "[]", "null", "", "x"),
        *('{"header": []}', '{"header": {"A": 1}}', '{"header": {"A": "b\\r\\nC: d"}}'),
        '{"href": "http://127.0.0.1:1/x", "header": {"A B": "c"}}',
    ],
)
async def test_malformed_answers_by_ssh_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """Malformed answers may contain a login, so they are not quoted."""
    _fake_ssh(tmp_path, monkeypatch, answer)
    remote = Remotes(GitSettings()).remote_at("git@git.invalid:o/r.git")
    with pytest.raises(Retry, match="did not answer as it should"):
        await find_server(remote, "", Git(GitSettings()))


async def test_by_ssh_only_the_servers_own_ports_are_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its host is the configured one; other hosts need to be public, or configured."""
    remote = Remotes(GitSettings()).remote_at("git@git.invalid:o/r.git")
    for host, trusted in (("git.invalid", True), ("other.invalid", False)):
        _fake_ssh(tmp_path, monkeypatch, f'{{"href": "http://{host}:3000/lfs"}}')
        server = await find_server(remote, "", Git(GitSettings()))
        assert server.url == f"http://{host}:3000/lfs"
        assert server.reach.permits(host, 3000, "10.0.0.1") is trusted
    assert "git-lfs-authenticate o/r.git download" in (tmp_path / "asked").read_text()


def _fake_ssh(directory: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    ssh = directory / "ssh"
    (directory / "answer").write_text(answer)
    ssh.write_text(f'#!/bin/sh\necho "$@" >> {directory}/asked\ncat {directory}/answer\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


async def test_a_claimed_size_evicts_nothing(site: Site) -> None:
    """A pusher may write any number: the pointer is refused."""
    content = os.urandom(1_000)
    site.server.keys = {}
    pointer = site.server.lfs.add(content).replace(b"size 1000", b"size 1" + b"0" * 18)
    commit = site.source.commit({".gitattributes": _LARGE, "a.bin": pointer})
    other = SourceRepository(site.directory / "remote" / "other").commit({"a": b"a"})
    async with site.open_mirrors(cache_budget_bytes=10**9) as mirrors:
        async with mirrors.open(repository("other"), ref=MAIN, commit=other):
            pass
        with pytest.raises(Reject, match="more than the whole disk"):
            await zip_of(mirrors, commit, ArchiveOptions(lfs=Lfs.CONTENT))
        assert mirrors.statistics().evictions == 0
    assert (site.cache / "mirrors" / ACCOUNT / REGION / "other" / "repository.git").exists()
