"""Files that a failure of power left torn: each is mended once, and nothing healthy is lost.

Every file of a cache, torn in every way: empty, zeros, cut, garbage, gone.
"""

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest
from support.mirrors import MAIN, Site, read_archive, repository
from support.repositories import SourceRepository

from asyncbuild.errors import Retry
from asyncbuild.git.mirror import Mirrors
from asyncbuild.options import ArchiveOptions, ExportAttributes


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
    """A commit in a repository of each object format, by its name."""
    other = SourceRepository(site.directory / "remote" / "sha256", object_format="sha256")
    return {"web": site.source.commit(_FILES), "sha256": other.commit(_FILES)}


async def _names(mirrors: Mirrors, name: str, commit: str, options: ArchiveOptions) -> set[str]:
    async with mirrors.open(repository(name), ref=MAIN, commit=commit) as snapshot:
        tar = await read_archive(await snapshot.select(options))
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return set(opened.getnames())


@pytest.mark.parametrize("tear", TEARS)
@pytest.mark.parametrize("file", _EMPTIES)
async def test_a_torn_file_of_the_reader_is_written_again(site: Site, file: str, tear: str) -> None:
    """At the next start: archives are as before, attributes on or off, and no mirror goes."""
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
async def test_damage_of_the_reader_is_not_laid_on_a_mirror(
    site: Site, file: str, tear: str
) -> None:
    """While the service runs: at the latest the second try works, with the same mirror."""
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
