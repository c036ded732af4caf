"""Pushes and rules become targets."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.codebuild import make_push

from asyncbuild.domain.archive_options import WHOLE, ArchiveOptions
from asyncbuild.domain.contents.known_changes import KnownChanges
from asyncbuild.domain.key_template import FIELDS, check_template
from asyncbuild.domain.model import Action, Change, Push, Target
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.rules.route import asked_changes, route
from asyncbuild.domain.rules.rule import Rule
from asyncbuild.domain.rules.rule_globs import matches, matches_repository
from asyncbuild.domain.rules.rule_keys import escape_key, key_of, may_share_key
from asyncbuild.domain.rules.rule_variables import variable_fault

_COMMIT = "0123456789abcdef" * 2 + "01234567"


def _push(ref: str = "refs/heads/main", repository: str = "web") -> Push:
    return Push(
        id="e1",
        repository=Repository.of_codecommit("123456789012", "eu-west-1", repository),
        ref=ref,
        commit=_COMMIT,
        change=Change.UPDATED,
        time=datetime(2026, 11, 1, tzinfo=UTC),
    )


def _rule(
    action: Action = Action.BUILD,
    ref: tuple[str, ...] = ("refs/heads/*",),
    repository: tuple[str, ...] = ("*",),
    projects: tuple[str, ...] = ("{repository}",),
    key: str = "{repository}/{branch}/{commit}.zip",
    variables: Mapping[str, str] | None = None,
) -> Rule:
    return Rule("r", repository, ref, action, projects, key, variables or {})


def test_the_first_rule_that_matches_decides() -> None:
    """Later rules are not asked."""
    rules = [_rule(Action.UPLOAD, ("refs/heads/main",)), _rule()]
    assert [target.action for target in route(_push(), rules)] == [Action.UPLOAD]
    assert [target.action for target in route(_push("refs/heads/x"), rules)] == [Action.BUILD]


def test_a_pipeline_takes_the_archive() -> None:
    """One target for each name, filled in and made a name that CodePipeline takes."""
    rule = Rule(
        "deploy",
        ("*",),
        ("refs/heads/*",),
        Action.PIPELINE,
        variables={"STAGE": "{branch}"},
        pipelines=("deploy-{repository}-{branch}", "audit", "audit"),
        source_action="Archive",
    )
    first, second = route(_push("refs/heads/rel/1.x"), [rule])
    assert (first.pipeline, second.pipeline) == ("deploy-web-rel-1.x", "audit")
    assert first.key == f"web/rel/1.x/{_COMMIT}.zip"
    assert first.source_action == "Archive"
    assert first.variables == {"STAGE": "rel/1.x"}
    assert first.project is None


def test_a_push_without_a_matching_rule_is_ignored() -> None:
    """The target says why."""
    assert (Target(Action.IGNORE, rule="no rule matches"),) == route(
        _push("refs/tags/v1"), [_rule()]
    )


def test_a_build_target_has_key_project_and_variables() -> None:
    """Templates are filled; characters not allowed in a project name become dashes."""
    rule = _rule(
        repository=("*.js",),
        projects=("ci-{repository}", "lint"),
        variables={"STAGE": "{branch}-{short_commit}"},
    )
    first, second = route(_push("refs/heads/feature/ä b", "site.js"), [rule])
    assert (first.project, second.project) == ("ci-site-js", "lint")
    assert f"site.js/feature/!C3!A4!20b/{_COMMIT}.zip" == first.key == second.key
    assert {"STAGE": f"feature/ä b-{_COMMIT[:12]}"} == first.variables


@pytest.mark.parametrize(
    ("ref", "globs", "expected"),
    [
        ("refs/heads/feature/x/y", ("feature/*",), True),
        ("refs/heads/main", ("*", "!main"), False),
        ("refs/heads/main", ("*", "!m*", "main"), True),
        ("refs/tags/v1", ("*",), False),
        ("refs/tags/v1", ("refs/tags/v?",), True),
        ("refs/heads/Main", ("main",), False),
        ("refs/heads/r1", ("r[12]",), True),
    ],
)
def test_globs_on_refs(ref: str, globs: tuple[str, ...], expected: bool) -> None:  # noqa: FBT001 - a table
    """`*` crosses slashes, `!` excludes, later globs override, case matters."""
    target = route(_push(ref), [_rule(ref=globs)])[0]
    assert expected is (target.action is Action.BUILD)


_SUB = Repository.of_host("gitlab.com", "group/sub/deep", "proj")
_PORT = Repository.of_host("git.acme.example:8443", "ACME", "web")
_CODECOMMIT = Repository.of_codecommit("123456789012", "eu-west-1", "web")


@pytest.mark.parametrize(
    ("repository", "globs", "expected"),
    [
        (_SUB, ("gitlab.com/group/*",), True),
        (_SUB, ("gitlab.com/group/sub/deep/proj",), True),
        (_SUB, ("gitlab.com/group/sub/*",), True),
        (_SUB, ("gitlab.com/group..sub..deep/*",), True),
        (_SUB, ("gitlab.com/other/*", "gitlab.com/gro/*"), False),
        (_SUB, ("group/*",), True),
        (_SUB, ("group/sub/deep/proj",), True),
        (_SUB, ("sub/*", "deep/proj"), False),
        (_SUB, ("*", "!group/*"), False),
        (_SUB, ("*", "!gitlab.com/group/sub/*"), False),
        (_SUB, ("proj",), True),
        (_PORT, ("git.acme.example:8443/*",), True),
        (_PORT, ("git.acme.example..8443/ACME/web",), True),
        (_PORT, ("ACME/web",), True),
        # Forges do not tell capitals from small letters; CodeCommit does.
        (_PORT, ("acme/*",), True),
        (_PORT, ("*", "!acme/*"), False),
        (_SUB, ("GitLab.com/Group/*",), True),
        (_SUB, ("PROJ",), True),
        (_CODECOMMIT, ("WEB",), False),
        (_CODECOMMIT, ("123456789012/*/web",), True),
        (_CODECOMMIT, ("*/eu-west-1/*",), True),
        (_CODECOMMIT, ("eu-west-1/web",), False),
        (Repository.of_codecommit("123456789012", "eu-west-1", "Web"), ("Web",), True),
        (Repository.of_codecommit("123456789012", "eu-west-1", "Web"), ("web",), False),
        (Repository.of_host("gitlab.com", "group/sub.x", "proj"), ("group/sub.x/proj",), True),
        # An owner that is named like a host is never taken for it.
        (Repository.of_host("gitlab.com", "github.com/acme", "web"), ("github.com/acme/*",), False),
    ],
)
def test_globs_on_repositories(
    repository: Repository,
    globs: tuple[str, ...],
    expected: bool,  # noqa: FBT001 - a table
) -> None:
    """Names, whole paths as the host shows them or as keys have them, and owners."""
    assert matches_repository(repository, globs) is expected


def test_a_list_of_exclusions_alone_matches_nothing() -> None:
    """Exclusions need a glob that includes something."""
    assert not matches("a", ("!b",))


@given(st.text(min_size=1), st.text(min_size=1))
def test_different_values_have_different_safe_keys(one: str, other: str) -> None:
    """No two refs share an object; every key is within S3's safe characters."""
    try:
        one.encode()
        other.encode()
    except UnicodeEncodeError:
        return
    assert (one == other) is (escape_key(one) == escape_key(other))
    assert set(escape_key(one)) <= set(
        "!-_.*'()/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    )


def test_the_longest_ref_has_a_key() -> None:
    """A ref of 1,024 bytes of umlauts still gives a key that S3 takes, and its own."""
    keys = {route(_push("refs/heads/" + "ä" * 500 + end), [_rule()])[0].key for end in ("x", "y")}
    assert len(keys) == 2
    assert max(len(key) for key in keys) <= 1024


def test_a_key_that_is_too_long_is_a_fault_of_its_rule_alone() -> None:
    """The fault names what to shorten; targets of other rules are kept."""
    other = replace(_rule(), projects=["other"])
    bad, good = route(_push(), [replace(_rule(key="x" * 1025), final=False), other])
    assert "rule 'r'" in bad.fault
    assert (good.project, good.fault) == ("other", "")


@pytest.mark.parametrize("template", ["{nope}", "{repository.__class__}", "{ref!r}", "{ref:>9}"])
def test_templates_with_unknown_fields_are_refused(template: str) -> None:
    """The message lists the fields that there are."""
    with pytest.raises(ValueError, match="short_commit"):
        check_template(template)


@pytest.mark.parametrize("name", ["CODEBUILD_X", "codebuild_x", "1A", "A-B", "", "COMMIT_ID"])
def test_reserved_and_invalid_variable_names_are_refused(name: str) -> None:
    """CodeBuild's own, ours, and text that is not a name."""
    assert variable_fault(name)


def test_other_variable_names_are_accepted() -> None:
    """Anything else is fine."""
    assert variable_fault("STAGE_2") is None


def _api(**more: Any) -> Rule:  # noqa: ANN401 - of Rule
    """A rule for one service of a monorepo."""
    values: dict[str, Any] = {
        "name": "api",
        "repository": ("*",),
        "ref": ("*",),
        "action": Action.BUILD,
        "projects": ("api",),
        "changes": ("services/api",),
        "options": ArchiveOptions(subtree="services/api"),
        "final": False,
    }
    return Rule(**(values | more))


_WEB = {"name": "web", "projects": ("web",), "changes": ("services/web",)}


def test_rules_that_are_not_final_let_others_match() -> None:
    """Each target has the options of its own rule."""
    web = _api(**_WEB, options=ArchiveOptions(subtree="services/web"), final=True)
    rules = [_api(), web, _rule()]
    targets = route(_push(), rules)
    assert [target.project for target in targets] == ["api", "web"]
    assert [target.options.subtree for target in targets] == ["services/api", "services/web"]


def test_a_rule_whose_changes_do_not_match_is_passed_over() -> None:
    """The next rule matches; if none is left, the reason names the paths compared."""
    rules = [_api(), _api(**_WEB, final=True), _rule(projects=("all",))]
    api, web = ("services/api",), ("services/web",)
    assert [each.project for each in route(_push(), rules, KnownChanges([api]))] == ["web"]
    assert [each.project for each in route(_push(), rules, KnownChanges([api, web]))] == ["all"]
    (ignored,) = route(_push(), rules[:2], KnownChanges([api, web]))
    assert ignored.action is Action.IGNORE
    assert ignored.rule == (
        "no rule matches: nothing changed in services/api (rule api); services/web (rule web)"
    )


def test_a_project_is_built_once_for_a_push() -> None:
    """The first rule that names it has it (I12)."""
    targets = route(_push(), [_api(), _api(options=WHOLE)])
    assert [(each.project, each.options.subtree) for each in targets] == [("api", "services/api")]


def test_changes_are_looked_up_only_where_they_decide() -> None:
    """Rules behind one that matches anyway need none, and no look-up is made twice."""
    rules = [_api(), _api(), _api(**_WEB, ref=("x",)), _rule(), _api(**_WEB)]
    assert asked_changes(_push(), rules) == [("services/api",)]
    assert asked_changes(_push(), [_rule(), _api()]) == []


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{repository}/{commit}.zip", "{repository}/{commit}-{options}.zip"),
        ("v1.2/{commit}", "v1.2/{commit}-{options}"),
        ("v1.2/{commit}.zip", "v1.2/{commit}-{options}.zip"),
        ("{options}/{commit}.zip", "{options}/{commit}.zip"),
    ],
)
def test_the_default_key_with_options_differs(template: str, expected: str) -> None:
    """Without options it stays the same."""
    assert expected == key_of(template, ArchiveOptions(subtree="a"))
    assert template == key_of(template, WHOLE)


