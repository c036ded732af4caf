"""`asyncbuild archive` from servers: submodules, LFS contents, the logins of `[[hosts]]`."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from support.archives import members_of_zip
from support.git_http import GitServer, open_git_server
from support.lfs import open_elsewhere, pointer_of
from support.repositories import SourceRepository
from support.sshd import PROGRAM, open_sshd
from support.wait import PATIENCE_SECONDS

from asyncbuild.git.formats.lfs_pointers import parse_pointer

# Only for these tests: it is in command lines here, where other tests search for theirs.
TOKEN = "ghs_b7A20c5E91d64f3c8Ae0127Bd95c46e83F1a"
_MODULES = b'[submodule "lib"]\npath = v/lib\nurl = ../lib\n'
_LARGE = b"*.bin filter=lfs -text\n"


@dataclass
class _Host:
    """A host that requires a token, with repositories of `acme`."""

    directory: Path
    server: GitServer

    def source(self, name: str) -> SourceRepository:
        return SourceRepository(self.server.root / "acme" / f"{name}.git")

    def url(self, name: str = "web", *, login: str = "") -> str:
        return f"http://{login}127.0.0.1:{self.server.port}/acme/{name}"

    def config(self, more: str = 'token = "env:HOST_TOKEN"', **given: str) -> Path:
        path = self.directory / "config.toml"
        values = {
            "host": f"127.0.0.1:{self.server.port}",
            "kind": "github",
            "remote": "http://{host}/{owner}/{repository}.git",
            "webhook_secret": "env:NOT_SET_HERE",
            **given,
        }
        lines = [f'{name} = "{value}"' for name, value in values.items()]
        path.write_text("\n".join(["[[hosts]]", *lines, more]) + "\n")
        return path


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[_Host]:
    """Open a host with one token of GitHub's form."""
    tokens = {"x-access-token": TOKEN, "somebody": TOKEN}
    async with open_git_server(tmp_path / "host", tokens=tokens, prefix="/") as server:
        yield _Host(tmp_path, server)


async def _run(
    where: str, *options: str, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "asyncbuild", "archive", where, "main", "-o", "-", *options]
    environment = {**os.environ, "HOST_TOKEN": TOKEN, **(variables or {})}
    with anyio.fail_after(PATIENCE_SECONDS):
        return await anyio.run_process(command, check=False, env=environment)


async def _archive(where: str, *options: str) -> dict[str, bytes]:
    done = await _run(where, *options)
    assert done.returncode == 0, done.stderr.decode()
    return {name: each.content for name, each in members_of_zip(done.stdout).items()}


async def _refusal(where: str, *options: str, **variables: str) -> str:
    done = await _run(where, *options, variables=variables)
    said = done.stderr.decode()
    assert done.returncode != 0
    assert not done.stdout
    assert "Traceback" not in said
    assert TOKEN not in said
    return said


@pytest.mark.parametrize("form", ["", ".git", "/"])
async def test_a_hosts_token_is_used(host: _Host, form: str) -> None:
    """The URL is the one on its pages; no other secret is read."""
    host.source("web").commit({"a": b"a"})
    config = host.config()
    assert await _archive(host.url() + form, "--config", str(config)) == {"a": b"a"}
    assert "could not read Username" in await _refusal(host.url())
    wrong = await _refusal(host.url(), "--config", str(config), HOST_TOKEN="wrong")
    assert "renew the token" in wrong
    unset = await _refusal(host.url(), "--config", str(config), HOST_TOKEN="")
    assert "secret env:HOST_TOKEN is not set" in unset


