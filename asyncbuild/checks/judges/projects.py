"""Judges of CodeBuild projects. Pure. Source: CodeBuild API reference, Project and StartBuild."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from string import Formatter
from typing import Any

from asyncbuild.checks.judges.finding import Finding, FindingKind, Level
from asyncbuild.config.settings import Settings, rules_of
from asyncbuild.domain.model import Action


def project_names(settings: Settings) -> tuple[list[str], list[str]]:
    """Return names that are the same for every push, and templates that depend on it."""
    templates = [
        project
        for rule in rules_of(settings)
        if rule.action is Action.BUILD
        for project in rule.projects
    ]
    fixed = [each for each in templates if not has_fields(each)]
    varying = [each for each in dict.fromkeys(templates) if each not in fixed]
    return list(dict.fromkeys(fixed)), varying


def judge_pattern(pattern: str) -> Finding:
    """Return the finding about a name that depends on the push: nothing can be examined before."""
    return Finding(
        Level.NOTE,
        "project.name",
        f"project {pattern} is named by each push",
        "whether it exists is known only when a push comes; without it the push is "
        "dead-lettered with that reason",
    )


def judge_projects(
    names: Iterable[str],
    found: Iterable[Mapping[str, Any]],
    missing: Collection[str],
    *,
    region: str | None,
    buildspec: str | None,
) -> Iterator[Finding]:
    """Judge whether builds of these projects can be started with an archive as their source.

    Args:
        names: Projects that the rules name.
        found: Existing projects, as BatchGetProjects describes them.
        missing: The names that no project has.
        region: Region in which projects were looked for.
        buildspec: `builds.buildspec`, which replaces the project's own.
    """
    described = {str(each["name"]): each for each in found}
    for name in names:
        if name in missing or name not in described:
            yield Finding(
                Level.PROBLEM,
                "project.exists",
                f"CodeBuild project {name} does not exist in {region}",
                "pushes for it are dead-lettered",
                "create it, or correct `project` in [builds] or in the rule that names it",
            )
        else:
            yield from _judge(name, described[name], buildspec)


def _judge(name: str, project: Mapping[str, Any], buildspec: str | None) -> Iterator[Finding]:
    yield Finding(Level.OK, "project.exists", f"CodeBuild project {name} exists")
    yield from _judge_sources(name, project, buildspec)
    yield from _judge_builds(name, project)


def _judge_sources(
    name: str, project: Mapping[str, Any], buildspec: str | None
) -> Iterator[Finding]:
    """Yield findings about the sources of a project's builds, and about other triggers."""
    kind = project.get("source", {}).get("type", "")
    if kind == "CODEPIPELINE":
        yield Finding(
            Level.WARNING,
            "project.source",
            f"the source of project {name} is {kind}",
            "such a project is for a pipeline to start; CodeBuild may refuse a start of its own",
            "give it another source, such as NO_SOURCE: each start brings the archive along",
        )
    if kind == "NO_SOURCE" and not buildspec:
        yield Finding(
            Level.OK,
            "project.buildspec",
            f"project {name} has its buildspec inline; the archive's own is not read",
        )
    if project.get("webhook"):
        yield Finding(
            Level.WARNING,
            "project.webhook",
            f"project {name} has a webhook",
            "pushes that the webhook hears of are built by it, too, so some are built twice",
            "delete the webhook, or leave those repositories out of the rules",
        )
    if project.get("secondarySources"):
        yield Finding(
            Level.NOTE,
            "project.secondary-sources",
            f"project {name} has {len(project['secondarySources'])} secondary sources",
            "they are fetched by CodeBuild at the versions of the project, not of the push",
        )


def _judge_builds(name: str, project: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield findings about the number, visibility and rights of a project's builds."""
    limit = project.get("concurrentBuildLimit")
    if limit is not None:
        yield Finding(
            Level.NOTE,
            "project.concurrent-build-limit",
            f"project {name} runs at most {limit} builds at once",
            "a start above it is refused; the pushes of that repository then wait in the queue, "
            "in order, and count no attempt",
        )
    if project.get("projectVisibility") == "PUBLIC_READ":
        yield Finding(
            Level.WARNING,
            "project.visibility",
            f"builds of project {name} are public",
            "everybody can read their logs and artifacts, and the names in their variables",
            "make it PRIVATE unless its repositories are public",
        )
    if not project.get("serviceRole"):
        yield Finding(
            Level.WARNING,
            "project.role",
            f"project {name} has no service role",
            "its builds cannot read the archive",
            "give it a role with the policy ReadArchives of the stack",
            FindingKind.RIGHTS,
        )


def has_fields(template: str) -> bool:
    """Return whether a template has fields that each push fills in."""
    return any(name is not None for _, name, _, _ in Formatter().parse(template))
