"""Two versions side by side, as during a deployment: nothing lost, doubled or made twice.

    make rolling OLD=COMMIT        200 pushes over 20 repositories

A task of the version OLD and one of this checkout work on one queue, one bucket with its ledger,
one stand-in for CodeBuild and one cache of mirrors. In each half of the pushes the task of one of
them is killed twice and started again: while archives in S3 wait for builds, which are held back,
and at the moment when a build was started and nothing is written down. So the other version meets
what it left: archives, builds, records, leases, mirrors.

The new version has a queue of results, which the old one may not know: it is not told of it. Builds
that the new one has written down as started must have a result in the end; others must have none.

Prints one line of JSON, judged by the servers. Exit code 1 if a push is missing, built twice, out
of order or wrong, if an archive or mirror that was there was made a second time, or if the results
are not those of the starts that were written down.

    crossed             pushes whose archive is of one version and whose build is of the other
    deltas_of_other     archives made of an older one that the other version made
    archives_made_anew  archives that were written again at a key that had one
    repairs             mirrors fetched again, and files mended in the shared cache
    results             builds that were written down as started, and that have a result
    without_result      builds that were written down as started, and that have none
"""

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.to_thread
import orjson
from support.repositories import SourceRepository
from support.service import Service, environment, open_service, read_dead_letters, wait_settled

from asyncbuild.local.servers import journal
from asyncbuild.local.servers.event_sender import open_event_sender
from asyncbuild.local.stack import BUCKET, Stack, open_stack
from asyncbuild.local.verify import Findings, Pushed, verify
from asyncbuild.local.workload import PushedRepository

_ROOT = Path(__file__).parents[1]
_LARGE_BYTES = 6_000_000  # large enough for a delta
_BRANCHES = ("main", "main", "feature/a", "main", "fix/b")
_HELD = 12  # archives that wait in S3 for their build when the task that made them is killed
_HELD_SECONDS = 40  # at most, if fewer come: the other version has the rest
_SETTLE_SECONDS = 900
_RESULT_SECONDS = (
    240  # a message whose build is not written down yet is hidden for a minute at most
)


@dataclass(slots=True)
class Version:
    """One of the two versions, and its tasks, the last of which still runs."""

    name: str
    code: Path
    tasks: list[Service] = field(default_factory=list)

    async def start(self, stack: AsyncExitStack, variables: Mapping[str, str]) -> None:
        """Start a task with this version's code, not the installed one."""
        program = ("env", "-C", str(self.code), sys.executable, "-m", "asyncbuild")
        own = {**variables, "PYTHONPATH": str(self.code)}
        task = await stack.enter_async_context(open_service(own, program=program))
        self.tasks.append(task)
        await task.wait_logged("service.started")
        _say(f"a task of the {self.name} version has started")

    async def kill(self) -> None:
        """Kill the running task, without a chance to release anything."""
        self.tasks[-1].kill()
        await self.tasks[-1].wait()
        _say(f"the task of the {self.name} version was killed")

    def logged(self, event: str) -> list[Mapping[str, Any]]:
        """Return lines of that event, of all its tasks."""
        return [line for task in self.tasks for line in task.log if line["event"] == event]


