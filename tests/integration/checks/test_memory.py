"""Memory of git: large files are streamed, measured, or rejected with the number (I6)."""

import os
import random
import resource
import sys
from pathlib import Path

import pytest
from support.mirrors import MAIN, Site, read_archive, repository

from asyncbuild.checks.local_machine import look_at_memory
from asyncbuild.checks.memory_footprint import footprint_bytes
from asyncbuild.config import GitSettings, Settings
from asyncbuild.domain.errors import Reject
from asyncbuild.git.formats.gitattributes import converts
from asyncbuild.git.mirrors.cache import MirrorCache
from asyncbuild.git.process.command import Command, Git, ProcessKind
from asyncbuild.git.process.limits import OutOfMemory
from asyncbuild.runtime.cgroup import memory_limit_bytes

MIB = 1024 * 1024
_BUDGET = 192 * MIB  # a share is 32 MiB, a fetch's 64, the maximum of one git 160
_MOST = 160 * MIB
_OWN_LIMIT = "import resource; print(resource.getrlimit(resource.RLIMIT_DATA)[0])"


def _noise(nbytes: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(nbytes)  # noqa: S311 - incompressible, not secret


async def _archive(mirrors: MirrorCache, commit: str) -> tuple[bytes, bool]:
    """Make an archive like `Archiver`; return it, and whether it had to be measured."""
    async with mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot:
        try:
            return await read_archive(snapshot), False
        except OutOfMemory:
            return await read_archive(await snapshot.measured()), True


def _as_delta(site: Site, nbytes: int) -> str:
    """Commit a file twice, so that only the older one is stored whole."""
    content = _noise(nbytes)
    site.source.commit({"large": content + b"longer: what git makes the base"})
    commit = site.source.commit({"large": content})
    site.source.git("repack", "-adfq", "--depth=1", "--window=2")
    return commit


async def test_a_large_file_that_is_stored_whole_is_streamed(site: Site) -> None:
    """Its size may exceed its git's share; git is not restarted with more."""
    commit = site.source.commit({"large": _noise(48 * MIB), "small": b"1"})
    async with site.open_mirrors(memory_budget_bytes=_BUDGET) as mirrors:
        assert await _archive(mirrors, commit) == (site.source.archive(commit), False)
        assert mirrors.statistics().renewals == 0


async def test_a_file_stored_whole_may_exceed_all_memory_of_git(site: Site) -> None:
    """Neither its fetch nor its archive holds it in memory."""
    most_bytes = 40 * MIB
    commit = site.source.commit({"large": _noise(most_bytes + 5 * MIB), "small": b"1"})
    async with site.open_mirrors(memory_budget_bytes=most_bytes * 6 // 5) as mirrors:
        assert await _archive(mirrors, commit) == (site.source.archive(commit), False)


async def test_a_large_file_stored_as_a_delta_gets_the_memory_it_needs(site: Site) -> None:
    """Three times its size, within the maximum of one git."""
    commit = _as_delta(site, 16 * MIB)
    async with site.open_mirrors(memory_budget_bytes=_BUDGET, depth=0) as mirrors:
        assert await _archive(mirrors, commit) == (site.source.archive(commit), True)


async def test_a_file_that_needs_too_much_memory_is_rejected_with_the_number(site: Site) -> None:
    """The fetch or the archive is rejected; the mirror is not blamed, the next push is built."""
    commit = _as_delta(site, 48 * MIB)
    async with site.open_mirrors(memory_budget_bytes=_BUDGET, depth=0) as mirrors:
        with pytest.raises(Reject, match=rf"git needs more than \d+ bytes.* {_MOST} ") as raised:
            await _archive(mirrors, commit)
        assert f"git.memory_budget_bytes is {_BUDGET}" in raised.value.reason
        assert mirrors.statistics().renewals == 0
        small = site.source.commit({"small": b"1"}, branch="small", parent=None)
        async with mirrors.open(repository(), ref="refs/heads/small", commit=small) as snapshot:
            assert await read_archive(snapshot) == site.source.archive(small)


@pytest.mark.parametrize(
    ("attribute", "streamed"),
    [
        *((each, False) for each in ("eol=crlf", "text eol=crlf", "ident", "export-subst")),
        *((each, False) for each in ("working-tree-encoding=UTF-16", "filter=x")),
        *((each, True) for each in ("text", "text=auto", "-text", "eol=lf", "binary", "crlf")),
        *((each, True) for each in ("crlf=input", "-crlf", "export-ignore=no", "diff", "merge")),
    ],
)
async def test_attributes_decide_what_is_streamed_and_bytes_do_not_change(
    site: Site, attribute: str, *, streamed: bool
) -> None:
    """Each attribute is set on a file longer than the threshold of streaming."""
    text = b"$Id$ $Format:%H$ and a line\n" * 80_000
    files = {".gitattributes": f"* {attribute}\n".encode(), "lf": text}
    files["crlf"] = text.replace(b"\n", b"\r\n")
    commit = site.source.commit(files)
    assert converts([files[".gitattributes"]]) is not streamed
    async with (
        site.open_mirrors() as mirrors,
        mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot,
    ):
        measured = await snapshot.measured()
        assert measured.need is not None
        assert measured.need.streamed is streamed
        whole = site.source.archive(commit)  # made by a git with all files in memory
        assert await read_archive(measured) == whole
        assert await read_archive(snapshot) == whole


@pytest.mark.parametrize("work", [ProcessKind.STREAM, ProcessKind.FETCH, ProcessKind.UPKEEP])
async def test_a_git_never_exceeds_its_share(work: ProcessKind) -> None:
    """The limit is set before it begins, however busy the machine is."""
    git = Git(GitSettings(memory_budget_bytes=_BUDGET))
    answer = await git.run(Command(("-c", _OWN_LIMIT), "try it", program=sys.executable, work=work))
    assert int(answer) == _BUDGET // 6 * (1 if work is ProcessKind.STREAM else 2)


def test_the_lowest_limit_of_all_cgroups_counts(tmp_path: Path) -> None:
    """A container's group mounted at the root, or a group and those above it; both versions."""
    machine = resource.getpagesize() * os.sysconf("SC_PHYS_PAGES")
    own = tmp_path / "own"
    own.write_text("4:memory:/a/b\n0::/c/d\n")
    assert memory_limit_bytes(tmp_path, own) == machine
    for place, text, least in [
        ("memory/memory.limit_in_bytes", "9223372036854771712", machine),
        ("memory.max", "max", machine),
        ("c/memory.max", "900000", 900_000),
        ("c/d/memory.max", "1000000", 900_000),
        ("memory/a/memory.limit_in_bytes", "800000", 800_000),
        ("memory.max", "700000", 700_000),
    ]:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(f"{text}\n")
        assert memory_limit_bytes(tmp_path, own) == least, place


async def test_settings_that_exceed_the_machines_memory_are_reported() -> None:
    """`check` reports them, with the settings that count."""
    much = Settings(git=GitSettings(memory_budget_bytes=2**40))
    (told,) = [each async for each in look_at_memory(much)]
    assert told.level.value == "warning"
    assert "git.memory_budget_bytes" in told.what
    (fine,) = [each async for each in look_at_memory(Settings())]
    assert fine.level.value == "ok"
    default_task = Settings(git=GitSettings(memory_budget_bytes=1024 * MIB))
    assert footprint_bytes(default_task) < 2048 * MIB
