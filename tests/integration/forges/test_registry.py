"""Repositories of other forges: fetched with a token or a key, and no secret leaks (I10)."""

import os
import signal
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.git_http import GitServer, open_git_server
from support.mirrors import MAIN, read_archive
from support.repositories import SourceRepository
from support.signals import send_signal
from support.sshd import PROGRAM, Sshd, open_sshd
from support.wait import wait_until

from asyncbuild.aws.session import Aws
from asyncbuild.config import HostSettings, Settings
from asyncbuild.domain.errors import Fatal, Reject, Retry, StageError
from asyncbuild.domain.repository import Repository
from asyncbuild.forges.keyring import open_keyring
from asyncbuild.forges.registry import OpenHosts, open_hosts, references
from asyncbuild.forges.remotes import Remotes
from asyncbuild.git.mirrors.cache import MirrorCache, open_mirrors
from asyncbuild.local.servers.children import LocalServer

# Unique to this run, so that other tests have it in no place that this one searches.
TOKEN = f"ghs_{uuid.uuid4().hex}"


@asynccontextmanager
async def _open(
    directory: Path, *hosts: dict[str, Any], endpoint_url: str | None = None
) -> AsyncIterator[tuple[MirrorCache, OpenHosts]]:
    """Open the cache with these `[[hosts]]`."""
    entries = tuple(HostSettings(**{"signature": "off", **host}) for host in hosts)
    settings = Settings(
        hosts=entries,
        git={"cache_directory": directory / "cache", "silence_timeout_seconds": 60},
        aws={"endpoint_url": endpoint_url, "region": "eu-west-1"},
    )
    async with open_hosts(settings, Aws(settings)) as opened:
        remotes = Remotes(settings.git, origins=opened.origin)
        async with open_mirrors(settings.git, remotes) as mirrors:
            yield mirrors, opened


async def _archive(mirrors: MirrorCache, repository: Repository, commit: str) -> bytes:
    async with mirrors.open(repository, ref=MAIN, commit=commit) as snapshot:
        return await read_archive(snapshot)


def _host(server: GitServer, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any setting
    place = f"127.0.0.1:{server.port}"
    remote = f"{server.url}/{{owner}}/{{repository}}.git"
    return {"host": place, "kind": "github", "remote": remote, "token": "env:TOKEN", **more}


def _repository(server: GitServer, owner: str = "acme", name: str = "web") -> Repository:
    return Repository.of_host(f"127.0.0.1:{server.port}", owner, name)


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GitServer]:
    """Open a host that requires a token, which the environment has."""
    monkeypatch.setenv("TOKEN", TOKEN)
    tokens = {"x-access-token": TOKEN}
    async with open_git_server(tmp_path / "remote", tokens=tokens, prefix="/") as server:
        yield server


async def test_a_token_is_accepted(tmp_path: Path, server: GitServer) -> None:
    """Repositories below nested groups are fetched, too; their path is one directory here."""
    for owner in ("acme", "acme/platform"):
        source = SourceRepository(tmp_path / "remote" / owner / "web.git")
        commit = source.commit({"a": owner.encode()})
        async with _open(tmp_path, _host(server)) as (mirrors, _):
            got = await _archive(mirrors, _repository(server, owner), commit)
        assert source.archive(commit) == got
    assert server.refused == []


