"""Webhooks of GitHub: payload of a push, and its signature. Pure.

Sources: GitHub Docs, "Webhook events and payloads", push, and "Validating webhook deliveries".
"""

from collections.abc import Mapping
from typing import Any

from asyncbuild.domain.refs import check_pushed_ref
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.forges.webhooks.body_signature import SignedBody
from asyncbuild.forges.webhooks.dialect import Payload, RefChange, WebhookHeaders
from asyncbuild.forges.webhooks.payload_fields import (
    find_pusher,
    find_unix_time,
    read_commit,
    read_host,
    read_object_field,
    read_text,
    split_full_name,
)


class GitHubWebhook(SignedBody):
    """Dialect of GitHub."""

    header = "X-Hub-Signature-256"
    headers = WebhookHeaders(
        event="x-github-event",
        pushes=frozenset({"push"}),
        ids=("x-github-delivery",),
        signatures=("x-hub-signature-256",),
    )

    def read(self, document: Mapping[str, Any]) -> Payload | str | None:
        """Read a payload; see `WebhookDialect`. Payloads of GitLab have this shape, too.

        `cache_sync` of GitHub Enterprise Server has it as well, but names neither pusher nor
        commits.
        """
        known = document.keys()
        if {"ref", "after", "repository"} <= known and {"pusher", "commits"} & known:
            return _read_push(document)
        return "the host tried out its webhook" if "zen" in document else None


def _read_push(document: Mapping[str, Any]) -> Payload:
    repository = read_object_field(document, "repository")
    owner, name = split_full_name(read_text(repository, "full_name"))
    old, new = read_commit(document, "before"), read_commit(document, "after")
    sender, pusher = document.get("sender"), document.get("pusher")
    return Payload(
        kind=ForgeKind.GITHUB,
        host=read_host(repository, "html_url"),
        owner=owner,
        name=name,
        changes=(RefChange(check_pushed_ref(document["ref"]), old, new),),
        pusher=find_pusher(sender, "login") or find_pusher(pusher, "name"),
        time=find_unix_time(repository.get("pushed_at")),
    )
