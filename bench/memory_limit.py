"""Pushes with files that are large for git, all at once, by a service with 2 GiB of memory.

    make prove-memory

Eight repositories have one file of 450 MB each, of which one cannot be compressed and one is
stored as a delta, and a ninth has 100,000 small files. They are served over HTTP. `asyncbuild
serve` runs with all its gits in a control group of 2 GiB without swap; queue, S3, CodeBuild and
the git server are outside. Every push must be built, with what `git archive` gives, or be in the
dead-letter queue with the number of bytes that it takes; and the kernel must have killed nothing.

The last line is one JSON object. `peak_mib` is the most anonymous and shared memory of the group
at any look (page cache, which the kernel takes back at will, does not count); `oom_kills` is the
kernel's own count. Exit code 1 if a push is neither built nor rejected with the number, if one
archive is different, or if anything was killed.
"""

import argparse
import hashlib
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import orjson
from anyio import to_thread
from anyio.abc import TaskGroup
from readers import Node, Tree, tree_of_commit
from support.cgroups import MemoryGroup, NoControlGroup, open_memory_group
from support.git_http import open_git_server
from support.repositories import SourceRepository
from support.service import (
    Service,
    environment,
    open_service,
    read_dead_letters,
    wait_settled,
)

from asyncbuild.local.servers import journal
from asyncbuild.local.servers.resources import REMEDY_TEMPORARY, require_room
from asyncbuild.local.stack import Stack, open_stack
from asyncbuild.local.verify import Pushed, compare
from asyncbuild.local.workload import PushedRepository

_MIB: Final = 2**20
_LOOK_SECONDS: Final = 0.05
_SETTLED_SECONDS: Final = 1_800
_CHUNK_BYTES: Final = _MIB
_BLOCK_BYTES: Final = 65_536
_TEXTS: Final = 2
_WORDS_OF_A_DELTA: Final = 7
_NUMBER: Final = re.compile(r"git needs more than \d+ bytes of memory.*git\.memory_budget_bytes is")
_ROOM_OF_A_FILE: Final = 3  # at the server, in a mirror, in an archive

Files = dict[str, tuple[int, Iterable[bytes]]]  # length and content, by path


@dataclass(frozen=True, slots=True)
class Plan:
    """Amounts of a run.

    Attributes:
        limit_mib: Memory of the service and its gits.
        file_mb: Length of each large file, in millions of bytes.
        large: How many repositories have one.
        files: How many small files the other repository has.
    """

    limit_mib: int
    file_mb: int
    large: int
    files: int


@dataclass(slots=True)
class Seen:
    """Figures of the run."""

    peak_bytes: int = 0
    kills: int = 0
    seconds: float = 0.0
    built: int = 0
    rejected: int = 0
    different: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


# --- the repositories -----------------------------------------------------------------------------


def _noise(nbytes: int, seed: int) -> Iterator[bytes]:
    """Yield bytes that nothing compresses."""
    source = random.Random(seed)  # noqa: S311 - repeatable, not secret
    for begin in range(0, nbytes, _CHUNK_BYTES):
        yield source.randbytes(min(_CHUNK_BYTES, nbytes - begin))


