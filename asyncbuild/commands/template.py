"""`asyncbuild template`: the CloudFormation stacks that belong to this version."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from asyncbuild.domain.errors import Fatal

NAMES = {
    "service": "cloudformation.yaml",
    "account": "account.yaml",
    "alarms": "alarms.yaml",
    "webhook": "webhook.yaml",
    "dashboard": "dashboard.yaml",
    "endpoints": "endpoints.yaml",
    "nightly-build": "nightly-build.yaml",
    "outcome-notifications": "outcome-notifications.yaml",
}


def read(name: str) -> str:
    """Return one of `NAMES` as it was written, with comments, from the installation or a checkout.

    Raises:
        Fatal: The installation is incomplete.
    """
    installed = resources.files("asyncbuild") / "deploy" / NAMES[name]
    checkout = Path(__file__).parents[2] / "deploy" / NAMES[name]
    for place in (installed, checkout):
        if place.is_file():
            return place.read_text("utf-8")
    raise Fatal(f"template {NAMES[name]} is missing", remedy="install asyncbuild again")


def compact(text: str) -> str:
    """Return the template as one line of JSON, about a fifth shorter than the YAML.

    CloudFormation reads a template that is not in S3 up to 51,200 bytes (AWS CloudFormation User
    Guide, "Quotas"); comments and indentation count.
    """
    tree = yaml.load(text, _LongForms)  # noqa: S506 - a SafeLoader that knows `!Ref` and the like
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False) + "\n"


class _LongForms(yaml.SafeLoader):
    """Loader that reads intrinsic functions as in JSON: `!Sub x` is `{"Fn::Sub": "x"}`."""


def _long_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    else:
        raise yaml.constructor.ConstructorError(None, None, "no value", node.start_mark)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_LongForms.add_multi_constructor("!", _long_form)
