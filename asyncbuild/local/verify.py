"""Verification of the pushes from the servers alone: StartBuild requests and objects in S3.

asyncbuild itself is not asked. The order is that of the stand-in's accepted StartBuilds against
that of the pushes sent; the content is each zip read back with the standard library's `zipfile` and
compared with the contents of the commit according to git.
"""

import stat
import tempfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING

import anyio.to_thread
from botocore.exceptions import ClientError

from asyncbuild.builds.requests.start_build import EVENT_ID
from asyncbuild.local.expected_tree import Entry, ExpectedTree, blob_id, iter_chunks, read_tree
from asyncbuild.local.servers.journal import AcceptedStart

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import GetObjectRequestTypeDef

_CHUNK_BYTES = 1024 * 1024
_IN_MEMORY_BYTES = 32 * 1024 * 1024


class Expects(StrEnum):
    """Expected result of a push."""

    BUILD = "build"
    UPLOAD = "upload"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Pushed:
    """A push that was made and sent. Pushes of one `group` are kept in the order they were sent.

    `directory` is the bare repository that has the commit; `time` is the push's, epoch seconds;
    `key` is where an upload without build is looked for.
    """

    id: str
    group: str
    repository: str
    ref: str
    commit: str | None
    directory: Path
    time: float
    expects: Expects = Expects.BUILD
    key: str = ""
    old_commit: str | None = None

    def __str__(self) -> str:
        return f"{self.repository} {self.ref} {(self.commit or 'deleted')[:10]}"


@dataclass(slots=True)
class Findings:
    """Every fault as a sentence, by kind. `sizes` has the bytes of each archive read back."""

    pushes: int = 0
    built: int = 0
    uploaded: int = 0
    missing: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong_content: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        """All faults, of every kind."""
        return [
            *self.missing,
            *self.duplicated,
            *self.out_of_order,
            *self.unexpected,
            *self.wrong_content,
        ]


def compare(pushes: Sequence[Pushed], started: Sequence[AcceptedStart]) -> Findings:
    """Compare the builds that were started with the pushes that were sent, each in its order.

    A push has the position of its first build; a second build is duplicated, not out of order.
    """
    findings = Findings(pushes=len(pushes))
    known = {push.id: (place, push) for place, push in enumerate(pushes)}
    seen: set[tuple[str, str]] = set()
    latest: dict[tuple[str, str], tuple[int, Pushed]] = {}
    for build in started:
        event_id = build.variables.get(EVENT_ID, "")
        if event_id not in known:
            findings.unexpected.append(f"build {build.build}: no push has the id {event_id!r}")
            continue
        place, push = known[event_id]
        if (event_id, build.project) in seen:
            findings.duplicated.append(f"{push}: built again as {build.build}")
            continue
        seen.add((event_id, build.project))
        if push.expects is not Expects.BUILD:
            findings.unexpected.append(f"{push}: built, where {push.expects} was expected")
            continue
        lane = (push.group, build.project)
        last = latest.get(lane)
        if last and last[0] > place:
            findings.out_of_order.append(f"{push}: built after the later push {last[1]}")
        else:
            latest[lane] = (place, push)
        findings.wrong_content.extend(_iter_wrong_names(push, build))
    events = {event_id for event_id, _ in seen}
    wanted = [push for push in pushes if push.expects is Expects.BUILD]
    findings.built = sum(push.id in events for push in wanted)
    findings.missing = [f"{push}: no build was started" for push in wanted if push.id not in events]
    return findings


def _iter_wrong_names(push: Pushed, build: AcceptedStart) -> Iterator[str]:
    expected = {"COMMIT_ID": push.commit, "REF": push.ref, "REPOSITORY_NAME": push.repository}
    for name, value in expected.items():
        if build.variables.get(name) != value:
            yield f"{push}: {name} was {build.variables.get(name)!r}, not {value!r}"


