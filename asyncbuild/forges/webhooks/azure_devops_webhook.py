"""Service hooks of Azure DevOps: payload of a push, and the password that comes with it. Pure.

They are not signed: the secret is the password of HTTP basic authentication, with any user name.
Sources: Azure DevOps, "Service hooks events", Code pushed, and "Webhooks with Azure DevOps".
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from asyncbuild.domain.errors import Reject, show
from asyncbuild.domain.refs import PUSHED, check_pushed_ref
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.forges.webhooks.body_signature import is_any_equal
from asyncbuild.forges.webhooks.dialect import Delivery, Payload, RefChange, WebhookHeaders
from asyncbuild.forges.webhooks.payload_fields import (
    check_spaced_name,
    check_spaced_owner,
    find_iso_time,
    find_pusher,
    read_changes,
    read_commit,
    read_host,
    read_object_field,
    read_text,
)

_AUTHORIZATION: Final = "Authorization"
_PUSH: Final = "git.push"
_SERVICE: Final = "tfs"  # `publisherId` of events about code
_BETWEEN: Final = "/_git/"  # between project and repository in a URL


class AzureDevOpsWebhook:
    """Dialect of Azure DevOps. Each payload names its event; the only header is the gateway's."""

    headers = WebhookHeaders(
        event="service-hook",
        pushes=frozenset({"azure-devops"}),
        ids=(),
        signatures=(_AUTHORIZATION.lower(),),
        secrets=frozenset({_AUTHORIZATION.lower()}),
    )

    def signature_header(self, _delivery: Delivery) -> str:
        """Return the header's name; see `WebhookDialect`."""
        return _AUTHORIZATION

    def is_genuine(self, delivery: Delivery, secrets: Sequence[str]) -> bool:
        """Return whether one of the secrets is the password; see `WebhookDialect`."""
        told = _password(delivery.headers.get(_AUTHORIZATION.lower(), ""))
        return is_any_equal([told] if told else [], [each for each in secrets if each])

    def is_fresh(self, _delivery: Delivery) -> bool:
        """Return True, because nothing is signed."""
        return True

    def read(self, document: Mapping[str, Any]) -> Payload | str | None:
        """Read a payload; see `WebhookDialect`."""
        event = document.get("eventType")
        if not isinstance(event, str) or "publisherId" not in document:
            return None
        if event != _PUSH or document.get("publisherId") != _SERVICE:
            return f"event {show(event)} is not a push"
        return _read_push(document)


def _password(header: str) -> str:
    """Return the password of basic authentication (RFC 7617); empty if there is none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return pair.partition(":")[2]


def _read_push(document: Mapping[str, Any]) -> Payload:
    push = read_object_field(document, "resource")
    repository = read_object_field(push, "repository")
    owner, name = _place(repository)
    identity = document.get("id")
    return Payload(
        kind=ForgeKind.AZURE_DEVOPS,
        host=read_host(repository, "remoteUrl"),
        owner=check_spaced_owner(owner),
        name=check_spaced_name(name),
        pusher=find_pusher(push.get("pushedBy"), "uniqueName"),
        time=find_iso_time(push.get("date")),
        identity=identity if isinstance(identity, str) else "",
        **read_changes({"changes": push.get("refUpdates")}, _read_change),
    )


def _place(repository: Mapping[str, Any]) -> tuple[str, str]:
    """Return owner and name: what the URL has before and after `/_git/`.

    The owner is organization and project; a project's main repository has the organization alone.
    """
    url = read_text(repository, "remoteUrl")
    try:
        path = urlsplit(url).path
    except ValueError:
        path = ""
    owner, between, name = unquote(path).rpartition(_BETWEEN)
    if not between:
        raise Reject(f"remoteUrl is {show(url)}, which has no {_BETWEEN}")
    return owner.strip("/"), name


def _read_change(change: Mapping[str, Any]) -> RefChange | str:
    ref = change.get("name")
    if isinstance(ref, str) and ref.startswith("refs/") and not ref.startswith(PUSHED):
        return show(ref)
    old, new = read_commit(change, "oldObjectId"), read_commit(change, "newObjectId")
    return RefChange(check_pushed_ref(ref), old, new)
