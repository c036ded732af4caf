"""Harmful values for every field of an event that a sender fills in."""

import json
from collections.abc import Iterator
from typing import Any

import orjson
from support.events import envelope
from support.webhooks import headers, message, payload

from asyncbuild.domain.model import Message
from asyncbuild.domain.repository import ForgeKind


def values(trap: str) -> list[str]:
    """Return values, all different; `trap` is a file that none of them may create."""
    return [
        # options and revisions
        *("-", "--", "-x", "--all", "--output=" + trap, f"--upload-pack=touch {trap}"),
        *(f"--exec=touch {trap}", f"-c core.fsmonitor=touch {trap}", "+main", "^main", "main~1"),
        *("main^{}", "@{u}", "main@{1}", "HEAD", "FETCH_HEAD", "main:other", ":", "*", "?", "[a]"),
        *("a..b", "a...b", "refs/heads/main", "refs/../../config", "a.lock", "a.lock/b", "@"),
        # paths
        *("", " ", ".", "..", "../..", f"../../../../..{trap}", trap, "/etc/passwd", "~", "~root"),
        *(".git", "a/../b", "a//b", "/a", "a/", "a\\b", "..\\..", "\\\\host\\share", "%2e%2e%2f"),
        *("..%2f..", "%00", "a.", ".a", "...", "a/.", "C:", "con", "hooks/post-update", "a.git"),
        # shells, templates and markup
        *(f"$(touch {trap})", f"`touch {trap}`", f"; touch {trap}", f"| touch {trap}", "$HOME"),
        *(f"&& touch {trap}", f"a\ntouch {trap}", "{0}", "{repository}", "{x.__class__}", "%s"),
        *("<script>", "'", '"', "'; DROP TABLE pushes; --", "${jndi:ldap://x}", "#{7*7}", "!!x"),
        # URLs and transports
        *(f"ext::sh -c touch% {trap}", "fd::17", "file:///etc", "https://evil.example/x.git"),
        *("git@evil.example:x", "user:pass@evil.example", "evil.example#", "evil.example?x", "@x"),
        *("http://[::1", "http://github.com@evil.example", "//evil.example/x", "javascript:x"),
        # control characters and Unicode
        *("a\x00b", "a\tb", "a\r\nb", "a\n", "\x1b[31m", "\x7f", "a\u2028b", "\ud800", "\ufeffa"),
        *("\u202ea", "a\u200bb", "\uff45xt::x", "\u2024\u2024/", "\u2215etc", "e\u0301", "\xe9"),
        *("\U0001f4a5", "\u0661" * 40, "\ufffe"),
        # lengths and other things that look like ids
        *("x" * 101, "x" * 300, "a/" * 60 + "a", "x" * 5_000, "x" * 100_000),
        *("0" * 40, "0" * 64, "g" * 40, "A" * 40, "1" * 39, "1" * 41, "1" * 40 + "\n", "1" * 63),
        *("-" + "1" * 39, "null", "true", "1e999", "1" * 40 + " --all"),
    ]


def messages(trap: str) -> Iterator[tuple[str, str, Message]]:
    """Yield field, value and message for every value in every field."""
    for value in values(trap):
        for field in ("repositoryName", "referenceFullName", "commitId", "oldCommitId"):
            yield field, value, _codecommit({field: value})
        yield (
            "referenceName",
            value,
            _codecommit(
                {"referenceFullName": None, "referenceName": value, "referenceType": "branch"}
            ),
        )
        for field in ("id", "account", "region", "time", "detail-type"):
            yield field, value, message(json.dumps(envelope() | {field: value}))
        for kind, paths in _PATHS.items():
            for name, path in paths.items():
                for text in _forms(name, value):
                    yield f"{kind} {name}", text, _webhook(kind, path, text)


def _forms(name: str, value: str) -> list[str]:
    """Return a value by itself, and as a part of well-formed text."""
    match name:
        case "ref":
            return [value, f"refs/heads/{value}"]
        case "path":
            return [f"{value}/web", f"acme/{value}"]
        case "page":
            return [value, f"https://{value}/acme/web"]
        case _:
            return [value]


_PATHS: dict[ForgeKind, dict[str, tuple[str | int, ...]]] = {
    ForgeKind.GITHUB: {
        "ref": ("ref",),
        "after": ("after",),
        "path": ("repository", "full_name"),
        "page": ("repository", "html_url"),
        "sender": ("sender", "login"),
    },
    ForgeKind.GITLAB: {
        "kind": ("object_kind",),
        "ref": ("ref",),
        "before": ("before",),
        "path": ("project", "path_with_namespace"),
        "page": ("project", "web_url"),
    },
    ForgeKind.BITBUCKET: {
        "type": ("push", "changes", 0, "new", "type"),
        "hash": ("push", "changes", 0, "new", "target", "hash"),
        "path": ("repository", "full_name"),
        "page": ("repository", "links", "html", "href"),
    },
    ForgeKind.BITBUCKET_SERVER: {
        "ref": ("changes", 0, "ref", "id"),
        "hash": ("changes", 0, "toHash"),
        "key": ("repository", "project", "key"),
        "slug": ("repository", "slug"),
    },
    ForgeKind.GITEA: {"path": ("repository", "full_name"), "sender": ("sender", "login")},
    ForgeKind.FORGEJO: {"ref": ("ref",), "page": ("repository", "html_url")},
    ForgeKind.AZURE_DEVOPS: {
        "kind": ("eventType",),
        "ref": ("resource", "refUpdates", 0, "name"),
        "hash": ("resource", "refUpdates", 0, "newObjectId"),
        "page": ("resource", "repository", "remoteUrl"),
        "sender": ("resource", "pushedBy", "uniqueName"),
        "id": ("id",),
    },
}


def _codecommit(detail: dict[str, Any]) -> Message:
    event = envelope()
    event["detail"] |= detail
    return message(json.dumps(event))


def _webhook(kind: ForgeKind, path: tuple[str | int, ...], value: str) -> Message:
    made: Any = payload(kind)
    place = made
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    try:
        body = orjson.dumps(made)
    except TypeError:  # a lone surrogate, which JSON can write as an escape
        body = json.dumps(made).encode()
    return message(body, headers(kind, body))
