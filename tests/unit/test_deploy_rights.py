"""What the stacks let whom do: as declared, and no more."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.session import get_session
from support.stacks import (
    ACCOUNT,
    ROOT,
    SERVICE,
    as_list,
    of_type,
    properties,
    statements,
    template,
)

# Every right of the running service, and what for. A new one belongs here, with its reason.
GRANTS = {
    ("sqs:ReceiveMessage", "Queue"): "take pushes",
    ("sqs:DeleteMessage", "Queue"): "settle them",
    ("sqs:ChangeMessageVisibility", "Queue"): "renew leases, hand back",
    ("sqs:GetQueueAttributes", "Queue"): "see at the start whether the queue is fit",
    ("sqs:SendMessage", "DeadLetters"): "dead-letter with a reason",
    ("sqs:GetQueueAttributes", "DeadLetters"): "check that it is FIFO",
    ("s3:PutObject", "Bucket"): "archives and ledger",
    ("s3:GetObject", "Bucket"): "ledger; archives as a source of copies",
    ("s3:GetObjectVersion", "Bucket"): "the very version that is copied from",
    ("s3:AbortMultipartUpload", "Bucket"): "leave no parts behind (I7)",
    ("s3:DeleteObject", "Bucket"): "forget notes about tries, below the ledger's prefix only",
    ("s3:ListBucket", "Bucket"): "read the ledger; be told 404, not 403, of what is missing",
    ("codecommit:GitPull", "codecommit"): "fetch",
    ("codebuild:StartBuild", "codebuild"): "build",
    ("codebuild:BatchGetBuilds", "codebuild"): "find a build that was started before (I12)",
    ("codebuild:ListBuildsForProject", "codebuild"): "the same",
    ("codepipeline:GetPipeline", "codepipeline"): "see how a pipeline takes its source",
    ("codepipeline:StartPipelineExecution", "codepipeline"): "hand over",
    ("codepipeline:ListPipelineExecutions", "codepipeline"): "find one started before (I12)",
    ("codepipeline:GetPipelineExecution", "codepipeline"): "the same",
    ("s3:GetLifecycleConfiguration", "Bucket"): "asyncbuild check",
    ("s3:GetBucketVersioning", "Bucket"): "the same",
    ("codebuild:BatchGetProjects", "codebuild"): "asyncbuild check",
    ("sts:AssumeRole", "PullRoleArns"): "fetch from other accounts",
    ("kms:Decrypt", "KmsKeyArn"): "a customer managed key",
    ("kms:GenerateDataKey", "KmsKeyArn"): "the same",
}


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    """The service's stack."""
    return template(SERVICE)


@pytest.fixture(scope="module")
def account() -> dict[str, Any]:
    """The stack of an owner account."""
    return template(ACCOUNT)


def about(resource: object) -> str:
    """What a resource of a statement is: a logical name, a parameter, or the service of an ARN."""
    if isinstance(resource, str):
        return resource
    assert isinstance(resource, Mapping)
    ((function, value),) = resource.items()
    match function:
        case "Ref":
            return str(value)
        case "Fn::GetAtt":
            return str(value[0])
        case "Fn::If":
            return about(value[1])
        case _:
            found = re.match(r"\$\{(\w+)\.Arn\}|arn:[^:]+::?Partition\}:(\w+):", str(value))
            assert found, value
            return found[1] or found[2]


def test_task_may_do_what_is_declared_and_no_more(service: Mapping[str, Any]) -> None:
    """The rights of the task's role are the list above."""
    (policy,) = properties(service, "TaskRole")["Policies"]
    granted = {
        (action, about(resource))
        for statement in statements(policy["PolicyDocument"])
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }
    assert granted == set(GRANTS)


@pytest.mark.parametrize("path", [SERVICE, ACCOUNT], ids=lambda path: path.stem)
def test_no_role_may_do_everything(path: Path) -> None:
    """No right ends in a star, and none is on every resource but ECR's token, which knows none."""
    stack = template(path)
    documents = [
        *(role["PolicyDocument"] for role in of_type(stack, "AWS::IAM::ManagedPolicy").values()),
        *(
            policy["PolicyDocument"]
            for role in of_type(stack, "AWS::IAM::Role").values()
            for policy in role["Policies"]
        ),
    ]
    assert documents
    for statement in (each for document in documents for each in statements(document)):
        actions = as_list(statement["Action"])
        assert not [action for action in actions if "*" in action]
        if "*" in as_list(statement["Resource"]):
            assert actions == ["ecr:GetAuthorizationToken"]


@pytest.mark.parametrize("path", [SERVICE, ACCOUNT], ids=lambda path: path.stem)
def test_services_act_for_this_account_only(path: Path) -> None:
    """Whoever may assume a role is bound by a condition (confused deputy)."""
    stack = template(path)
    roles = of_type(stack, "AWS::IAM::Role")
    assert roles
    for role in roles.values():
        for statement in statements(role["AssumeRolePolicyDocument"]):
            assert {"aws:SourceAccount", "sts:ExternalId"} & set(
                statement["Condition"]["StringEquals"]
            )


