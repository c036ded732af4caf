"""`asyncbuild template`: the CloudFormation stacks that come with this version."""

from importlib import resources
from pathlib import Path

from asyncbuild.errors import Fatal

NAMES = {
    "service": "cloudformation.yaml",
    "account": "account.yaml",
    "webhook": "webhook.yaml",
}


def read(name: str) -> str:
    """One of `NAMES`, as it was installed or as it lies in the checkout.

    Raises:
        Fatal: the installation is not whole.
    """
    installed = resources.files("asyncbuild") / "deploy" / NAMES[name]
    checkout = Path(__file__).parent.parent / "deploy" / NAMES[name]
    for place in (installed, checkout):
        if place.is_file():
            return place.read_text("utf-8")
    raise Fatal(f"template {NAMES[name]} is missing", remedy="install asyncbuild again")
