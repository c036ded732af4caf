"""Cost of a push whose archive is a delta, compared with a full archive of the same commit.

    make bench-delta                                        the generated monorepo; then growth
    python bench/delta.py --repository /path/to.git         any repository
    python bench/delta.py --slice 2/5 --rows rows.jsonl     a part of the commits; the table is of
                                                            all rows in the file
    python bench/delta.py --growth                          1 to 10,000 changed files
    python bench/delta.py --fallbacks                       where no delta pays: the cost of asking

For each of the last commits both ways run, one after the other, on the same S3: a stand-in in
memory, in a process of its own, that does what S3 does with parts and ranges and nothing else, so
that times are ours. The link of 40 MB/s is a proxy of our own, in a process of its own, too. CPU is
ours and git's, not the server's. `consecutive.py` reads archives back.
"""

import argparse
import contextlib
import gc
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import monorepo
import orjson
from engine import about_the_machine
from local_server import open_server
from old_script import OldScript
from subject import BUCKET, Row, Subject, open_archivers

from asyncbuild.config import ArchiveSettings
from asyncbuild.local.servers.children import ACCESS_KEY, SECRET_KEY
from asyncbuild.runtime.log import mute
from asyncbuild.zip.engine import open_engine

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from asyncbuild.archive.archiver import Archiver

_HERE = Path(__file__).parent
_CACHE = _HERE.parent / ".cache" / "bench"
_GROWTH = (1, 1, 10, 100, 1_000, 10_000)  # the first makes the base
_SMALL_FILES = 1_500  # an archive of 3 MB: too short for any copy
_SCATTERED_FILES = 10_000
_SCATTERED_CHANGES = 500


@dataclass(frozen=True)
class Pair:
    """One push in both ways, and sometimes by the old script."""

    delta: Row
    full: Row
    old_seconds: float = 0.0
    old_cpu_seconds: float = 0.0

    def pack(self, name: str) -> bytes:
        """Return a line of JSON."""
        rows = {"delta": self.delta.as_dict(), "full": self.full.as_dict()}
        old = {"old_seconds": self.old_seconds, "old_cpu_seconds": self.old_cpu_seconds}
        return orjson.dumps({"name": name, **rows, **old}) + b"\n"

    @staticmethod
    def parse(document: dict[str, Any]) -> "Pair":
        """Return the pair that `pack` wrote."""
        del document["name"]
        rows = {way: Row(**document.pop(way)) for way in ("delta", "full")}
        return Pair(**rows, **document)


@dataclass(frozen=True)
class Ways:
    """Archivers and clients for measurements on one repository."""

    subject: Subject
    client: "S3Client"
    auto: "Archiver"
    off: "Archiver"
    auto_link: "Archiver"
    off_link: "Archiver"
    old: OldScript
    endpoint: str

    async def measure(self, commit: str, before: str, *, turn: int, old: bool) -> Pair:
        """Measure one push in all ways; the first way alternates, since it warms git's files."""
        put = self.subject.put
        changed = self.subject.count_changed(before, commit)

        async def made_of_the_one_before() -> Row:
            row = await put(self.auto, commit, f"auto/{commit}")
            link = await put(self.auto_link, commit, f"auto-link/{commit}")
            return row.with_link(link, changed)

        async def made_anew() -> Row:
            row = await put(self.off, commit, "full")
            return row.with_link(await put(self.off_link, commit, "full"), changed)

        if turn % 2:
            full, delta = await made_anew(), await made_of_the_one_before()
        else:
            delta, full = await made_of_the_one_before(), await made_anew()
        if not old:
            return Pair(delta, full)
        _, cpu, wall = await anyio.to_thread.run_sync(self.old.run, commit, self.endpoint, BUCKET)
        return Pair(delta, full, wall, cpu)

    async def warm(self, commit: str) -> None:
        """Make the base of the next commit."""
        await self.subject.put(self.auto, commit, f"auto/{commit}")
        await self.subject.put(self.auto_link, commit, f"auto-link/{commit}")

    async def forget(self, commit: str) -> None:
        """Delete a commit's objects, to free the stand-in's memory."""
        for prefix in ("auto", "auto-link"):
            await self.client.delete_object(Bucket=BUCKET, Key=f"{prefix}/{commit}")


@contextlib.asynccontextmanager
async def _open_ways(repository: Path, bytes_per_second: float) -> AsyncIterator[Ways]:
    with (
        tempfile.TemporaryDirectory() as folder,
        open_server("memory_s3.py") as (endpoint, _),
        open_server("slow_link.py", endpoint, str(bytes_per_second)) as (slow, _),
    ):
        subject = Subject(repository, Path(folder))
        await subject.open()
        old = OldScript(repository, Path(folder))
        async with (
            open_engine(ArchiveSettings()) as engine,
            open_archivers(subject, endpoint, engine, "fast/") as (client, *fast),
            open_archivers(subject, slow, engine, "slow/") as (_, *slowed),
        ):
            yield Ways(subject, client, *fast, *slowed, old, endpoint)


