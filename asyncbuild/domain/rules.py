"""Rules applied to a push, giving its targets. First match wins; no match means ignored. Pure.

A rule that is not `final` lets the rules after it match, too. One with `changes` matches only if
the push changed something there: the caller looks that up first, as it needs the repository.

Globs are those of a git refspec with additions: `*` means any characters, also `/`; `?` one
character; `[abc]` one of a set; a leading `!` excludes. Later globs of a list override earlier
ones, as in .gitignore. A ref glob without `refs/` in front is a branch's name.
"""

import fnmatch
import hashlib
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter

from asyncbuild.domain.archive_options import WHOLE, ArchiveOptions
from asyncbuild.domain.model import Action, Push, Target
from asyncbuild.domain.repository import Repository

OWN_VARIABLES = frozenset(
    {
        *("COMMIT_ID", "TAG_ID", "BRANCH_NAME", "REPOSITORY_NAME", "REF"),
        *("OLD_COMMIT_ID", "PUSHER", "EVENT_ID"),
    }
)

_MOST_KEY_BYTES = 1024  # Amazon S3 User Guide, "Naming Amazon S3 objects"
_MOST_VALUE = 400
# The characters that the same page calls safe; `!` itself is the escape.
_NOT_SAFE_IN_KEY = re.compile(rb"[^A-Za-z0-9\-_.*'()/]")
_NOT_SAFE_IN_PROJECT = re.compile(r"[^A-Za-z0-9_-]")
_NOT_SAFE_IN_PIPELINE = re.compile(r"[^A-Za-z0-9.@_-]")  # CodePipeline API, PipelineName
_WILD = re.compile(r"[*?\[!]")
_HOST = re.compile(r"[.:*?\[]")  # characters that neither an owner nor a glob for one has
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `[[rules]]`, with the defaults filled in."""

    name: str
    repository: Sequence[str]
    ref: Sequence[str]
    action: Action
    projects: Sequence[str] = ()
    key: str = "{repository}/{branch}/{commit}.zip"
    variables: Mapping[str, str] = field(default_factory=dict)
    pipelines: Sequence[str] = ()
    source_action: str = ""
    options: ArchiveOptions = WHOLE
    changes: tuple[str, ...] = ()  # pathspecs, from the root of the repository
    final: bool = True
    reserved: str = ""  # prefix of the ledger's records: no archive's key begins with it


def route(
    push: Push, rules: Sequence[Rule], unchanged: Container[tuple[str, ...]] = ()
) -> tuple[Target, ...]:
    """Return the targets of a push: one for each project or pipeline, or a single other one.

    A project is built once for a push, for the first rule that names it (I12).

    Args:
        push: The push.
        rules: All rules, in their order.
        unchanged: Values of `changes` in which the push is known to have changed nothing.

    Returns:
        Targets; a rule that cannot be carried out gives one with a `fault`, beside the others.
    """
    targets: dict[tuple[Action, str], Target] = {}
    left_out = []
    for rule, is_left_out in iter_applied(push, rules, unchanged):
        if is_left_out:
            left_out.append(f"{', '.join(rule.changes)} (rule {rule.name})")
            continue
        for target in targets_of(push, rule):
            name = target.project or target.pipeline or target.key or target.rule
            targets.setdefault((target.action, name), target)
    wanted = [each for each in targets.values() if each.action is not Action.IGNORE]
    if targets:
        return tuple(wanted or targets.values())
    why = f": nothing changed in {'; '.join(left_out)}" if left_out else ""
    return (Target(Action.IGNORE, rule=f"no rule matches{why}"),)


def iter_applied(
    push: Push, rules: Sequence[Rule], unchanged: Container[tuple[str, ...]]
) -> Iterator[tuple[Rule, bool]]:
    """Yield the rules that match a push, up to the final one; True with those left out.

    Args:
        push: The push.
        rules: All rules, in their order.
        unchanged: Values of `changes` in which the push is known to have changed nothing.
    """
    for rule in _matching(push, rules):
        is_left_out = bool(rule.changes) and rule.changes in unchanged
        yield rule, is_left_out
        if rule.final and not is_left_out:
            return


def asked_changes(push: Push, rules: Sequence[Rule]) -> list[tuple[str, ...]]:
    """Return the `changes` that decide about this push, if it names a commit to compare with."""
    asked: dict[tuple[str, ...], None] = {}
    for rule in _matching(push, rules):
        if rule.changes:
            asked[rule.changes] = None
        elif rule.final:
            break
    return list(asked)


def key_of(template: str, options: ArchiveOptions) -> str:
    """Return a template of the default key in which the options take part, for a rule with options.

    Archives of other options need other keys.
    """
    if not options.digest or "{options}" in template:
        return template
    stem, dot, suffix = template.rpartition(".")
    return (
        f"{stem}-{{options}}.{suffix}" if dot and "/" not in suffix else f"{template}-{{options}}"
    )


def may_share_key(earlier: Rule, later: Rule) -> bool:
    """Return whether archives of different options may get one key, by their templates.

    Either one push matches both rules, or one commit is pushed to two refs.
    """
    if earlier.options.digest == later.options.digest or earlier.key != later.key:
        return False
    fields = {name for _, name, _, _ in Formatter().parse(earlier.key)}
    if "options" in fields or _are_disjoint(_names(earlier.repository), _names(later.repository)):
        return False
    refs, more = full_refs(earlier.ref), full_refs(later.ref)
    if not earlier.final and not _are_disjoint(refs, more):
        return True
    if "ref" in fields or {"branch", "kind"} <= fields:
        return False
    kinds = {glob.split("/")[1] for glob in (*refs, *more) if not glob.startswith("!")}
    return "branch" not in fields or len(kinds) > 1 or bool(_WILD.search("".join(kinds)))


def _names(repositories: Sequence[str]) -> list[str]:
    return [glob.rpartition("/")[2] for glob in repositories]


def _are_disjoint(globs: Sequence[str], others: Sequence[str]) -> bool:
    """Return whether no name matches both lists, as far as globs without wildcards tell."""
    plain = not any(_WILD.search(glob) for glob in (*globs, *others))
    return plain and not set(globs) & set(others)


def _matching(push: Push, rules: Sequence[Rule]) -> Iterator[Rule]:
    for rule in rules:
        if matches_repository(push.repository, rule.repository) and matches(
            push.ref, full_refs(rule.ref)
        ):
            yield rule


def matches_repository(repository: Repository, globs: Sequence[str]) -> bool:
    """Return whether the last glob that matches a repository includes it.

    A glob without a slash applies to its name, one with a slash to its path: `account/region/name`;
    of other forges `host/owner/name`, where an owner may be `group/subgroup`, or `owner/name` if
    the part before the first slash cannot be a host's name, because it has no dot. Forges other
    than CodeCommit ignore case in names, so the comparison ignores it there, too.
    """
    exact = not repository.is_foreign
    verdict = False
    for glob in globs:
        bare = glob.removeprefix("!")
        wanted = bare if exact else bare.lower()
        names = _names_for(bare, repository)
        if any(fnmatch.fnmatchcase(each if exact else each.lower(), wanted) for each in names):
            verdict = not glob.startswith("!")
    return verdict


def _names_for(glob: str, repository: Repository) -> Iterator[str]:
    """Yield the names of a repository that a glob is matched with."""
    if "/" not in glob:
        yield repository.name
        return
    yield repository.path
    if repository.is_foreign:
        yield f"{repository.forge}/{repository.full_name}"  # as its pages show it
        if not _HOST.search(glob.partition("/")[0]):
            yield repository.full_name


def matches(name: str, globs: Sequence[str]) -> bool:
    """Return whether the last glob that matches `name` includes it."""
    verdict = False
    for glob in globs:
        excluded = glob.startswith("!")
        if fnmatch.fnmatchcase(name, glob.removeprefix("!")):
            verdict = not excluded
    return verdict


def variable_fault(name: str) -> str | None:
    """Return why a rule may not set the environment variable `name` for a build; None if it may.

    Source: CodeBuild User Guide, "Environment variables in build environments".
    """
    if not _VARIABLE.fullmatch(name):
        return f"{name!r} is not a name for a variable; use letters, digits and _"
    if name.upper().startswith("CODEBUILD_"):
        return f"{name}: CodeBuild keeps names that begin with CODEBUILD_; choose another"
    if name in OWN_VARIABLES:
        return f"{name} is set by asyncbuild for every build; choose another name"
    return None


def escape_key(value: str) -> str:
    """Return `value` made safe inside an S3 key: other bytes become `!` and two hex digits.

    Different values stay different; a very long one is cut and ends in a hash of the whole.
    """
    safe = _NOT_SAFE_IN_KEY.sub(lambda match: b"!%02X" % match[0][0], value.encode()).decode()
    if len(safe) <= _MOST_VALUE:
        return safe
    return f"{safe[: _MOST_VALUE - 34]}!-{hashlib.sha256(value.encode()).hexdigest()[:32]}"


def full_refs(globs: Sequence[str]) -> list[str]:
    """Return the globs as globs of full names: one without `refs/` in front gets `refs/heads/`."""
    full = []
    for glob in globs:
        sign, bare = ("!", glob[1:]) if glob.startswith("!") else ("", glob)
        full.append(sign + (bare if bare.startswith("refs/") else f"refs/heads/{bare}"))
    return full


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