@pytest.mark.parametrize(
    ("key", "earlier", "later", "expected"),
    [
        ("{commit}.zip", {}, {}, True),
        ("{commit}-{options}.zip", {}, {}, False),
        ("{commit}.zip", {}, {"options": ArchiveOptions(subtree="services/api")}, False),
        ("{commit}.zip", {"final": True}, {}, True),  # one commit on two branches
        ("{branch}/{commit}.zip", {"final": True}, {}, False),
        ("{branch}/{commit}.zip", {}, {}, True),  # one push, two rules
        ("{branch}/{commit}.zip", {"ref": ("main",)}, {"ref": ("next",)}, False),
        ("{branch}/{commit}.zip", {"final": True}, {"ref": ("refs/tags/*",)}, True),
        ("{kind}/{branch}.zip", {"final": True}, {"ref": ("refs/tags/*",)}, False),
        ("{ref}.zip", {"final": True}, {"ref": ("refs/*",)}, False),
        ("{commit}.zip", {"repository": ("a",)}, {"repository": ("b",)}, False),
        ("{commit}.zip", {"repository": ("a",)}, {"repository": ("*",)}, True),
        ("{commit}.zip", {"repository": ("github.com/x/a",)}, {"repository": ("a",)}, True),
        ("{branch}-{kind}.zip", {"final": True}, {"ref": ("refs/tags/*",)}, False),
        ("{branch}.zip", {"final": True}, {"ref": ("refs/*/x",)}, True),
        ("{branch}.zip", {"final": True, "ref": ("refs/*",)}, {"ref": ("refs/*",)}, True),
        ("{branch}.zip", {"final": True}, {"ref": ("*", "!refs/tags/*")}, False),
        ("{branch}/{commit}.zip", {"options": WHOLE}, {"options": WHOLE}, False),
    ],
)
def test_keys_that_two_rules_may_share(
    key: str,
    earlier: dict[str, Any],
    later: dict[str, Any],
    expected: bool,  # noqa: FBT001 - a table
) -> None:
    """True where a rule's archive could overwrite another one of the same commit."""
    one = _api(key=key, **earlier)
    other = _api(key=key, **({"options": WHOLE} | later))
    assert expected is may_share_key(one, other)


