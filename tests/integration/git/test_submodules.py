"""Archives with submodules, over HTTP, against `git clone --recurse-submodules`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.archives import Member, members_of_checkout, members_of_zip
from support.git_http import GitServer, open_git_server
from support.mirrors import MAIN, REGION, repository, zip_of
from support.repositories import SourceRepository

from asyncbuild.config import GitSettings
from asyncbuild.domain.archive_options import ArchiveOptions, ExportAttributes, Submodules
from asyncbuild.domain.errors import Reject, Retry
from asyncbuild.forges.remotes import Remotes
from asyncbuild.git.content.submodules import open_whole
from asyncbuild.git.mirrors.cache import MirrorCache, open_mirrors


@dataclass
class _World:
    """A server with repositories, and a cache in front of it."""

    directory: Path
    server: GitServer
    mirrors: MirrorCache
    sources: dict[str, SourceRepository] = field(default_factory=dict)

    def source(self, name: str) -> SourceRepository:
        if name not in self.sources:
            self.sources[name] = SourceRepository(self.server.root / name)
        return self.sources[name]

    async def archive(self, commit: str, **options: Any) -> dict[str, Member]:  # noqa: ANN401
        """Return the whole zip of a commit of `web`, after making it twice."""
        wanted = ArchiveOptions(submodules=Submodules.INCLUDE, **options)
        zips = [await zip_of(self.mirrors, commit, wanted) for _ in range(2)]
        assert zips[0] == zips[1]
        return members_of_zip(zips[0])

    async def clone(self) -> dict[str, Member]:
        """Return the files of `git clone --recurse-submodules`, without `.git`."""
        place = self.directory / "clone"
        url = f"{self.server.url}/v1/repos/web"
        command = ["git", "clone", "-q", "--recurse-submodules", url, str(place)]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        await anyio.run_process(command, env=environment)
        return members_of_checkout(place)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[_World]:
    """Open a server without logins, otherwise like CodeCommit's: protocol v0, ids of tips alone."""
    async with _open_world(tmp_path) as world:
        yield world


@asynccontextmanager
async def _open_world(directory: Path, **changes: Any) -> AsyncIterator[_World]:  # noqa: ANN401
    async with open_git_server(directory / "remote", region=REGION) as server:
        settings = GitSettings(
            remote=changes.pop("remote", server.template),
            cache_directory=directory / "cache",
            silence_timeout_seconds=60,
            **changes,
        )
        async with open_mirrors(settings, Remotes(settings)) as mirrors:
            yield _World(directory, server, mirrors)


def _gitmodules(**urls: str) -> bytes:
    return "".join(
        f'[submodule "{name}"]\n\tpath = {name}\n\turl = {url}\n' for name, url in urls.items()
    ).encode()


async def test_the_archive_equals_a_recursive_clone(world: _World) -> None:
    """Two repositories, one nested, one twice, deep and odd names; URLs absolute and relative."""
    deep = world.source("deep").commit({"d/deep.txt": b"deep", "e": b"x" * 3_000_000})
    world.source("deep").commit({"d/deep.txt": b"newer"})
    lib = world.source("lib").commit(
        {
            "lib.py": b"lib",
            "in/deep": deep,
            ".gitmodules": b'[submodule "x"]\npath = in/deep\nurl = ../deep\n',
        }
    )
    url = f"{world.server.url}/v1/repos/deep/"
    long = "n" * 90 + "/" + "m" * 90
    modules = f'[submodule "d.e"]\npath = {long}\nurl = {url}\n'.encode()
    commit = world.source("web").commit(
        {
            "a": b"a",
            "vendor/lib": lib,
            "z": b"z",
            long: deep,
            ".gitmodules": modules + b'[submodule "lib"]\npath = vendor/lib\nurl = ../lib\n',
        }
    )
    members = await world.archive(commit)
    assert await world.clone() == members
    assert members["vendor/lib/in/deep/d/deep.txt"].content == b"deep"
    assert members[f"{long}/e"].content == b"x" * 3_000_000


@pytest.mark.parametrize("branch", ["main", "other"])
async def test_a_commit_behind_the_tip_is_found(world: _World, branch: str) -> None:
    """On any branch, though the server has no default branch, and announces no ids."""
    old = world.source("lib").commit({"a": b"old"}, branch=branch)
    world.source("lib").commits(80, branch=branch)
    commit = world.source("web").commit({"lib": old, ".gitmodules": _gitmodules(lib="../lib")})
    members = await world.archive(commit)
    assert {".gitmodules", "lib/", "lib/a"} == set(members)


