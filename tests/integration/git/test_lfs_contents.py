"""Archives with the contents of LFS files, over HTTP, against a checkout by git-lfs itself."""

import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from support.archives import Member, members_of_checkout, members_of_zip
from support.lfs import DOWNLOAD_TOKEN, LfsServer, open_elsewhere, pointer_of
from support.mirrors import MAIN, Site, is_quiet, open_site, repository, zip_of
from support.repositories import SourceRepository
from support.wait import PATIENCE_SECONDS, wait_until

from asyncbuild.domain.archive_options import ArchiveOptions, ExportAttributes, Lfs, Submodules
from asyncbuild.domain.errors import Busy, Outage, Reject, Retry, StageError
from asyncbuild.git.content.submodules import open_whole
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.mirrors.cache import MirrorCache

_LARGE = b"*.bin filter=lfs diff=lfs merge=lfs -text\n"


@dataclass
class _World:
    """A site and its mirrors."""

    site: Site
    mirrors: MirrorCache
    sources: dict[str, SourceRepository] = field(default_factory=dict)

    @property
    def lfs(self) -> LfsServer:
        return self.site.server.lfs

    @property
    def store(self) -> Path:
        return self.site.mirror / "lfs"

    def stored(self) -> set[str]:
        return {path.name for path in self.store.glob("objects/*/*/*")}

    def commit(self, files: dict[str, bytes | str | None]) -> str:
        return self.site.source.commit({".gitattributes": _LARGE, **files})

    async def archive(self, commit: str, **options: Any) -> dict[str, Member]:  # noqa: ANN401
        wanted = ArchiveOptions(lfs=Lfs.CONTENT, **options)
        return members_of_zip(await zip_of(self.mirrors, commit, wanted))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[_World]:
    """Open a server that requires a login for repositories and for LFS."""
    async with open_site(tmp_path) as site, site.open_mirrors() as mirrors:
        yield _World(site, mirrors)


def _oid(content: bytes) -> str:
    return pointer_of(content).split(b"sha256:")[1][:64].decode()


async def _checkout(world: _World) -> dict[str, Member]:
    """Return the files that git-lfs puts into a working tree."""
    place = world.site.directory / "clone"
    server = world.site.server
    server.keys = {}
    driver = {
        "filter.lfs.process": "git-lfs filter-process",
        "filter.lfs.required": "true",
        "lfs.url": f"{server.url}/v1/repos/web.git/info/lfs",
    }
    words = [word for name, value in driver.items() for word in ("-c", f"{name}={value}")]
    url = f"{server.url}/v1/repos/web"
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    await anyio.run_process(["git", *words, "clone", "-q", url, str(place)], env=environment)
    return members_of_checkout(place)


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="apt-get install git-lfs")
async def test_the_archive_equals_a_checkout_by_git_lfs(world: _World) -> None:
    """Large and empty contents, odd names, macros, deep attributes, files that are no pointers."""
    big, small = os.urandom(3_000_000), b"small"
    add = world.lfs.add
    world.commit(
        {
            ".gitattributes": _LARGE + b"[attr]huge filter=lfs -text\n*.iso huge\nno.bin -filter\n",
            "a.bin": add(big),
            "again/a.bin": add(big),
            "d" * 90 + "/" + "e" * 90 + ".bin": add(small),
            "ü/日本.bin": add(small),
            "x.iso": add(b"iso"),
            "no.bin": add(small),
            "raw.bin": b"committed as it is",
            "empty.bin": b"",
            "pointer.txt": add(small),
            "deep/.gitattributes": b"*.txt filter=lfs\na.bin !filter\n",
            "deep/a.txt": add(b"text"),
            "deep/a.bin": add(b"no more"),
            "z": b"z",
        }
    )
    stream = b"commit refs/heads/main\ncommitter C <c@e> 1700009999 +0000\ndata 0\n"
    stream += b"from refs/heads/main^0\nM 100755 inline run.bin\n"
    program = add(b"#!/bin/sh\n")
    stream += b"data %d\n%s\n" % (len(program), program)
    world.site.source.git("fast-import", "--quiet", stdin=stream)
    members = await world.archive(world.site.source.tip("main") or "")
    assert await _checkout(world) == members
    assert members["a.bin"].content == big
    assert members["pointer.txt"].content == pointer_of(small)