async def verify(
    pushes: Sequence[Pushed], started: Sequence[AcceptedStart], *, s3: "S3Client", bucket: str
) -> Findings:
    """Compare builds and pushes, and read back every archive that a push should have.

    `sizes` of the result is by push id.

    Args:
        pushes: Pushes in the order they were sent.
        started: Builds in the order they were accepted.
        s3: Client for the archives.
        bucket: Bucket of uploads without a build.
    """
    findings = compare(pushes, started)
    built: defaultdict[str, dict[tuple[str, str | None], None]] = defaultdict(dict)
    for build in started:
        place = (build.location, build.request.get("sourceVersion"))
        built[build.variables.get(EVENT_ID, "")][place] = None
    for push in pushes:
        places = list(built[push.id])
        if push.expects is Expects.UPLOAD:
            places = [(f"{bucket}/{push.key}", None)]
        for location, version in places:
            await _check_archive(push, location, version, findings=findings, s3=s3)
    return findings


async def _check_archive(
    push: Pushed, location: str, version: str | None, *, findings: Findings, s3: "S3Client"
) -> None:
    bucket, _, key = location.partition("/")
    wanted: GetObjectRequestTypeDef = {"Bucket": bucket, "Key": key}
    if version:
        wanted["VersionId"] = version
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
        try:
            body = (await s3.get_object(**wanted))["Body"]
        except ClientError as error:
            wrong = findings.missing if push.expects is Expects.UPLOAD else findings.wrong_content
            code = error.response.get("Error", {}).get("Code")
            wrong.append(f"{push}: no archive at {location} ({code})")
            return
        async for chunk in body.iter_chunks(_CHUNK_BYTES):
            await anyio.to_thread.run_sync(file.write, chunk)
        findings.sizes[push.id] = file.tell()
        findings.uploaded += push.expects is Expects.UPLOAD
        if push.commit is None:
            return
        tree = await read_tree(push.directory, push.commit)
        differences = await anyio.to_thread.run_sync(_differences, file, tree)
    if differences:
        more_of_them = f" and {len(differences) - 3} more" if len(differences) > 3 else ""  # noqa: PLR2004 - enough to see
        findings.wrong_content.append(f"{push}: {'; '.join(differences[:3])}{more_of_them}")


def _differences(file: IO[bytes], tree: ExpectedTree) -> list[str]:
    return list(iter_differences(file, tree))


def iter_differences(file: IO[bytes], tree: ExpectedTree) -> Iterator[str]:
    """Yield each difference between the zip in `file` and `tree`.

    Directories of git are implied by their files; a zip may name them or not. An empty one (in the
    place of a submodule) must be named, and none may be named that the tree does not have.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            found: dict[bytes, Entry] = {}
            for member in archive.infolist():
                name = _raw_name(member)
                if name.rstrip(b"/") in found:
                    yield f"{_shown(name)} is there twice"
                found[name.rstrip(b"/")] = _entry(archive, member, tree.hash_name)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
        yield f"no zip that can be read: {error}"
        return
    for path, entry in sorted(tree.entries.items()):
        there = found.pop(path, None)
        if there is None and not (entry.kind == "directory" and path in tree.filled):
            yield f"{_shown(path)} is not there"
        elif there is not None and there.kind != entry.kind:
            yield f"{_shown(path)} is {there.kind} instead of {entry.kind}"
        elif there is not None and there.content != entry.content:
            yield f"{_shown(path)} has other content"
    for path in found:
        yield f"{_shown(path)} is there and should not be"


def _entry(archive: zipfile.ZipFile, member: zipfile.ZipInfo, hash_name: str) -> Entry:
    mode = member.external_attr >> 16
    if member.is_dir() or stat.S_ISDIR(mode):
        return Entry("directory")
    with archive.open(member) as content:
        id_ = blob_id(iter_chunks(content), member.file_size, hash_name)
    if stat.S_ISLNK(mode):
        return Entry("link", id_)
    return Entry("executable" if mode & 0o111 else "file", id_)


def _raw_name(member: zipfile.ZipInfo) -> bytes:
    # Flag bit 11 means UTF-8 (APPNOTE 4.4.4); without it zipfile decodes as cp437.
    return member.orig_filename.encode("utf-8" if member.flag_bits & 0x800 else "cp437")


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
