"""Webhooks of Bitbucket Cloud: payload of a push, and its signature. Pure.

Sources: Bitbucket Support, "Event payloads", repo:push, and "Manage webhooks", secure webhooks.
"""

from collections.abc import Mapping
from typing import Any

from asyncbuild.domain.errors import Reject, show
from asyncbuild.domain.refs import check_pushed_ref
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.forges.webhooks.body_signature import SignedBody
from asyncbuild.forges.webhooks.dialect import Payload, RefChange, WebhookHeaders
from asyncbuild.forges.webhooks.payload_fields import (
    find_pusher,
    read_changes,
    read_commit,
    read_host,
    read_object_field,
    read_text,
    split_full_name,
)

_PREFIXES = {
    "branch": "refs/heads/",
    "named_branch": "refs/heads/",
    "tag": "refs/tags/",
    "annotated_tag": "refs/tags/",
}


class BitbucketWebhook(SignedBody):
    """Dialect of Bitbucket Cloud."""

    header = "X-Hub-Signature"
    headers = WebhookHeaders(
        event="x-event-key",
        pushes=frozenset({"repo:push"}),
        ids=("x-request-uuid",),
        signatures=("x-hub-signature",),
    )

    def read(self, document: Mapping[str, Any]) -> Payload | str | None:
        """Read a payload; see `WebhookDialect`. A header alone tells the other events apart."""
        push = document.get("push")
        if not isinstance(push, dict):
            return None
        repository = read_object_field(document, "repository")
        owner, name = split_full_name(read_text(repository, "full_name"))
        html = read_object_field(read_object_field(repository, "links"), "html")
        return Payload(
            kind=ForgeKind.BITBUCKET,
            host=read_host(html, "href"),
            owner=owner,
            name=name,
            pusher=find_pusher(document.get("actor"), "nickname"),
            **read_changes(push, _read_change),
        )


def _read_change(change: Mapping[str, Any]) -> RefChange:
    refs: list[str] = []
    ids: list[str | None] = []
    for side in ("old", "new"):
        value = change.get(side)
        if value is None:
            ids.append(None)
            continue
        if not isinstance(value, dict):
            raise Reject(f"changes[].{side} is {show(value)}, not an object")
        kind, name = value.get("type"), value.get("name")
        if not isinstance(kind, str) or kind not in _PREFIXES or not isinstance(name, str):
            raise Reject(f"changes[].{side} has type {show(kind)} and name {show(name)}")
        refs.append(check_pushed_ref(_PREFIXES[kind] + name))
        ids.append(read_commit(read_object_field(value, "target"), "hash"))
    if not refs or refs[0] != refs[-1]:
        raise Reject(f"changes[] names the refs {show(refs)}, not one")
    old, new = ids
    return RefChange(refs[0], old, new)
