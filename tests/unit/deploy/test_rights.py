"""Rights in the stacks: as declared, and no more."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.session import get_session
from support.rights import GRANTS, NEEDED, UNSEEN, Call, about, compare, granted, read_calls
from support.stacks import (
    ACCOUNT,
    NIGHTLY,
    ROOT,
    SERVICE,
    as_list,
    of_type,
    properties,
    statements,
    template,
)


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    """The service's stack."""
    return template(SERVICE)


@pytest.fixture(scope="module")
def account() -> dict[str, Any]:
    """The stack of an owner account."""
    return template(ACCOUNT)


def test_task_has_the_declared_rights_and_no_more(service: Mapping[str, Any]) -> None:
    """The rights of the task's role are the list with the reasons."""
    assert granted(service) == set(GRANTS)


@pytest.mark.parametrize("path", [SERVICE, ACCOUNT, NIGHTLY], ids=lambda path: path.stem)
def test_no_role_has_all_rights(path: Path) -> None:
    """No right ends in a star; all resources are granted only where no narrower one is known."""
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
            assert actions in (["ecr:GetAuthorizationToken"], ["codecommit:ListRepositories"])


@pytest.mark.parametrize("path", [SERVICE, ACCOUNT, NIGHTLY], ids=lambda path: path.stem)
def test_services_act_for_this_account_only(path: Path) -> None:
    """Each principal that may assume a role is bound by a condition (confused deputy)."""
    stack = template(path)
    roles = of_type(stack, "AWS::IAM::Role")
    assert roles
    for role in roles.values():
        for statement in statements(role["AssumeRolePolicyDocument"]):
            assert {"aws:SourceAccount", "sts:ExternalId"} & set(
                statement["Condition"]["StringEquals"]
            )


def test_operators_ask_and_read_and_write_snapshots_alone(service: Mapping[str, Any]) -> None:
    """People send pushes, reports and rounds, and work on dead letters; they take no others."""
    document = properties(service, "OperatorPolicy")["PolicyDocument"]
    may = {
        (action, about(resource))
        for statement in statements(document)
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }
    work = {"Queue", "ReconcileQueue", "ReportQueue"}
    assert {to for action, to in may if action == "sqs:SendMessage"} == work
    dead = {"DeadLetters", "ResultDeadLetters", "ReconcileDeadLetters", "ReportDeadLetters"}
    for action in (
        *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"),
        "sqs:GetQueueUrl",  # of a queue's redrive policy, where dead_letter_url is not set
    ):
        assert {to for each, to in may if each == action} == dead
    of_bucket = {right for right in may if right[0].startswith("s3:")}
    assert of_bucket == {
        *(("s3:GetObject", "ledger"), ("s3:ListBucket", "Bucket")),
        ("s3:PutObject", "snapshot"),
    }
    assert {action.partition(":")[0] for action, _ in may} == {"sqs", "s3", "codecommit", "kms"}


def test_owners_let_the_service_pull_and_find_repositories(account: Mapping[str, Any]) -> None:
    """The pull role has what the task has on the repositories of its own account, and no more."""
    (policy,) = properties(account, "PullRole")["Policies"]
    may = {
        (action, about(resource))
        for statement in statements(policy["PolicyDocument"])
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }
    assert may == {right for right in GRANTS if right[0].startswith("codecommit:")}


def test_queues_and_bucket_refuse_plain_connections(
    service: Mapping[str, Any], account: Mapping[str, Any]
) -> None:
    """Each queue and the bucket has a policy that denies requests without TLS."""
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


def calls_in_source() -> set[str]:
    """Every call of an AWS API that the running service may make."""
    session = get_session()
    operations = {
        xform_name(operation): f"{name}.{xform_name(operation)}"
        for name in (
            *("sqs", "s3", "codebuild", "codepipeline", "sts", "secretsmanager"),
            *("codecommit", "events"),
        )
        for operation in session.get_service_model(name).operation_names
    }
    sources = [
        path.read_text()
        for path in (ROOT / "asyncbuild").rglob("*.py")
        # Own servers; rights of the caller, who probes or forgets a name.
        if not {"local", "probes", "old_versions.py"} & {*path.parts}
    ]
    named = {name for text in sources for name in re.findall(r"\.(\w+)\(", text)}
    return {operations[name] for name in named if name in operations}


def test_every_call_has_its_right() -> None:
    """An API call without a right would fail in production only."""
    calls = calls_in_source()
    assert len(calls) > 10
    assert calls <= set(NEEDED)
    actions = {action for action, _ in GRANTS}
    by_version = {"s3:GetObjectVersion"}  # the service never reads a version by name
    assert {action for call in calls for action in NEEDED[call]} - by_version <= actions


# --- the comparison with what a run of the tests has recorded (`make test`, support.rights) -------