@pytest.mark.parametrize("reserved", [".asyncbuild/ledger/", "state/"])
def test_no_key_lies_among_the_records(reserved: str) -> None:
    """A repository or a branch named like their prefix has its own key elsewhere."""
    name, _, branch = reserved.rstrip("/").partition("/")
    push = replace(
        make_push(),
        repository=Repository.of_host("github.com", "evil", name),
        ref=f"refs/heads/{branch or 'x'}/push/1",
    )
    rule = Rule("r", ("*",), ("refs/heads/*",), Action.UPLOAD, reserved=(reserved,))
    (target,) = route(push, (rule,))
    (other,) = route(push, (replace(rule, reserved=("elsewhere/",)),))
    assert other.key.startswith(reserved)
    assert target.key == f"!{ord(reserved[0]):02X}{other.key[1:]}"


def test_every_field_of_a_template_is_filled() -> None:
    """Keys, names and variables have them; `options` is "all" where nothing is left out."""
    template = "|".join(f"{{{field}}}" for field in FIELDS)
    check_template(f"plain {template} plain")
    options = ArchiveOptions(subtree="a")
    for each, shown in ((WHOLE, "all"), (options, options.digest)):
        rule = replace(_rule(Action.UPLOAD, variables={"ALL": template}), options=each)
        (target,) = route(_push(), [rule])
        assert target.variables["ALL"].split("|") == [
            *("123456789012", "eu-west-1", "web", "refs/heads/main", "main", "branch"),
            *(_COMMIT, _COMMIT[:12], shown),
        ]


