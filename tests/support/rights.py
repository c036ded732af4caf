"""Rights of the task's role, compared with the rights that the recorded AWS calls need.

`python -m support.rights DIRECTORY` compares what a run of the tests has recorded there (see
`recorder/sitecustomize.py`) with the policy in deploy/cloudformation.yaml.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore import xform_name
from support.stacks import SERVICE, as_list, properties, statements, template

# Every right of the running service, with its purpose. A new one belongs here, with its reason.
GRANTS = {
    ("sqs:ReceiveMessage", "Queue"): "take pushes",
    ("sqs:DeleteMessage", "Queue"): "settle them",
    ("sqs:ChangeMessageVisibility", "Queue"): "renew leases, hand back",
    ("sqs:GetQueueAttributes", "Queue"): "see at the start whether the queue is fit",
    ("sqs:ReceiveMessage", "ResultQueue"): "take ends of builds, and rounds",
    ("sqs:DeleteMessage", "ResultQueue"): "settle them",
    ("sqs:ChangeMessageVisibility", "ResultQueue"): "hide what is tried again later, release",
    ("sqs:GetQueueAttributes", "ResultQueue"): "see at the start whether the queue is fit",
    ("sqs:SendMessage", "ResultDeadLetters"): "dead-letter with a reason",
    ("sqs:GetQueueAttributes", "ResultDeadLetters"): "check that it is a standard queue",
    ("sqs:ReceiveMessage", "ReportQueue"): "take reports",
    ("sqs:DeleteMessage", "ReportQueue"): "settle them",
    ("sqs:ChangeMessageVisibility", "ReportQueue"): "hide what is tried again later",
    ("sqs:GetQueueAttributes", "ReportQueue"): "see whether the queue is fit",
    ("sqs:SendMessage", "ReportQueue"): "report starts and ends of builds",
    ("sqs:SendMessage", "ReportDeadLetters"): "dead-letter with a reason",
    ("sqs:GetQueueAttributes", "ReportDeadLetters"): "ask how long a message it takes",
    ("sqs:ReceiveMessage", "ReconcileQueue"): "take rounds that look for missed pushes",
    ("sqs:DeleteMessage", "ReconcileQueue"): "settle them",
    ("sqs:ChangeMessageVisibility", "ReconcileQueue"): "hide what is tried again later, release",
    ("sqs:GetQueueAttributes", "ReconcileQueue"): "see whether the queue is fit",
    ("sqs:SendMessage", "ReconcileQueue"): "make of a round one message for each repository",
    ("sqs:SendMessage", "ReconcileDeadLetters"): "dead-letter with a reason",
    ("sqs:GetQueueAttributes", "ReconcileDeadLetters"): "check that it is FIFO",
    ("sqs:SendMessage", "Queue"): "send pushes that no event told",
    ("sqs:SendMessage", "DeadLetters"): "dead-letter with a reason",
    ("sqs:GetQueueAttributes", "DeadLetters"): "check that it is FIFO",
    ("s3:PutObject", "archives"): "send them",
    ("s3:PutObject", "ledger"): "write records; keep packs of mirrors for other tasks",
    ("s3:GetObject", "archives"): "archives as a source of copies",
    ("s3:GetObject", "ledger"): "read records; begin a mirror with another task's packs",
    ("s3:AbortMultipartUpload", "archives"): "leave no parts behind (I7)",
    ("s3:AbortMultipartUpload", "ledger"): "the same of a large pack",
    ("s3:DeleteObject", "ledger"): "forget tries, that a build is unfinished, and unused packs",
    ("s3:ListBucket", "Bucket"): "read the ledger; be told 404, not 403, of what is missing",
    ("codecommit:GitPull", "codecommit"): "fetch",
    ("codecommit:GetRepository", "codecommit"): "find out a repository's message group",
    ("codecommit:ListRepositories", "*"): "find repositories to look at",
    ("codebuild:StartBuild", "codebuild"): "build",
    ("codebuild:StopBuild", "codebuild"): "cancel what a newer push superseded",
    ("codebuild:BatchGetBuilds", "codebuild"): "find out how builds ended; find one (I12)",
    ("codebuild:BatchGetBuildBatches", "codebuild"): "find out how a batch ended",
    ("codebuild:ListBuildsForProject", "codebuild"): "find a build that was started before (I12)",
    ("codepipeline:GetPipeline", "codepipeline"): "see how a pipeline takes its source",
    ("codepipeline:StartPipelineExecution", "codepipeline"): "hand over",
    ("codepipeline:StopPipelineExecution", "codepipeline"): "cancel what a newer push superseded",
    ("codepipeline:ListPipelineExecutions", "codepipeline"): "find one started before (I12)",
    ("codepipeline:GetPipelineExecution", "codepipeline"): "the same; find out how it ended",
    ("codepipeline:ListActionExecutions", "codepipeline"): "find out which action failed",
    ("ecs:UpdateTaskProtection", "ecs"): "not be stopped with work in flight",
    ("s3:GetLifecycleConfiguration", "Bucket"): "asyncbuild check",
    ("s3:GetBucketVersioning", "Bucket"): "the same",
    ("codebuild:BatchGetProjects", "codebuild"): "asyncbuild check",
    ("events:PutEvents", "events"): "tell how builds ended",
    ("events:DescribeEventBus", "events"): "asyncbuild check",
    ("sts:AssumeRole", "PullRoleArns"): "fetch from other accounts",
    ("secretsmanager:GetSecretValue", "SecretArns"): "tokens, keys and webhook secrets of hosts",
    ("kms:Decrypt", "KmsKeyArn"): "a customer managed key",
    ("kms:GenerateDataKey", "KmsKeyArn"): "the same",
}

# Calls of the API and the actions that they need (Service Authorization Reference). An empty value:
# no right is needed, or the stack spares the call.
NEEDED: dict[str, set[str]] = {
    "sqs.receive_message": {"sqs:ReceiveMessage"},
    "sqs.delete_message": {"sqs:DeleteMessage"},
    "sqs.delete_message_batch": {"sqs:DeleteMessage"},
    "sqs.change_message_visibility": {"sqs:ChangeMessageVisibility"},
    "sqs.change_message_visibility_batch": {"sqs:ChangeMessageVisibility"},
    "sqs.get_queue_attributes": {"sqs:GetQueueAttributes"},
    "sqs.get_queue_url": set(),  # only without queue.dead_letter_url
    "sqs.send_message": {"sqs:SendMessage"},
    "sqs.send_message_batch": {"sqs:SendMessage"},
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
    "codebuild.stop_build": {"codebuild:StopBuild"},
    "codebuild.batch_get_builds": {"codebuild:BatchGetBuilds"},
    "codebuild.batch_get_build_batches": {"codebuild:BatchGetBuildBatches"},
    "codebuild.batch_get_projects": {"codebuild:BatchGetProjects"},
    "codebuild.list_builds_for_project": {"codebuild:ListBuildsForProject"},
    "codepipeline.get_pipeline": {"codepipeline:GetPipeline"},
    "codepipeline.start_pipeline_execution": {"codepipeline:StartPipelineExecution"},
    "codepipeline.stop_pipeline_execution": {"codepipeline:StopPipelineExecution"},
    "codepipeline.list_pipeline_executions": {"codepipeline:ListPipelineExecutions"},
    "codepipeline.get_pipeline_execution": {"codepipeline:GetPipelineExecution"},
    "codepipeline.list_action_executions": {"codepipeline:ListActionExecutions"},
    "codecommit.get_repository": {"codecommit:GetRepository"},
    "codecommit.list_repositories": {"codecommit:ListRepositories"},
    "events.put_events": {"events:PutEvents"},
    "events.describe_event_bus": {"events:DescribeEventBus"},
    "secretsmanager.get_secret_value": {"secretsmanager:GetSecretValue"},
    "sts.assume_role": {"sts:AssumeRole"},
    "sts.get_caller_identity": set(),
}

# Rights of the role that no test uses, each with the reason why it is right.
UNSEEN: dict[str, str] = {
    "codecommit:GitPull": "git's own protocol, no call of the API: test_mirror_access.py shows it",
    "kms:Decrypt": "S3 and SQS use the key in the role's name; no stand-in has keys",
    "kms:GenerateDataKey": "the same",
    "ecs:UpdateTaskProtection": "the agent of ECS calls: test_protection.py shows what it is asked",
}

# Modules that are not the service: they run with the rights of the caller, not the role's.
_NOT_THE_SERVICE = (
    "asyncbuild.local",
    "asyncbuild.commands.dead_letter_queue",
    "asyncbuild.commands.dead_letters",
    "asyncbuild.commands.dead_queue",
    "asyncbuild.commands.report_letters",
    "asyncbuild.commands.forget",
    "asyncbuild.commands.archive",
    "asyncbuild.commands.build.",
    "asyncbuild.commands.reconcile.",
    "asyncbuild.commands.explain",
    "asyncbuild.checks.probes",
)
_SERVICE_COMMANDS = frozenset({"serve", "drain", "check"})

Right = tuple[str, str]
"""Action and resource, as `about` names it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One recorded call.

    Attributes:
        operation: As `NEEDED` has it.
        queue: The queue's name, for SQS.
        folder: `archives` or `ledger`, for objects; seeds lie beside the ledger.
        source: The same of what is copied from.
        version: Whether a version was named.
        command: Of `asyncbuild`; empty in the tests' own process.
        modules: Who asked for it, outermost first.
    """

    operation: str
    queue: str
    folder: str
    source: str
    version: bool
    command: str
    modules: tuple[str, ...]

    @property
    def of_service(self) -> bool:
        """Return whether the running service makes this call."""
        return bool(self.modules) and not any(
            module.startswith(_NOT_THE_SERVICE) for module in self.modules
        )

    @property
    def by_service(self) -> bool:
        """Return whether the service itself made it, on the service's own resources."""
        return self.of_service and self.command in _SERVICE_COMMANDS

    def needs(self) -> set[Right]:
        """Return the rights that the call needs."""
        return {
            (action, self._resource(action))
            for action in NEEDED[self.operation]
            if self.version or action != "s3:GetObjectVersion"
        }

    def _resource(self, action: str) -> str:
        service = action.partition(":")[0]
        if service == "sqs":
            kinds = ("reconcile", "reports", "results")
            kind = next((each for each in kinds if each in self.queue), "")
            prefix = kind.removesuffix("s").title()
            return prefix + ("DeadLetters" if "dead" in self.queue else "Queue")
        if action == "s3:ListBucket":
            return "Bucket"
        if service == "s3":
            reads = action in {"s3:GetObject", "s3:GetObjectVersion"}
            return (self.source if reads and self.source else self.folder) or "Bucket"
        if action == "codecommit:ListRepositories":
            return "*"
        return {"sts": "PullRoleArns", "secretsmanager": "SecretArns"}.get(service, service)


