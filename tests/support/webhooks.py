"""Webhooks of other forges as an API gateway puts them on the queue.

The payloads are the examples of the hosts' documentation with other names in them.
"""

import base64
import copy
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from asyncbuild.domain.model import Message
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.forges.webhooks.body_signature import sign_body
from asyncbuild.forges.webhooks.senders import Host, MessageReader, Signature

SENT = datetime(2026, 11, 1, 10, 23, 50, tzinfo=UTC)
SIGNING_TOKEN = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
SECRET = "It's a Secret to Everybody"
ZEROS = "0" * 40
DELIVERY = "72d3162e-cc78-11e3-81ab-4c9367dc0958"

_FIXTURES = Path(__file__).parents[1] / "fixtures" / "webhooks"
_PAYLOADS = {kind: orjson.loads((_FIXTURES / f"{kind}.json").read_bytes()) for kind in ForgeKind}
_NAMES = {
    ForgeKind.GITHUB: "github.com",
    ForgeKind.GITLAB: "gitlab.com",
    ForgeKind.BITBUCKET: "bitbucket.org",
    ForgeKind.BITBUCKET_SERVER: "git.acme.example",
    ForgeKind.GITEA: "gitea.example.com",
    ForgeKind.FORGEJO: "forgejo.example.com",
    ForgeKind.AZURE_DEVOPS: "dev.azure.com",
}
_EVENTS = {
    ForgeKind.GITHUB: {"X-GitHub-Event": "push", "X-GitHub-Delivery": DELIVERY},
    ForgeKind.GITLAB: {"X-Gitlab-Event": "Push Hook", "Idempotency-Key": DELIVERY},
    ForgeKind.BITBUCKET: {"X-Event-Key": "repo:push", "X-Request-UUID": DELIVERY},
    ForgeKind.BITBUCKET_SERVER: {"X-Event-Key": "repo:refs_changed", "X-Request-Id": DELIVERY},
    ForgeKind.GITEA: {
        "X-Gitea-Event": "push",
        "X-Gitea-Delivery": DELIVERY,
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": DELIVERY,
    },
    ForgeKind.FORGEJO: {
        "X-Forgejo-Event": "push",
        "X-Forgejo-Delivery": DELIVERY,
        "X-Gitea-Event": "push",
        "X-Gitea-Delivery": DELIVERY,
    },
    ForgeKind.AZURE_DEVOPS: {"Service-Hook": "azure-devops"},  # of the gateway
}

_SIGNATURES = {
    ForgeKind.GITHUB: "X-Hub-Signature-256",
    ForgeKind.GITLAB: "X-Gitlab-Token",
    ForgeKind.BITBUCKET: "X-Hub-Signature",
    ForgeKind.BITBUCKET_SERVER: "X-Hub-Signature",
    ForgeKind.GITEA: "X-Gitea-Signature",
    ForgeKind.FORGEJO: "X-Forgejo-Signature",
    ForgeKind.AZURE_DEVOPS: "Authorization",
}


def payload(kind: ForgeKind) -> dict[str, Any]:
    """Return a push to one branch."""
    made: dict[str, Any] = copy.deepcopy(_PAYLOADS[kind])
    return made


def hosts(
    *, secrets: tuple[str, ...] = (SECRET,), signature: Signature = Signature.REQUIRED
) -> MessageReader:
    """Return one host of each kind."""
    return MessageReader(
        [
            Host(name, kind, signature=signature, secrets=lambda: secrets)
            for kind, name in _NAMES.items()
        ]
    )


def headers(kind: ForgeKind, body: bytes, *, secret: str | None = SECRET) -> dict[str, str]:
    """Return the headers that the host sends, signed if there is a secret."""
    if secret is None:
        return _EVENTS[kind]
    match kind:
        case ForgeKind.GITLAB:
            made = secret
        case ForgeKind.AZURE_DEVOPS:
            made = f"Basic {base64.b64encode(f'hooks:{secret}'.encode()).decode()}"
        case ForgeKind.GITEA | ForgeKind.FORGEJO:
            made = sign_body(secret, body).removeprefix("sha256=")
        case _:
            made = sign_body(secret, body)
    return {**_EVENTS[kind], _SIGNATURES[kind]: made}


def signed_headers(
    body: bytes, token: str = SIGNING_TOKEN, *, late_seconds: int = 0
) -> dict[str, str]:
    """Return the headers of GitLab with a signing token, so long before the message is sent."""
    stamp = str(int(SENT.timestamp()) - late_seconds)
    key = base64.b64decode(token.removeprefix("whsec_"))
    text = f"{DELIVERY}.{stamp}.".encode() + body
    made = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    return {
        **_EVENTS[ForgeKind.GITLAB],
        "Webhook-Id": DELIVERY,
        "Webhook-Timestamp": stamp,
        "Webhook-Signature": f"v1a,x v1,AAAA v1,{made}",
    }


def message(body: bytes | str, attributes: Mapping[str, str] | None = None) -> Message:
    """Return a message as it is received."""
    text = body if isinstance(body, str) else body.decode("utf-8", "surrogateescape")
    return Message("m-1", text, "handle", "group", 1, sent=SENT, attributes=attributes or {})


def delivered(kind: ForgeKind, document: object, *, secret: str | None = SECRET) -> Message:
    """Return the raw form: the body unchanged, headers as attributes."""
    body = orjson.dumps(document)
    return message(body, headers(kind, body, secret=secret))


def enveloped(kind: ForgeKind, document: object, *, encoded: bool = False) -> Message:
    """Return the form of a proxy integration."""
    body = orjson.dumps(document)
    event = {
        "version": "2.0",
        "routeKey": "POST /webhook",
        "headers": {name.lower(): value for name, value in headers(kind, body).items()},
        "body": base64.b64encode(body).decode() if encoded else body.decode(),
        "isBase64Encoded": encoded,
    }
    return message(orjson.dumps(event))
