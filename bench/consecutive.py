"""Delta archives of consecutive commits, each read back by every reader.

    make prove-delta REPOSITORY=/path/to.git       200 commits on a SeaweedFS of its own
    python bench/consecutive.py --repository … --endpoint http://… --skip 20 --commits 20
                                                   a slice of them, on a server that stays

Of every archive: all readers of `readers.py` find what `git archive` gives; its length is the sum
of its local headers, contents, directory and end: nothing dead. A slice goes on where the bucket's
own record of the newest archive says.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import orjson
from anyio import to_thread
from botocore.exceptions import ClientError
from readers import Readers, tree_of_commit
from subject import BUCKET, REGION, Row, Subject, open_archivers
from support.archives import live_bytes_of_zip
from support.seaweedfs import open_seaweedfs

from asyncbuild.config import ArchiveSettings
from asyncbuild.local.servers.children import ACCESS_KEY, SECRET_KEY
from asyncbuild.runtime.log import mute
from asyncbuild.zip.engine import open_engine

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


@contextlib.asynccontextmanager
async def _open_endpoint(endpoint: str) -> AsyncIterator[str]:
    if endpoint:
        yield endpoint
        return
    async with open_seaweedfs() as server:
        yield server.endpoint_url


async def _download(client: "S3Client", key: str, path: Path) -> None:
    answer = await client.get_object(Bucket=BUCKET, Key=key)
    async with answer["Body"] as body:
        await anyio.Path(path).write_bytes(await body.read())


async def _make_bucket(client: "S3Client") -> None:
    try:
        await client.head_bucket(Bucket=BUCKET)
    except ClientError:
        where = {"LocationConstraint": REGION}
        await client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)  # type: ignore[arg-type]


async def prove(options: argparse.Namespace, scratch: Path) -> list[Row]:
    """Make and check all archives of the slice; return their figures."""
    rows = []
    subject = Subject(options.repository, scratch)
    await subject.open()
    readers = Readers(scratch)
    commits = subject.commits(options.of + 1)[options.skip :][: options.commits]
    async with (
        _open_endpoint(options.endpoint) as endpoint,
        open_engine(ArchiveSettings()) as engine,
        open_archivers(subject, endpoint, engine, "proof/") as (client, archiver, _),
    ):
        await _make_bucket(client)
        for number, commit in enumerate(commits, options.skip):
            row = await subject.put(archiver, commit, f"{commit}.zip")
            archive = scratch / "archive.zip"
            await _download(client, f"{commit}.zip", archive)
            content = await anyio.Path(archive).read_bytes()
            if not len(content) == live_bytes_of_zip(content) == row.size_bytes:
                raise SystemExit(f"{commit}: {len(content)} bytes, not all of them alive")
            expected = tree_of_commit(options.repository, commit)
            extract = (number + 1) % options.extract_every == 0
            check = partial(readers.check, archive, expected, extract=extract)
            await to_thread.run_sync(check)
            rows.append(row)
            _show(number, row, len(expected))
            if row.base_key and row.base_key != f"{commit}.zip":
                await client.delete_object(Bucket=BUCKET, Key=row.base_key)
    return rows


def _show(number: int, row: Row, entries: int) -> None:
    print(
        f"{number:4} {row.commit[:12]} {row.kind:5} {row.fallback:18}"
        f" {entries:6} entries  {row.size_bytes:>11,} bytes: {row.copied_bytes:>11,} copied,"
        f" {row.sent_bytes:>11,} sent, {row.files_read:5} files read; all readers agree",
        flush=True,
    )


def main() -> None:
    """Run the proof, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repository", type=Path, required=True, help="bare")
    parser.add_argument("--of", type=int, default=200, help="last commits that are looked at")
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--commits", type=int, default=201, help="of these, and the one before")
    parser.add_argument("--extract-every", type=int, default=10, help="archives into files, too")
    parser.add_argument("--endpoint", default="", help="of an S3 server that runs")
    parser.add_argument("--rows", type=Path, help="JSON lines are appended here")
    options = parser.parse_args()
    os.environ.update(AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)
    mute()
    memory = Path("/dev/shm")  # noqa: S108 - our own folder is created in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        rows = anyio.run(prove, options, Path(scratch))
    if options.rows:
        with options.rows.open("ab") as file:
            file.writelines(orjson.dumps(row.as_dict()) + b"\n" for row in rows)
    counted = Counter(f"{row.kind} {row.fallback}".strip() for row in rows)
    print(f"{len(rows)} archives, every one as git archives it: {dict(counted)}")
    sys.exit(0)


if __name__ == "__main__":
    main()
