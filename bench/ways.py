"""One way from a repository to an archive, measured in a process of its own.

    python bench/ways.py WAY SOURCE OUTPUT     (OUTPUT: null, a path, or s3://bucket/key)

The source is a repository, whose HEAD is archived, or a tar that was made before: where engines are
compared, git's time is in the way.

Prints JSON: wall and CPU seconds (git's included), bytes, and the peak of this process with the
memory that its workers do not share with it. Ours is measured as in
a service that runs already and knows the attributes of the commit before this one: no start of the
interpreter, the engine and its processes, the S3 client counts, only that of the connections and of
every git. `asyncbuild archive` as a whole is a way of its own.
"""

import gc
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from stat import S_IFREG
from typing import IO, Any

import anyio
from cpu import cpu_seconds, peak_bytes
from source import OpenTar, is_tar, open_source

from asyncbuild.aws.session import Aws
from asyncbuild.config import Settings, load
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.storage.s3 import Store
from asyncbuild.zip.engine import WORKING_BYTES, Engine, open_engine

_AT_ONCE = 8
_WARM_SIZES = (100, 600, 3_000, 20_000)
_WARM_TIMES = 64
_Taken = dict[str, float]  # wall and CPU seconds, bytes, peak


class _Clock:
    """A clock that starts when it is created."""

    def __init__(self) -> None:
        self._begun, self._cpu = time.perf_counter(), cpu_seconds()

    def read(self, nbytes: int) -> _Taken:
        """Return the figures since then, for so many bytes."""
        wall = time.perf_counter() - self._begun
        cpu, peak = cpu_seconds() - self._cpu, peak_bytes()
        return {"wall": wall, "cpu": cpu, "bytes": nbytes, "peak": peak}


async def ours(source: str, output: str) -> _Taken:
    """Run our engine, fed by git's pipe, into nothing, a file, or S3."""
    async with open_source(source) as open_tar, _open_service(output, archives=1) as service:
        clock = _Clock()
        return clock.read(await _archive(service, open_tar, output))


async def ours_at_once(source: str, output: str) -> _Taken:
    """Make eight archives at the same time, as in a service."""
    sizes: list[int] = []
    async with (
        open_source(source) as open_tar,
        _open_service(output, archives=_AT_ONCE) as service,
    ):
        clock = _Clock()

        async def archive(number: int) -> None:
            sizes.append(await _archive(service, open_tar, f"{output}-{number}"))

        async with anyio.create_task_group() as tasks:
            for number in range(_AT_ONCE):
                tasks.start_soon(archive, number)
        return clock.read(sum(sizes))


@dataclass(frozen=True, slots=True)
class _Service:
    """Objects that all archives of a process share, as in `asyncbuild/commands/serve.py`."""

    settings: Settings
    engine: Engine
    budget: MemoryBudget
    store: Store | None  # None unless the output is in S3


@asynccontextmanager
async def _open_service(output: str, archives: int) -> AsyncIterator[_Service]:
    settings = load(None, _overrides(output))
    budget = MemoryBudget(settings.archive.memory_budget_bytes)
    async with open_engine(settings.archive) as engine, AsyncExitStack() as stack:
        store = None
        if "://" in output:
            connections = archives * (settings.storage.parts_in_flight + 2)
            client = await stack.enter_async_context(Aws(settings).open_s3(pool=connections))
            store = Store(client, settings.storage)
        service = _Service(settings, engine, budget, store)
        await _warm_up(service)
        yield service