async def test_a_wrong_token_is_a_retry_without_the_secret(
    tmp_path: Path, server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remedy names the [[hosts]] entry."""
    monkeypatch.setenv("TOKEN", "another token")
    commit = SourceRepository(tmp_path / "remote" / "acme" / "web.git").commit({"a": b"1"})
    async with _open(tmp_path, _host(server)) as (mirrors, _):
        with pytest.raises(Retry, match=r"\[\[hosts\]\]") as caught:
            await _archive(mirrors, _repository(server), commit)
    assert "another token" not in f"{caught.value!r} {caught.value}"
    assert set(server.refused) == {"wrong token"}


async def test_hosts_owners_and_codecommit_share_no_mirror(
    tmp_path: Path, server: GitServer
) -> None:
    """One name at two owners of a host and at another host: three trees, three mirrors."""
    async with open_git_server(
        tmp_path / "second", tokens={"oauth2": "second"}, prefix="/"
    ) as second:
        places = [
            ("remote/acme", _repository(server)),
            ("remote/other", _repository(server, "other")),
            ("second/acme", _repository(second)),
        ]
        sources = [SourceRepository(tmp_path / path / "web.git") for path, _ in places]
        commits = [s.commit({"a": str(n).encode()}) for n, s in enumerate(sources)]
        secret = tmp_path / "token"
        secret.write_text("second\n")
        gitlab = _host(second, kind="gitlab", token=f"file:{secret}")
        async with _open(tmp_path, _host(server), gitlab) as (mirrors, opened):
            for (_, repository), source, commit in zip(places, sources, commits, strict=True):
                assert source.archive(commit) == await _archive(mirrors, repository, commit)
            assert (
                opened.origin(Repository.of_codecommit("123456789012", "eu-west-1", "web")) is None
            )
        made = _below(tmp_path / "cache" / "mirrors", "repository.git")
        assert made == {f"{repository.path}/repository.git" for _, repository in places}


async def test_each_owner_has_its_own_token(tmp_path: Path, server: GitServer) -> None:
    """The first entry whose glob matches; a repository without an entry is rejected."""
    server.tokens = {"x-access-token": TOKEN, "bot": "second"}
    secret = tmp_path / "token"
    secret.write_text("second")
    other = _host(server, repository=["other/*"], user="bot", token=f"file:{secret}")
    async with _open(tmp_path, _host(server, repository=["acme/*"]), other) as (mirrors, opened):
        for owner in ("acme", "other"):
            source = SourceRepository(tmp_path / "remote" / owner / "web.git")
            commit = source.commit({"a": owner.encode()})
            got = await _archive(mirrors, _repository(server, owner), commit)
            assert source.archive(commit) == got
        assert opened.origin(_repository(server, "third")) is None


async def test_a_missing_repository_is_rejected(tmp_path: Path, server: GitServer) -> None:
    """Forges answer 404 for a repository that a token may not read, too."""
    async with _open(tmp_path, _host(server)) as (mirrors, _):
        with pytest.raises(Reject, match="may read the repository"):
            await _archive(mirrors, _repository(server, name="none"), "1" * 40)


# --- secrets --------------------------------------------------------------------------------------


async def test_a_secret_of_secrets_manager_is_read(
    tmp_path: Path, server: GitServer, ministack: LocalServer
) -> None:
    """Plain text, and one key of a JSON object; a new version is read without a restart."""
    settings = Settings(aws={"endpoint_url": ministack.endpoint_url, "region": "eu-west-1"})
    aws = Aws(settings)
    async with aws.open_secrets_manager(pool=1) as client:
        text = f'{{"token": "{TOKEN}", "webhook": "one\\ntwo"}}'
        name = f"asyncbuild/{tmp_path.name}"
        await client.create_secret(Name=name, SecretString=text)
        where = f"secretsmanager:{name}#token"
        source = SourceRepository(tmp_path / "remote" / "acme" / "web.git")
        commit = source.commit({"a": b"1"})
        async with _open(
            tmp_path, _host(server, token=where), endpoint_url=ministack.endpoint_url
        ) as (mirrors, _):
            assert source.archive(commit) == await _archive(mirrors, _repository(server), commit)
        webhook = f"secretsmanager:{name}#webhook"
        async with open_keyring([where, webhook], aws, refresh_seconds=0.02) as keyring:
            assert keyring.values(webhook) == ("one", "two")
            await client.put_secret_value(SecretId=name, SecretString='{"token": "new"}')
            await wait_until(lambda: keyring.value(where) == "new")
            assert keyring.values(webhook) == (
                "one",
                "two",
            )  # it was deleted, so the old value stays
        with pytest.raises(Fatal, match="has no text under the key 'webhook'"):
            async with open_keyring([webhook], aws):
                pass
        with pytest.raises(Fatal, match=r"read secret nothing/here.*\[\[hosts\]\]"):
            async with open_keyring(["secretsmanager:nothing/here"], aws):
                pass


@pytest.mark.parametrize("reference", ["env:NOT_SET", "env:BLANK", "file:/nonexistent/secret"])
async def test_a_missing_secret_is_reported_at_the_start(reference: str) -> None:
    """The error says where it should be."""
    with pytest.raises(Fatal, match=reference):
        async with open_keyring([reference], Aws(Settings()), environment={"BLANK": " \n"}):
            pass


async def test_memory_files_are_closed_with_the_keyring(tmp_path: Path) -> None:
    """Only this user may open them, and only while they are needed."""
    secret = tmp_path / "key"
    secret.write_text("a key")
    async with open_keyring([f"file:{secret}"], Aws(Settings())) as keyring:
        path = anyio.Path(keyring.path(f"file:{secret}"))
        assert await path.read_text() == "a key\n"
        assert (await path.stat()).st_mode & 0o777 == 0o600
        assert str(path) == keyring.path(f"file:{secret}")
    assert not await path.exists()


async def test_no_secret_leaks(
    tmp_path: Path, server: GitServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """Command lines, files, output and errors have none, during a hanging fetch and after it."""
    commit = SourceRepository(tmp_path / "remote" / "acme" / "web.git").commit({"a": b"1"})
    server.behaviour.stall_after_bytes = 0
    seen: list[str] = []

    async def fetch() -> None:
        async with _open(tmp_path, _host(server)) as (mirrors, opened):
            seen.append(repr(opened.entries) + repr(opened.origin(_repository(server))))
            try:
                await _archive(mirrors, _repository(server), commit)
            except StageError as error:
                seen.append(f"{error!r} {error} {error.__cause__!r}")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fetch)
        await server.stalled.wait()
        lines = _command_lines()
        assert any(b"fetch" in line and server.url.encode() in line for line in lines)
        haystack = b"\n".join([*lines, *_contents(tmp_path / "cache")])
        server.break_off()
    captured = capfd.readouterr()
    assert len(seen) == 2
    haystack += f"{captured.out}{captured.err}{seen}".encode()
    assert TOKEN.encode() not in haystack


def _command_lines() -> list[bytes]:
    return [_read(path) for path in Path("/proc").glob("[0-9]*/cmdline")]


def _contents(root: Path) -> list[bytes]:
    return [_read(path) for path in root.rglob("*") if path.is_file()]


def _below(root: Path, name: str) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob(name)}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended
        return b""


def test_every_secret_of_a_host_is_read() -> None:
    """All three kinds, each once."""
    hosts = (
        HostSettings(host="a.example", kind="github", token="env:A", webhook_secret="env:B"),
        HostSettings(host="b.example", kind="gitlab", token="env:A", signature="off"),
    )
    assert references(Settings(hosts=hosts)) == ["env:A", "env:B"]


# --- ssh ------------------------------------------------------------------------------------------

_needs_sshd = pytest.mark.skipif(PROGRAM is None, reason="needs openssh-server")


@pytest.fixture
async def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sshd]:
    """Open a host that takes one key, which the environment has."""
    async with open_sshd(tmp_path / "sshd") as sshd:
        monkeypatch.setenv("KEY", sshd.key)
        yield sshd


def _by_ssh(sshd: Sshd, tmp_path: Path, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any setting
    return {
        "host": "git.example.org",
        "kind": "gitlab",
        "remote": sshd.template(tmp_path / "remote"),
        "ssh_key": "env:KEY",
        "known_hosts": sshd.known_hosts,
        **more,
    }


_OVER_SSH = Repository.of_host("git.example.org", "acme", "web")


@_needs_sshd
async def test_a_key_is_accepted(tmp_path: Path, sshd: Sshd) -> None:
    """The key is in no file; ssh's files for it are removed with the service."""
    source = SourceRepository(tmp_path / "remote" / "acme" / "web")
    commit = source.commit({"a": b"1"})
    async with _open(tmp_path, _by_ssh(sshd, tmp_path)) as (mirrors, _):
        assert source.archive(commit) == await _archive(mirrors, _OVER_SSH, commit)
        contents = _contents(tmp_path / "cache")
        assert contents
        assert not [each for each in contents if b"PRIVATE KEY" in each]


@_needs_sshd
async def test_a_host_with_another_host_key_is_refused(tmp_path: Path, sshd: Sshd) -> None:
    """known_hosts decides, whatever hosts this machine knows."""
    commit = SourceRepository(tmp_path / "remote" / "acme" / "web").commit({"a": b"1"})
    place, kind, blob = sshd.known_hosts.split()
    wrong = f"{place} {kind} {blob[:-6]}{'AAAAAA' if blob[-6:] != 'AAAAAA' else 'BBBBBB'}"
    async with _open(tmp_path, _by_ssh(sshd, tmp_path, known_hosts=wrong)) as (mirrors, _):
        with pytest.raises(Retry, match="known_hosts"):
            await _archive(mirrors, _OVER_SSH, commit)


@_needs_sshd
async def test_no_other_key_is_tried(
    tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused key is an error, though an agent has one that would be accepted."""
    commit = SourceRepository(tmp_path / "remote" / "acme" / "web").commit({"a": b"1"})
    async with _agent(tmp_path, sshd) as agent:
        monkeypatch.setenv("SSH_AUTH_SOCK", agent)
        monkeypatch.setenv("KEY", sshd.other_key)
        async with _open(tmp_path, _by_ssh(sshd, tmp_path)) as (mirrors, _):
            with pytest.raises(Retry, match=r"token or key of its \[\[hosts\]\]") as caught:
                await _archive(mirrors, _OVER_SSH, commit)
    assert "PRIVATE" not in str(caught.value)


@asynccontextmanager
async def _agent(tmp_path: Path, sshd: Sshd) -> AsyncIterator[str]:
    place = str(tmp_path / "agent")
    key = tmp_path / "agent-key"
    key.write_text(sshd.key)
    key.chmod(0o600)
    async with await anyio.open_process(["ssh-agent", "-D", "-a", place]) as agent:
        try:
            await wait_until(lambda: _listens(place))
            environment = {**os.environ, "SSH_AUTH_SOCK": place}
            await anyio.run_process(["ssh-add", "-q", str(key)], env=environment)
            yield place
        finally:
            send_signal(agent, signal.SIGTERM)


def _listens(path: str) -> bool:
    """Return whether a process listens: the file exists a moment before."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0