def _say(what: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {what}\n")


def check_out(commit: str, directory: Path) -> Path:
    """Put the package of `commit` into `directory`, and check that Python imports it from there.

    Raises:
        RuntimeError: It takes another.
    """
    command = ["git", "-C", str(_ROOT), "archive", "--format=tar", commit, "asyncbuild"]
    packed = subprocess.run(command, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.extractall(directory, filter="data")
    found = subprocess.run(
        [sys.executable, "-c", "import asyncbuild; print(asyncbuild.__file__)"],
        cwd=directory,
        env={"PYTHONPATH": str(directory)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if not Path(found).is_relative_to(directory):
        raise RuntimeError(f"Python takes asyncbuild from {found}")
    return directory


def _make_pushes(directory: Path, names: Sequence[str], each: int) -> list[list[Pushed]]:
    """Commit to repositories of these names; return the pushes of each, in order."""
    made = []
    for number, name in enumerate(names):
        source = SourceRepository(directory / "remotes" / name)
        remote = PushedRepository(name, source.path)
        files = {f"src/{count}.py": b"%d\n" % count * 50 for count in range(60)}
        if number % 4 == 0:
            files["noise"] = Random(number).randbytes(_LARGE_BYTES)  # noqa: S311 - repeatable, not secret
        pushes = []
        for count in range(each):
            branch = _BRANCHES[count % len(_BRANCHES)]
            before = source.tip(branch)
            change = {f"src/{count}.py": f"{name} {count}\n".encode()} if count else files
            commit = source.commit(change, branch=branch, parent=before or source.tip("main"))
            pushes.append(remote.pushed(f"refs/heads/{branch}", commit, before))
        made.append(pushes)
    return made


@asynccontextmanager
async def _holding(stack: Stack, version: Version, count: int) -> AsyncIterator[None]:
    """Let no build start; kill `version` when `count` of its archives wait for their builds."""
    before = len(version.logged("push.upload.finished"))
    stack.standin.running_limit = 0
    try:
        yield
        with anyio.move_on_after(_HELD_SECONDS):
            while len(version.logged("push.upload.finished")) < before + count:  # noqa: ASYNC110 - seen from outside
                await anyio.sleep(0.05)
        await version.kill()
    finally:
        stack.standin.running_limit = None


async def _kill_at_a_start(stack: Stack, version: Version) -> None:
    """Kill `version` as soon as any build is accepted, before the answer is read."""
    known = len(stack.standin.started)
    with anyio.move_on_after(60):
        await stack.standin.wait_started(lambda each: each in stack.standin.started[known:])
    await version.kill()


async def _wait_built(stack: Stack, count: int) -> None:
    with anyio.fail_after(_SETTLE_SECONDS):
        while len(journal.read(stack.journal)) < count:  # noqa: ASYNC110 - seen from outside
            await anyio.sleep(0.05)


@asynccontextmanager
async def _rolled(
    stack: Stack, old: Version, new: Version, lanes: Sequence[Sequence[Pushed]]
) -> AsyncIterator[None]:
    """Send all pushes in two halves; kill and restart each version in one of them.

    Inside everything is settled, and a task of each version still runs.
    """
    url = (await stack.sqs.create_queue(QueueName="rolling-results"))["QueueUrl"]
    dead = (await stack.sqs.create_queue(QueueName="rolling-results-dead-letters"))["QueueUrl"]
    told = {"old": {}, "new": {"results": {"url": url, "dead_letter_url": dead}}}
    variables = {
        name: environment(
            stack,
            queue={"visibility_timeout_seconds": 20},
            lanes={"busy_most_seconds": 1},
            status={"listen": "off"},
            **more,
        )
        for name, more in told.items()
    }
    async with AsyncExitStack() as tasks:
        await tasks.enter_async_context(open_event_sender(stack.standin, stack.sqs, url))
        for version in (old, new):
            await version.start(tasks, variables[version.name])
        pushes = list(chain.from_iterable(zip(*lanes, strict=True)))
        half = len(pushes) // 2
        for version, part in ((old, pushes[:half]), (new, pushes[half:])):
            async with _holding(stack, version, min(_HELD, len(part) // 4)):
                for push in part:
                    await stack.send(push)
            await version.start(tasks, variables[version.name])
            await _wait_built(stack, len(journal.read(stack.journal)) + len(part) // 4)
            await _kill_at_a_start(stack, version)
            await version.start(tasks, variables[version.name])
        await wait_settled(stack, _SETTLE_SECONDS)
        _say("all pushes are settled")
        with anyio.move_on_after(_RESULT_SECONDS):
            while await _list(stack, "unfinished/"):  # noqa: ASYNC110 - seen from outside
                await anyio.sleep(0.5)
        _say("all results are there")
        yield


async def _list(stack: Stack, folder: str) -> list[str]:
    """Return the keys of the ledger's objects in a folder."""
    prefix = stack.settings.storage.ledger_prefix + folder
    pages = stack.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [each["Key"] async for page in pages for each in page.get("Contents", [])]


async def _count_results(stack: Stack) -> dict[str, int]:
    """Return how many of the builds that were written down as started have a result."""
    results = len(await _list(stack, "result/"))
    started = len(await _list(stack, "started/"))
    return {"results": results, "without_result": started - results}


async def _count_rewritten(stack: Stack) -> int:
    """Return the number of archives written at an existing key, by the bucket's versions."""
    written: Counter[str] = Counter()
    pages = stack.s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET)
    async for page in pages:
        written.update(each["Key"] for each in page.get("Versions", []))
    return sum(count - 1 for key, count in written.items() if key.endswith(".zip"))


def _report(old: Version, new: Version, found: Findings) -> dict[str, Any]:
    """Return the servers' findings, and figures from the logs about each version's part."""
    versions = (old, new)
    uploads = {
        each.name: {line["event_id"]: line for line in each.logged("push.upload.finished")}
        for each in versions
    }
    maker = {line["key"]: name for name, lines in uploads.items() for line in lines.values()}
    builds = {
        each.name: {line["event_id"] for line in each.logged("push.built")} for each in versions
    }
    deltas = [(name, line["base"]) for name, lines in uploads.items() for line in lines.values()]
    repairs = sum(
        len(each.logged(event))
        for each in versions
        for event in ("mirror.renewed", "reader.mended")
    )
    return {
        "pushes": found.pushes,
        "built": found.built,
        "missing": len(found.missing),
        "duplicated": len(found.duplicated),
        "out_of_order": len(found.out_of_order),
        "wrong": len(found.wrong_content) + len(found.unexpected),
        "repairs": repairs,
        "built_by": {name: len(events) for name, events in builds.items()},
        "archives_by": {
            name: Counter(line["archive_kind"] for line in lines.values())
            for name, lines in uploads.items()
        },
        "crossed": sum(
            len(builds[other.name] & (uploads[one.name].keys() - uploads[other.name].keys()))
            for one, other in ((old, new), (new, old))
        ),
        "deltas_of_other": sum(maker.get(base, name) != name for name, base in deltas if base),
        "warnings": Counter(
            f"{each.name}: {line['event']}"
            for each in versions
            for task in each.tasks
            for line in task.log
            if line.get("level") in {"warning", "error"} or line["event"] == "text"
        ),
        "faults": found.faults[:20],
    }


async def main(commit: str, repositories: int, count: int) -> int:
    """Run both versions; return 0 if all is well."""
    begun = time.monotonic()
    names = [f"repository-{number:03d}" for number in range(repositories)]
    with tempfile.TemporaryDirectory(prefix="asyncbuild-old-") as directory:
        old = Version("old", check_out(commit, Path(directory)))
        new = Version("new", _ROOT)
        async with open_stack(names) as stack:
            await stack.s3.put_bucket_versioning(
                Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}
            )
            lanes = await anyio.to_thread.run_sync(
                _make_pushes, stack.directory, names, count // repositories
            )
            _say(f"{count} pushes are made")
            codes = []
            async with _rolled(stack, old, new, lanes):
                for version in (old, new):
                    version.tasks[-1].terminate()
                    codes.append(await version.tasks[-1].wait(120))
            pushes, started = list(chain(*lanes)), journal.read(stack.journal)
            found = await verify(pushes, started, s3=stack.s3, bucket=BUCKET)
            rewritten = await _count_rewritten(stack)
            results = await _count_results(stack)
            dead = await read_dead_letters(stack)
    document = {
        "old": commit,
        **_report(old, new, found),
        "archives_made_anew": rewritten,
        **results,
        "dead_letters": len(dead),
        "exit_codes": codes,
        "seconds": round(time.monotonic() - begun),
    }
    sys.stdout.write(orjson.dumps(document).decode() + "\n")
    ill = [*found.faults, *dead, *filter(None, codes), *filter(None, [results["without_result"]])]
    return 1 if ill or rewritten or document["repairs"] else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("old", help="Commit of the other version.")
    parser.add_argument("--repositories", type=int, default=20)
    parser.add_argument("--pushes", type=int, default=200)
    options = parser.parse_args()
    sys.exit(anyio.run(main, options.old, options.repositories, options.pushes))
