"""The stacks of deploy/ on a server that has CloudFormation."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, cast
from uuid import uuid4

import aioboto3
import anyio

from asyncbuild.local.servers.children import ACCESS_KEY, SECRET_KEY, LocalServer

REGION: Final = "eu-west-1"
# Resources that ministack 1.5.33 refuses: no Application Auto Scaling; no metric math in alarms.
UNKNOWN: Final = {
    "ScalingTarget",
    "ScaleByBusyConsumers",
    "ScaleFromZero",
    "WaitingAtZero",
    "NoTaskAlarm",
}


@asynccontextmanager
async def open_client(server: LocalServer, name: str) -> AsyncIterator[Any]:
    """Open a client of any service of the server."""
    session = aioboto3.Session(
        aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name=REGION
    )
    async with cast("Any", session).client(name, endpoint_url=server.endpoint_url) as client:
        yield client


@asynccontextmanager
async def open_stack(
    server: LocalServer, stack: Mapping[str, Any], **parameters: str
) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """Deploy the stack, yield its name and outputs, and delete it."""
    name = f"asyncbuild-{uuid4().hex[:8]}"
    known = {each: it for each, it in stack["Resources"].items() if each not in UNKNOWN}
    async with open_client(server, "cloudformation") as cloudformation:
        await cloudformation.create_stack(
            StackName=name,
            TemplateBody=json.dumps({**stack, "Resources": known}),
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        try:
            with anyio.fail_after(90):
                while True:
                    answer = await cloudformation.describe_stacks(StackName=name)
                    (made,) = answer["Stacks"]
                    if not made["StackStatus"].endswith("IN_PROGRESS"):
                        break
                    await anyio.sleep(0.05)
            events = await cloudformation.describe_stack_events(StackName=name)
            reasons = [
                f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}"
                for event in events["StackEvents"]
                if event["ResourceStatus"].endswith("FAILED")
            ]
            assert made["StackStatus"] == "CREATE_COMPLETE", reasons
            yield name, {each["OutputKey"]: each["OutputValue"] for each in made.get("Outputs", ())}
        finally:
            await cloudformation.delete_stack(StackName=name)
