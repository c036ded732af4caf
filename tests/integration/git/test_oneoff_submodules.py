"""`asyncbuild archive --submodules` resolves URLs as a recursive clone does."""

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from support.archives import members_of_zip
from support.git_http import open_git_server
from support.repositories import SourceRepository

from asyncbuild.config import ArchiveSettings, GitSettings
from asyncbuild.domain.archive_options import ArchiveOptions, Submodules
from asyncbuild.domain.errors import Reject, StageError
from asyncbuild.domain.reachable import Reach
from asyncbuild.forges.git_remote import Remote
from asyncbuild.forges.remotes import Remotes
from asyncbuild.git.mirrors.pinned_address import pin
from asyncbuild.git.mirrors.temporary_clone import CommitPlace, open_commit
from asyncbuild.git.mirrors.transport import Transfers
from asyncbuild.git.process.command import Git
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.zip.engine import WORKING_BYTES, open_engine


async def _archive(where: str, revision: str = "main", internal: tuple[str, ...] = ()) -> set[str]:
    """Return the names in the zip."""
    settings = GitSettings(internal=internal, silence_timeout_seconds=60)
    options = ArchiveOptions(submodules=Submodules.INCLUDE)
    most = WORKING_BYTES + 64 * 1024 * 1024
    async with (
        open_commit(
            CommitPlace(where, revision),
            settings=settings,
            remotes=Remotes(settings),
            options=options,
        ) as whole,
        open_engine(ArchiveSettings()) as engine,
        MemoryBudget(most).open_account(most) as account,
        whole.open_archive() as tar,
        engine.open_zip(tar, account=account) as zipped,
    ):
        return set(members_of_zip(b"".join([chunk async for chunk in zipped])))


def _git(*arguments: str | Path) -> None:
    names = (
        "user.name=u",
        "user.email=u@e",
        "protocol.file.allow=always",
        "init.defaultBranch=main",
    )
    words = [word for name in names for word in ("-c", name)]
    subprocess.run(["git", *words, *map(str, arguments)], check=True, capture_output=True)


def _modules(url: str) -> bytes:
    return f'[submodule "lib"]\n\tpath = lib\n\turl = {url}\n'.encode()


@pytest.mark.parametrize("blank", ["", " "])
async def test_without_a_remote_urls_are_relative_to_the_working_tree(
    tmp_path: Path, blank: str
) -> None:
    """git-submodule(1): the superproject is its own upstream; also from a directory in it."""
    lib, tree = tmp_path / f"the{blank}lib", tmp_path / f"the{blank}tree"
    for place, name in ((lib, "lib.txt"), (tree, "d/tree.txt")):
        _git("init", "-q", place)
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(name)
        _git("-C", place, "add", ".")
        _git("-C", place, "commit", "-qm", "1")
    _git("-C", tree, "submodule", "add", f"../{lib.name}", "lib")
    _git("-C", tree, "commit", "-qm", "2")
    linked = tmp_path / "linked"
    _git("-C", tree, "worktree", "add", "-b", "other", linked)
    for where in (tree, tree / "d", linked):
        assert "lib/lib.txt" in await _archive(str(where), "HEAD")


async def test_a_bare_repository_is_its_own_upstream(tmp_path: Path) -> None:
    """Clones of it resolve URLs in the same way."""
    inner = SourceRepository(tmp_path / "lib.git").commit({"lib.txt": b"lib"})
    top = SourceRepository(tmp_path / "top.git")
    top.commit({"lib": inner, ".gitmodules": _modules("../lib.git")})
    assert "lib/lib.txt" in await _archive(str(top.path))


