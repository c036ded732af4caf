"""Source of the engine's tar: git as the service runs it, or a file that was made before."""

import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from asyncbuild.config import Settings
from asyncbuild.git.process.command import Git
from asyncbuild.git.process.pipe import PipeReader, make_pipe
from asyncbuild.git.reader import Reader
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.git.tree.attribute_worktrees import CommitTree, Worktrees

OpenTar = Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]

_REF = "refs/heads/main"


def is_tar(source: str) -> bool:
    """Return whether the source is a tar; otherwise it is a repository."""
    return source.endswith(".tar")


@asynccontextmanager
async def open_source(source: str) -> AsyncIterator[OpenTar]:
    """Yield an opener of the tar, which may be called repeatedly. `source` is an absolute path."""
    if is_tar(source):
        yield lambda: _open_file(source)
        return
    with tempfile.TemporaryDirectory() as scratch:
        async with anyio.create_task_group() as tasks:
            snapshot = await _push(Path(source), Path(scratch), tasks)
            yield snapshot.open_archive
            tasks.cancel_scope.cancel()


async def _push(repository: Path, scratch: Path, tasks: TaskGroup) -> Snapshot:
    """Push the last commit to a mirror that knows the attributes of the commit before.

    Where there is only one commit, they are known of that.
    """
    mirror, kept = scratch / "mirror", scratch / "worktrees"
    for directory in (mirror, kept):
        directory.mkdir()
    git = ("git", "-C", str(repository))
    objects = ("rev-parse", "--path-format=absolute", "--git-path", "objects")
    (mirror / "objects").symlink_to((await _ask(*git, *objects))[0])
    ids = await _ask(*git, "rev-list", "--first-parent", "-n2", "HEAD")
    reader = Reader(Git(Settings().git), scratch / "reader")
    await reader.prepare()
    found = await reader.find(mirror, ids, "bench")
    commit, before = found[ids[0]], found[ids[-1]]
    worktrees = Worktrees(reader, kept, tasks)
    await worktrees.learn_early(CommitTree(mirror, before.tree, _REF), mirror)
    return Snapshot(
        path=mirror,
        commit=commit.id,
        commit_time=commit.time,
        tree=commit.tree,
        name="bench",
        reader=reader,
        ref=_REF,
        worktrees=worktrees,
    )


async def _ask(*command: str) -> list[str]:
    return (await anyio.run_process(command)).stdout.decode().split()


@asynccontextmanager
async def _open_file(path: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """Yield the file through a pipe, like git's."""
    reading, writing = make_pipe()
    with subprocess.Popen(("cat", path), stdout=writing):  # noqa: ASYNC220 - at once
        os.close(writing)
        try:
            yield _chunks(reading)
        finally:
            os.close(reading)


async def _chunks(descriptor: int) -> AsyncIterator[bytes]:
    reader = PipeReader(descriptor)
    while data := await reader.receive():
        yield data