async def _warm_up(service: _Service) -> None:
    """Archive something else first, so that all processes run and all memory was used once."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as written:
        for number, size in enumerate(20 * _WARM_SIZES):
            info = tarfile.TarInfo(f"{number}.txt")
            info.size = size
            text = b"".join(b"line %d of %d\n" % (line, number) for line in range(size // 9))
            written.addfile(info, io.BytesIO(text))

    with tempfile.TemporaryDirectory() as scratch:
        tar = Path(scratch, "warm.tar")
        await anyio.Path(tar).write_bytes(_WARM_TIMES * content.getvalue())
        async with open_source(str(tar)) as open_tar:
            await _archive(service, open_tar, "null")


async def _archive(service: _Service, open_tar: OpenTar, output: str) -> int:
    async with AsyncExitStack() as stack:
        reserved = WORKING_BYTES + service.settings.storage.part_bytes
        account = await stack.enter_async_context(service.budget.open_account(reserved))
        tar = await stack.enter_async_context(open_tar())
        zipped = await stack.enter_async_context(service.engine.open_zip(tar, account=account))
        if output.startswith("null"):
            async for chunk in zipped:
                account.give_back(len(chunk))
        elif service.store is not None:
            await service.store.put_archive(
                output.removeprefix("s3://").partition("/")[2],
                zipped,
                account=account,
                guard=lambda: None,
                metadata={},
            )
        else:
            async with await anyio.open_file(output, "wb") as file:
                async for chunk in zipped:
                    await file.write(chunk)
                    account.give_back(len(chunk))
    return zipped.statistics().zip_bytes


def _overrides(output: str) -> dict[str, Any]:
    if "://" not in output:
        return {}
    endpoint = os.environ["BENCH_ENDPOINT"]
    bucket = output.removeprefix("s3://").partition("/")[0]
    return {"storage": {"bucket": bucket, "endpoint_url": endpoint, "addressing_style": "path"}}


def stream_zip(source: str, level: int) -> _Taken:
    """Run the stream-zip library, with members read by tarfile."""
    from stream_zip import ZIP_AUTO  # noqa: PLC0415 - only where it is measured
    from stream_zip import stream_zip as zip_of  # noqa: PLC0415 - the same

    clock = _Clock()
    when = datetime(2024, 1, 1, tzinfo=UTC)
    with _open_tar(source) as tar:
        members = (
            (
                *(info.name, when, S_IFREG | info.mode),
                *(ZIP_AUTO(info.size, level=level), _pieces(tar.extractfile(info))),
            )
            for info in tar
            if info.isreg()
        )
        return clock.read(sum(len(chunk) for chunk in zip_of(members)))


def zipstream_ng(source: str, level: int) -> _Taken:
    """Run the zipstream-ng library, with members read by tarfile."""
    from zipstream import ZIP_DEFLATED, ZipStream  # noqa: PLC0415 - only where it is measured

    clock = _Clock()
    archive = ZipStream(compress_type=ZIP_DEFLATED, compress_level=level)
    nbytes = 0
    with _open_tar(source) as tar:
        for info in tar:
            if info.isreg():
                archive.add(_pieces(tar.extractfile(info)), info.name)
                nbytes += sum(len(chunk) for chunk in archive.all_files())
    return clock.read(nbytes + sum(len(chunk) for chunk in archive.finalize()))


def _open_tar(source: str) -> tarfile.TarFile:
    git = ("git", "-C", source, "archive", "--format=tar", "HEAD")
    feeder = subprocess.Popen(("cat", source) if is_tar(source) else git, stdout=subprocess.PIPE)
    return tarfile.open(fileobj=feeder.stdout, mode="r|")


def _pieces(file: IO[bytes] | None) -> Iterator[bytes]:
    while file and (piece := file.read(65_536)):
        yield piece


def main() -> None:
    """Measure one run."""
    way, source, output = sys.argv[1], str(Path(sys.argv[2]).resolve()), sys.argv[3]
    measured: dict[str, Callable[[], _Taken]] = {
        "ours": lambda: anyio.run(ours, source, output),
        "ours-at-once": lambda: anyio.run(ours_at_once, source, output),
        "stream-zip": lambda: stream_zip(source, 1),
        "zipstream-ng": lambda: zipstream_ng(source, 1),
    }
    gc.freeze()  # as the service does
    print(json.dumps(measured[way]()))


if __name__ == "__main__":
    main()