async def test_pointers_stay_unless_contents_are_requested(world: _World) -> None:
    """No request is sent to the server."""
    commit = world.commit({"a.bin": world.lfs.add(b"content")})
    async with (
        world.mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot,
        snapshot.open_archive() as tar,
    ):
        assert pointer_of(b"content") in b"".join([chunk async for chunk in tar])
    assert not world.lfs.asked


async def test_only_contents_in_the_archive_are_fetched(world: _World) -> None:
    """A subtree, pathspecs and `export-ignore` leave contents out, even missing ones."""
    add = world.lfs.add
    commit = world.commit(
        {
            "s/a.bin": add(b"a"),
            "s/src/b.bin": add(b"b"),
            "s/test/gone.bin": pointer_of(b"gone"),
            "s/.gitattributes": b"test export-ignore\n",
            "other/gone.bin": pointer_of(b"gone"),
        }
    )
    below = await world.archive(commit, subtree="s")
    assert (below["a.bin"].content, below["src/b.bin"].content) == (b"a", b"b")
    by_path = await world.archive(commit, paths=("s", ":!s/src"))
    assert {"s/", "s/.gitattributes", "s/a.bin"} == set(by_path)
    both = await world.archive(commit, subtree="s", paths=("src",))
    assert both["src/b.bin"].content == b"b"
    assert {_oid(b"a"): 1, _oid(b"b"): 1} == dict(world.lfs.asked)
    ignoring = {"subtree": "s", "export_attributes": ExportAttributes.IGNORE}
    with pytest.raises(Reject, match=r"'test/gone\.bin'"):
        await world.archive(commit, **ignoring)


async def test_submodules_have_their_own_contents(world: _World) -> None:
    """Each comes from its own server, and is kept beside its own mirror."""
    lib = SourceRepository(world.site.directory / "remote" / "lib")
    inner = lib.commit({".gitattributes": _LARGE, "l.bin": world.lfs.add(b"of the library")})
    modules = b'[submodule "l"]\npath = v/lib\nurl = ../lib\n'
    commit = world.commit({"v/lib": inner, ".gitmodules": modules, "z.bin": world.lfs.add(b"own")})
    members = await world.archive(commit, submodules=Submodules.INCLUDE)
    assert members["v/lib/l.bin"].content == b"of the library"
    assert members["z.bin"].content == b"own"
    assert {_oid(b"own")} == world.stored()
    places = {path for path, _ in world.lfs.logins if path.endswith("/batch")}
    assert {f"/v1/repos/{name}.git/info/lfs/objects/batch" for name in ("web", "lib")} == places


async def test_without_large_files_it_is_the_usual_archive(world: _World) -> None:
    """Deltas can be made of it, and of archives before it."""
    commit = world.commit({"a.bin": b"no pointer"})
    async with world.mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot:
        selected = await snapshot.select(ArchiveOptions(lfs=Lfs.CONTENT))
        async with open_whole(world.mirrors, repository(), selected) as whole:
            assert (None, ArchiveOptions()) == (whole.contents, whole.options)