def about(resource: object) -> str:
    """Return what a resource names: a logical name, a parameter, or the service of an ARN.

    Of the bucket's objects it is their folder.
    """
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
            inner = r"(?:\.asyncbuild/ledger/(?=\w))?(\.?\w+)/(?:ledger/)?"
            folder = re.fullmatch(rf"\$\{{Bucket\.Arn\}}/{inner}\*", str(value))
            if folder:
                return "ledger" if folder[1] == ".asyncbuild" else folder[1]
            found = re.match(r"\$\{(\w+)\.Arn\}|arn:[^:]+::?Partition\}:(\w+):", str(value))
            assert found, value
            return found[1] or found[2]


def granted(stack: Mapping[str, Any]) -> set[Right]:
    """Return the rights of the task's role."""
    (policy,) = properties(stack, "TaskRole")["Policies"]
    return {
        (action, about(resource))
        for statement in statements(policy["PolicyDocument"])
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }


def read_calls(directory: Path) -> Iterator[Call]:
    """Yield the recorded calls."""
    for file in sorted(directory.glob("*.jsonl")):
        for line in file.read_text("utf-8").splitlines():
            found = json.loads(line)
            service, _, operation = found.pop("operation").partition(".")
            found["modules"] = tuple(found["modules"])
            yield Call(operation=f"{service}.{xform_name(operation)}", **found)


