"""Forges whose webhooks are read, and tables made from all of them. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.forges.webhooks.bitbucket_server_webhook import BitbucketServerWebhook
from asyncbuild.forges.webhooks.bitbucket_webhook import BitbucketWebhook
from asyncbuild.forges.webhooks.dialect import Payload, WebhookDialect
from asyncbuild.forges.webhooks.github_webhook import GitHubWebhook
from asyncbuild.forges.webhooks.gitlab_webhook import GitLabWebhook

DIALECTS: Final[Mapping[ForgeKind, WebhookDialect]] = {
    ForgeKind.GITHUB: GitHubWebhook(),
    ForgeKind.GITLAB: GitLabWebhook(),
    ForgeKind.BITBUCKET: BitbucketWebhook(),
    ForgeKind.BITBUCKET_SERVER: BitbucketServerWebhook(),
}
# GitHub's shape comes last: payloads of others have its fields, too.
_BY_SHAPE: Final = (
    ForgeKind.GITLAB,
    ForgeKind.BITBUCKET,
    ForgeKind.BITBUCKET_SERVER,
    ForgeKind.GITHUB,
)

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


def read_payload(document: Mapping[str, Any]) -> Payload | str:
    """Read a payload, recognized by its shape: the header that names the event is not signed.

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
    raise Reject("message is neither a CodeCommit event nor a push payload of a known host")