async def test_two_pushes_at_once_fetch_a_content_once(world: _World) -> None:
    """The second waits for the first, and finds the content."""
    contents = [b"%d" % number * 100_000 for number in range(12)]
    files = {f"{number}.bin": world.lfs.add(each) for number, each in enumerate(contents)}
    first = world.commit(dict(files))
    second = world.commit({"more.bin": world.lfs.add(b"more")})
    async with anyio.create_task_group() as tasks:
        for commit in (first, second, first, second):
            tasks.start_soon(world.archive, commit)
    assert {1} == set(world.lfs.asked.values())
    assert {_oid(b"more"), *map(_oid, contents)} == world.stored()
    world.lfs.status = 500  # and later pushes send no request
    assert (await world.archive(first))["0.bin"].content == contents[0]


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        ({"status": 404, "message": "no LFS here"}, Reject, "404 no LFS here"),
        ({"status": 401}, GitFailed, "401"),
        ({"status": 403, "message": "over its data quota"}, GitFailed, "over its data quota"),
        ({"status": 429, "headers": {"Retry-After": "7"}}, Busy, "429"),
        ({"status": 503}, Outage, "503"),
        ({"status": 503, "headers": {"Retry-After": "7"}}, Busy, "503"),
        ({"status": 302, "headers": {"Location": "https://127.0.0.2/x"}}, Retry, "another server"),
        ({"status": 302}, Retry, "leads nowhere"),
        ({"status": 444}, Retry, "444"),
        ({"status": 999}, Retry, "999"),
        ({"download_status": 404}, Reject, "404"),
        ({"download_status": 500}, Outage, "500"),
        ({"corrupt": True}, Retry, "is not object"),
        ({"gzip": True}, Retry, "compressed"),
        ({"cut_after_bytes": 50_000}, Retry, "broke off after"),
        ({"objects": {}}, Reject, "has not got its object"),
    ],
)
async def test_each_failure_has_its_kind(
    world: _World, behaviour: dict[str, Any], kind: type[StageError], words: str
) -> None:
    """Never a pointer instead; the next attempt succeeds, and no secret is left anywhere (I10)."""
    content = os.urandom(300_000)
    commit = world.commit({"a.bin": world.lfs.add(content)})
    usual = {name: getattr(world.lfs, name) for name in behaviour}
    for name, value in behaviour.items():
        setattr(world.lfs, name, value)
    with pytest.raises(kind, match=words) as caught:
        await world.archive(commit)
    assert type(caught.value) is kind
    if "Retry-After" in behaviour.get("headers", {}):
        assert caught.value.after_seconds == 7
    if isinstance(caught.value, GitFailed):
        assert caught.value.fault is GitFault.LOGIN
    secrets = {login for _, login in world.lfs.logins if login}
    words_of = {login.split()[-1] for login in secrets}
    assert not any(word in str(caught.value) for word in words_of)
    await wait_until(lambda: is_quiet(world.mirrors))  # no file comes and goes any more
    for path in world.site.cache.rglob("*"):
        assert not path.is_file() or not any(
            word.encode() in path.read_bytes() for word in words_of
        )
    for name, value in usual.items():
        setattr(world.lfs, name, value)
    assert (await world.archive(commit))["a.bin"].content == content


async def test_a_server_that_repeats_the_login_is_not_quoted(world: _World) -> None:
    """Its answers go into logs and records (I10)."""
    commit = world.commit({"a.bin": world.lfs.add(b"a")})
    await world.archive(commit)
    again = world.commit({"b.bin": world.lfs.add(b"b")})

    async def login() -> str:
        return "Authorization: Basic c2VjcmV0OnNlY3JldA=="

    remote = world.mirrors.remotes.remote(repository())
    world.site.server.keys = {}
    world.lfs.status, world.lfs.message = 400, "you said Basic c2VjcmV0OnNlY3JldA=="
    object.__setattr__(
        world.mirrors,
        "remotes",
        _Fixed(type(remote)(remote.url, "web", login=login, reach=remote.reach)),
    )
    with pytest.raises(Retry, match="repeats the login") as caught:
        await world.archive(again)
    assert "c2Vj" not in str(caught.value)


@dataclass
class _Fixed:
    """One remote for all repositories."""

    the_remote: Any

    def remote(self, _: object) -> Any:  # noqa: ANN401 - a test's
        return self.the_remote


async def test_a_silent_server_is_abandoned(tmp_path: Path) -> None:
    """After `git.silence_timeout_seconds`; the next attempt resumes."""
    content = os.urandom(500_000)
    async with open_site(tmp_path) as site:
        async with site.open_mirrors() as mirrors:
            world = _World(site, mirrors)
            commit = world.commit({"a.bin": world.lfs.add(content)})
            async with mirrors.open(repository(), ref=MAIN, commit=commit):
                pass  # git is never silent
        world.lfs.stall_after_bytes = 200_000
        async with site.open_mirrors(silence_timeout_seconds=2) as mirrors:
            with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(Retry, match=r"a\.bin.*silence"):
                await _World(site, mirrors).archive(commit)
        world.lfs.stall_after_bytes = None
        async with site.open_mirrors() as mirrors:
            assert (await _World(site, mirrors).archive(commit))["a.bin"].content == content
        assert world.lfs.ranges == ["bytes=200000-"]


