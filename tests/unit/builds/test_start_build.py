"""Parameters of StartBuild for a push."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.codebuild import make_push, make_request

from asyncbuild.builds.requests.start_build import is_of, parameters_of, token_of, variables_of
from asyncbuild.config import BuildSettings
from asyncbuild.domain.errors import ConfigError
from asyncbuild.domain.model import Action, Target
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.rules.rule_variables import OWN_VARIABLES
from asyncbuild.local.servers.aws_json import iter_faults, service_model

START_BUILD = service_model("codebuild").operation_model("StartBuild").input_shape


@given(events=st.tuples(st.text(), st.text()), projects=st.tuples(st.text("ab-"), st.text("ab-")))
def test_a_token_is_unique_for_event_and_project(
    events: tuple[str, str], projects: tuple[str, str]
) -> None:
    """Tokens are equal exactly when event and project are."""
    first, second = (
        token_of(replace(make_push(), id=event), project)
        for event, project in zip(events, projects, strict=True)
    )
    assert (first == second) == (events[0] == events[1] and projects[0] == projects[1])


def test_the_formula_of_a_token_does_not_change() -> None:
    """The SHA-256 of id, newline, project.

    CodeBuild has to recognise starts of another version, too.
    """
    expected = "fe84adc02ff2b07d632effb506a03db54f5b30634e279b8aa193699cab022fc2"
    assert expected == token_of(make_push(), "shop")


def test_one_event_id_in_two_repositories_has_two_tokens() -> None:
    """The id of a webhook's delivery is a header that its sender writes."""
    owners = [Repository.of_host("github.com", owner, "web") for owner in ("acme", "evil")]
    tokens = {token_of(replace(make_push(), repository=each), "web") for each in owners}
    assert len(tokens) == 2


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, True),
        ({"EVENT_ID": "another"}, False),
        ({"REPOSITORY_NAME": "another"}, False),
        ({"REF": "refs/heads/another"}, False),
        ({"COMMIT_ID": "9" * 40}, False),
        ({"PUSHER": "another"}, True),
    ],
)
def test_a_build_is_found_by_event_repository_ref_and_commit(
    told: dict[str, str],
    expected: bool,  # noqa: FBT001 - a table
) -> None:
    """A build with other values belongs to another push with the same event id."""
    own = variables_of(make_push(), Target(Action.BUILD, "key", "shop"))
    assert is_of({**own, **told}, own) is expected
    assert not is_of({name: value for name, value in own.items() if name != "EVENT_ID"}, own)
    assert is_of({"EVENT_ID": own["EVENT_ID"]}, own)  # a pipeline that declares no more


def test_a_build_of_a_deleted_tag_is_found_without_its_commit() -> None:
    """The tag's commit cannot be resolved any more, so the tag's own id is used in its place."""
    push = replace(make_push(), ref="refs/tags/v1")
    own = variables_of(push, Target(Action.BUILD, "key", "shop"), commit="9" * 40)
    assert is_of(own, {**own, "COMMIT_ID": push.commit})


def test_variables_name_the_push() -> None:
    """Commit, branch, repository, ref, old commit and event travel by name."""
    push = replace(make_push(2, ref="refs/heads/feature/x"), pusher="arn:aws:iam::1:user/eve")
    assert variables_of(push, Target(Action.BUILD, "k", "shop")) == {
        "COMMIT_ID": push.commit,
        "BRANCH_NAME": "feature/x",
        "REPOSITORY_NAME": "shop",
        "REF": "refs/heads/feature/x",
        "OLD_COMMIT_ID": push.old_commit,
        "PUSHER": "arn:aws:iam::1:user/eve",
        "EVENT_ID": push.id,
    }


def test_own_variables_are_refused_in_rules() -> None:
    """Every name that is set here is refused in a rule."""
    push = replace(make_push(2), pusher="eve")
    told = variables_of(push, Target(Action.BUILD), commit="c" * 40, base="b" * 40)
    assert told.keys() == OWN_VARIABLES


def test_an_annotated_tag_names_its_commit() -> None:
    """COMMIT_ID is the tagged commit, and the tag's own id has another variable.

    Plain tags have no other.
    """
    push = make_push(2, ref="refs/tags/v1")
    variables = variables_of(push, Target(Action.BUILD), commit="c" * 40)
    assert (variables["COMMIT_ID"], variables["TAG_ID"]) == ("c" * 40, push.commit)
    assert "TAG_ID" not in variables_of(push, Target(Action.BUILD), commit=push.commit)


def test_unknown_variables_are_left_out() -> None:
    """A created ref has no old commit, an event without caller no pusher."""
    names = variables_of(make_push(1), Target(Action.BUILD)).keys()
    assert OWN_VARIABLES - {"OLD_COMMIT_ID", "BASE_COMMIT_ID", "PUSHER", "TAG_ID"} == names


def test_variables_have_one_order() -> None:
    """The request is the same however a rule lists its variables.

    Equal tokens need equal requests.
    """
    one = Target(Action.BUILD, variables={"B": "1", "A": "2"})
    other = Target(Action.BUILD, variables={"A": "2", "B": "1"})
    ordered = list(variables_of(make_push(), one).items())
    assert ordered == list(variables_of(make_push(), other).items())
    assert ordered[-2:] == [("A", "2"), ("B", "1")]


@pytest.mark.parametrize("name", ["CODEBUILD_SRC", "codebuild_src", "EVENT_ID", "A-B", "", "1A"])
def test_variables_with_a_taken_name_are_refused(name: str) -> None:
    """The error says which rule and which name."""
    target = Target(Action.BUILD, variables={name: "x"}, rule="nightly")
    with pytest.raises(ConfigError, match="nightly") as caught:
        variables_of(make_push(), target)
    assert name in str(caught.value)


@given(
    version=st.none() | st.text(min_size=1),
    settings=st.builds(
        BuildSettings,
        buildspec=st.none() | st.text(min_size=1),
        timeout_minutes=st.none() | st.integers(5, 2_160),
        queued_timeout_minutes=st.none() | st.integers(5, 480),
    ),
)
def test_parameters_fit_the_service_model(version: str | None, settings: BuildSettings) -> None:
    """Every combination of settings makes a call that StartBuild's model accepts."""
    parameters = parameters_of(make_request(make_push(), version=version), settings)
    assert START_BUILD is not None
    assert list(iter_faults(START_BUILD, parameters, "")) == []


def test_parameters_override_only_what_is_set() -> None:
    """Without settings the project keeps its buildspec and time-outs."""
    parameters = parameters_of(make_request(make_push(), version="v7"), BuildSettings())
    assert parameters.keys() == {
        "projectName",
        "sourceTypeOverride",
        "sourceLocationOverride",
        "sourceVersion",
        "artifactsOverride",
        "environmentVariablesOverride",
        "idempotencyToken",
    }
    assert parameters["sourceLocationOverride"] == "archives/shop/main/1.zip"
    assert parameters["artifactsOverride"] == {"type": "NO_ARTIFACTS"}
