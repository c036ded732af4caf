"""Gits that stay: the same answers as a git for each question, whatever happens to them."""

import os
import shutil
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from hypothesis import given, settings
from hypothesis import strategies as st
from support.processes import Process, alive, family
from support.repositories import SourceRepository
from support.wait import wait_until

from asyncbuild.config import GitSettings
from asyncbuild.git.batch_readers import BatchReaders, open_batch_readers
from asyncbuild.git.formats.batch_command import Asks, ObjectQuestion, TooLongError
from asyncbuild.git.formats.cat_file import Commit, message_of
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.process.command import Git
from asyncbuild.git.quick_answers import QuickAnswers
from asyncbuild.git.reader import Reader

_MISSING = "0123456789" * 4
_DOING = "test"
_STAYS = "--batch-command"


@dataclass(frozen=True, slots=True)
class _Both:
    """A reader with gits that stay, and one with a git for each question."""

    git: Git
    readers: BatchReaders
    staying: Reader
    alone: Reader


@asynccontextmanager
async def _open(
    directory: Path, *, idle_seconds: float = 60, **changes: object
) -> AsyncIterator[_Both]:
    values = {"cache_directory": directory, **changes}
    git = Git(GitSettings.model_validate(values))
    alone = Reader(git, directory / "reader")
    await alone.prepare()
    async with open_batch_readers(git, directory / "reader", idle_seconds=idle_seconds) as readers:
        yield _Both(git, readers, alone.asking(QuickAnswers(readers)), alone)


def _staying() -> list[Process]:
    return alive([each for each in family(os.getpid()) if _STAYS in each.command])


def _signal(number: signal.Signals) -> int:
    """Send a signal to the gits that stay, and return how many there are."""
    there = _staying()
    for process in there:
        os.kill(process.pid, number)
    return len(there)


async def _find(reader: Reader, source: SourceRepository, *ids: str) -> dict[str, Commit]:
    return await reader.find(source.path, ids, _DOING)


@pytest.mark.parametrize("format_", ["sha1", "sha256"])
async def test_answers_are_those_of_a_git_for_each_question(tmp_path: Path, format_: str) -> None:
    """Every kind of object and name."""
    source = SourceRepository(tmp_path / "source", object_format=format_)
    commit = source.commit({"d/e f/g\xe4": b"x", ".gitattributes": b"* text\n", "s": b""})
    source.tag("v", commit)
    missing = source.git("hash-object", "--stdin", stdin=b"missing")
    names = ("main", "refs/tags/v", "main^{tree}", "main:d", "main:.gitattributes", "main:s")
    ids = [*(source.git("rev-parse", name) for name in names), missing]
    blobs = ids[4:6]
    async with _open(tmp_path / "cache") as both:
        for reader in (both.staying, both.alone):
            found = await _find(reader, source, *ids)
            assert set(found) == set(ids[:2])
            assert {each.id for each in found.values()} == {commit}
            assert {each.tree for each in found.values()} == {ids[2]}
            kinds = [await reader.kind(source.path, each, _DOING) for each in ids]
            assert kinds == ["commit", "tag", "tree", "tree", "blob", "blob", None]
            for path, tree in {"d": ids[3], "s": None, "d/x": None, "d/e\nf": None}.items():
                assert tree == await reader.find_tree(source.path, commit, path, _DOING)
            assert await reader.read_blobs(source.path, blobs, most_bytes=7, doing=_DOING) == [
                b"* text\n",
                b"",
            ]
            assert await reader.read_blobs(source.path, blobs, most_bytes=6, doing=_DOING) is None
            with pytest.raises(GitFailed) as failed:
                await reader.read_blobs(source.path, [missing], most_bytes=9, doing=_DOING)
            assert failed.value.fault is GitFault.CORRUPT
        assert len(_staying()) == 1


async def test_a_commits_message_starts_no_git(tmp_path: Path) -> None:
    """A quick answer has the whole commit, in any encoding."""
    source = SourceRepository(tmp_path / "source")
    commit = source.commit({"a": b""}, message="f\xfcr alle\n\nAcked-by: A\n")
    async with _open(tmp_path / "cache") as both:
        quick = await both.staying._quick.read_blobs(source.path, [commit], most_bytes=1_000)
        assert quick is not None
        assert message_of(quick[0]) == "f\xfcr alle\n\nAcked-by: A\n".encode()
        alone = await both.alone.read_blobs(source.path, [commit], most_bytes=1_000, doing=_DOING)
        assert alone == quick


