"""Contents of LFS files, stored beside the mirror, that a power failure or disk error damaged."""

import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.archives import members_of_zip
from support.lfs import pointer_of
from support.mirrors import MAIN, Site, repository, zip_of

from asyncbuild.domain.archive_options import ArchiveOptions, Lfs
from asyncbuild.domain.errors import Reject, Retry
from asyncbuild.git.content.submodules import open_whole
from asyncbuild.git.mirrors.cache import MirrorCache

_LARGE = b"*.bin filter=lfs diff=lfs merge=lfs -text\n"
_WANTED = ArchiveOptions(lfs=Lfs.CONTENT)


@pytest.fixture
async def mirrors(site: Site) -> AsyncIterator[MirrorCache]:
    """Open the cache of a site."""
    async with site.open_mirrors() as mirrors:
        yield mirrors


async def _contents(mirrors: MirrorCache, commit: str) -> dict[str, bytes]:
    members = members_of_zip(await zip_of(mirrors, commit, _WANTED))
    return {name: each.content for name, each in members.items() if name.endswith(".bin")}


def _tear(content: bytes, choice: random.Random) -> bytes:
    """Return a damaged file: zeros from somewhere on, less, more, other bits, nothing."""
    at = choice.randrange(len(content))
    bit = bytes([content[at] ^ 1 << choice.randrange(8)])
    return choice.choice(
        [
            bytes(len(content)),
            content[:at] + bytes(len(content) - at),
            bytes(at + 1) + content[at + 1 :],
            content[:at],
            content + bytes(at + 1),
            content[:at] + bit + content[at + 1 :],
            b"",
        ]
    )


def _stored(site: Site) -> list[Path]:
    return sorted((site.mirror / "lfs" / "objects").glob("*/*/*"))


async def test_damaged_contents_are_fetched_again_at_once(site: Site) -> None:
    """Damage made while no process runs: no archive contains it, no attempt fails."""
    choice = random.Random(26)  # noqa: S311 - the same each time
    contents = {f"{number}.bin": os.urandom(20_000) for number in range(40)}
    files = {name: site.server.lfs.add(content) for name, content in contents.items()}
    commit = site.source.commit({".gitattributes": _LARGE, **files})
    async with site.open_mirrors() as mirrors:
        assert await _contents(mirrors, commit) == contents
    torn = 0
    for path in _stored(site):
        left = _tear(path.read_bytes(), choice)
        torn += left != path.read_bytes()
        path.write_bytes(left)
    assert torn > 30
    site.server.lfs.asked.clear()
    async with site.open_mirrors() as mirrors:
        assert await _contents(mirrors, commit) == contents
        assert site.server.lfs.asked.total() == torn
        assert await _contents(mirrors, commit) == contents
        assert site.server.lfs.asked.total() == torn


async def test_contents_damaged_under_a_running_service_are_fetched_again(
    site: Site, mirrors: MirrorCache
) -> None:
    """A write to a file changes its time, and it is hashed again."""
    content = os.urandom(20_000)
    commit = site.source.commit({".gitattributes": _LARGE, "a.bin": site.server.lfs.add(content)})
    assert await _contents(mirrors, commit) == {"a.bin": content}
    (path,) = _stored(site)
    path.write_bytes(bytes(len(content)))
    assert await _contents(mirrors, commit) == {"a.bin": content}


async def test_contents_damaged_unnoticed_are_never_in_an_archive(
    site: Site, mirrors: MirrorCache
) -> None:
    """Same file, length and time as before: detected while reading; the next attempt succeeds."""
    content = os.urandom(20_000)
    commit = site.source.commit({".gitattributes": _LARGE, "a.bin": site.server.lfs.add(content)})
    assert await _contents(mirrors, commit) == {"a.bin": content}
    async with mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot:
        selected = await snapshot.select(_WANTED)
        async with open_whole(mirrors, repository(), selected) as whole:
            assert whole.contents
            await whole.contents.bring()
            (path,) = _stored(site)
            before = path.stat()
            path.write_bytes(bytes(len(content)))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            with pytest.raises(Retry, match="holds something else"):
                async with whole.open_archive() as tar:
                    _ = [chunk async for chunk in tar]
    assert await _contents(mirrors, commit) == {"a.bin": content}


@pytest.mark.parametrize("scheme", ["", "file://"])
async def test_a_damaged_content_of_a_local_repository_is_reported(site: Site, scheme: str) -> None:
    """Another owner's file is not repaired, and never in an archive."""
    content = os.urandom(20_000)
    pointer = pointer_of(content)
    commit = site.source.commit({".gitattributes": _LARGE, "a.bin": pointer})
    oid = pointer.split(b"sha256:")[1][:64].decode()
    kept = site.source.path / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
    kept.parent.mkdir(parents=True)
    kept.write_bytes(bytes(len(content)))
    remote = f"{scheme}{site.directory}/remote/{{repository}}"
    async with site.open_mirrors(remote=remote) as mirrors:
        with pytest.raises(Reject, match="something else under the name"):
            await _contents(mirrors, commit)
        kept.write_bytes(content)
        assert await _contents(mirrors, commit) == {"a.bin": content}


async def test_a_damaged_partial_content_is_fetched_from_its_beginning(
    site: Site, mirrors: MirrorCache
) -> None:
    """The rest of the last attempt may be damaged, too; it is not resumed without end."""
    choice = random.Random(27)  # noqa: S311 - the same each time
    contents = {f"{number}.bin": os.urandom(20_000) for number in range(20)}
    files = {name: site.server.lfs.add(content) for name, content in contents.items()}
    commit = site.source.commit({".gitattributes": _LARGE, **files})
    incomplete = site.mirror / "lfs" / "incomplete"
    async with mirrors.open(repository(), ref=MAIN, commit=commit):
        incomplete.mkdir(parents=True)
    for name, content in contents.items():
        oid = pointer_of(content).split(b"sha256:")[1][:64].decode()
        path = incomplete / f"{oid}.part"
        path.write_bytes(_tear(content[: 1 + int(name.partition(".")[0]) * 1_000], choice))
        path.chmod(0o644)
    assert await _contents(mirrors, commit) == contents
    assert not list(incomplete.iterdir())
    assert {path.stat().st_mode & 0o777 for path in _stored(site)} == {0o600}