async def measure(
    repository: Path, options: argparse.Namespace, keep: Callable[[Pair], None]
) -> None:
    """Yield pairs for each commit of the slice; the commit before the first becomes its base."""
    part, parts = options.slice
    async with _open_ways(repository, options.link * 1e6) as ways:
        commits = ways.subject.commits(options.commits + 1)
        first = 1 + options.commits * (part - 1) // parts
        last = 1 + options.commits * part // parts
        await ways.warm(commits[0])
        for number in range(1, min(last, len(commits))):
            commit, before = commits[number], commits[number - 1]
            if number < first:
                await ways.warm(commit)
            else:
                old = options.old_every and number % options.old_every == 1 % options.old_every
                keep(await ways.measure(commit, before, turn=number, old=bool(old)))
            await ways.forget(before)


def show(pair: Pair) -> None:
    """Print a line as soon as a pair is measured."""
    delta, full = pair.delta, pair.full
    old = f"  old {pair.old_seconds:5.1f}" if pair.old_seconds else ""
    print(
        f"{delta.changed:>6} changed  {delta.kind:<5} {delta.fallback:<18}"
        f" sent {delta.sent_bytes / 1e6:7.2f} of {full.sent_bytes / 1e6:7.2f} MB"
        f"  requests {delta.requests:3}/{full.requests:3}"
        f"  cpu {delta.cpu_seconds:5.2f}/{full.cpu_seconds:5.2f}"
        f"  wall {delta.wall_seconds:5.2f}/{full.wall_seconds:5.2f}"
        f"  link {delta.link_seconds:5.2f}/{full.link_seconds:5.2f}{old}",
        flush=True,
    )


# --- tables ---------------------------------------------------------------------------------------


def as_table(name: str, pairs: Sequence[Pair]) -> str:
    """Return medians, and the median of the ratios."""
    kinds = Counter(f"{pair.delta.kind} {pair.delta.fallback}".strip() for pair in pairs)
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    lines = [f"### {name}: {len(pairs)} consecutive commits ({told}), medians", ""]
    lines += ["| | full | delta | times less |", "| --- | ---: | ---: | ---: |"]
    for title, field, unit in (
        ("archive, MB", "size_bytes", 1e6),
        ("sent, MB", "sent_bytes", 1e6),
        ("requests", "requests", 1),
        ("files read from git", "files_read", 1),
        ("CPU, s", "cpu_seconds", 1),
        ("wall on loopback, s", "wall_seconds", 1),
        ("wall at 40 MB/s, s", "link_seconds", 1),
    ):
        deltas = [getattr(pair.delta, field) / unit for pair in pairs]
        fulls = [getattr(pair.full, field) / unit for pair in pairs]
        lines.append(_line(title, fulls, deltas))
    lines += _split([pair.delta for pair in pairs if pair.delta.kind == "delta"])
    asked = [pair for pair in pairs if pair.old_seconds]
    if asked:
        title = f"the old script, wall, s ({len(asked)} of the pushes)"
        olds = [pair.old_seconds for pair in asked]
        lines.append(_line(title, olds, [pair.delta.wall_seconds for pair in asked]))
        title = f"the old script, CPU, s ({len(asked)} of the pushes)"
        olds = [pair.old_cpu_seconds for pair in asked]
        lines.append(_line(title, olds, [pair.delta.cpu_seconds for pair in asked]))
    return "\n".join(lines) + "\n"


def _split(deltas: Sequence[Row]) -> Iterator[str]:
    """Yield the bytes that deltas sent: medians, and the mean, since medians do not add up."""
    for title, told in (
        ("the directory", [row.headers_bytes for row in deltas]),
        ("members again, too short to copy", [row.resent_bytes for row in deltas]),
        (
            "what changed",
            [row.sent_bytes - row.headers_bytes - row.resent_bytes for row in deltas],
        ),
    ):
        if told:
            median, mean = statistics.median(told) / 1e6, statistics.fmean(told) / 1e6
            yield f"| of the sent: {title}, MB | | {median:.2f} (mean {mean:.2f}) | |"


def _line(title: str, fulls: Sequence[float], deltas: Sequence[float]) -> str:
    ratio = statistics.median(full / max(delta, 1e-9) for full, delta in _both(fulls, deltas))
    full, delta = statistics.median(fulls), statistics.median(deltas)
    return f"| {title} | {full:.2f} | {delta:.2f} | {ratio:.1f} |"


def _both(fulls: Sequence[float], deltas: Sequence[float]) -> Iterator[tuple[float, float]]:
    return zip(fulls, deltas, strict=True)


