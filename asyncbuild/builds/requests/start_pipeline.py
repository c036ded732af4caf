"""Parameters of StartPipelineExecution for a push, by the pipeline's declaration. Pure.

A pipeline names its own source: bucket, key, and whether a start may name another key. It also
declares its variables, and a start can set no others. So the declaration is read first. A mismatch
is reported here, with its remedy, instead of by an execution that fails later.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import HandOver

if TYPE_CHECKING:
    from types_aiobotocore_codepipeline.type_defs import (
        GetPipelineOutputTypeDef,
        PipelineVariableTypeDef,
        SourceRevisionOverrideTypeDef,
        StartPipelineExecutionInputTypeDef,
    )

_MOST_VALUE = 1000  # characters; CodePipeline API, PipelineVariable, value


@dataclass(frozen=True, slots=True)
class PipelineSource:
    """An S3 source action; `open` if a start may name another key than the action's own."""

    action: str
    bucket: str
    open: bool


@dataclass(frozen=True, slots=True)
class Declaration:
    """Parts of a pipeline's declaration that a start depends on."""

    name: str
    arn: str
    variables: frozenset[str]
    sources: tuple[PipelineSource, ...]


def declaration_of(answer: "GetPipelineOutputTypeDef") -> Declaration:
    """Return the declaration in an answer of GetPipeline.

    The names in an S3 source action's configuration are those of the user guide, "Amazon S3 source
    action reference"; its values are strings, "true" among them.
    """
    pipeline = answer["pipeline"]
    sources = tuple(
        PipelineSource(
            action=action["name"],
            bucket=action.get("configuration", {}).get("S3Bucket", ""),
            open=action.get("configuration", {}).get("AllowOverrideForS3ObjectKey", "false").lower()
            == "true",
        )
        for stage in pipeline["stages"]
        for action in stage["actions"]
        if (action["actionTypeId"]["category"], action["actionTypeId"]["provider"])
        == ("Source", "S3")
    )
    return Declaration(
        name=pipeline["name"],
        arn=answer.get("metadata", {}).get("pipelineArn", ""),
        variables=frozenset(each["name"] for each in pipeline.get("variables", [])),
        sources=sources,
    )


def source_of(pipeline: Declaration, *, bucket: str, source_action: str) -> PipelineSource:
    """Return the source action that is to read the archive.

    Args:
        pipeline: Its declaration.
        bucket: The bucket of the archives.
        source_action: The name in the rule; empty for the action that reads the bucket.

    Raises:
        Reject: No action matches, or several do and the rule names none; or the action takes no
            other key, or reads another bucket.
    """
    if source_action:
        named = [each for each in pipeline.sources if each.action == source_action]
        why = f"has no S3 source action named {source_action}"
    else:
        named = [each for each in pipeline.sources if each.bucket == bucket]
        why = f"has {len(named) or 'no'} S3 source actions that read bucket {bucket}"
    if len(named) != 1:
        there = ", ".join(f"{each.action} of {each.bucket}" for each in pipeline.sources) or "none"
        raise Reject(
            f"pipeline {pipeline.name} {why}; it has: {there}",
            remedy="give it one, or set `source_action` of the rule to the one that is meant",
        )
    (source,) = named
    if source.bucket != bucket:
        raise Reject(
            f"source action {source.action} of pipeline {pipeline.name} reads bucket "
            f"{source.bucket}, and archives are in {bucket}",
            remedy=f"set its S3Bucket to {bucket}",
        )
    if not source.open:
        raise Reject(
            f"source action {source.action} of pipeline {pipeline.name} takes no other key than "
            "its own",
            remedy='set AllowOverrideForS3ObjectKey to "true" in its configuration',
        )
    return source


def parameters_of(request: HandOver, pipeline: Declaration) -> "StartPipelineExecutionInputTypeDef":
    """Return the StartPipelineExecution call: this version of this object, and declared variables.

    Raises:
        Reject: The pipeline cannot take the archive, or does not declare a variable of the rule.
    """
    source = source_of(pipeline, bucket=request.bucket, source_action=request.source_action)
    if not request.version_id:
        raise Reject(
            f"bucket {request.bucket} keeps no versions, and pipelines read nothing else",
            remedy="turn versioning on in the bucket, and push again",
        )
    revisions: list[SourceRevisionOverrideTypeDef] = [
        {
            "actionName": source.action,
            "revisionType": "S3_OBJECT_KEY",
            "revisionValue": request.key,
        },
        {
            "actionName": source.action,
            "revisionType": "S3_OBJECT_VERSION_ID",
            "revisionValue": request.version_id,
        },
    ]
    parameters: StartPipelineExecutionInputTypeDef = {
        "name": request.pipeline,
        "sourceRevisions": revisions,
        "clientRequestToken": request.token,
    }
    variables = list(_iter_variables(request, pipeline))
    if variables:  # the list must not be empty (model)
        parameters["variables"] = variables
    return parameters


def check_variables(required: Collection[str], pipeline: Declaration) -> None:
    """Check that the pipeline declares the variables that the rule sets.

    Raises:
        Reject: A variable is not declared.
    """
    missing = sorted(set(required) - pipeline.variables)
    if missing:
        raise Reject(
            f"pipeline {pipeline.name} declares no variable {', '.join(missing)}",
            remedy="declare it there (type V2), or take it out of the rule's `variables`",
        )


def _iter_variables(
    request: HandOver, pipeline: Declaration
) -> "Iterator[PipelineVariableTypeDef]":
    check_variables(request.required, pipeline)
    for name, value in _told(request.variables).items():
        if name not in pipeline.variables:
            continue
        if len(value) > _MOST_VALUE or "\n" in value:
            raise Reject(
                f"variable {name} for pipeline {pipeline.name} is {len(value)} characters; "
                f"CodePipeline takes one line of {_MOST_VALUE}",
                remedy="make the value in the rule's `variables` shorter",
            )
        yield {"name": name, "value": value}


def _told(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that have a value; for an empty one the pipeline's own default holds."""
    return {name: value for name, value in variables.items() if value}
