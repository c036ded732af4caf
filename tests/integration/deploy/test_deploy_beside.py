"""The stacks beside the service's: alarms and a dashboard by its names, and endpoints."""

from typing import Final

import pytest
from support.deployed import REGION, open_client, open_stack
from support.stacks import ALARMS, DASHBOARD, ENDPOINTS, SERVICE, template

from asyncbuild.local.servers.children import LocalServer

_NEEDED: Final = {
    "ImageUri": "asyncbuild:1",
    "ProjectArns": "*",
    "VpcId": "vpc-1",
    "SubnetIds": "subnet-1,subnet-2",
    "HostsJson": '[{"host": "github.com", "kind": "github", "signature": "off"}]',
}
_NETWORK: Final = {
    "VpcId": "vpc-1",
    "SubnetIds": "subnet-1,subnet-2",
    "RouteTableIds": "rtb-1",
    "ClientCidr": "10.0.0.0/16",
}
_ALWAYS: Final = {
    *("sqs", "codebuild", "git-codecommit", "sts", "ecs", "logs", "ecr.api", "ecr.dkr", "s3"),
}


async def test_alarms_and_dashboard_are_named_like_the_service(ministack: LocalServer) -> None:
    """Both can be deployed beside it; what alarms watch and tell, ministack 1.5.33 drops."""
    async with (
        open_stack(ministack, template(SERVICE), **_NEEDED) as (name, _),
        open_stack(ministack, template(ALARMS), ServiceStack=name, Reports="ENABLED"),
        open_stack(ministack, template(DASHBOARD), ServiceStack=name),
        open_client(ministack, "cloudwatch") as cloudwatch,
    ):
        alarms = (await cloudwatch.describe_alarms(AlarmNamePrefix=f"{name}-"))["MetricAlarms"]
        named = {each["AlarmName"].removeprefix(f"{name}-"): each for each in alarms}
        assert {"dead-letters", "oldest-result", "oldest-report", "rounds-stay-away"} <= {*named}
        assert named["rounds-stay-away"]["EvaluationPeriods"] == 24
        body = (await cloudwatch.get_dashboard(DashboardName=name))["DashboardBody"]
        assert f":alarm:{name}-rounds-stay-away" in body


@pytest.mark.parametrize(
    ("given", "more"),
    [
        ({}, {"codecommit"}),
        (
            {"Reconcile": "DISABLED", "Pipelines": "ENABLED", "Outcomes": "ENABLED"},
            {"codepipeline", "events"},
        ),
        ({"Secrets": "ENABLED"}, {"codecommit", "secretsmanager"}),
    ],
)
async def test_endpoints_are_those_of_what_is_used(
    ministack: LocalServer, given: dict[str, str], more: set[str]
) -> None:
    """Each costs by the hour, so those of what is off are not made."""
    async with (
        open_stack(ministack, template(ENDPOINTS), **_NETWORK, **given),
        open_client(ministack, "ec2") as ec2,
    ):
        endpoints = (await ec2.describe_vpc_endpoints())["VpcEndpoints"]
        prefix = f"com.amazonaws.{REGION}."
        reached = {each["ServiceName"].removeprefix(prefix) for each in endpoints}
        assert reached == _ALWAYS | more
