"""Files damaged by a power failure: each is repaired once, and nothing healthy is lost.

Every file of a cache is damaged in every way: empty, zeros, cut, garbage, deleted.
"""

import io
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest
from anyio import to_thread
from support.mirrors import MAIN, Site, archive_of, read_archive, repository
from support.repositories import SourceRepository

from asyncbuild.domain.archive_options import ArchiveOptions, ExportAttributes
from asyncbuild.domain.errors import Retry
from asyncbuild.git.mirrors.cache import MirrorCache
from asyncbuild.git.mirrors.directory import MirrorDirectory


def _write(path: Path, content: bytes) -> None:
    if path.exists():
        path.chmod(0o644)
    path.write_bytes(content)


TEARS: Final[Mapping[str, Callable[[Path], None]]] = {
    "empty": lambda path: _write(path, b""),
    "zeros": lambda path: _write(path, bytes(path.stat().st_size)),
    "cut": lambda path: _write(path, path.read_bytes()[: path.stat().st_size // 2]),
    "garbage": lambda path: _write(path, b"garbage\n" * (path.stat().st_size // 8 + 1)),
    "gone": lambda path: path.unlink(),
}
_EMPTIES: Final = [
    f"{name}/{file}"
    for format_ in ("sha1", "sha256")
    for name, files in (
        (f"{format_}.git", ("HEAD", "config")),
        (f"{format_}-without-exports.git", ("HEAD", "config", "info/attributes")),
    )
    for file in files
]
_CHOICES: Final = (
    ArchiveOptions(),
    ArchiveOptions(export_attributes=ExportAttributes.IGNORE),
)
_FILES: Final = {".gitattributes": b"secret export-ignore\n", "f": b"x\n", "secret": b"s\n"}
_NAMES: Final = ({".gitattributes", "f"}, set(_FILES))


def _commits(site: Site) -> Mapping[str, str]:
    """Return a commit in a repository of each object format, by its name."""
    other = SourceRepository(site.directory / "remote" / "sha256", object_format="sha256")
    return {"web": site.source.commit(_FILES), "sha256": other.commit(_FILES)}


async def _names(mirrors: MirrorCache, name: str, commit: str, options: ArchiveOptions) -> set[str]:
    async with mirrors.open(repository(name), ref=MAIN, commit=commit) as snapshot:
        tar = await read_archive(await snapshot.select(options))
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return set(opened.getnames())


@pytest.mark.parametrize("tear", TEARS)
@pytest.mark.parametrize("file", _EMPTIES)
async def test_a_damaged_file_of_the_reader_is_rewritten(site: Site, file: str, tear: str) -> None:
    """Archives after the next start are as before, attributes on or off; no mirror is replaced."""
    commits = _commits(site)
    for life in range(2):
        async with site.open_mirrors() as mirrors:
            for name, commit in commits.items():
                for options, names in zip(_CHOICES, _NAMES, strict=True):
                    assert await _names(mirrors, name, commit, options) == names
            assert mirrors.statistics().renewals == 0
            assert mirrors.statistics().fetches == (0 if life else len(commits))
        if not life:
            TEARS[tear](site.cache / "reader" / file)


@pytest.mark.parametrize("tear", TEARS)
@pytest.mark.parametrize("file", ["HEAD", "config"])
async def test_damage_of_the_reader_does_not_blame_a_mirror(
    site: Site, file: str, tear: str
) -> None:
    """While the service runs: by the second attempt at the latest, with the same mirror."""
    commit = _commits(site)["web"]
    async with site.open_mirrors() as mirrors:
        assert await _names(mirrors, "web", commit, _CHOICES[0]) == _NAMES[0]
        before = site.mirror.stat().st_ino
        TEARS[tear](site.cache / "reader" / "sha1.git" / file)
        try:
            await _names(mirrors, "web", commit, _CHOICES[0])
        except Retry:
            assert await _names(mirrors, "web", commit, _CHOICES[0]) == _NAMES[0]
        assert mirrors.statistics().renewals == 0
        assert site.mirror.stat().st_ino == before


def _pack_refs(mirror: Path) -> None:
    git = ["git", "--git-dir", str(mirror), "pack-refs", "--all"]
    subprocess.run(git, check=True)


def _index_packs(mirror: Path) -> None:
    git = ["git", "--git-dir", str(mirror), "multi-pack-index", "write"]
    subprocess.run(git, check=True, stderr=subprocess.DEVNULL)


_NOTHING: Final[Callable[[Path], None]] = lambda _mirror: None  # noqa: E731 - beside the others
_PARTS: Final[Mapping[str, tuple[str, Callable[[Path], None]]]] = {
    "HEAD": ("HEAD", _NOTHING),
    "config": ("config", _NOTHING),
    "shallow": ("shallow", _NOTHING),
    "packed-refs": ("packed-refs", _pack_refs),
    "ref": ("refs/asyncbuild/**/*", _NOTHING),
    "pack": ("objects/pack/*.pack", _NOTHING),
    "index": ("objects/pack/*.idx", _NOTHING),
    "multi-pack-index": ("objects/pack/multi-pack-index", _index_packs),
}


@pytest.mark.parametrize("tear", TEARS)
@pytest.mark.parametrize("part", _PARTS)
@pytest.mark.parametrize("protocol", ["v0", "v2"])
async def test_a_damaged_file_of_a_mirror_is_repaired_once(
    site: Site, protocol: str, part: str, tear: str
) -> None:
    """The next pushes repair it: its tip, a commit behind it, and older commits are archived."""
    other = SourceRepository(site.directory / "remote" / "other")
    healthy = other.commit({"f": b"1"})
    site.server.behaviour.protocol_v0 = protocol == "v0"
    ids = site.source.commits(10)
    pattern, prepare = _PARTS[part]
    async with site.open_mirrors() as mirrors:
        await archive_of(mirrors, healthy, name="other")
        neighbour = MirrorDirectory(site.mirror.parent.parent / "other").repository.stat().st_ino
        site.source.git("update-ref", MAIN, ids[7])
        await archive_of(mirrors, ids[7])
        await to_thread.run_sync(prepare, site.mirror)
        for path in [path for path in site.mirror.glob(pattern) if path.is_file()]:
            TEARS[tear](path)
        site.source.git("update-ref", MAIN, ids[9])
        for commit in (ids[9], ids[3], ids[7], ids[8]):
            assert await _archive_in_two_tries(mirrors, commit) == site.source.archive(commit)
        assert mirrors.statistics().renewals <= 1
        assert await archive_of(mirrors, healthy, name="other") == other.archive(healthy)
        assert (
            MirrorDirectory(site.mirror.parent.parent / "other").repository.stat().st_ino
            == neighbour
        )


async def _archive_in_two_tries(mirrors: MirrorCache, commit: str) -> bytes:
    """Return an archive by the second attempt.

    A truncated one shows the damage, which is repaired.
    """
    try:
        return await archive_of(mirrors, commit)
    except Retry:
        return await archive_of(mirrors, commit)


@pytest.mark.parametrize("protocol", ["v0", "v2"])
@pytest.mark.parametrize("line", ["behind", "before", "nowhere", "garbage"])
async def test_a_stale_line_of_shallow_is_not_an_outage(
    site: Site, line: str, protocol: str
) -> None:
    """Absent commits, or other texts, in `shallow`: the mirror is cloned again, once."""
    site.server.behaviour.protocol_v0 = protocol == "v0"
    ids = site.source.commits(10)
    lines = {"behind": ids[2], "before": ids[8], "nowhere": "1" * 40, "garbage": "garbage"}
    async with site.open_mirrors() as mirrors:
        site.source.git("update-ref", MAIN, ids[7])
        await archive_of(mirrors, ids[7])
        with (site.mirror / "shallow").open("a") as shallow:
            shallow.write(f"{lines[line]}\n")
        site.source.git("update-ref", MAIN, ids[9])
        for commit in (ids[9], ids[3]):
            assert await archive_of(mirrors, commit) == site.source.archive(commit)
        assert mirrors.statistics().renewals <= 1


@pytest.mark.parametrize("tear", TEARS)
async def test_a_damaged_config_rejects_no_push(site: Site, tear: str) -> None:
    """The mirror's objects are SHA-256 though its config lost that: pushes are not rejected."""
    source = SourceRepository(site.directory / "remote" / "sha256", object_format="sha256")
    mirror = MirrorDirectory(site.mirror.parent.parent / "sha256").repository
    async with site.open_mirrors() as mirrors:
        await archive_of(mirrors, source.commit({"f": b"1"}), name="sha256")
        TEARS[tear](mirror / "config")
        commit = source.commit({"f": b"2"})
        assert await archive_of(mirrors, commit, name="sha256") == source.archive(commit)
        assert mirrors.statistics().renewals == 1