async def test_a_commit_that_comes_later_is_waited_for(world: _World) -> None:
    """A push before its submodule's push is not stale, but retried."""
    world.source("lib").commit({"a": b"1"})
    later = SourceRepository(world.directory / "elsewhere")
    missing = later.commit({"a": b"2"})
    commit = world.source("web").commit({"lib": missing, ".gitmodules": _gitmodules(lib="../lib")})
    with pytest.raises(Retry, match=f"submodule 'lib' of .*{missing} is on no branch"):
        await world.archive(commit)
    later.git("push", "-q", str(world.source("lib").path), "main:refs/heads/later")
    assert (await world.archive(commit))["lib/a"].content == b"2"


async def test_options_act_on_submodules(world: _World) -> None:
    """A subtree, pathspecs and `export-ignore` leave some out; those are not fetched."""
    lib = world.source("lib").commit({"f": b"f", "no": b"n", ".gitattributes": b"no export-ignore"})
    gone = "1" * 40
    commit = world.source("web").commit(
        {
            "s/lib": lib,
            "s/f": b"f",
            "s/.gitattributes": b"gone export-ignore\n",
            "s/gone": gone,
            "t/gone": gone,
            ".gitmodules": b'[submodule "l"]\npath = s/lib\nurl = ../lib\n',
        }
    )
    below = await world.archive(commit, subtree="s")
    assert {".gitattributes", "f", "lib/", "lib/f", "lib/.gitattributes"} == set(below)
    assert {"lib/", "lib/f", "lib/.gitattributes"} == set(
        await world.archive(commit, subtree="s", paths=("lib",))
    )
    by_path = await world.archive(commit, paths=("s", ":!s/f"))
    assert {"lib/f", "s/lib/f"} & set(by_path) == {"s/lib/f"}
    assert "s/f" not in by_path
    ignoring = await world.archive(
        commit, subtree="s", paths=("lib",), export_attributes=ExportAttributes.IGNORE
    )
    assert "lib/no" in ignoring


async def test_without_submodules_it_is_the_usual_archive(world: _World) -> None:
    """Deltas can be made of it, and of archives before it."""
    commit = world.source("web").commit({"a": b"a"})
    options = ArchiveOptions(submodules=Submodules.INCLUDE)
    async with world.mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot:
        selected = await snapshot.select(options)
        async with open_whole(world.mirrors, repository(), selected) as whole:
            assert ((), ArchiveOptions()) == (whole.parts, whole.options)


async def test_update_none_is_left_empty(world: _World) -> None:
    """Git does the same."""
    modules = _gitmodules(lib="../none") + b"update = none\n"
    commit = world.source("web").commit({"lib": "1" * 40, ".gitmodules": modules})
    assert {".gitmodules", "lib/"} == set(await world.archive(commit))


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        (None, "no usable section"),
        (b"", "no usable section"),
        (b"[submodule", "bad config"),
        (b"x" * 2_000_000, "longer than"),
        (b'[submodule ".."]\npath = lib\nurl = ../lib\n', "no usable section"),
        (b'[submodule "l"]\npath = lib/\nurl = ../lib\n', "no usable section"),
        (_gitmodules(lib="-oProxyCommand=touch${IFS}x"), "no usable section"),
        (_gitmodules(lib="ext::sh -c touch% x"), "set up to fetch"),
        (_gitmodules(lib="file:///etc"), "set up to fetch"),
        (_gitmodules(lib="/etc"), "set up to fetch"),
        (_gitmodules(lib="../../../../../../x"), "climbs|set up to fetch"),
        (_gitmodules(lib="https://user:s3cret@example.com/x/y"), "set up to fetch"),
        (_gitmodules(lib="../../../v2/repos/lib"), "set up to fetch"),
        (_gitmodules(lib="../%2e%2e"), "set up to fetch"),
        (_gitmodules(lib="../a%20%20b"), "'a  b' is not a name"),
        (_gitmodules(lib="../a%2bb"), "is not a name"),
        (_gitmodules(lib="../nowhere"), "404|not found"),
    ],
)
async def test_an_invalid_submodule_is_rejected(
    world: _World, modules: bytes | None, reason: str
) -> None:
    """No part of it is run, read or connected to, and no login is shown (I10, I11)."""
    lib = world.source("lib").commit({"a": b"a"})
    commit = world.source("web").commit({"lib": lib, ".gitmodules": modules})
    connections = world.server.connections.copy()
    with pytest.raises(Reject, match=reason) as caught:
        await world.archive(commit)
    assert "s3cret" not in str(caught.value)
    assert caught.value.reason.startswith("submodule 'lib' of ") or "gitmodules" in str(
        caught.value
    )
    assert world.server.connections["lib"] == connections["lib"]