@pytest.mark.parametrize("format_", ["sha1", "sha256"])
async def test_a_summary_counts_what_git_lists(tmp_path: Path, format_: str) -> None:
    """Entries with `ls-tree -r -t`, files with `ls-tree -r`."""
    source = SourceRepository(tmp_path / "source", object_format=format_)
    files = {f"d{at % 9}/e{at % 40}/{at}": b"%d" % at for at in range(200)}
    source.commit({**files, ".gitattributes": b"* text\n"})
    source.commit({"d1/.gitattributes": b"* -text\n", "d2/e2/2": None})
    async with _open(tmp_path / "cache") as both:
        for commit in ("main", "main^", "main"):
            tree = source.git("rev-parse", f"{commit}^{{tree}}")
            found = await both.staying.summarise(source.path, tree)
            assert found is not None
            listed = source.git("ls-tree", "-r", tree).splitlines()
            assert found.files == len(listed)
            assert found.entries == len(source.git("ls-tree", "-r", "-t", tree).splitlines())
            ids = {line.split()[2] for line in listed if line.endswith(".gitattributes")}
            assert {each.object_id for each in found.attributes} == ids
            assert await both.alone.summarise(source.path, tree) is None


async def test_a_large_blob_does_not_go_through_a_git_that_stays(tmp_path: Path) -> None:
    """A long answer would keep other questions waiting, and its bytes in memory."""
    source = SourceRepository(tmp_path / "source")
    source.commit({"large": bytes(2 * 1024 * 1024)})
    blob = source.git("rev-parse", "main:large")
    async with _open(tmp_path / "cache") as both:
        (content,) = await both.staying.read_blobs(
            source.path, [blob], most_bytes=2**30, doing=_DOING
        ) or [b""]
        assert content == bytes(2 * 1024 * 1024)
        before = _staying()
        asked = [ObjectQuestion(Asks.CONTENTS, blob.encode())]
        with pytest.raises(TooLongError):
            await both.readers.ask(source.path, asked, format_="sha1")
        await wait_until(lambda: not alive(before))  # it is still writing that blob


class _Story:
    """Commits that are in a repository and commits that are not, and accidents on the way."""

    def __init__(self, directory: Path, both: _Both) -> None:
        self._directory = directory
        self._both = both
        self._numbers = count()
        self.source = SourceRepository(directory / "source")
        self.here = {self.source.commit({"0": b""})}
        self.gone = {_MISSING}

    async def step(self, name: str) -> None:
        """Let one thing happen."""
        await getattr(self, f"_{name}")()

    async def check(self) -> None:
        """Ask, and compare the answers with what is so."""
        for asked in ([*self.here, *self.gone], [*self.gone], [*self.here]):
            found = await _find(self._both.staying, self.source, *asked)
            assert set(found) == self.here & set(asked)

    async def _push(self) -> None:
        self.here.add(self.source.commit({f"{next(self._numbers)}": b""}))

    async def _repack(self) -> None:
        self.source.git("repack", "-q", "-a", "-d")

    async def _prune(self) -> None:
        files = {"lost": b"%d" % next(self._numbers)}
        lost = self.source.commit(files, branch="lost", parent=None)
        self.source.git("repack", "-q", "-d")
        assert set(await _find(self._both.staying, self.source, lost)) == {lost}
        self.source.delete("refs/heads/lost")
        await self._repack()
        self.source.git("prune", "--expire=now")
        self.gone.add(lost)

    async def _kill(self) -> None:
        _signal(signal.SIGKILL)

    async def _cancel(self) -> None:
        _signal(signal.SIGSTOP)
        with anyio.move_on_after(0.05):
            await _find(self._both.staying, self.source, min(self.here))

    async def _hang(self) -> None:
        if _signal(signal.SIGSTOP):
            with pytest.raises(GitFailed) as failed:
                await _find(self._both.staying, self.source, min(self.here))
            assert failed.value.fault is GitFault.SILENT

    async def _drop(self) -> None:
        await self._both.readers.drop(self.source.path)

    async def _move(self) -> None:
        """Delete the repository, and make it again at the same place without what is not told."""
        moved = self._directory / f"moved{next(self._numbers)}"
        lost = self.source.commit({"lost": b""}, branch="lost", parent=None)
        assert set(await _find(self._both.staying, self.source, lost)) == {lost}
        self.source.path.rename(moved)
        again = SourceRepository(self.source.path)
        again.git("fetch", "-q", f"file://{moved}", "+refs/heads/main:refs/heads/main")
        self.gone.add(lost)


