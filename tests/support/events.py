"""EventBridge envelopes as CodeCommit sends them (CodeCommit User Guide, monitoring events)."""

import uuid
from typing import Any

import orjson

ACCOUNT = "123456789012"
REGION = "eu-west-1"


def envelope(**detail: Any) -> dict[str, Any]:  # noqa: ANN401 - a test gives what it likes
    """Return a referenceUpdated event of branch main.

    Keyword arguments replace parts of `detail`.
    """
    repository = detail.get("repositoryName", "web")
    whole = {
        "event": "referenceUpdated",
        "repositoryName": repository,
        "repositoryId": str(uuid.uuid5(uuid.NAMESPACE_URL, str(repository))),
        "referenceType": "branch",
        "referenceName": "main",
        "referenceFullName": "refs/heads/main",
        "commitId": "a" * 40,
        "oldCommitId": "b" * 40,
        "callerUserArn": f"arn:aws:iam::{ACCOUNT}:user/mary",
    }
    whole.update(detail)
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "CodeCommit Repository State Change",
        "source": "aws.codecommit",
        "account": ACCOUNT,
        "time": "2026-11-01T10:23:43Z",
        "region": REGION,
        "resources": [f"arn:aws:codecommit:{REGION}:{ACCOUNT}:{repository}"],
        "detail": {name: value for name, value in whole.items() if value is not None},
    }


def body(**detail: Any) -> str:  # noqa: ANN401 - as above
    """Return such an event as a message body."""
    return orjson.dumps(envelope(**detail)).decode()
