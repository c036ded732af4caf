"""Events on their way through the stacks.

Which are sent, in which group, and none lost silently.
"""

from collections.abc import Mapping
from typing import Any

import pytest
from support.events import body, envelope
from support.stacks import (
    ACCOUNT,
    SERVICE,
    as_list,
    of_type,
    properties,
    template,
)

from asyncbuild.domain.model import Push
from asyncbuild.forges.codecommit_messages import parse_message


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    """The service's stack."""
    return template(SERVICE)


@pytest.fixture(scope="module")
def account() -> dict[str, Any]:
    """The stack of an owner account."""
    return template(ACCOUNT)


def matches(pattern: object, event: object) -> bool:
    """Match exact values as EventBridge does: lists are alternatives."""
    if isinstance(pattern, Mapping):
        return isinstance(event, Mapping) and all(
            matches(each, event.get(name)) for name, each in pattern.items()
        )
    assert isinstance(pattern, list)
    return any(each in pattern for each in as_list(event))


def pattern_of(rule: Mapping[str, Any], *, tags: bool) -> dict[str, Any]:
    """A rule's pattern for all repositories."""
    pattern = dict(rule["EventPattern"])
    pattern.pop("resources")
    detail = dict(pattern["detail"])
    condition, with_tags, without = detail["referenceType"]["Fn::If"]
    assert condition == "WithTags"
    detail["referenceType"] = with_tags if tags else without
    return {**pattern, "detail": detail}


def all_rules(*stacks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The event rules of the stacks."""
    return [rule for stack in stacks for rule in of_type(stack, "AWS::Events::Rule").values()]


def push_rules(*stacks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The event rules of the stacks that select pushes."""
    return [
        rule for rule in all_rules(*stacks) if rule["EventPattern"]["source"] == ["aws.codecommit"]
    ]


def test_rules_match_pushes_only(service: Mapping[str, Any], account: Mapping[str, Any]) -> None:
    """All three rules select branches (tags if asked for) that now point at a commit."""
    rules = push_rules(service, account)
    assert len(rules) == 3
    tag = {"referenceType": "tag", "referenceName": "v1", "referenceFullName": "refs/tags/v1"}
    for rule in rules:
        branches, both = pattern_of(rule, tags=False), pattern_of(rule, tags=True)
        for detail in ({}, {"event": "referenceCreated", "oldCommitId": None}):
            assert matches(branches, envelope(**detail))
            assert isinstance(parse_message(body(**detail))[0], Push)
        assert not matches(branches, envelope(**tag))
        assert matches(both, envelope(**tag))
        deleted = envelope(event="referenceDeleted", commitId=None)
        merged = envelope(event="unreferencedMergeCommitCreated", referenceType=None)
        assert not matches(both, deleted)
        assert not matches(both, merged)
        assert not matches(both, {**envelope(), "source": "aws.s3"})


def test_each_repository_is_a_message_group(
    service: Mapping[str, Any], account: Mapping[str, Any]
) -> None:
    """By either route, the group of an event is its repository's id, which every event has."""
    direct = properties(service, "QueueRule")["Targets"][0]["SqsParameters"]["MessageGroupId"]
    piped = properties(service, "Pipe")["TargetParameters"]["SqsQueueParameters"]
    assert direct == "$.detail.repositoryId"
    assert piped["MessageGroupId"] == "$.body.detail.repositoryId"
    assert piped["MessageDeduplicationId"] == "$.body.id"
    assert envelope()["detail"]["repositoryId"]
    offered = service["Outputs"]["EventGroupId"]["Value"]["Fn::If"][1:]
    assert offered == account["Parameters"]["EventGroupId"]["AllowedValues"]
    assert (
        properties(service, "InboxRule")["Targets"][0]["SqsParameters"]["MessageGroupId"] in offered
    )


def test_no_event_is_lost_silently(service: Mapping[str, Any], account: Mapping[str, Any]) -> None:
    """Undelivered events and rounds go to a standard queue, which an alarm watches."""
    rounds = of_type(service, "AWS::Scheduler::Schedule").values()
    sent = [(service, round_["Target"]) for round_ in rounds]
    for stack in (service, account):
        sent += [(stack, *rule["Targets"]) for rule in all_rules(stack)]
    assert len(sent) == 7
    for stack, target in sent:
        name, _ = target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"]
        assert "FifoQueue" not in properties(stack, name)
    dimension = properties(service, "UndeliveredAlarm")["Dimensions"][0]["Value"]
    assert dimension == {"Fn::GetAtt": ["Undelivered", "QueueName"]}


def test_fifo_queues_deduplicate_by_body_and_do_not_slow_each_other(
    service: Mapping[str, Any],
) -> None:
    """Rules give no deduplication id; high throughput is by group."""
    for name in ("Queue", "DeadLetters"):
        queue = properties(service, name)
        assert queue["FifoQueue"] is True
        assert queue["ContentBasedDeduplication"] is True
        assert queue["DeduplicationScope"] == "messageGroup"
        assert queue["FifoThroughputLimit"] == "perMessageGroupId"
