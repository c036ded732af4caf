"""A mirror is replaced only if it is damaged: not for a server's text, nor a pusher's names."""

import os
from pathlib import Path

import pytest
from support.mirrors import MAIN, Site, archive_of

from asyncbuild.domain.errors import Outage, Reject, StageError
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.mirrors.cache import MirrorCache

_NAMES = (
    *("corrupt", "inflate", "a.idx", "bad object", "fatal: not a git repository"),
    *("no space left on device", "Too many open files", "out of memory", "packfile"),
    "x'\nfatal: loose object 1111111111111111111111111111111111111111 is corrupt\n'x",
    "x\nerror: inflate: data stream error\nfatal: not a git repository",
    "x\nfatal: Too many open files",
)


def _odd_tree(site: Site, name: str) -> str:
    """Return a commit with a tree that git refuses to archive, naming its path."""

    def tree(mode: bytes, name: bytes, object_id: str) -> str:
        entry = mode + b" " + name + b"\0" + bytes.fromhex(object_id)
        options = ("-t", "tree", "-w", "--stdin", "--literally")
        return site.source.git("hash-object", *options, stdin=entry)

    blob = site.source.git("hash-object", "-w", "--stdin", stdin=b"x\n")
    inner = tree(b"40000", b".git", tree(b"100644", b"x", blob))
    outer = tree(b"40000", name.encode(), inner)
    parent = site.source.tip("main") or ""
    commit = site.source.git("commit-tree", outer, "-m", "a change", "-p", parent)
    site.source.git("update-ref", MAIN, commit)
    return commit


async def _is_kept(site: Site, mirrors: MirrorCache, inode: int, commit: str) -> None:
    assert await archive_of(mirrors, commit) == site.source.archive(commit)
    assert mirrors.statistics().renewals == 0
    assert site.mirror.stat().st_ino == inode


@pytest.mark.parametrize("name", _NAMES)
async def test_a_path_is_not_read_as_a_message(site: Site, name: str) -> None:
    """The push is rejected by itself each time, and no limit of the machine is reported."""
    good = site.source.commit({"f": b"1"})
    async with site.open_mirrors() as mirrors:
        await archive_of(mirrors, good)
        inode = site.mirror.stat().st_ino
        bad = _odd_tree(site, name)
        for _ in range(2):
            with pytest.raises(Reject, match=r"invalid path|failed to unpack tree"):
                await archive_of(mirrors, bad)
        await _is_kept(site, mirrors, inode, good)


@pytest.mark.parametrize("name", ["corrupt", "inflate", "a.idx", "throttled", "ssl", "not-found"])
async def test_a_ref_is_not_read_as_a_message(site: Site, name: str) -> None:
    """A deleted one is unreachable, whatever its name."""
    good = site.source.commit({"f": b"1"})
    commit = site.source.commit({"f": b"2"}, branch=name)
    async with site.open_mirrors() as mirrors:
        await archive_of(mirrors, good)
        inode = site.mirror.stat().st_ino
        ref = f"refs/heads/{name}"
        assert await archive_of(mirrors, commit, ref=ref) == site.source.archive(commit)
        site.source.delete(ref)
        with pytest.raises(StageError, match="does not exist"):
            await archive_of(mirrors, "1" * 40, ref=ref)
        await _is_kept(site, mirrors, inode, good)


async def test_a_server_that_lacks_an_object_is_an_outage(site: Site) -> None:
    """Its repository is broken; the mirror is not, and serves its objects."""
    remote = f"file://{site.directory}/remote/{{repository}}"
    good = site.source.commit({"f": b"1"})
    async with site.open_mirrors(remote=remote) as mirrors:
        await archive_of(mirrors, good)
        inode = site.mirror.stat().st_ino
        bad = site.source.commit({"f": os.urandom(1000)})
        site.source.git("unpack-objects", "-q", stdin=_take_packs(site))
        blob = site.source.git("rev-parse", f"{bad}:f")
        (site.source.path / "objects" / blob[:2] / blob[2:]).unlink()
        for _ in range(2):
            with pytest.raises(Outage):
                await archive_of(mirrors, bad)
        await _is_kept(site, mirrors, inode, good)


def _take_packs(site: Site) -> bytes:
    """Return all objects as one pack, after removing them."""
    site.source.git("repack", "-adq")
    (pack,) = (site.source.path / "objects" / "pack").glob("*.pack")
    content = pack.read_bytes()
    for part in pack.parent.glob(f"{pack.stem}.*"):
        part.unlink()
    return content


_SAID = {
    "GitHub": ("ERROR: Repository not found.", GitFault.NO_REPOSITORY),
    "GitLab": (
        "remote: \nremote: ===\nremote: ERROR: The project you were looking for could not be found",
        GitFault.NO_REPOSITORY,
    ),
    "Bitbucket": ("conq: repository does not exist.", GitFault.NO_REPOSITORY),
    "SSO": ("ERROR: The 'acme' organization has enabled or enforced SAML SSO.", GitFault.LOGIN),
    "suspended": ("ERROR: Your account is suspended. \x1b[31mAsk\x9b your admin.", GitFault.LOGIN),
    "dubious": ("fatal: detected dubious ownership in repository at '/x'", GitFault.REFUSED),
    "torn there": ("fatal: bad shallow line: x\nfatal: bad HEAD", GitFault.CORRUPT),
    "away": ("ssh: connect to host h port 22: Connection timed out", GitFault.NETWORK),
}


@pytest.mark.parametrize("who", _SAID)
async def test_the_text_of_an_ssh_server_is_quoted(
    site: Site, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its line is in the reason, whole and harmless, and no mirror is replaced."""
    words, fault = _SAID[who]
    good = site.source.commit({"f": b"1"})
    async with site.open_mirrors() as mirrors:
        await archive_of(mirrors, good)
    inode = site.mirror.stat().st_ino
    monkeypatch.setenv("PATH", f"{_fake_ssh(site.directory, words)}:{os.environ['PATH']}")
    remote = "ssh://git@h.example/{repository}"
    async with site.open_mirrors(remote=remote) as mirrors:
        for _ in range(2):
            with pytest.raises(StageError) as caught:
                await archive_of(mirrors, "1" * 40)
            kind = {GitFault.NO_REPOSITORY: Reject, GitFault.NETWORK: Outage}.get(fault, GitFailed)
            assert type(caught.value) is kind
            assert getattr(caught.value, "fault", fault) is fault
            told = max(words.splitlines(), key=len).partition("\x1b")[0].partition("'")[0]
            assert told in caught.value.reason
            assert caught.value.reason.isprintable()
        await _is_kept(site, mirrors, inode, good)


def _fake_ssh(directory: Path, words: str) -> Path:
    """Return a directory with an ssh that prints these words and fails."""
    programs = directory / "programs"
    programs.mkdir()
    (programs / "words").write_text(f"{words}\n")
    script = f'#!/bin/sh\ncase "$*" in *" -G "*) exit 0;; esac\ncat {programs}/words >&2\nexit 1\n'
    (programs / "ssh").write_text(script)
    (programs / "ssh").chmod(0o755)
    return programs