def test_queues_and_bucket_refuse_plain_connections(
    service: Mapping[str, Any], account: Mapping[str, Any]
) -> None:
    """Each queue and the bucket has a policy that denies what does not come by TLS."""
    for stack in (service, account):
        covered = set()
        kinds = ("AWS::SQS::QueuePolicy", "AWS::S3::BucketPolicy")
        for policy in (each for kind in kinds for each in of_type(stack, kind).values()):
            denied = statements(policy["PolicyDocument"])[0]
            assert denied["Effect"] == "Deny"
            assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
            named = policy.get("Queues") or [policy["Bucket"]]
            covered |= {each["Ref"] for each in named}
        owned = {*of_type(stack, "AWS::SQS::Queue"), *of_type(stack, "AWS::S3::Bucket")}
        assert covered == owned


def test_queue_admits_senders_by_name_only(service: Mapping[str, Any]) -> None:
    """EventBridge by the rule it speaks for, other accounts by the role they send with."""
    for policy in of_type(service, "AWS::SQS::QueuePolicy").values():
        for statement in statements(policy["PolicyDocument"]):
            if statement["Effect"] == "Allow":
                assert statement["Action"] == "sqs:SendMessage"
                (condition,) = statement["Condition"].values()
                assert set(condition) <= {"aws:SourceArn", "aws:PrincipalArn"}


def test_bucket_is_private(service: Mapping[str, Any]) -> None:
    """Encrypted, versioned, never public."""
    bucket = properties(service, "Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["BucketEncryption"]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert service["Resources"]["Bucket"]["DeletionPolicy"] == "Retain"


# Calls of the API and the actions that they need (Service Authorization Reference). An empty value:
# no right is needed, or the stack spares the call.
NEEDED: dict[str, set[str]] = {
    "sqs.receive_message": {"sqs:ReceiveMessage"},
    "sqs.delete_message": {"sqs:DeleteMessage"},
    "sqs.change_message_visibility": {"sqs:ChangeMessageVisibility"},
    "sqs.change_message_visibility_batch": {"sqs:ChangeMessageVisibility"},
    "sqs.get_queue_attributes": {"sqs:GetQueueAttributes"},
    "sqs.get_queue_url": set(),  # only without queue.dead_letter_url
    "sqs.send_message": {"sqs:SendMessage"},
    "s3.head_bucket": {"s3:ListBucket"},
    "s3.list_objects_v2": {"s3:ListBucket"},
    "s3.get_bucket_lifecycle_configuration": {"s3:GetLifecycleConfiguration"},
    "s3.get_bucket_versioning": {"s3:GetBucketVersioning"},
    "s3.head_object": {"s3:GetObject", "s3:ListBucket"},
    "s3.get_object": {"s3:GetObject", "s3:ListBucket"},
    "s3.put_object": {"s3:PutObject"},
    "s3.copy_object": {"s3:PutObject", "s3:GetObject", "s3:GetObjectVersion"},
    "s3.delete_object": {"s3:DeleteObject"},
    "s3.create_multipart_upload": {"s3:PutObject"},
    "s3.upload_part": {"s3:PutObject"},
    "s3.upload_part_copy": {"s3:PutObject", "s3:GetObject", "s3:GetObjectVersion"},
    "s3.complete_multipart_upload": {"s3:PutObject"},
    "s3.abort_multipart_upload": {"s3:AbortMultipartUpload"},
    "codebuild.start_build": {"codebuild:StartBuild"},
    "codebuild.batch_get_builds": {"codebuild:BatchGetBuilds"},
    "codebuild.batch_get_projects": {"codebuild:BatchGetProjects"},
    "codebuild.list_builds_for_project": {"codebuild:ListBuildsForProject"},
    "codepipeline.get_pipeline": {"codepipeline:GetPipeline"},
    "codepipeline.start_pipeline_execution": {"codepipeline:StartPipelineExecution"},
    "codepipeline.list_pipeline_executions": {"codepipeline:ListPipelineExecutions"},
    "codepipeline.get_pipeline_execution": {"codepipeline:GetPipelineExecution"},
    "sts.assume_role": {"sts:AssumeRole"},
    "sts.get_caller_identity": set(),
}


def calls_in_source() -> set[str]:
    """Every call of SQS, S3, CodeBuild, CodePipeline and STS that the running service may make."""
    session = get_session()
    operations = {
        xform_name(operation): f"{name}.{xform_name(operation)}"
        for name in ("sqs", "s3", "codebuild", "codepipeline", "sts")
        for operation in session.get_service_model(name).operation_names
    }
    sources = [
        path.read_text()
        for path in (ROOT / "asyncbuild").rglob("*.py")
        if "local" not in path.parts  # servers of its own, no AWS
    ]
    named = {name for text in sources for name in re.findall(r"\.(\w+)\(", text)}
    return {operations[name] for name in named if name in operations}


def test_every_call_has_its_right() -> None:
    """A new call of an AWS API is no surprise in production."""
    calls = calls_in_source()
    assert len(calls) > 10
    assert calls <= set(NEEDED)
    granted = {action for action, _ in GRANTS}
    assert {action for call in calls for action in NEEDED[call]} <= granted