def compare(calls: Iterable[Call], may: set[Right]) -> list[str]:
    """Return rights that the role lacks or does not use; empty if calls and rights agree."""
    faults: set[str] = set()
    used: set[Right] = set()
    actions = {action for action, _ in may}
    for call in calls:
        if not call.of_service:
            continue
        if call.operation not in NEEDED:
            faults.add(f"{call.operation} of {call.modules[-1]}: add it to NEEDED, and to the role")
            continue
        needs = call.needs()
        used |= needs
        missing = {right for right in needs if right[0] not in actions}
        if call.by_service:
            missing |= needs - may
        faults |= {
            f"{call.operation} of {call.modules[-1]} needs {action} on {resource}, "
            "which the role lacks"
            for action, resource in missing
        }
    faults |= {
        f"the role has {action} on {resource}, which nothing uses"
        for action, resource in may - used
        if action not in UNSEEN
    }
    faults |= {
        f"{action} is used: it needs no excuse in UNSEEN"
        for action, _ in used & may
        if action in UNSEEN
    }
    return sorted(faults)


def main(directory: Path) -> None:
    """Compare, print, and exit with 1 if there is a fault."""
    calls = [call for call in read_calls(directory) if call.of_service]
    faults = compare(calls, granted(template(SERVICE)))
    made = {call.operation for call in calls}
    by_service = {call.operation for call in calls if call.by_service}
    print(  # noqa: T201 - a command
        f"rights: {len(made)} operations recorded, {len(by_service)} of them in the service's own "
        f"processes; {len(granted(template(SERVICE)))} rights granted, {len(UNSEEN)} excused; "
        f"{len(faults)} faults"
    )
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
