"""The stack scales the way bench/scaling simulated it."""

import importlib.util
import re
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stacks import ALARMS, DASHBOARD, ROOT, SERVICE, properties, template

from asyncbuild.queue.counters import ConsumerState
from asyncbuild.status.exporters.emf import _UNITS, NAMESPACE, EmbeddedMetrics


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


def metric_math(metrics: list[Mapping[str, Any]], values: Mapping[str, float | None]) -> float:
    """Compute the expressions of a scaling policy, for one point in time."""
    known: dict[str, Any] = dict(values)
    returned = [metric["Id"] for metric in metrics if metric["ReturnData"]]
    for metric in metrics:
        if "Expression" in metric:
            expression = metric["Expression"]
            text = expression["Fn::Sub"] if isinstance(expression, Mapping) else expression
            text = text.replace("${Consumers}", "consumers_of_a_task").replace(" AND ", " and ")
            text = re.sub(r"\bIF\(", "_if(", text)
            scope = {
                "_if": lambda test, yes, no: yes if test else no,
                "FILL": lambda value, missing: missing if value is None else value,
                **known,
            }
            known[metric["Id"]] = eval(text, {"__builtins__": {}}, scope)  # noqa: S307 - our own file
    (only,) = returned
    return float(known[only])


def test_stack_reads_metrics_that_the_service_writes() -> None:
    """Names and dimension of the service's own metrics are those of its log lines."""
    nothing: Any = None  # the stages' own numbers are not among these metrics
    state = ConsumerState(
        lanes={},
        consumers=8,
        consumers_free=5,
        jobs_waiting=0,
        stopping=False,
        pipeline=nothing,
    )
    written = orjson.loads(EmbeddedMetrics("asyncbuild.fifo", lambda: state).take()[0])
    tracked = [
        metric["MetricStat"]["Metric"]
        for metric in tracking()["CustomizedMetricSpecification"]["Metrics"]
        if metric.get("MetricStat", {}).get("Metric", {}).get("Namespace") == NAMESPACE
    ]
    assert [metric["MetricName"] for metric in tracked] == ["ConsumersFree"]
    assert [each["Name"] for each in tracked[0]["Dimensions"]] == ["queue"]
    assert written["ConsumersFree"] == 5
    assert written["queue"] == "asyncbuild.fifo"
    text = properties(template(DASHBOARD), "Dashboard")["DashboardBody"]["Fn::Sub"][0]
    shown = set(re.findall(r'"asyncbuild", "(\w+)"', text))
    shown |= set(re.findall(r'SEARCH\(\'\{asyncbuild,[^}]*\} MetricName=\\"(\w+)\\"', text))
    assert {"ConsumersFree", "Failures", "Results", "UnfinishedBuilds"} <= shown
    assert shown <= set(_UNITS)
    watched = properties(template(ALARMS), "UnfinishedBuildAlarm")
    assert watched["MetricName"] in _UNITS
    assert [each["Name"] for each in watched["Dimensions"]] == ["queue"]


count = st.integers(0, 5_000)


@given(
    visible=count,
    inflight=count,
    share=st.integers(0, 100),
    consumers=st.integers(1, 64),
    results=st.none() | count,
)
def test_template_scales_as_simulated(
    visible: int, inflight: int, share: int, consumers: int, results: int | None
) -> None:
    """The metric math of the stack is the policy that bench/scaling compares."""
    free = consumers * (1 - share / 100)
    values = {
        "visible": visible,
        "inflight": inflight,
        "free": free,
        "consumers_of_a_task": consumers,
        "results": results,  # None: an unused queue has no metric
    }
    seen = POLICY.Seen(visible=visible, inflight=inflight, free=free, tasks=1, results=results or 0)
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
    """If every consumer is taken and much waits, three times the tasks are requested at once."""
    seen = POLICY.Seen(visible=1_000, inflight=8, free=0, tasks=1)
    percent = POLICY.busy_percent(seen, consumers=8)
    assert percent == pytest.approx(200)
    assert POLICY.wanted_tasks(1, percent, 70, least=1, most=10) == 3


def test_results_alone_start_a_task_only_when_one_does_not_keep_up() -> None:
    """A stream of results that one task reads changes nothing; a heap of them starts a second."""
    for results, wanted in ((1_000, 1), (1_001, 2)):
        seen = POLICY.Seen(visible=0, inflight=0, free=8, tasks=1, results=results)
        percent = POLICY.busy_percent(seen, consumers=8)
        assert POLICY.wanted_tasks(1, percent, 70, least=1, most=10) == wanted


@pytest.mark.parametrize("name", ["WaitingAtZero", "NoTaskAlarm"])
@pytest.mark.parametrize(
    ("visible", "results", "cpu", "alarms"),
    [
        (1, 0, None, True),
        (0, 1, None, True),
        (None, 1, None, True),  # a queue without use for six hours has no metric
        (1, None, None, True),
        (1, 1, 1, False),  # a task runs
        (0, 0, None, False),
        (None, None, None, False),
    ],
)
def test_results_wake_a_service_that_sleeps(
    name: str, visible: int | None, results: int | None, cpu: int | None, *, alarms: bool
) -> None:
    """A push or a result that waits while no task runs counts; a task that runs settles both."""
    alarm = properties(template(SERVICE), name)
    values = {"visible": visible, "results": results, "reports": None, "rounds": None, "cpu": cpu}
    assert (metric_math(alarm["Metrics"], values) >= alarm["Threshold"]) is alarms


@pytest.mark.parametrize("waiting", ["reports", "rounds"])
@pytest.mark.parametrize(
    ("messages", "cpu", "alarms"), [(1, None, True), (1, 1, False), (0, None, False)]
)
def test_reports_and_rounds_that_wait_wake_a_service_that_sleeps(
    waiting: str, messages: int, cpu: int | None, *, alarms: bool
) -> None:
    """A report's forge was away when the task ended; a round finds pushes that no event told."""
    alarm = properties(template(SERVICE), "WaitingAtZero")
    nothing = dict.fromkeys(("visible", "results", "reports", "rounds"))
    values = {**nothing, waiting: messages, "cpu": cpu}
    assert (metric_math(alarm["Metrics"], values) >= alarm["Threshold"]) is alarms


def test_an_idle_service_ends_tasks() -> None:
    """Ten tasks without work are reduced to the minimum."""
    seen = POLICY.Seen(visible=0, inflight=0, free=8, tasks=10)
    assert POLICY.busy_percent(seen, consumers=8) == 0
    assert POLICY.wanted_tasks(10, 0, 70, least=1, most=10) == 1