@pytest.mark.parametrize("path", ["repos/my top.git", "/{}/repos/my top.git"])
async def test_an_scp_like_url_is_relative_to_the_home_on_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Submodules beside it are, too: the server receives the path as written."""
    repos = tmp_path / "repos"
    inner = SourceRepository(repos / "lib.git").commit({"lib.txt": b"lib"})
    SourceRepository(repos / "my top.git").commit(
        {"lib": inner, ".gitmodules": _modules("../lib.git")}
    )
    programs = tmp_path / "bin"
    programs.mkdir()
    ssh = programs / "ssh"
    ssh.write_text(
        "#!/bin/sh\n"
        'for last; do :; done\ncase "$*" in *" -G "*) exit 0;; esac\n'
        f'echo "$last" >> "{tmp_path}/asked"\ncd "{tmp_path}" && exec sh -c "$last"\n'
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    path = path.format(str(tmp_path).lstrip("/"))
    assert "lib/lib.txt" in await _archive(f"build@far.invalid:{path}")
    asked = (tmp_path / "asked").read_text()
    beside = path.replace("my top", "lib")
    assert f"git-upload-pack '{path}'" in asked
    assert f"git-upload-pack '{beside}'" in asked


async def test_a_url_with_quoted_blanks_is_resolved(tmp_path: Path) -> None:
    """Projects of Azure DevOps and TFS have blanks in their names."""
    project = tmp_path / "My Project"
    inner = SourceRepository(project / "lib.git").commit({"lib.txt": b"lib"})
    async with open_git_server(tmp_path, prefix="/") as server:
        top = SourceRepository(tmp_path / "top.git")
        for url in (f"{server.url}/My%20Project/lib.git", "../My%20Project/lib.git"):
            top.commit({"lib": inner, ".gitmodules": _modules(url)})
            assert "lib/lib.txt" in await _archive(f"{server.url}/top.git")


async def test_a_submodule_leads_to_no_private_server(tmp_path: Path) -> None:
    """The named server is an exception, and so are servers of the configuration."""
    inner = SourceRepository(tmp_path / "one" / "lib.git").commit({"lib.txt": b"lib"})
    top = SourceRepository(tmp_path / "two" / "top.git")
    async with (
        open_git_server(tmp_path / "one", prefix="/") as one,
        open_git_server(tmp_path / "two", prefix="/") as two,
    ):
        for host in ("127.0.0.1", "localhost", "127.1", "0x7f000001"):
            place = f"{host}:{one.port}"
            top.commit({"lib": inner, ".gitmodules": _modules(f"http://{place}/lib.git")})
            with pytest.raises(Reject, match=r"submodule 'lib'.*private address"):
                await _archive(f"{two.url}/top.git")
            assert not one.connections
            for named in (place, "127.0.0.0/8"):
                assert "lib/lib.txt" in await _archive(f"{two.url}/top.git", internal=(named,))
            one.connections.clear()


@pytest.mark.parametrize("url", ["git@localhost:o/r.git", "ssh://git@127.0.0.1:2222/o/r.git"])
async def test_a_submodule_by_ssh_leads_to_no_private_server(url: str) -> None:
    """The name is looked up before ssh does."""
    with pytest.raises(Reject, match="private address"):
        await pin(url, Reach())
    assert await pin(url, Reach(["127.0.0.0/8", "::1"])) == {}
    assert await pin("git@an-alias.invalid:o/r.git", Reach()) == {}


async def test_git_connects_to_the_address_that_was_checked(tmp_path: Path) -> None:
    """Git looks up no name again: this name resolves only through the pinned address."""
    SourceRepository(tmp_path / "r.git").commit({"a": b"a"})
    async with open_git_server(tmp_path, prefix="/") as server:
        url = f"http://localhost:{server.port}/r.git"
        settings = await pin(url, Reach(["127.0.0.0/8"]))
        assert settings == {"http.curloptResolve": f"localhost:{server.port}:127.0.0.1"}

        async def other() -> dict[str, str]:
            return {"http.curloptResolve": f"nowhere.invalid:{server.port}:127.0.0.1"}

        remote = Remote(url.replace("localhost", "nowhere.invalid"), "web", pin=other)
        refs = await Transfers(Git(GitSettings())).list_refs(remote)
        assert "refs/heads/main" in refs


@asynccontextmanager
async def _redirecting(to: str) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": f"{to}{request.rel_url}"})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_git_follows_no_redirect_to_another_server(tmp_path: Path) -> None:
    """Redirects without a login are not followed either."""
    SourceRepository(tmp_path / "r.git").commit({"a": b"internal"})
    async with (
        open_git_server(tmp_path, prefix="/") as inside,
        _redirecting(inside.url) as outside,
    ):
        with pytest.raises(StageError):
            await _archive(f"{outside}/r.git")
        assert not inside.connections