@pytest.mark.parametrize("by_redirect", [False, True])
@pytest.mark.parametrize("token", [False, True])
async def test_a_login_is_sent_to_no_other_host(
    world: _World, *, by_redirect: bool, token: bool
) -> None:
    """Contents may be on another host, with its own header; the repository's login is not sent."""
    content = os.urandom(10_000)
    commit = world.commit({"a.bin": world.lfs.add(content)})
    async with (
        open_elsewhere(world.lfs) as (url, other),
        world.site.open_mirrors(internal=(url.removeprefix("http://"),)) as mirrors,
    ):
        world.lfs.elsewhere, world.lfs.by_redirect = url, by_redirect
        world.lfs.token = token
        assert (await replace(world, mirrors=mirrors).archive(commit))["a.bin"].content == content
        own = DOWNLOAD_TOKEN if token and not by_redirect else None
        assert [(f"/lfs/{_oid(content)}", own)] == other.logins
    batches = [login for path, login in world.lfs.logins if path.endswith("batch")]
    assert all(login and login.startswith("Basic ") for login in batches)


async def test_a_commit_cannot_send_the_login_elsewhere(world: _World) -> None:
    """Any pusher writes `.lfsconfig`; only paths of the same server are allowed."""
    pointer = world.lfs.add(b"content")
    async with open_elsewhere(world.lfs) as (url, other):
        config = f"[lfs]\n\turl = {url}/v1/repos/web.git/info/lfs\n".encode()
        commit = world.commit({"a.bin": pointer, ".lfsconfig": config})
        with pytest.raises(Reject, match="another one"):
            await world.archive(commit)
        assert not other.logins
    secret = world.site.directory / "secret"
    secret.write_text(f"[lfs]\n\turl = {url}\n")
    config = f"[include]\n\tpath = {secret}\n".encode()  # git reads no file of this machine
    commit = world.commit({".lfsconfig": config})
    assert (await world.archive(commit))["a.bin"].content == b"content"
    place = f"{world.site.server.url}/v1/repos/other.git/info/lfs"
    config = f'[lfs]\n\turl = {place}\n[lfs "{place}"]\n\taccess = none\n'.encode()
    commit = world.commit({".lfsconfig": config, "b.bin": world.lfs.add(b"more")})
    world.site.server.keys = {}  # keys are for one repository each
    assert (await world.archive(commit))["b.bin"].content == b"more"
    assert world.lfs.logins[-2][0] == "/v1/repos/other.git/info/lfs/objects/batch"
    commit = world.commit({".lfsconfig": b"[lfs"})
    with pytest.raises(Reject, match=r"\.lfsconfig"):
        await world.archive(commit)


@pytest.mark.parametrize(
    "config",
    [
        "[lfs]\n\turl = {a}\n",
        '[remote "origin"]\n\tlfsurl = {a}\n',
        '[remote "origin"]\n\tlfsurl = {b}\n[lfs]\n\turl = {a}\n',
        '[lfs]\n\turl = {a}\n[remote "origin"]\n\tlfsurl = {b}\n',
        '[remote "origin"]\n\tLfsUrl = {b}\n\tlfsurl = {a}\n',
        '[remote "other"]\n\tlfsurl = {b}\n',
        "[lfs]\n\tpushurl = {b}\n",
    ],
)
async def test_the_server_is_the_one_that_git_lfs_uses(world: _World, config: str) -> None:
    """Each setting of `.lfsconfig` that names a server is tried, alone and with others."""
    server = world.site.server
    places = {name: f"{server.url}/v1/repos/{name}.git/info/lfs" for name in "ab"}
    content = config.format_map(places).encode()
    commit = world.commit({"a.bin": world.lfs.add(b"content"), ".lfsconfig": content})
    server.keys = {}  # keys are for one repository each
    expected = await _find_endpoint(world)
    assert (await world.archive(commit))["a.bin"].content == b"content"
    assert [path for path, _ in world.lfs.logins if path.endswith("batch")] == [
        f"{expected}/objects/batch"
    ]


