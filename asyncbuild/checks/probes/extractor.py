"""Probe of CodeBuild's extraction of archives: one small build for each archive reports.

Each archive has its own build, because an archive that cannot be unpacked at all ends its build.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import to_thread

from asyncbuild.aws.classify import errors_of
from asyncbuild.aws.session import Aws
from asyncbuild.builds.requests.start_build import parameters_of
from asyncbuild.checks.judges.bucket import archive_prefix
from asyncbuild.checks.judges.probe_answer import Answer
from asyncbuild.checks.judges.probe_zips import pack
from asyncbuild.checks.judges.zip_listing import PROBES, ProbeArchive
from asyncbuild.checks.probes.made import TAG, VARIABLE, ProbeRun, open_made
from asyncbuild.config.sections import BuildSettings
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import StageError
from asyncbuild.domain.model import BuildRequest
from asyncbuild.storage.multipart import encryption

if TYPE_CHECKING:
    from types_aiobotocore_codebuild import CodeBuildClient
    from types_aiobotocore_s3 import S3Client

_WAIT_SECONDS: Final = 900.0
_POLL_SECONDS: Final = 3.0
_BUILD_MINUTES: Final = 5  # the least that CodeBuild takes
_QUEUED_MINUTES: Final = 8


async def iter_answers(
    aws: Aws, settings: Settings, project: str, made: ProbeRun
) -> AsyncIterator[Answer]:
    """Start a build of `project` for every archive, and yield the answers that they report.

    Args:
        aws: Session for S3 and CodeBuild.
        settings: The whole configuration.
        project: Project whose builds are started.
        made: Record of what the probes make.
    """
    try:
        async with (
            aws.open_s3(pool=2) as s3,
            aws.open_codebuild(pool=2) as codebuild,
            open_made(made),
        ):
            starts = _ProbeBuilds(s3, codebuild, settings, project, made)
            builds = {probe: await starts.start(probe) for probe in PROBES}
            ended = await _wait_ended(codebuild, list(builds.values()))
    except StageError as error:
        for asked in (each for probe in PROBES for each in probe.asked):
            yield asked.question.unknown(str(error))
        return
    for probe, build in builds.items():
        if build in ended:
            for answer in probe.judge(ended[build]):
                yield answer
        else:
            for asked in probe.asked:
                yield asked.question.unknown(
                    f"the build had not ended after {_WAIT_SECONDS:g} s; it was stopped"
                )


@dataclass(frozen=True, slots=True)
class _ProbeBuilds:
    s3: "S3Client"
    codebuild: "CodeBuildClient"
    settings: Settings
    project: str
    made: ProbeRun

    async def start(self, probe: ProbeArchive) -> str:
        """Upload an archive and start its build; return the build's id."""
        settings, made = self.settings, self.made
        key = f"{archive_prefix(settings)}{made.name}/{probe.name}.zip"
        version = await _upload(self.s3, settings, key, probe, made)
        request = BuildRequest(
            project=self.project,
            bucket=settings.storage.bucket,
            key=key,
            token=f"{made.name}-{probe.name}",
            variables={VARIABLE: made.name},
            version_id=version,
        )
        # The service's own request, so that the result holds for pushes.
        asked = BuildSettings(
            buildspec=probe.buildspec(),
            timeout_minutes=_BUILD_MINUTES,
            queued_timeout_minutes=_QUEUED_MINUTES,
        )
        return await _start_build(self.codebuild, parameters_of(request, asked), made)


async def _start_build(
    codebuild: "CodeBuildClient", request: Mapping[str, Any], made: ProbeRun
) -> str:
    """Start the build; return its id.

    A cancelled caller waits for the answer all the same: without it the build to stop would be
    unknown. Hence a task: an interrupt cancels the caller as asyncio does, unshielded.
    """
    ids: list[str] = []
    faults: list[StageError] = []

    async def undo() -> None:
        with errors_of(f"stop build {ids[0]}"):
            found = (await codebuild.batch_get_builds(ids=ids))["builds"]
            if found and not _has_ended(found[0]):
                await codebuild.stop_build(id=ids[0])

    async def start() -> None:
        try:
            with (
                anyio.CancelScope(shield=True),
                errors_of(f"start a build of project {request['projectName']}"),
            ):
                answer = await codebuild.start_build(**request)
        except StageError as error:
            faults.append(error)
        else:
            ids.append(answer["build"]["id"])
            made.will_make(f"build {ids[0]}", undo)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(start)
    if faults:
        raise faults[0]
    return ids[0]


async def _upload(
    s3: "S3Client", settings: Settings, key: str, probe: ProbeArchive, made: ProbeRun
) -> str | None:
    bucket = settings.storage.bucket
    body = await to_thread.run_sync(lambda: pack(probe.members()))
    versions: list[str | None] = []

    async def undo() -> None:
        with errors_of(f"delete s3://{bucket}/{key}"):
            for version in versions or [None]:  # a lost answer named no version
                where: Any = {"VersionId": version} if version else {}
                await s3.delete_object(Bucket=bucket, Key=key, **where)

    made.will_make(f"s3://{bucket}/{key}", undo)
    protection: Any = encryption(settings.storage)
    with errors_of(f"write s3://{bucket}/{key}"):
        answer = await s3.put_object(
            Bucket=bucket, Key=key, Body=body, Tagging=f"{TAG}={made.name}", **protection
        )
    version = answer.get("VersionId")
    if version:
        versions.append(version)
    return version


async def _wait_ended(codebuild: "CodeBuildClient", ids: list[str]) -> dict[str, Mapping[str, Any]]:
    """Return the builds that have ended, by id, when all have or the time is up."""
    ended: dict[str, Mapping[str, Any]] = {}
    with anyio.move_on_after(_WAIT_SECONDS):
        while True:
            with errors_of("look at the builds"):
                answer = await codebuild.batch_get_builds(ids=ids)
            ended = {each["id"]: dict(each) for each in answer["builds"] if _has_ended(each)}
            if len(ended) == len(ids):
                break
            await anyio.sleep(_POLL_SECONDS)
    return ended


def _has_ended(build: Mapping[str, Any]) -> bool:
    return bool(build.get("buildComplete")) or build.get("buildStatus") != "IN_PROGRESS"
