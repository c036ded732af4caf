"""S3 object → a build or an execution, whichever the target names, started once (I12)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from asyncbuild.builds.codebuild import CodeBuild
from asyncbuild.builds.codepipeline import CodePipeline
from asyncbuild.builds.requests.start_build import token_of
from asyncbuild.domain.model import (
    Build,
    BuildRequest,
    Execution,
    Guard,
    HandOver,
    Push,
    StoredArchive,
    Target,
)


@dataclass(frozen=True, slots=True)
class StartContext:
    """Values of a push that are the same for all that it starts.

    Attributes:
        push: Whose it is.
        variables: Of the build, or offered to the pipeline.
        since: From when on to look for what the push has started, if it may have.
        guard: Asked before anything is committed (I4).
    """

    push: Push
    variables: Mapping[str, str]
    since: datetime | None
    guard: Guard


@dataclass(frozen=True, slots=True)
class Starters:
    """What a push may start."""

    builds: CodeBuild
    pipelines: CodePipeline

    async def build(self, target: Target, archive: StoredArchive, start: StartContext) -> Build:
        """Start a build of the target's project, or return the one that the push has started.

        Raises:
            StageError: as `CodeBuild.start`.
        """
        project = target.project or ""
        request = BuildRequest(
            project=project,
            bucket=archive.bucket,
            key=archive.key,
            token=token_of(start.push, project),
            variables=start.variables,
            version_id=archive.version_id,
        )
        if start.since is not None:
            found = await self.builds.find_recent(project, start.variables, since=start.since)
            if found is not None:
                return found
        return await self.builds.start(request, guard=start.guard)

    async def hand_over(
        self, target: Target, archive: StoredArchive, start: StartContext
    ) -> Execution:
        """Start the target's pipeline, or return the execution that the push has started.

        Raises:
            StageError: as `CodePipeline.start`.
        """
        pipeline = target.pipeline or ""
        request = HandOver(
            pipeline=pipeline,
            source_action=target.source_action,
            bucket=archive.bucket,
            key=archive.key,
            version_id=archive.version_id,
            token=token_of(start.push, pipeline),
            variables=start.variables,
            required=frozenset(target.variables),
        )
        if start.since is not None:
            found = await self.pipelines.find_recent(request, since=start.since)
            if found is not None:
                return found
        return await self.pipelines.start(request, guard=start.guard)
