"""Unusual servers: static files, JGit, names that are not UTF-8, redirects."""

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from support.mirrors import MAIN, Site, archive_of, read_archive, repository

from asyncbuild.domain.errors import Unreachable
from asyncbuild.git.formats.error_classes import GitFailed, GitFault


@asynccontextmanager
async def _open_server(application: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _static(directory: Path) -> web.Application:
    """Return a server of plain files: `git update-server-info` makes a repository of them."""
    application = web.Application()
    application.router.add_static("/", directory)
    return application


async def test_static_files_are_fetched_whole(site: Site) -> None:
    """A first push, a later one, and a commit behind the tip."""
    ids = site.source.commits(3)
    site.source.git("update-ref", MAIN, ids[0])
    site.source.git("update-server-info")
    async with (
        _open_server(_static(site.directory / "remote")) as url,
        site.open_mirrors(remote=f"{url}/{{repository}}") as mirrors,
    ):
        assert await archive_of(mirrors, ids[0]) == site.source.archive(ids[0])
        site.source.git("update-ref", MAIN, ids[2])
        site.source.git("update-server-info")
        for commit in (ids[2], ids[1]):
            assert await archive_of(mirrors, commit) == site.source.archive(commit)
        with pytest.raises(Unreachable):
            await archive_of(mirrors, "1" * 40)


@pytest.mark.parametrize("protocol", ["v0", "v2"])
async def test_names_of_refs_are_bytes(site: Site, protocol: str) -> None:
    """A commit on any ref is found beside and behind names that are not UTF-8."""
    site.server.behaviour.protocol_v0 = protocol == "v0"
    site.source.commit({"f": b"main"})
    sides = site.source.commits(2, branch="side")
    latin = site.source.commits(2, branch="latin")
    _rename(site, b"refs/heads/latin", b"refs/heads/caf\xe9")
    _rename(site, b"refs/heads/side", "refs/heads/café".encode())
    async with site.open_mirrors() as mirrors:
        for commit in (sides[0], latin[0]):
            async with mirrors.open_commit(repository(), commit) as snapshot:
                assert await read_archive(snapshot) == site.source.archive(commit)


def _rename(site: Site, old: bytes, new: bytes) -> None:
    git = [b"git", b"--git-dir", os.fsencode(site.source.path), b"update-ref"]
    subprocess.run([*git, new, old], check=True)
    subprocess.run([*git, b"-d", old], check=True)


_REFUSALS = ("upload-pack: not our ref ID", "want ID not valid", "missing unknown ID")


@pytest.mark.parametrize("words", _REFUSALS)
async def test_a_refused_id_is_searched_in_the_history(site: Site, words: str) -> None:
    """An id that no history has is unreachable; refusals are those of git and of JGit."""
    ids = site.source.commits(3)

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/git-upload-pack"):
            body = await request.read()
            for commit in ("1" * 40, ids[0]):
                if f"want {commit}".encode() in body:
                    line = f"ERR {words.replace('ID', commit)}\n".encode()
                    return web.Response(body=b"%04x" % (len(line) + 4) + line)
        return await site.server.handle(request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    site.server.keys = {}
    async with (
        _open_server(application) as url,
        site.open_mirrors(remote=f"{url}/v1/repos/{{repository}}", credentials=None) as mirrors,
    ):
        assert await archive_of(mirrors, ids[0]) == site.source.archive(ids[0])
        with pytest.raises(Unreachable):
            await archive_of(mirrors, "1" * 40)


def _renamed(site: Site, status: int, to: str) -> web.Application:
    """Return a server that redirects `old` to `web`, on this origin or another."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/v1/repos/old/"):
            path = str(request.rel_url).replace("/old/", "/web/")
            return web.Response(status=status, headers={"Location": f"{to}{path}"})
        return await site.server.handle(request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    return application


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_renamed_repository_is_followed(site: Site, status: int) -> None:
    """On the same origin, with its login: a first push, a later one, one behind the tip."""
    site.server.keys, site.server.tokens = {}, {"user": "token"}
    ids = site.source.commits(3)
    site.source.git("update-ref", MAIN, ids[0])
    async with _open_server(_renamed(site, status, "")) as url:
        remote = f"{url.replace('//', '//user:token@')}/v1/repos/{{repository}}"
        async with site.open_mirrors(remote=remote) as mirrors:
            assert await archive_of(mirrors, ids[0], name="old") == site.source.archive(ids[0])
            site.source.git("update-ref", MAIN, ids[2])
            for commit in (ids[2], ids[1]):
                got = await archive_of(mirrors, commit, name="old")
                assert got == site.source.archive(commit)


async def test_a_redirect_to_another_origin_is_reported(site: Site) -> None:
    """The origin receives nothing, above all no login; the reason has a remedy."""
    site.server.keys, site.server.tokens = {}, {"user": "token"}
    commit = site.source.commit({"f": b"1"})
    async with _open_server(_renamed(site, 301, site.server.url)) as url:
        remote = f"{url.replace('//', '//user:token@')}/v1/repos/{{repository}}"
        async with site.open_mirrors(remote=remote) as mirrors:
            with pytest.raises(GitFailed, match="name it by its new URL") as caught:
                await archive_of(mirrors, commit, name="old")
    assert caught.value.fault is GitFault.MOVED
    assert site.server.connections.total() == 0
    assert site.server.refused == []


async def test_an_endless_redirect_is_reported(site: Site) -> None:
    """Five steps, and no more."""
    site.server.behaviour.status = 301
    async with site.open_mirrors() as mirrors:
        with pytest.raises(GitFailed, match="name it by its new URL"):
            await archive_of(mirrors, "1" * 40)
