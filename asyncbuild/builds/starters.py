"""Start of a build or an execution for an S3 object, whichever the target names, once (I12)."""

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
        push: The push.
        variables: Variables of the build, or offered to the pipeline.
        since: Time from which to search for what the push has started; None if it has started
            nothing.
        guard: Asked before anything is committed (I4).
    """

    push: Push
    variables: Mapping[str, str]
    since: datetime | None
    guard: Guard


@dataclass(frozen=True, slots=True)
class Starters:
    """Starters of builds and of pipeline executions."""

    builds: CodeBuild
    pipelines: CodePipeline

    async def build(self, target: Target, archive: StoredArchive, start: StartContext) -> Build:
        """Start a build of the target's project, or return the one that the push has started.

        Args:
            target: Names the project.
            archive: Source of the build.
            start: Values of the push.

        Raises:
            StageError: As `CodeBuild.start`.
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

        Args:
            target: Names the pipeline and its source action.
            archive: Source of the execution.
            start: Values of the push.

        Raises:
            StageError: As `CodePipeline.start`.
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
