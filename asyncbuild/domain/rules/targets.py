"""Targets that one rule asks for, if it matches a push."""

import re
from collections.abc import Mapping
from string import Formatter

from asyncbuild.domain.model import Action, Push, Target
from asyncbuild.domain.rules.rule import Rule
from asyncbuild.domain.rules.rule_keys import escape_key

_MOST_KEY_BYTES = 1024  # Amazon S3 User Guide, "Naming Amazon S3 objects"
_NOT_SAFE_IN_PROJECT = re.compile(r"[^A-Za-z0-9_-]")
_NOT_SAFE_IN_PIPELINE = re.compile(r"[^A-Za-z0-9.@_-]")  # CodePipeline API, PipelineName


TargetName = tuple[Action, str]


def name_of(target: Target) -> TargetName:
    """Return the name of a target, which differs between the targets of a push."""
    return target.action, target.project or target.pipeline or target.key or target.rule


def targets_of(push: Push, rule: Rule) -> tuple[Target, ...]:
    """Return the targets that a rule asks for, if it matches the push."""
    if rule.action is Action.IGNORE:
        return (Target(Action.IGNORE, rule=rule.name),)
    values = {**_values(push), "options": rule.options.digest or "all"}
    key = _fill(rule.key, {name: escape_key(value) for name, value in values.items()})
    if rule.reserved and key.startswith(rule.reserved):
        key = f"!{ord(key[0]):02X}{key[1:]}"  # as for a repository whose name equals the prefix
    if len(key.encode()) > _MOST_KEY_BYTES:
        fault = (
            f"key {key[:80]}… of {len(key.encode())} bytes is longer than S3's {_MOST_KEY_BYTES} "
            f"(shorten the key template of rule {rule.name!r})"
        )
        return (Target(rule.action, rule=rule.name, fault=fault),)
    variables = {name: _fill(value, values) for name, value in rule.variables.items()}
    if rule.action is Action.UPLOAD:
        return (_target(rule, key, variables),)
    if rule.action is Action.PIPELINE:
        names = {name: _NOT_SAFE_IN_PIPELINE.sub("-", value) for name, value in values.items()}
        pipelines = dict.fromkeys(_fill(pipeline, names) for pipeline in rule.pipelines)
        return tuple(_target(rule, key, variables, pipeline=each) for each in pipelines)
    names = {name: _NOT_SAFE_IN_PROJECT.sub("-", value) for name, value in values.items()}
    projects = dict.fromkeys(_fill(project, names) for project in rule.projects)
    return tuple(_target(rule, key, variables, project=each) for each in projects)


def _target(
    rule: Rule,
    key: str,
    variables: Mapping[str, str],
    *,
    project: str | None = None,
    pipeline: str | None = None,
) -> Target:
    return Target(
        rule.action,
        key,
        project,
        variables,
        rule=rule.name,
        pipeline=pipeline,
        source_action=rule.source_action if pipeline else "",
        options=rule.options,
        cancel_superseded=rule.cancel_superseded,
    )


def _values(push: Push) -> dict[str, str]:
    account, region, name = push.repository.segments
    return {
        "account": account,
        "region": region,
        "repository": name,
        "ref": push.ref,
        "branch": push.branch,
        "kind": push.kind.value,
        "commit": push.commit,
        "short_commit": push.commit[:12],
    }


def _fill(template: str, values: Mapping[str, str]) -> str:
    pieces = []
    for text, name, _, _ in Formatter().parse(template):
        pieces.append(text)
        if name is not None:
            pieces.append(values[name])
    return "".join(pieces)
