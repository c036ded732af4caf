"""Parameters of StartBuild for a push. Pure: equal pushes give equal requests, byte for byte.

That matters: CodeBuild refuses a known idempotency token with any other parameter.
"""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from asyncbuild.config.sections import BuildSettings
from asyncbuild.domain.errors import ConfigError
from asyncbuild.domain.model import BuildRequest, Push, Target
from asyncbuild.domain.rules.rule_variables import variable_fault

if TYPE_CHECKING:
    from types_aiobotocore_codebuild.type_defs import StartBuildInputTypeDef

EVENT_ID = "EVENT_ID"  # the variable that names the push: how a build is found again (I12)


def token_of(push: Push, project: str) -> str:
    """Return the idempotency token of this push's build: 64 hex digits per event and project.

    EventBridge's ids are unique. The id of a webhook or of a request is what its sender writes, so
    there the repository is part of the token. CodeBuild remembers a token for five minutes (API
    reference, StartBuild, idempotencyToken).
    """
    text = f"{push.id}\n{project}"
    if push.repository.is_foreign or push.terms is not None:
        text += f"\n{push.repository.path}"
    return hashlib.sha256(text.encode()).hexdigest()


def is_of(told: Mapping[str, str], variables: Mapping[str, str]) -> bool:
    """Return whether a build or execution with the variables `told` belongs to a push.

    Args:
        told: Variables that it was started with.
        variables: Variables that the push's own is started with. Those that both name must be
            equal: the event, and repository, ref and commit, because two repositories may have one
            event id. The commit of a tag is not compared: if the tag is gone, its own id is all
            that is known.
    """
    named = [EVENT_ID, "REPOSITORY_NAME", "REF", "COMMIT_ID"]
    if told.get("REF", "").startswith("refs/tags/"):
        named.remove("COMMIT_ID")
    return EVENT_ID in told and all(
        told[name] == variables[name] for name in named if name in told and name in variables
    )


def variables_of(push: Push, target: Target, *, commit: str = "", base: str = "") -> dict[str, str]:
    """Return the environment variables of this push's build, in a stable order.

    `CODEBUILD_RESOLVED_SOURCE_VERSION` is the S3 version for a source in S3 (user guide,
    "Environment variables in build environments"), so the commit has a variable of its own.
    OLD_COMMIT_ID and PUSHER are there if the event names them, BASE_COMMIT_ID if the push was
    compared with a commit, TAG_ID if an annotated tag was pushed.

    Args:
        push: The push.
        target: What is started for it.
        commit: What the push's object is peeled to; empty if it is a commit.
        base: What the rule's `changes` are compared with; empty without such a commit.

    Raises:
        ConfigError: The rule gives a variable a name that CodeBuild or asyncbuild reserves.
    """
    faults = [fault for name in target.variables if (fault := variable_fault(name))]
    if faults:
        raise ConfigError(f"variables of rule {target.rule or target.action}: {'; '.join(faults)}")
    variables = {
        "COMMIT_ID": commit or push.commit,
        "TAG_ID": push.commit if commit and commit != push.commit else "",
        "BRANCH_NAME": push.branch,
        "REPOSITORY_NAME": push.repository.name,
        "REF": push.ref,
        "OLD_COMMIT_ID": push.old_commit or "",
        "BASE_COMMIT_ID": base,
        "PUSHER": push.pusher or "",
        EVENT_ID: push.id,
    }
    told = {name: value for name, value in variables.items() if value}
    return {**told, **dict(sorted(target.variables.items()))}


def parameters_of(request: BuildRequest, settings: BuildSettings) -> "StartBuildInputTypeDef":
    """Return the StartBuild call for `request`: a source in S3, no artifacts, plain variables."""
    parameters: StartBuildInputTypeDef = {
        "projectName": request.project,
        "sourceTypeOverride": "S3",
        "sourceLocationOverride": f"{request.bucket}/{request.key}",
        "artifactsOverride": {"type": "NO_ARTIFACTS"},
        "environmentVariablesOverride": [
            {"name": name, "value": value, "type": "PLAINTEXT"}
            for name, value in request.variables.items()
        ],
        "idempotencyToken": request.token,
    }
    if request.version_id:
        parameters["sourceVersion"] = request.version_id
    if settings.buildspec:
        parameters["buildspecOverride"] = settings.buildspec
    if settings.timeout_minutes:
        parameters["timeoutInMinutesOverride"] = settings.timeout_minutes
    if settings.queued_timeout_minutes:
        parameters["queuedTimeoutInMinutesOverride"] = settings.queued_timeout_minutes
    return parameters
