"""Hosting of some of the demo's repositories on the stand-in forge, which gets commit statuses.

They are fetched over HTTP, and their pushes come as signed webhooks, in the form that GitHub sends
(GitHub Docs, "Webhook events and payloads", push) and an API gateway puts on the queue. CodeCommit,
where the others are, has no commit statuses.
"""

import os
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from asyncbuild.aws.classify import errors_of
from asyncbuild.config.hosts import CommitStatusSettings, HostSettings
from asyncbuild.config.sections import ReportSettings
from asyncbuild.forges.webhooks.body_signature import sign_body
from asyncbuild.local.forge.forge_server import open_forge
from asyncbuild.local.forge.forge_standin import CommitContext, ForgeStandin
from asyncbuild.local.forge.git_site import open_git_site
from asyncbuild.local.stack import Stack, redrive_policy
from asyncbuild.local.verify import Pushed

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.literals import QueueAttributeNameType

HOST: Final = "forge.example.org"
OWNER: Final = "demo"
REPORTS: Final = "asyncbuild-reports.fifo"
REPORT_DEAD_LETTERS: Final = "asyncbuild-reports-dead-letters.fifo"

_ZEROS: Final = "0" * 40
_TOKEN: Final = "status-token"  # noqa: S105 - of the stand-in
_TOKEN_VARIABLE: Final = "DEMO_STATUS_TOKEN"  # noqa: S105 - a name
_SECRET: Final = "webhook-secret"  # noqa: S105 - of the stand-in
_SECRET_VARIABLE: Final = "DEMO_WEBHOOK_SECRET"  # noqa: S105 - a name
_MAX_RECEIVE_COUNT: Final = 100  # a forge may be away for long
_REQUESTS_PER_HOUR: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Hosting:
    """Repositories on the forge, and the stack with the settings for it.

    Attributes:
        cloud: The stack; its settings have the forge and the queue of reports.
        forge: State of the forge.
        names: Names of the repositories that are on it.
    """

    cloud: Stack
    forge: ForgeStandin
    names: Collection[str]

    async def send(self, push: Pushed) -> None:
        """Put a push on the queue: as a webhook if its repository is on the forge."""
        if push.repository not in self.names:
            await self.cloud.send(push)
            return
        body = orjson.dumps(_payload_of(push))
        told = {
            "Webhook-Host": HOST,
            "X-GitHub-Event": "push",
            "X-GitHub-Delivery": push.id,
            "X-Hub-Signature-256": sign_body(_SECRET, body),
        }
        with errors_of(f"send the webhook of {push}"):
            await self.cloud.sqs.send_message(
                QueueUrl=self.cloud.settings.queue.url,
                MessageBody=body.decode(),
                MessageGroupId=push.group,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value}
                    for name, value in told.items()
                },
            )


def status_of(repository: str, commit: str, project: str) -> CommitContext:
    """Return the name of the status that the build of a project has.

    Args:
        repository: Name of the repository.
        commit: The commit.
        project: Name of the project.
    """
    return CommitContext(f"{OWNER}/{repository}", commit, f"asyncbuild/{project}")


@asynccontextmanager
async def open_hosting(cloud: Stack, names: Collection[str]) -> AsyncIterator[Hosting]:
    """Open a forge for some of the repositories below `directory/remotes`.

    Inside, the process's environment names the forge's credentials; it must be the stack's own.

    Args:
        cloud: The stack.
        names: Names of the repositories on the forge.

    Raises:
        StageError: The queue of reports cannot be created.
    """
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(open_git_site(cloud.directory / "remotes"))
        forge = await stack.enter_async_context(open_forge(ForgeStandin(tokens={_TOKEN})))
        os.environ |= {_TOKEN_VARIABLE: _TOKEN, _SECRET_VARIABLE: _SECRET}
        host = HostSettings(
            host=HOST,
            kind="github",
            repository=tuple(f"{OWNER}/{name}" for name in names),
            remote=f"{address}/{{owner}}/{{repository}}.git",
            webhook_secret=f"env:{_SECRET_VARIABLE}",
            commit_status=CommitStatusSettings(
                token=f"env:{_TOKEN_VARIABLE}",
                api_url=f"{forge.endpoint_url}/github",
                requests_per_hour=_REQUESTS_PER_HOUR,
            ),
        )
        reports = await _create_queues(cloud.sqs)
        changed = {"hosts": (host,), "reports": reports}
        hosting = replace(cloud, settings=cloud.settings.model_copy(update=changed))
        yield Hosting(hosting, forge, frozenset(names))


async def _create_queues(sqs: "SQSClient") -> ReportSettings:
    fifo: dict[QueueAttributeNameType, str] = {"FifoQueue": "true"}
    with errors_of(f"create queue {REPORTS}"):
        dead = await sqs.create_queue(QueueName=REPORT_DEAD_LETTERS, Attributes=fifo)
        policy = await redrive_policy(sqs, dead["QueueUrl"], _MAX_RECEIVE_COUNT)
        fifo["RedrivePolicy"] = policy
        made = await sqs.create_queue(QueueName=REPORTS, Attributes=fifo)
    return ReportSettings(url=made["QueueUrl"], dead_letter_url=dead["QueueUrl"])


def _payload_of(push: Pushed) -> dict[str, Any]:
    path = f"{OWNER}/{push.repository}"
    return {
        "ref": push.ref,
        "before": push.old_commit or _ZEROS,
        "after": push.commit or _ZEROS,
        "repository": {
            "name": push.repository,
            "full_name": path,
            "html_url": f"https://{HOST}/{path}",
            "pushed_at": int(push.time),
        },
        "pusher": {"name": "developer"},
        "sender": {"login": "developer"},
    }