async def test_gitmodules_include_no_local_file(world: _World) -> None:
    """`include.path` would have git read files: it does not."""
    secret = world.directory / "secret"
    secret.write_bytes(_gitmodules(lib="../lib"))
    lib = world.source("lib").commit({"a": b"a"})
    modules = f"[include]\n\tpath = {secret}\n".encode()
    commit = world.source("web").commit({"lib": lib, ".gitmodules": modules})
    with pytest.raises(Reject, match="no usable section"):
        await world.archive(commit)


@pytest.mark.parametrize("name", ["..", ".git", ".GIT"])
async def test_a_path_that_leaves_the_tree_is_refused(world: _World, name: str) -> None:
    """The tree was never checked; git itself would not create it."""
    source = world.source("web")
    lib = world.source("lib").commit({"a": b"a"})
    tree = source.git("mktree", "--missing", stdin=f"160000 commit {lib}\t{name}\n".encode())
    outer = source.git("mktree", stdin=f"040000 tree {tree}\td\n".encode())
    commit = source.git("commit-tree", "-m", "x", outer)
    source.git("update-ref", MAIN, commit)
    with pytest.raises(Reject, match=r"submodule 'd/.*leads out of the tree"):
        await world.archive(commit)


async def test_too_many_submodules_are_rejected(world: _World) -> None:
    """Each is a mirror and a fetch: thousands in one tree would be an attack on others."""
    commit = world.source("web").commit({f"m/{number}": "1" * 40 for number in range(201)})
    with pytest.raises(Reject, match="more than 200"):
        await world.archive(commit)


async def test_nesting_has_a_limit(world: _World) -> None:
    """A repository may contain older versions of itself without end."""
    source = world.source("web")
    commit = source.commit({"a": b"a"})
    for _ in range(12):
        commit = source.commit({"in": commit, ".gitmodules": _gitmodules(**{"in": "../web"})})
    with pytest.raises(Reject, match="nested more than 10"):
        await world.archive(commit)


async def test_submodules_of_local_repositories_are_found(tmp_path: Path) -> None:
    """With `git.remote` a directory, only its neighbours are found."""
    remote = f"{tmp_path}/remote/{{repository}}"
    async with _open_world(tmp_path, remote=remote) as world:
        lib = world.source("lib").commit({"a": b"a"})
        by_url = _gitmodules(other=f"file://{tmp_path}/remote/lib")
        first = world.source("web").commit({"lib": lib, ".gitmodules": _gitmodules(lib="../lib")})
        assert {".gitmodules", "lib/", "lib/a"} == set(await world.archive(first))
        second = world.source("web").commit({"lib": None, "other": lib, ".gitmodules": by_url})
        assert "other/a" in await world.archive(second)
        SourceRepository(tmp_path / "secret").commit({"a": b"a"})
        third = world.source("web").commit({".gitmodules": _gitmodules(other="../../secret")})
        with pytest.raises(Reject, match="set up to fetch"):
            await world.archive(third)


async def test_submodules_below_an_excluded_path_are_left_out(world: _World) -> None:
    """All of them: git's output for them is a tar without a member."""
    lib = world.source("lib").commit({"lib.py": b"lib"})
    commit = world.source("web").commit(
        {
            "a": b"a",
            "vendor/lib": lib,
            ".gitattributes": b"vendor export-ignore\n",
            ".gitmodules": _gitmodules(**{"vendor/lib": "../lib"}),
        }
    )
    members = await world.archive(commit)
    assert {"a", ".gitattributes", ".gitmodules"} == set(members)
    kept = await world.archive(commit, export_attributes=ExportAttributes.IGNORE)
    assert kept["vendor/lib/lib.py"].content == b"lib"
