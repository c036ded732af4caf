"""The CloudFormation stacks of deploy/, decoded, and functions to look into them."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cfnlint.decode import decode

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "deploy" / "cloudformation.yaml"
ACCOUNT = ROOT / "deploy" / "account.yaml"
WEBHOOK = ROOT / "deploy" / "webhook.yaml"
DASHBOARD = ROOT / "deploy" / "dashboard.yaml"
ALARMS = ROOT / "deploy" / "alarms.yaml"
NIGHTLY = ROOT / "deploy" / "nightly-build.yaml"
NOTIFICATIONS = ROOT / "deploy" / "outcome-notifications.yaml"
ENDPOINTS = ROOT / "deploy" / "endpoints.yaml"
STACKS = tuple(
    path
    for path in sorted((ROOT / "deploy").glob("*.yaml"))
    if "AWSTemplateFormatVersion" in path.read_text("utf-8")
)


@cache
def template(path: Path) -> dict[str, Any]:
    """Return the template with intrinsic functions in their long form."""
    decoded, faults = decode(str(path))
    assert not faults
    return dict(decoded)


def properties(stack: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the properties of resource `name`."""
    return dict(stack["Resources"][name]["Properties"])


def of_type(stack: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Return all resources of one type: name → properties."""
    found = stack["Resources"].items()
    return {name: dict(each["Properties"]) for name, each in found if each["Type"] == kind}


def iter_values(tree: object) -> Iterator[Any]:
    """Yield every value in a template, depth first."""
    yield tree
    if isinstance(tree, Mapping):
        for each in tree.values():
            yield from iter_values(each)
    elif isinstance(tree, list):
        for each in tree:
            yield from iter_values(each)


def as_list(value: Any) -> list[Any]:  # noqa: ANN401 - whatever the template holds
    """Return the value as a list: itself, or a list of it alone."""
    return list(value) if isinstance(value, list) else [value]


def statements(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the statements of a policy, those under a condition too."""
    found: list[dict[str, Any]] = []
    for each in document["Statement"]:
        branches = each["Fn::If"][1:] if "Fn::If" in each else [each]
        found.extend(branch for branch in branches if "Effect" in branch)
    return found


def container(stack: Mapping[str, Any]) -> dict[str, Any]:
    """Return the one container of the task."""
    (only,) = properties(stack, "Task")["ContainerDefinitions"]
    return dict(only)


def environment(stack: Mapping[str, Any]) -> dict[str, Any]:
    """Return the container's variables, those under a condition too."""
    found: dict[str, Any] = {}
    for entry in container(stack)["Environment"]:
        each = entry["Fn::If"][1] if "Fn::If" in entry else entry
        found[each["Name"]] = each["Value"]
    return found