def as_growth(pairs: Sequence[Pair]) -> str:
    """Return one line for each size of a change."""
    titles = "files changed | way | sent, MB | requests | files read | CPU, s | wall, s"
    lines = [f"| {titles} | wall at 40 MB/s, s | full: CPU, s | wall, s | wall at 40 MB/s, s |"]
    lines.append("| ---: | --- " + "| ---: " * 9 + "|")
    for pair in pairs:
        delta, full = pair.delta, pair.full
        lines.append(
            f"| {delta.changed:,} | {delta.kind} | {delta.sent_bytes / 1e6:.2f} | {delta.requests}"
            f" | {delta.files_read:,} | {delta.cpu_seconds:.2f} | {delta.wall_seconds:.2f}"
            f" | {delta.link_seconds:.2f} | {full.cpu_seconds:.2f} | {full.wall_seconds:.2f}"
            f" | {full.link_seconds:.2f} |"
        )
    return "\n".join(lines) + "\n"


def as_fallbacks(name: str, pairs: Sequence[Pair]) -> str:
    """Return the cost of planning a delta where a full archive was made."""
    pairs = [pair for pair in pairs if pair.delta.kind == "full"]
    if not pairs:
        return f"| {name} | 0 | | | | | |"
    reasons = ", ".join(sorted({pair.delta.fallback for pair in pairs}))
    cells = []
    for field in ("wall_seconds", "cpu_seconds"):
        on = [getattr(pair.delta, field) for pair in pairs]
        off = [getattr(pair.full, field) for pair in pairs]
        ratio = statistics.median(one / other for one, other in zip(on, off, strict=True))
        cells += [f"{statistics.median(off):.3f}", f"{statistics.median(on):.3f}", f"{ratio:.3f}"]
    size = statistics.median(pair.full.size_bytes for pair in pairs) / 1e6
    return f"| {name} | {len(pairs)} | {reasons} | {size:.1f} | " + " | ".join(cells) + " |"


# --- measured repositories ------------------------------------------------------------------------


def _generated(kind: str, options: argparse.Namespace) -> Path:
    _CACHE.mkdir(parents=True, exist_ok=True)
    files = {"small": _SMALL_FILES, "scattered": _SCATTERED_FILES}.get(kind, options.files)
    sizes = {"growth": _GROWTH, "scattered": (_SCATTERED_CHANGES,) * 40}.get(kind, ())
    place = _CACHE / f"{kind}-{files}.git"
    scattered = kind != "growth"
    monorepo.make(place, files=files, commits=40, seed=1, sizes=sizes, scattered=scattered)
    return place


def _run(name: str, repository: Path, options: argparse.Namespace) -> list[Pair]:
    """Measure a slice; return all known pairs of that name."""
    pairs: list[Pair] = []

    def keep(pair: Pair) -> None:
        show(pair)
        pairs.append(pair)
        if options.rows:
            with options.rows.open("ab") as file:
                file.write(pair.pack(name))

    print(f"{name}: {repository}", flush=True)
    anyio.run(measure, repository, options, keep)
    if not options.rows:
        return pairs
    documents = map(orjson.loads, options.rows.read_bytes().splitlines())
    return [Pair.parse(document) for document in documents if document["name"] == name]


def _slice(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    return int(part), int(parts)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repository", type=Path, action="append", default=[], help="bare")
    parser.add_argument("--commits", type=int, default=20)
    parser.add_argument("--slice", type=_slice, default=(1, 1), metavar="N/OF")
    parser.add_argument("--rows", type=Path, help="what is measured is added to this file")
    parser.add_argument("--old-every", type=int, default=4, help="pushes; 0: never")
    parser.add_argument("--files", type=int, default=104_000, help="of the generated monorepo")
    parser.add_argument("--link", type=float, default=40, help="MB/s")
    parser.add_argument("--growth", action="store_true", help="1 to 10,000 changed files instead")
    parser.add_argument("--fallbacks", action="store_true", help="what does not pay instead")
    options = parser.parse_args()
    os.environ.update(AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)
    mute()
    gc.freeze()  # like the service
    tables = [f"{about_the_machine()}\n"]
    if options.growth:
        options.commits, options.old_every = len(_GROWTH) - 1, 0
        tables.append(as_growth(_run("growth", _generated("growth", options), options)))
    elif options.fallbacks:
        options.old_every = 0
        tables.append(
            "| | pushes | why | archive, MB | wall, off, s | on, s | ratio "
            "| CPU, off, s | on, s | ratio |\n| --- | ---: | --- " + "| ---: " * 7 + "|"
        )
        places = {path.parent.name: path for path in options.repository}
        for kind in () if places else ("small", "scattered"):
            places[kind] = _generated(kind, options)
        tables += [as_fallbacks(name, _run(name, path, options)) for name, path in places.items()]
    else:
        places = {path.parent.name: path for path in options.repository}
        if not places:
            places["the generated monorepo"] = _generated("monorepo", options)
        tables += [as_table(name, _run(name, path, options)) for name, path in places.items()]
    print("\n" + "\n".join(tables))


if __name__ == "__main__":
    main()