def test_a_target_has_its_rules_name_and_options() -> None:
    """Targets of every action have both; only a target of a pipeline has a source action."""
    rule = Rule(
        "deploy",
        ("*",),
        ("*",),
        Action.UPLOAD,
        projects=("p",),
        variables={"STAGE": "x"},
        pipelines=("p",),
        source_action="Archive",
        options=ArchiveOptions(subtree="a"),
    )
    for action in (Action.UPLOAD, Action.BUILD, Action.PIPELINE, Action.IGNORE):
        (target,) = route(_push(), [replace(rule, action=action)])
        ignored = action is Action.IGNORE
        assert (target.action, target.rule) == (action, "deploy")
        assert target.variables == ({} if ignored else {"STAGE": "x"})
        assert target.options == (WHOLE if ignored else rule.options)
        assert target.project == ("p" if action is Action.BUILD else None)
        assert target.pipeline == ("p" if action is Action.PIPELINE else None)
        assert target.source_action == ("Archive" if action is Action.PIPELINE else "")


def test_uploads_to_several_keys_are_several_targets() -> None:
    """Two rules with one key are one; one that ignores takes nothing from the others."""
    rules = [
        replace(_rule(action, key=key), final=False, name=f"{action} {key}")
        for action, key in [
            (Action.IGNORE, ""),
            (Action.UPLOAD, "a"),
            (Action.UPLOAD, "b"),
            (Action.UPLOAD, "a"),
        ]
    ]
    assert [target.key for target in route(_push(), rules)] == ["a", "b"]
    (ignored,) = route(_push(), rules[:1])
    assert (ignored.action, ignored.rule) == (Action.IGNORE, rules[0].name)