async def test_a_login_in_the_url_comes_first(host: _Host) -> None:
    """A user who writes it there means it."""
    host.source("web").commit({"a": b"a"})
    config = ("--config", str(host.config()))
    done = await _run(
        host.url(login=f"somebody:{TOKEN}@"), *config, variables={"HOST_TOKEN": "wrong"}
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.skipif(PROGRAM is None, reason="apt-get install openssh-server")
async def test_a_hosts_key_is_used(host: _Host) -> None:
    """SSH uses it, whichever of its URLs was given."""
    host.source("web").commit({"a": b"a"})
    async with open_sshd(host.directory / "ssh") as sshd:
        (host.directory / "key").write_text(sshd.key)
        key = f'ssh_key = "file:{host.directory}/key"\nknown_hosts = ["{sshd.known_hosts}"]'
        remote = f"{sshd.template(host.server.root)}.git"
        config = host.config(key, host="git.example.org", remote=remote)
        for url in (
            "https://git.example.org/acme/web",
            "ssh://git@git.example.org/acme/web.git",
            "git@git.example.org:acme/web.git",
        ):
            assert await _archive(url, "--config", str(config)) == {"a": b"a"}


async def test_submodules_of_a_url_are_fetched(host: _Host) -> None:
    """Relative to it, with its login; nested, and behind their tips."""
    deep = host.source("deep").commit({"d": b"deep"})
    inner = b'[submodule "x"]\npath = x\nurl = ../deep.git\n'
    lib = host.source("lib").commit({"l": b"lib", "x": deep, ".gitmodules": inner})
    host.source("lib").commits(3)  # it is not at the tip any more
    host.source("web").commit({"a": b"a", "v/lib": lib, ".gitmodules": _MODULES})
    by_login = await _archive(host.url(login=f"somebody:{TOKEN}@"), "--submodules")
    assert (by_login["v/lib/l"], by_login["v/lib/x/d"]) == (b"lib", b"deep")
    assert by_login == await _archive(host.url(), "--submodules", "--config", str(host.config()))
    without = await _archive(host.url(login=f"somebody:{TOKEN}@"))
    assert {".gitmodules", "a", "v/", "v/lib/"} == set(without)


async def test_submodules_of_a_directory_are_fetched(host: _Host) -> None:
    """A clone's are beside its origin; without an origin, beside the repository."""
    lib = host.source("lib").commit({"l": b"lib"})
    host.source("web").commit({"v/lib": lib, ".gitmodules": _MODULES})
    bare = str(host.source("web").path)
    expected = {"v/", "v/lib/", "v/lib/l", ".gitmodules"}
    assert expected == set(await _archive(bare, "--submodules"))
    clone = host.directory / "clone"
    host.source("web").git("clone", "-q", bare, str(clone))
    host.source("web").git("--git-dir", f"{clone}/.git", "remote", "set-url", "origin", host.url())
    assert "could not read Username" in await _refusal(str(clone), "--submodules")
    config = ("--config", str(host.config()))
    assert expected == set(await _archive(str(clone), "--submodules", *config))
    below = await _archive(str(clone), "--submodules", "--subtree", "v", *config)
    assert {"lib/", "lib/l"} == set(below)


@asynccontextmanager
async def _open_stranger(host: _Host) -> AsyncIterator[GitServer]:
    async with open_git_server(host.directory / "stranger", prefix="/") as server:
        yield server


async def test_another_server_receives_no_login(
    host: _Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A submodule may be anywhere public or configured; only its own server receives a login."""
    monkeypatch.setenv("ASYNCBUILD_GIT__INTERNAL", '["127.0.0.0/8"]')
    async with _open_stranger(host) as stranger:
        lib = SourceRepository(stranger.root / "lib").commit({"l": b"lib"})
        modules = f'[submodule "lib"]\npath = lib\nurl = {stranger.url}/lib\n'.encode()
        host.source("web").commit({"lib": lib, ".gitmodules": modules})
        found = await _archive(host.url(login=f"somebody:{TOKEN}@"), "--submodules")
        assert found["lib/l"] == b"lib"
        stranger.tokens = {"somebody": TOKEN}  # valid there, if it were sent
        said = await _refusal(host.url(login=f"somebody:{TOKEN}@"), "--submodules")
        assert "submodule 'lib'" in said


@pytest.mark.parametrize(
    "url", ["/etc", "file:///etc", "ext::sh -c touch% x", "-oProxyCommand=x", "../../../../../x"]
)
async def test_a_fetched_repository_names_no_local_path_or_program(host: _Host, url: str) -> None:
    """Neither files nor programs of this machine are used."""
    modules = f'[submodule "lib"]\npath = lib\nurl = {url}\n'.encode()
    host.source("web").commit({"lib": "1" * 40, ".gitmodules": modules})
    said = await _refusal(host.url(login=f"somebody:{TOKEN}@"), "--submodules")
    assert "submodule 'lib'" in said


async def test_contents_of_lfs_files_are_fetched(host: _Host) -> None:
    """A URL's are fetched with its login, a directory must contain them; in submodules, too."""
    lfs = host.server.lfs
    lib = host.source("lib").commit({".gitattributes": _LARGE, "l.bin": lfs.add(b"of the library")})
    host.source("web").commit(
        {
            ".gitattributes": _LARGE,
            "a.bin": lfs.add(b"content"),
            "v/lib": lib,
            ".gitmodules": _MODULES,
        }
    )
    options = ("--lfs", "--submodules", "--config", str(host.config()))
    found = await _archive(host.url(), *options)
    assert (found["a.bin"], found["v/lib/l.bin"]) == (b"content", b"of the library")
    assert pointer_of(b"content") == (await _archive(host.url(), *options[2:]))["a.bin"]
    directory = str(host.source("web").path)
    assert "git lfs fetch" in await _refusal(directory, "--lfs")
    _keep(Path(directory), b"content")
    assert (await _archive(directory, "--lfs"))["a.bin"] == b"content"


def _keep(repository: Path, content: bytes) -> None:
    """Store a content like `git lfs fetch`."""
    found = parse_pointer(pointer_of(content))
    assert found is not None
    kept = repository / "lfs" / "objects" / found.path
    kept.parent.mkdir(parents=True)
    kept.write_bytes(content)


async def test_a_refused_lfs_login_is_reported(host: _Host) -> None:
    """One sentence reports it, without the login (I10)."""
    host.source("web").commit({".gitattributes": _LARGE, "a.bin": pointer_of(b"content")})
    config = ("--config", str(host.config()))
    assert "has not got its object" in await _refusal(host.url(), "--lfs", *config)
    host.server.lfs.status = 403
    assert "read its LFS objects" in await _refusal(host.url(), "--lfs", *config)
    async with open_elsewhere(host.server.lfs) as (url, other):
        named = f"[lfs]\nurl = {url}/x\n".encode()
        host.source("web").commit({".lfsconfig": named})
        assert "another one" in await _refusal(host.url(), "--lfs", *config)
        assert not other.logins


@pytest.mark.skipif(PROGRAM is None, reason="apt-get install openssh-server")
async def test_lfs_contents_are_fetched_by_ssh(host: _Host) -> None:
    """The host's own program returns their URL and the login for it."""
    host.server.tokens = {}  # the header counts, which git does not have
    pointer = host.server.lfs.add(b"content")
    host.source("web").commit({".gitattributes": _LARGE, "a.bin": pointer})
    answer = {
        "href": f"{host.server.url}/acme/web.git/info/lfs",
        "header": {"Authorization": "RemoteAuth for-an-hour"},
    }
    program = host.directory / "programs" / "git-lfs-authenticate"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho \"$@\" >{program}.said\necho '{json.dumps(answer)}'\n")
    program.chmod(0o755)
    async with open_sshd(host.directory / "ssh", programs=program.parent) as sshd:
        (host.directory / "key").write_text(sshd.key)
        key = f'ssh_key = "file:{host.directory}/key"\nknown_hosts = ["{sshd.known_hosts}"]'
        remote = f"{sshd.template(host.server.root)}.git"
        config = ("--config", str(host.config(key, host="git.example.org", remote=remote)))
        url = "https://git.example.org/acme/web"
        assert (await _archive(url, "--lfs", *config))["a.bin"] == b"content"
        said = program.with_name("git-lfs-authenticate.said").read_text()
        assert said == f"{host.server.root}/acme/web.git download\n"
        assert {login for _, login in host.server.lfs.logins} == {"RemoteAuth for-an-hour"}
        program.write_text("#!/bin/sh\necho no LFS here >&2\nexit 1\n")
        assert "no LFS here" in await _refusal(url, "--lfs", *config)