async def _find_endpoint(world: _World) -> str:
    """Return the path of the server that git-lfs would ask in a clone."""
    place = world.site.directory / "endpoint"
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    url = f"{world.site.server.url}/v1/repos/web"
    await anyio.run_process(["git", "clone", "-q", url, str(place)], env=environment)
    told = await anyio.run_process(["git", "lfs", "env"], env=environment, cwd=place)
    (line,) = [each for each in told.stdout.decode().splitlines() if each.startswith("Endpoint=")]
    return urlsplit(line.partition("=")[2].partition(" ")[0]).path


async def test_contents_count_and_are_evicted_with_the_mirror(tmp_path: Path) -> None:
    """Contents are part of its size, and of its eviction."""
    async with (
        open_site(tmp_path) as site,
        site.open_mirrors(cache_budget_bytes=2_000_000) as mirrors,
    ):
        world = _World(site, mirrors)
        other = SourceRepository(site.directory / "remote" / "other")
        tip = other.commit({"a": b"a"})
        commit = world.commit({"a.bin": world.lfs.add(os.urandom(3_000_000))})
        async with mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot:
            selected = await snapshot.select(ArchiveOptions(lfs=Lfs.CONTENT))
            async with (
                open_whole(mirrors, repository(), selected) as whole,
                whole.open_archive() as tar,
            ):
                assert sum([len(chunk) async for chunk in tar]) > 3_000_000
            await wait_until(lambda: mirrors.statistics().size_bytes > 3_000_000)
            assert site.mirror.exists()  # still in use
        await wait_until(lambda: is_quiet(mirrors))  # now unused
        async with mirrors.open(repository("other"), ref=MAIN, commit=tip):
            await wait_until(lambda: mirrors.statistics().evictions == 1)
            assert not site.mirror.exists()


async def test_unused_contents_are_deleted(world: _World) -> None:
    """After a week without use, at the next fetch; abandoned partial contents, too."""
    first = world.commit({"a.bin": world.lfs.add(b"old")})
    await world.archive(first)
    (world.store / "incomplete" / "x.part").write_bytes(b"x")
    long_ago = time.time() - 8 * 24 * 3600
    for path in world.store.rglob("*"):
        if path.is_file():
            os.utime(path, (long_ago, long_ago))
    await world.archive(world.commit({"a.bin": world.lfs.add(b"new")}))
    assert {_oid(b"new")} == world.stored()
    assert not list((world.store / "incomplete").iterdir())
    assert (await world.archive(first))["a.bin"].content == b"old"


async def test_contents_of_a_local_repository_are_used(tmp_path: Path) -> None:
    """With `git.remote` a directory, contents are where git-lfs keeps them."""
    async with open_site(tmp_path) as site:
        remote = f"{tmp_path}/remote/{{repository}}"
        async with site.open_mirrors(remote=remote) as mirrors:
            world = _World(site, mirrors)
            commit = world.commit({"a.bin": pointer_of(b"content")})
            with pytest.raises(Reject, match=r"has not got the content of LFS file 'a\.bin'"):
                await world.archive(commit)
            oid = _oid(b"content")
            kept = site.source.path / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
            kept.parent.mkdir(parents=True)
            kept.write_bytes(b"content")
            assert (await world.archive(commit))["a.bin"].content == b"content"


def test_the_installed_git_lfs_reads_the_tests_pointers(tmp_path: Path) -> None:
    """The installed git-lfs reads the tests' pointers as pointers."""
    if shutil.which("git-lfs") is None:
        pytest.skip("apt-get install git-lfs")
    (tmp_path / "f").write_bytes(pointer_of(b"x"))
    command = ["git-lfs", "pointer", "--check", "--strict", "--file", str(tmp_path / "f")]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
