"""Parameters of StartPipelineExecution, and reasons why a pipeline cannot be started."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.codepipeline import make_hand_over
from support.codepipeline_server import pipeline_of

from asyncbuild.builds.requests.start_pipeline import declaration_of, parameters_of, source_of
from asyncbuild.domain.errors import Reject
from asyncbuild.local.servers.aws_json import iter_faults, service_model

START = service_model("codepipeline").operation_model("StartPipelineExecution").input_shape


def declared(*, configuration: dict[str, str] | None = None, **changed: Any) -> Any:  # noqa: ANN401 - GetPipeline's answer
    """A pipeline as GetPipeline gives it, its source's configuration changed."""
    pipeline = pipeline_of("deploy", **changed)
    pipeline["stages"][0]["actions"][0]["configuration"] |= configuration or {}
    arn = "arn:aws:codepipeline:eu-west-1:123456789012:deploy"
    return {"pipeline": pipeline, "metadata": {"pipelineArn": arn}}


def with_second_source(bucket: str) -> Any:  # noqa: ANN401 - GetPipeline's answer
    """A pipeline that reads two buckets, or one twice."""
    answer = declared()
    actions = answer["pipeline"]["stages"][0]["actions"]
    first = actions[0]
    second = {**first["configuration"], "S3Bucket": bucket}
    actions.append({**first, "name": "Second", "configuration": second})
    return answer


def test_the_source_is_found_by_its_bucket() -> None:
    """A pipeline with another source beside needs no `source_action`."""
    pipeline = declaration_of(with_second_source("templates"))
    assert source_of(pipeline, bucket=make_hand_over().bucket, source_action="").action == "Archive"


def test_the_source_may_be_named() -> None:
    """Two that read the same bucket are told apart by the rule."""
    pipeline = declaration_of(with_second_source("archives"))
    assert (
        source_of(pipeline, bucket=make_hand_over().bucket, source_action="Second").action
        == "Second"
    )


@pytest.mark.parametrize(
    ("answer", "changed", "words"),
    [
        (declared(bucket="other"), {}, ("no S3 source actions that read bucket archives",)),
        (declared(bucket="other"), {"source_action": "Archive"}, ("reads bucket other",)),
        (with_second_source("archives"), {}, ("has 2 S3 source", "source_action")),
        (declared(), {"source_action": "Deploy"}, ("no S3 source action named Deploy",)),
        (
            declared(configuration={"AllowOverrideForS3ObjectKey": "false"}),
            {},
            ("AllowOverrideForS3ObjectKey",),
        ),
        (declared(), {"version_id": None}, ("keeps no versions", "versioning")),
        (declared(), {"required": frozenset({"STAGE"})}, ("declares no variable STAGE", "V2")),
        (
            declared(variables=("COMMIT_ID",)),
            {"variables": {"COMMIT_ID": "x" * 1001}},
            ("1001 characters",),
        ),
    ],
)
def test_a_pipeline_that_does_not_fit_is_refused_with_a_remedy(
    answer: Any,  # noqa: ANN401 - GetPipeline's answer
    changed: dict[str, Any],
    words: tuple[str, ...],
) -> None:
    """No execution is started, and the error says what to change."""
    with pytest.raises(Reject) as caught:
        parameters_of(make_hand_over(**changed), declaration_of(answer))
    assert caught.value.remedy
    for word in ("deploy", *words) if "version_id" not in changed else words:
        assert word in str(caught.value)


def test_an_empty_value_leaves_the_pipelines_own_default() -> None:
    """CodePipeline takes no empty value, and the variable has a default."""
    pipeline = declaration_of(declared(variables=("STAGE",)))
    request = make_hand_over(variables={"STAGE": ""}, required=frozenset({"STAGE"}))
    assert "variables" not in parameters_of(request, pipeline)


@given(
    variables=st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True),
        st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=1000),
        max_size=50,
    ),
    version=st.text("abcXYZ019._", min_size=1),
)
def test_parameters_fit_the_service_model(variables: dict[str, str], version: str) -> None:
    """Every combination is a call that the model accepts; the order is stable."""
    pipeline = declaration_of(declared(variables=tuple(variables)))
    parameters = parameters_of(make_hand_over(variables=variables, version=version), pipeline)
    assert START is not None
    assert list(iter_faults(START, dict(parameters), "")) == []
    given = [each["name"] for each in parameters.get("variables", [])]
    assert [name for name, value in variables.items() if value] == given