async def test_a_directory_that_is_too_long_is_not_tried_again_at_once(tmp_path: Path) -> None:
    """Each try ends the git that stays."""
    source = SourceRepository(tmp_path / "source")
    blob = source.git("hash-object", "-w", "--stdin")
    lines = b"".join(b"100644 blob %s\t%06d\n" % (blob.encode(), at) for at in range(40_000))
    wide = source.git("mktree", stdin=lines)
    trees = [source.git("mktree", stdin=f"040000 tree {wide}\twide\n".encode()), wide]
    async with _open(tmp_path / "cache") as both:
        assert await both.staying.summarise(source.path, trees[0]) is None
        await wait_until(lambda: not _staying())
        assert await both.staying.summarise(source.path, trees[1]) is None
        assert not _staying()


@given(
    steps=st.lists(
        st.sampled_from(["push", "repack", "prune", "kill", "cancel", "hang", "drop", "move"]),
        max_size=6,
    )
)
@settings(max_examples=12)
async def test_no_answer_is_that_of_another_question(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """After every accident each commit that is here is found, and no other."""
    directory = tmp_path_factory.mktemp("steps")
    async with _open(directory / "cache", silence_timeout_seconds=0.4) as both:
        story = _Story(directory, both)
        await story.check()
        for step in steps:
            await story.step(step)
            await story.check()
    assert not _staying()


async def test_packs_that_are_gone_are_not_kept_open(tmp_path: Path) -> None:
    """Deleted packs would take space that the budget of the disk does not see."""
    source = SourceRepository(tmp_path / "source")
    first = source.commit({"a": b"1"})
    source.git("repack", "-q", "-d")
    async with _open(tmp_path / "cache") as both:
        await _find(both.staying, source, first)
        (before,) = _staying()
        second = source.commit({"a": b"2"})
        source.git("repack", "-q", "-d")
        assert second in await _find(both.staying, source, second)
        assert _staying() == [before]  # a new pack is found by the same git
        source.git("repack", "-q", "-a", "-d")
        assert second in await _find(both.staying, source, second)
        await wait_until(lambda: not alive([before]))
        (after,) = _staying()
        assert "(deleted)" not in await anyio.Path(f"/proc/{after.pid}/maps").read_text()


async def test_a_damaged_object_is_reported_as_without_a_git_that_stays(tmp_path: Path) -> None:
    """The error is what makes a mirror suspected."""
    source = SourceRepository(tmp_path / "source")
    commit = source.commit({"a": b"1"})
    path = source.path / "objects" / commit[:2] / commit[2:]  # git writes so few objects loose
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    path.write_bytes(b"x" * 100)
    faults = []
    async with _open(tmp_path / "cache") as both:
        for reader in (both.alone, both.staying):
            try:
                faults.append(str(await _find(reader, source, commit)))
            except GitFailed as error:
                faults.append(f"{error.fault} {error.reason}")
        assert faults[0] == faults[1]
        await wait_until(lambda: not _staying())  # one that has seen damage is not asked again


async def test_gits_that_stay_are_few_and_end_when_idle(tmp_path: Path) -> None:
    """The one that was used least recently makes room; no look-up waits for them (I6)."""
    sources = [SourceRepository(tmp_path / f"source{number}") for number in range(3)]
    commits = [source.commit({"a": b"%d" % at}) for at, source in enumerate(sources)]
    async with _open(tmp_path / "cache", processes=1) as both:
        for source, commit in (*zip(sources, commits, strict=True), (sources[0], commits[0])):
            assert commit in await _find(both.staying, source, commit)
            assert commit in await _find(both.alone, source, commit)
            await wait_until(lambda: len(_staying()) <= 2)
            assert both.git.running["look-up"] == 0
        assert both.git.running["reader"] == 2
    async with _open(tmp_path / "cache", idle_seconds=0.05) as both:
        assert commits[0] in await _find(both.staying, sources[0], commits[0])
        await wait_until(lambda: not _staying() and not both.git.running["reader"])
        assert commits[0] in await _find(both.staying, sources[0], commits[0])


async def test_all_busy_gits_leave_the_question_to_another(tmp_path: Path) -> None:
    """A git that hangs delays its own question, and no other for long."""
    sources = [SourceRepository(tmp_path / f"source{number}") for number in range(3)]
    commits = [source.commit({"a": b"%d" % at}) for at, source in enumerate(sources)]
    async with _open(tmp_path / "cache", processes=1) as both, anyio.create_task_group() as tasks:
        for source, commit in list(zip(sources, commits, strict=True))[:2]:
            await _find(both.staying, source, commit)
        hanging = _staying()
        _signal(signal.SIGSTOP)
        for source in sources[:2]:
            tasks.start_soon(_find, both.staying, source, _MISSING)
        await anyio.wait_all_tasks_blocked()
        for source, commit in zip(sources, commits, strict=True):
            assert commit in await _find(both.staying, source, commit)
        assert sorted(_staying()) == sorted(hanging)
        tasks.cancel_scope.cancel()
    assert not alive(hanging)


async def test_a_git_that_has_computed_for_long_is_replaced(tmp_path: Path) -> None:
    """Contents that it has read stay in its memory."""
    source = SourceRepository(tmp_path / "source")
    commit = source.commit({"a": b"1"})
    asked = [ObjectQuestion(Asks.CONTENTS, commit.encode())] * 5_000
    async with _open(tmp_path / "cache", cpu_seconds=1) as both:
        await _find(both.staying, source, commit)
        (first,) = _staying()
        with anyio.fail_after(60):
            while alive([first]):
                await both.readers.ask(source.path, asked, format_="sha1")
        assert commit in await _find(both.staying, source, commit)


_FAKE = """#!/bin/sh
case "$*" in
*--batch-command*) echo "$*" >> "{log}"; {acts} ;;
*) exec {git} "$@" ;;
esac
"""


async def _fake_git(directory: Path, monkeypatch: pytest.MonkeyPatch, acts: str) -> Path:
    """Put a git on PATH that acts in place of one that stays; return the log of its starts."""
    log, fake = directory / "log", directory / "bin" / "git"
    git = await to_thread.run_sync(shutil.which, "git")
    fake.parent.mkdir()
    fake.write_text(_FAKE.format(log=log, git=git, acts=acts.format(git=git)))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    return log


@pytest.mark.parametrize(
    ("acts", "times"),
    [
        ("echo 'error: unknown option' >&2; exit 129", 1),  # git before 2.36
        ("exit 1", 3),
        ("echo nonsense; sleep 100", 3),
        ("read line; echo nonsense; sleep 100", 3),
        ("read line; read line; echo ${{line#* }}; sleep 100", 3),
        ("exec 1>&-; sleep 100", 3),
        ("echo 'error: a pack is damaged' >&2; exec {git} \"$@\"", 3),
    ],
)
async def test_nonsense_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, acts: str, times: int
) -> None:
    """A git of one's own answers then; an old one is not tried again."""
    source = SourceRepository(tmp_path / "source")
    commit = source.commit({"a": b"1"})
    log = await _fake_git(tmp_path, monkeypatch, acts)
    async with _open(tmp_path / "cache") as both:
        for _ in range(3):
            assert set(await _find(both.staying, source, commit, _MISSING)) == {commit}
    assert len(log.read_text().splitlines()) == times
    assert not _staying()


