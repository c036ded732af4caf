"""The stack scales the way bench/scaling simulated it."""

import importlib.util
import re
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stacks import ROOT, SERVICE, properties, template


def simulated_policy() -> ModuleType:
    """bench/scaling/policy.py, which is in no package."""
    path = ROOT / "bench" / "scaling" / "policy.py"
    spec = importlib.util.spec_from_file_location("scaling_policy", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


POLICY = simulated_policy()


def tracking() -> dict[str, Any]:
    """The configuration of the stack's target tracking."""
    policy = properties(template(SERVICE), "ScaleByBusyConsumers")
    return dict(policy["TargetTrackingScalingPolicyConfiguration"])


def metric_math(metrics: list[Mapping[str, Any]], values: Mapping[str, float]) -> float:
    """Compute the expressions of a scaling policy, for one point in time."""
    known: dict[str, Any] = dict(values)
    returned = [metric["Id"] for metric in metrics if metric["ReturnData"]]
    for metric in metrics:
        if "Expression" in metric:
            expression = metric["Expression"]
            text = expression["Fn::Sub"] if isinstance(expression, Mapping) else expression
            text = text.replace("${Consumers}", "consumers_of_a_task")
            text = re.sub(r"\bIF\(", "_if(", text)
            scope = {"_if": lambda test, yes, no: yes if test else no, **known}
            known[metric["Id"]] = eval(text, {"__builtins__": {}}, scope)  # noqa: S307 - our own file
    (only,) = returned
    return float(known[only])


count = st.integers(0, 5_000)


@given(visible=count, inflight=count, share=st.integers(0, 100), consumers=st.integers(1, 64))
def test_template_scales_as_was_simulated(
    visible: int, inflight: int, share: int, consumers: int
) -> None:
    """The metric math of the stack is the policy that bench/scaling compares."""
    free = consumers * (1 - share / 100)
    values = {
        "visible": visible,
        "inflight": inflight,
        "free": free,
        "consumers_of_a_task": consumers,
    }
    seen = POLICY.Seen(visible=visible, inflight=inflight, free=free, tasks=1)
    expected = POLICY.busy_percent(seen, consumers=consumers)
    metrics = tracking()["CustomizedMetricSpecification"]["Metrics"]
    assert expected == pytest.approx(metric_math(metrics, values))


def test_one_hot_repository_does_not_start_tasks() -> None:
    """A thousand waiting pushes of one repository occupy half the consumers of one task."""
    seen = POLICY.Seen(visible=1_000, inflight=10, free=4, tasks=1)
    percent = POLICY.busy_percent(seen, consumers=8)
    assert percent == pytest.approx(50)
    assert POLICY.wanted_tasks(1, percent, 70, least=1, most=10) == 1
    assert POLICY.depth_per_task(seen) == 1_000


def test_many_waiting_repositories_start_tasks_fast() -> None:
    """When every consumer is taken and much waits, three times the tasks are asked for at once."""
    seen = POLICY.Seen(visible=1_000, inflight=8, free=0, tasks=1)
    percent = POLICY.busy_percent(seen, consumers=8)
    assert percent == pytest.approx(200)
    assert POLICY.wanted_tasks(1, percent, 70, least=1, most=10) == 3


def test_nothing_to_do_gives_tasks_back() -> None:
    """Ten tasks without work are brought to the least there may be."""
    seen = POLICY.Seen(visible=0, inflight=0, free=8, tasks=10)
    assert POLICY.busy_percent(seen, consumers=8) == 0
    assert POLICY.wanted_tasks(10, 0, 70, least=1, most=10) == 1
