"""Forges whose webhooks are read, and tables made from all of them. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.forges.webhooks.azure_devops_webhook import AzureDevOpsWebhook
from asyncbuild.forges.webhooks.bitbucket_server_webhook import BitbucketServerWebhook
from asyncbuild.forges.webhooks.bitbucket_webhook import BitbucketWebhook
from asyncbuild.forges.webhooks.dialect import Payload, WebhookDialect
from asyncbuild.forges.webhooks.gitea_webhook import GiteaWebhook
from asyncbuild.forges.webhooks.github_webhook import GitHubWebhook
from asyncbuild.forges.webhooks.gitlab_webhook import GitLabWebhook

DIALECTS: Final[Mapping[ForgeKind, WebhookDialect]] = {
    ForgeKind.GITHUB: GitHubWebhook(),
    ForgeKind.GITLAB: GitLabWebhook(),
    ForgeKind.BITBUCKET: BitbucketWebhook(),
    ForgeKind.BITBUCKET_SERVER: BitbucketServerWebhook(),
    ForgeKind.GITEA: GiteaWebhook("Gitea"),
    ForgeKind.FORGEJO: GiteaWebhook("Forgejo"),
    ForgeKind.AZURE_DEVOPS: AzureDevOpsWebhook(),
}
# GitHub's shape comes last: payloads of others have its fields, too.
_BY_SHAPE: Final = (
    ForgeKind.GITLAB,
    ForgeKind.BITBUCKET,
    ForgeKind.BITBUCKET_SERVER,
    ForgeKind.AZURE_DEVOPS,
    ForgeKind.GITHUB,
)
# Forges whose payloads have the shape of another one's.
_SHAPES: Final = {ForgeKind.GITEA: ForgeKind.GITHUB, ForgeKind.FORGEJO: ForgeKind.GITHUB}
# Fields of GitHub, Gitea and Bitbucket Cloud, whose payloads do not name their event: who acted,
# and what was done, which alone is in events without a sender.
_ACTORS: Final = ("sender", "actor")
_ACTION: Final = "action"

_HEADERS: Final = tuple(each.headers for each in DIALECTS.values())
ID_HEADERS: Final = tuple(name for each in _HEADERS for name in each.ids)
SHARED_ID_HEADERS: Final = tuple(name for each in _HEADERS for name in each.shared_ids)
SECRET_HEADERS: Final = frozenset(name for each in _HEADERS for name in each.secrets)
# Header → the events in it that are pushes; two forges may use one header.
PUSH_EVENTS: Final = {
    header: frozenset(name for each in _HEADERS if each.event == header for name in each.pushes)
    for header in dict.fromkeys(each.event for each in _HEADERS)
}
# The most important first.
FORGE_HEADERS: Final = tuple(
    dict.fromkeys(
        (
            *(name for each in _HEADERS for name in each.signatures),
            *ID_HEADERS,
            *SHARED_ID_HEADERS,
            *PUSH_EVENTS,
        )
    )
)


def has_shape_of(kind: ForgeKind, payload: Payload) -> bool:
    """Return whether a host of this kind sends payloads like this one."""
    return _SHAPES.get(kind, kind) is payload.kind


def read_payload(document: Mapping[str, Any], *, is_push: bool = False) -> Payload | str:
    """Read a payload, recognized by its shape: the header that names the event is not signed.

    Args:
        document: The payload.
        is_push: Whether that header says that it is a push: then another event's shape is a fault.

    Returns:
        A `Payload`, or the reason why there is nothing to do for a well-formed event of another
        kind.

    Raises:
        Reject: It is not a known payload; the reason names the field and its value.
    """
    for kind in _BY_SHAPE:
        found = DIALECTS[kind].read(document)
        if found is not None:
            return found
    acted = any(isinstance(document.get(name), dict) for name in _ACTORS)
    if not is_push and (acted or isinstance(document.get(_ACTION), str)):
        return "an event of another kind is not a push"
    raise Reject("message is neither a CodeCommit event nor a push payload of a known host")