async def test_a_late_answer_is_none_to_the_next_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit may be asked for again, once it is here."""
    source = SourceRepository(tmp_path / "source")
    commit = source.commit({"a": b"1"})
    late = tmp_path / "late"
    name = f"{commit}^{{{{commit}}}}"
    says = f"echo '{name} missing'"
    await _fake_git(
        tmp_path, monkeypatch, f"read q; read q; {says}; sleep 0.1; {says}; touch {late}; sleep 100"
    )
    async with _open(tmp_path / "cache") as both:
        assert not await _find(both.staying, source, commit)
        await wait_until(late.exists)
        assert commit in await _find(both.staying, source, commit)


@pytest.mark.parametrize(
    "acts",
    [
        "trap 'exec 1>&-; sleep 0.2; exit' TERM; read q; touch {log}.asked; sleep 100 & wait",
        "read q; touch {log}.asked; kill -STOP $$",
    ],
)
async def test_a_git_that_is_dropped_while_it_is_asked_leaves_the_question_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, acts: str
) -> None:
    """A mirror is repacked while it is read; the git may close its output before it ends."""
    source = SourceRepository(tmp_path / "source")
    commit = source.commit({"a": b"1"})
    log = tmp_path / "log"
    await _fake_git(tmp_path, monkeypatch, acts.replace("{log}", str(log)))
    found = []

    async def ask() -> None:
        found.append(await _find(both.staying, source, commit))

    async with _open(tmp_path / "cache") as both, anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await wait_until((tmp_path / "log.asked").exists)
        await both.readers.drop(source.path)
        assert not _staying()
    assert [set(each) for each in found] == [{commit}]
