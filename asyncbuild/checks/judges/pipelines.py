"""Judges of pipelines. Pure. Source: CodePipeline API reference, StartPipelineExecution."""

from collections.abc import Iterator

from asyncbuild.builds.requests.start_build import EVENT_ID
from asyncbuild.builds.requests.start_pipeline import Declaration, check_variables, source_of
from asyncbuild.checks.judges.finding import Finding, Level
from asyncbuild.checks.judges.projects import has_fields
from asyncbuild.config.settings import Settings, rules_of
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Action
from asyncbuild.domain.rules.rule import Rule


def pipelines_of(settings: Settings) -> tuple[list[tuple[str, Rule]], list[str]]:
    """Return the pipelines of the rules, each with its rule; and names that depend on pushes."""
    rules = [rule for rule in rules_of(settings) if rule.action is Action.PIPELINE]
    named = [(name, rule) for rule in rules for name in rule.pipelines]
    fixed = [(name, rule) for name, rule in named if not has_fields(name)]
    return fixed, list(dict.fromkeys(name for name, _ in named if has_fields(name)))


def judge_pattern(pattern: str) -> Finding:
    """Return the finding about a name that depends on the push: nothing can be examined before."""
    return Finding(
        Level.NOTE,
        "pipeline.name",
        f"pipeline {pattern} is named by each push",
        "whether it exists and takes archives is known only when a push comes; if not, the push "
        "is dead-lettered with that reason",
    )


def judge_missing(error: Reject) -> Finding:
    """Return the finding about a pipeline that does not exist."""
    return _problem("pipeline.exists", error)


def judge_pipeline(pipeline: Declaration, rule: Rule, *, bucket: str) -> Iterator[Finding]:
    """Judge whether the rule can start executions with an archive of this bucket.

    Args:
        pipeline: Declaration of the pipeline.
        rule: Rule that names it.
        bucket: Bucket of the archives.
    """
    yield Finding(Level.OK, "pipeline.exists", f"pipeline {pipeline.name} exists")
    try:
        source = source_of(pipeline, bucket=bucket, source_action=rule.source_action)
    except Reject as error:
        yield _problem("pipeline.source", error)
    else:
        what = f"source action {source.action} of pipeline {pipeline.name} takes archives"
        yield Finding(Level.OK, "pipeline.source", what)
    try:
        check_variables(rule.variables, pipeline)
    except Reject as error:
        yield _problem("pipeline.variables", error)
    if EVENT_ID not in pipeline.variables:
        yield Finding(
            Level.NOTE,
            "pipeline.event-id",
            f"pipeline {pipeline.name} declares no variable {EVENT_ID}",
            "after a crash only its newest execution tells whether a push was started already",
            f"declare {EVENT_ID} there (type V2)",
        )


def _problem(name: str, error: Reject) -> Finding:
    why = "pushes for it are dead-lettered"
    return Finding(Level.PROBLEM, name, error.reason, why, error.remedy)