def _text(nbytes: int, seed: int) -> Iterator[bytes]:
    """Yield lines that compress to about half of their length."""
    source = random.Random(seed)  # noqa: S311 - repeatable, not secret
    blocks = [_lines(source) for _ in range(64)]
    for begin in range(0, nbytes, _CHUNK_BYTES):
        chunk = b"".join(source.choices(blocks, k=_CHUNK_BYTES // _BLOCK_BYTES))
        yield chunk[: min(_CHUNK_BYTES, nbytes - begin)]


def _lines(source: random.Random) -> bytes:
    words = [b"%x" % source.getrandbits(48) for _ in range(2_000)]
    return b"\n".join(source.choices(words, k=_BLOCK_BYTES // 8))[:_BLOCK_BYTES]


class Fixtures:
    """Maker of the repositories of one run.

    Args:
        root: Where they are, one directory each.
        plan: How much of what.
    """

    def __init__(self, root: Path, plan: Plan) -> None:
        self._root = root
        self._nbytes = plan.file_mb * 1_000_000
        self._plan = plan
        self._texts: list[SourceRepository] = []

    def make(self) -> list[Pushed]:
        """Make all repositories; return one push of each."""
        made = [self._push("delta", self._make_delta)]
        for number in range(self._plan.large - 1):
            make = partial(self._make_large, number)
            made.append(self._push(f"large-{number}", make))
        return [*made, self._push("many", self._make_many)]

    def _push(self, name: str, make: Callable[[SourceRepository], str]) -> Pushed:
        begun = time.monotonic()
        source = SourceRepository(self._root / name)
        commit = make(source)
        sys.stderr.write(f"made {name} in {time.monotonic() - begun:.0f} s\n")
        return PushedRepository(name, source.path).pushed("refs/heads/main", commit, None)

    def _make_large(self, number: int, source: SourceRepository) -> str:
        """Commit a large file: the first is noise, two are texts, and others have one of those."""
        small = b"* text=auto\n" if number % 2 else b"*.bin -text\n"
        files: Files = {".gitattributes": (len(small), [small])}
        if not number:
            files["large"] = (self._nbytes, _noise(self._nbytes, 1))
            return _import(source, [files], compression=0)
        if len(self._texts) < _TEXTS:
            self._texts.append(source)
            files["large"] = (self._nbytes, _text(self._nbytes, number))
            return _import(source, [files])
        same = self._texts[number % _TEXTS]
        packs = source.path / "objects" / "pack"
        for file in (same.path / "objects" / "pack").iterdir():
            (packs / file.name).hardlink_to(file)
        source.git("update-ref", "refs/heads/main", same.tip("main") or "")
        return source.commit({f"{number}.txt": b"another commit"})

    def _make_delta(self, source: SourceRepository) -> str:
        """Commit a file twice; the newer is stored as a delta of the older, which is longer."""
        tail = b"what makes the longer one the base"
        older = (self._nbytes + len(tail), (*_noise(self._nbytes, 2), tail))
        newer = (self._nbytes, _noise(self._nbytes, 2))
        commit = _import(source, [{"large": older}, {"large": newer}], compression=0)
        source.git("config", "core.bigFileThreshold", "1g")
        source.git(
            *("-c", "pack.threads=1", "-c", "core.compression=0"),
            *("repack", "-adfq", "--depth=1", "--window=2"),
        )
        (index,) = (source.path / "objects" / "pack").glob("*.idx")
        # git-verify-pack(1): a delta's line has its depth and its base behind size and offset.
        lines = [line.split() for line in source.git("verify-pack", "-v", str(index)).splitlines()]
        blob = source.git("rev-parse", "main:large")
        if [len(each) for each in lines if each[0] == blob] != [_WORDS_OF_A_DELTA]:
            raise SystemExit("git stored the file of the repository delta as no delta")
        return commit

    def _make_many(self, source: SourceRepository) -> str:
        files = {f"{n // 100}/{n % 100}.txt": b"file %d\n" % n for n in range(self._plan.files)}
        return _import(source, [{path: (len(each), [each]) for path, each in files.items()}])


def _import(source: SourceRepository, commits: Sequence[Files], *, compression: int = 1) -> str:
    """Write commits by git-fast-import(1), with no file in memory; return the last one's id."""
    settings = (
        *("-c", "core.bigFileThreshold=1m", "-c", f"core.compression={compression}"),
        *("-c", "fastimport.unpackLimit=1"),
    )
    command = ["git", "--git-dir", str(source.path), *settings, "fast-import", "--quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as git:
        assert git.stdin is not None
        for number, files in enumerate(commits):
            git.stdin.write(b"commit refs/heads/main\n")
            git.stdin.write(b"committer A <a@example.com> %d +0000\n" % (1_700_000_000 + number))
            git.stdin.write(b"data 0\n")
            for path, (nbytes, content) in files.items():
                git.stdin.write(b"M 100644 inline %s\ndata %d\n" % (path.encode(), nbytes))
                git.stdin.writelines(content)
                git.stdin.write(b"\n")
        git.stdin.close()
        if git.wait():
            raise SystemExit("git fast-import failed")
    return source.tip("main") or ""


# --- one run --------------------------------------------------------------------------------------


async def _look(group: MemoryGroup, seen: Seen) -> None:
    while True:
        seen.peak_bytes = max(seen.peak_bytes, group.taken_bytes())
        await anyio.sleep(_LOOK_SECONDS)


async def _tell(service: Service) -> None:
    """Print the service's warnings to standard error as they come."""
    told = 0
    while True:
        for line in service.log[told:]:
            if line.get("level") in {"warning", "error"} or line.get("event") == "archive.large":
                sys.stderr.write(f"{orjson.dumps(dict(line)).decode()[:600]}\n")
        told = len(service.log)
        await anyio.sleep(0.5)


async def _serve(stack: Stack, group: MemoryGroup, pushes: Sequence[Pushed], url: str) -> Seen:
    """Send all pushes at once, and wait until each is settled."""
    seen = Seen()
    variables = environment(
        stack, git={"remote": f"{url}/{{repository}}", "depth": 0}, consumers=len(pushes)
    )
    program = group.command((sys.executable, "-m", "asyncbuild"))
    async with (
        open_service(variables, program=program) as service,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(_look, group, seen)
        tasks.start_soon(_tell, service)
        await service.wait_logged("service.started")
        begun = time.monotonic()
        for push in pushes:
            await stack.send(push)
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(_wait_settled, stack, waiting)
            waiting.start_soon(_wait_ended, service, seen, waiting)
        seen.seconds = time.monotonic() - begun
        service.terminate()
        await service.wait()
        seen.kills = group.kills()
        tasks.cancel_scope.cancel()
    return seen


async def _wait_settled(stack: Stack, ended: TaskGroup) -> None:
    await wait_settled(stack, _SETTLED_SECONDS)
    ended.cancel_scope.cancel()


async def _wait_ended(service: Service, seen: Seen, ended: TaskGroup) -> None:
    code = await service.process.wait()
    seen.faults.append(f"the service ended with {code}: {list(service.log)[-3:]}")
    ended.cancel_scope.cancel()


# --- the verdict ----------------------------------------------------------------------------------


async def _judge(stack: Stack, pushes: Sequence[Pushed], seen: Seen) -> None:
    started = journal.read(stack.journal) if stack.journal.exists() else []
    found = compare(pushes, started)
    seen.built = found.built
    seen.faults += [*found.duplicated, *found.unexpected, *found.wrong_content]
    reasons = {}
    for message in await read_dead_letters(stack):
        reason = message["MessageAttributes"]["Reason"]["StringValue"]
        reasons[orjson.loads(message["Body"])["detail"]["repositoryName"]] = reason
    places = {each.variables.get("EVENT_ID"): each for each in started}
    for push in pushes:
        build = places.get(push.id)
        if build is not None:
            version = build.request.get("sourceVersion")
            file = stack.directory / "archive.zip"
            await _download(stack, build.location, version, file)
            if difference := await to_thread.run_sync(_compare, push, file):
                seen.different.append(f"{push}: {difference}")
            sys.stderr.write(f"built {push.repository}: {file.stat().st_size:,} bytes\n")
        elif _NUMBER.search(reason := reasons.get(push.repository, "")):
            seen.rejected += 1
            sys.stderr.write(f"rejected {push.repository}: {reason}\n")
        else:
            seen.faults.append(f"{push}: neither built nor rejected with the number: {reason}")


async def _download(stack: Stack, location: str, version: str | None, file: Path) -> None:
    bucket, _, key = location.partition("/")
    more = {"VersionId": version} if version else {}
    answer = await stack.s3.get_object(Bucket=bucket, Key=key, **more)  # type: ignore[arg-type]
    with file.open("wb") as out:
        async for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
            await to_thread.run_sync(out.write, chunk)


def _compare(push: Pushed, file: Path) -> str:
    """Return where an archive differs from that of `git archive`; empty if nowhere."""
    expected, found = tree_of_commit(push.directory, push.commit or ""), _tree_of_zip(file)
    paths = [path for path in {*expected, *found} if expected.get(path) != found.get(path)]
    return f"{len(paths)} of {len(expected)} differ, as {min(paths)!r}" if paths else ""


def _tree_of_zip(file: Path) -> Tree:
    tree: Tree = {}
    with zipfile.ZipFile(file) as archive:
        for each in archive.infolist():
            mode = each.external_attr >> 16
            digest = hashlib.sha256()
            with archive.open(each) as content:
                while chunk := content.read(_CHUNK_BYTES):
                    digest.update(chunk)
            kind = "program" if mode & 0o100 else "file"
            kind = "link" if stat.S_ISLNK(mode) else kind
            node = Node("directory") if each.is_dir() else Node(kind, digest.hexdigest())
            tree[os.fsencode(each.filename.rstrip("/"))] = node
    return tree


async def main(plan: Plan) -> int:
    """Run it; return 0 if all is well, or if no group can be made here."""
    try:
        with open_memory_group(plan.limit_mib * _MIB) as group:
            seen, version = await _run(plan, group)
    except NoControlGroup as error:
        sys.stderr.write(f"Skipped, as memory cannot be limited here: {error}.\n")
        return 0
    for fault in (*seen.faults, *seen.different):
        sys.stderr.write(f"{fault}\n")
    document = {
        "built": seen.built,
        "rejected": seen.rejected,
        "different": len(seen.different),
        "oom_kills": seen.kills,
        "peak_mib": round(seen.peak_bytes / _MIB),
        "seconds": round(seen.seconds, 1),
        "pushes": plan.large + 1,
        "limit_mib": plan.limit_mib,
        "git": version,
    }
    sys.stdout.write(orjson.dumps(document).decode() + "\n")
    return 1 if seen.faults or seen.different or seen.kills else 0


async def _run(plan: Plan, group: MemoryGroup) -> tuple[Seen, str]:
    version = subprocess.check_output(["git", "version"], text=True).split()[2]  # noqa: ASYNC221 - nothing else runs
    names = ["delta", "many", *(f"large-{number}" for number in range(plan.large))]
    async with open_stack(names) as stack:
        needed = plan.large * plan.file_mb * 1_000_000 * _ROOM_OF_A_FILE
        require_room(stack.directory, needed, "this needs", REMEDY_TEMPORARY)
        remotes = stack.directory / "remotes"
        pushes = await to_thread.run_sync(Fixtures(remotes, plan).make)
        async with open_git_server(remotes, prefix="/") as server:
            seen = await _serve(stack, group, pushes, server.url)
        shutil.rmtree(stack.directory / "cache", ignore_errors=True)
        await _judge(stack, pushes, seen)
    return seen, version


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--limit-mib", type=int, default=2048)
    parser.add_argument("--file-mb", type=int, default=450)
    parser.add_argument("--large", type=int, default=8)
    parser.add_argument("--files", type=int, default=100_000)
    sys.exit(anyio.run(main, Plan(**vars(parser.parse_args()))))