@pytest.mark.parametrize(("length", "is_fault"), [(1_024, False), (1_025, True)])
def test_the_longest_key_is_accepted(length: int, *, is_fault: bool) -> None:
    """S3 allows 1,024 bytes; the fault shows how the key begins, and its rule."""
    (target,) = route(_push(), [_rule(Action.UPLOAD, key="ü" * (length // 2) + "x" * (length % 2))])
    assert (target.action, target.rule) == (Action.UPLOAD, "r")
    assert bool(target.key) is not is_fault
    assert bool(target.fault) is is_fault
    if is_fault:
        assert target.fault.startswith(f"key {'ü' * 80}… of 1025 bytes is longer than S3's 1024 (")


@pytest.mark.parametrize(("length", "cut"), [(399, False), (400, False), (401, True)])
def test_the_longest_value_in_a_key_has_400_characters(length: int, *, cut: bool) -> None:
    """A longer value is cut to 400 characters, ending in half of its SHA-256."""
    value = "x" * length
    digest = hashlib.sha256(value.encode()).hexdigest()[:32]
    assert escape_key(value) == (f"{value[:366]}!-{digest}" if cut else value)


def test_an_empty_list_of_globs_matches_nothing() -> None:
    """The result is False, and not an empty value."""
    assert matches("a", ()) is False
    assert matches("a", ("a", "!a")) is False


def test_the_reason_names_each_compared_path() -> None:
    """The words are those of the rule."""
    rule = _api(changes=("a", "b"))
    (ignored,) = route(_push(), [rule], KnownChanges([("a", "b")]))
    assert ignored.rule == "no rule matches: nothing changed in a, b (rule api)"


def test_a_template_with_an_unknown_field_lists_the_known_ones() -> None:
    """The names are listed as a template has them."""
    known = ", ".join(f"{{{field}}}" for field in FIELDS)
    with pytest.raises(
        ValueError, match=re.escape(f"{{nope}} is not a field of a push; there are {known}")
    ):
        check_template("{commit}{nope}")