MAY = {("sqs:DeleteMessage", "Queue"), ("s3:DeleteObject", "ledger"), ("kms:Decrypt", "KmsKeyArn")}
DELETE = Call(
    operation="sqs.delete_message",
    queue="pushes.fifo",
    folder="",
    source="",
    version=False,
    command="serve",
    modules=("asyncbuild.commands.serve", "asyncbuild.queue.sqs"),
)
RESULT = replace(DELETE, queue="results")
FORGET = replace(DELETE, operation="s3.delete_object", queue="", folder="ledger")


def test_calls_and_rights_that_agree_have_no_fault() -> None:
    """Used rights are granted; granted rights are used or excused."""
    assert compare([DELETE, FORGET], MAY) == []


@pytest.mark.parametrize(
    ("calls", "may", "fault"),
    [
        ([DELETE, FORGET], MAY - {("sqs:DeleteMessage", "Queue")}, "which the role lacks"),
        ([DELETE], MAY, "s3:DeleteObject on ledger, which nothing uses"),
        ([DELETE, FORGET, replace(FORGET, folder="archives")], MAY, "on archives, which the role"),
        ([DELETE, FORGET, replace(DELETE, operation="sqs.purge_queue")], MAY, "add it to NEEDED"),
        (
            [DELETE, replace(FORGET, modules=("asyncbuild.commands.dead_letters",))],
            MAY,
            "nothing uses",
        ),
    ],
)
def test_the_comparison_can_fail(calls: list[Call], may: set[tuple[str, str]], fault: str) -> None:
    """A right too few, one too many, one elsewhere, an unknown call, a caller with other rights."""
    (found,) = compare(calls, may)
    assert fault in found


def test_rights_on_the_queue_of_results_are_apart() -> None:
    """A right on one queue is not taken for one on another, of which the name tells."""
    assert compare([RESULT], {("sqs:DeleteMessage", "ResultQueue")}) == []
    lacking, unused = compare([RESULT], {("sqs:DeleteMessage", "Queue")})
    assert "on ResultQueue, which the role lacks" in lacking
    assert "on Queue, which nothing uses" in unused
    dead = replace(RESULT, queue="results-dead-letters", operation="sqs.send_message")
    assert dead.needs() == {("sqs:SendMessage", "ResultDeadLetters")}
    report = replace(dead, queue="reports.fifo")
    assert report.needs() == {("sqs:SendMessage", "ReportQueue")}
    dead = replace(dead, queue="reports-dead-letters.fifo")
    assert dead.needs() == {("sqs:SendMessage", "ReportDeadLetters")}
    assert replace(report, queue="reconcile.fifo").needs() == {
        ("sqs:SendMessage", "ReconcileQueue")
    }
    dead = replace(dead, queue="reconcile-dead-letters.fifo")
    assert dead.needs() == {("sqs:SendMessage", "ReconcileDeadLetters")}
    assert replace(dead, queue="pushes.fifo").needs() == {("sqs:SendMessage", "Queue")}


def test_an_unused_excuse_is_a_fault() -> None:
    """Exceptions are for rights whose use cannot be recorded."""
    assert set(UNSEEN) <= {action for action, _ in GRANTS}
    used = replace(DELETE, operation="kms.decrypt", queue="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NEEDED, "kms.decrypt", {"kms:Decrypt"})
        patch.setattr(Call, "needs", lambda _call: {("kms:Decrypt", "KmsKeyArn")})
        (fault,) = compare([used], {("kms:Decrypt", "KmsKeyArn")})
    assert "no excuse" in fault


_PROGRAM = """
import runpy, sys
sys.argv = ["asyncbuild/__main__.py", "check", "--json"]
runpy.run_module("asyncbuild", run_name="__main__")
"""


def test_each_call_of_a_service_process_is_recorded(tmp_path: Path) -> None:
    """Every call of a child is recorded with its caller, also calls that reach no server."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "tests" / "support" / "recorder"),
        "RECORDED_CALLS": str(tmp_path),
        "ASYNCBUILD_AWS__ENDPOINT_URL": "http://127.0.0.1:9",
        "ASYNCBUILD_AWS__MAX_TRIES": "1",
        "ASYNCBUILD_QUEUE__URL": "http://127.0.0.1:9/1/pushes.fifo",
        "ASYNCBUILD_GIT__CACHE_DIRECTORY": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env=environment, capture_output=True, check=False
    )
    assert done.returncode != 0  # no server listens there
    calls = list(read_calls(tmp_path))
    attributes = [each for each in calls if each.operation == "sqs.get_queue_attributes"]
    assert [(each.queue, each.by_service) for each in attributes] == [("pushes.fifo", True)]
    assert attributes[0].modules[-1] == "asyncbuild.queue.sqs"
    assert attributes[0].needs() == {("sqs:GetQueueAttributes", "Queue")}
