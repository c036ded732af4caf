"""Table `[[hosts]]`: hosts other than CodeCommit. It names secrets and never contains one."""

import re
from string import Formatter
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator, model_validator

from asyncbuild.config.secrets import SecretReference
from asyncbuild.config.sections import Section, Texts
from asyncbuild.domain.reports.status_wording import check_context

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[1-9][0-9]{0,4})?")
_FIELDS = frozenset({"host", "owner", "repository"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SECRET_FIELDS = frozenset({"token", "ssh_key", "webhook_secret", "app_private_key"})


class CommitStatusSettings(Section):
    """Table `[hosts.commit_status]`: who posts commit statuses to this host, and how."""

    token: SecretReference | None = None
    user: str = ""
    app_id: str = ""
    app_private_key: SecretReference | None = None
    api_url: str = ""
    context: str = "asyncbuild/{project}"
    skipped: Literal["success", "none"] = "success"
    reasons: bool = False
    requests_per_hour: int = Field(default=4_000, ge=1, le=1_000_000)

    @field_validator("context")
    @classmethod
    def _is_context(cls, template: str) -> str:
        check_context(template)
        return template

    @field_validator("api_url")
    @classmethod
    def _is_api(cls, url: str) -> str:
        parts = urlsplit(url)
        secure = parts.scheme == "https" or parts.hostname in _LOOPBACK
        if (url and not (secure and parts.hostname)) or parts.username or parts.query:
            msg = 'write the address of the API, such as "https://api.github.com"'
            raise ValueError(msg)
        return url.rstrip("/")

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if bool(self.app_id) != bool(self.app_private_key):
            msg = "app_id and app_private_key belong together: a GitHub App has both"
            raise ValueError(msg)
        if bool(self.token) == bool(self.app_id):
            msg = "set either token, or app_id and app_private_key"
            raise ValueError(msg)
        return self


class HostSettings(Section):
    """Entry of `[[hosts]]`: a host that sends webhooks to the queue, and how to fetch from it."""

    host: str
    kind: Literal[
        "github", "gitlab", "bitbucket", "bitbucket-server", "gitea", "forgejo", "azure-devops"
    ]
    repository: Texts = ("*",)
    remote: str = ""
    user: str = ""
    token: SecretReference | None = None
    ssh_key: SecretReference | None = None
    known_hosts: Texts = ()
    webhook_secret: SecretReference | None = None
    commit_status: CommitStatusSettings | None = None
    signature: Literal["required", "if-present", "off"] = Field(
        default="required", validate_default=True
    )

    @field_validator("host")
    @classmethod
    def _is_host(cls, host: str) -> str:
        name = host.lower()
        if not _HOST.fullmatch(name) or ".." in name or re.fullmatch(r"\d{12}", name):
            msg = 'write the host of the repositories\' web pages, such as "github.com"'
            raise ValueError(msg)
        return name

    @field_validator("user")
    @classmethod
    def _is_user(cls, user: str) -> str:
        if not user.isprintable() or ":" in user:
            msg = "a user name has no colon and no control characters (RFC 7617)"
            raise ValueError(msg)
        return user

    @field_validator("known_hosts")
    @classmethod
    def _are_lines(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"[^\s#@]\S* \S+ \S+( [^\r\n]*)?", line) for line in lines):
            msg = 'write lines of known_hosts, such as "github.com ssh-ed25519 AAAA…"'
            raise ValueError(msg)
        return lines

    @field_validator("signature")
    @classmethod
    def _can_be_checked(cls, signature: str, given: ValidationInfo) -> str:
        if signature != "off" and given.data.get("webhook_secret", "") is None:
            msg = (
                'needs webhook_secret; "off" trusts anyone who can send to the queue, '
                "and the gateway that lets webhooks in is one of those"
            )
            raise ValueError(msg)
        return signature

    @model_validator(mode="after")
    def _way_in(self) -> Self:
        remote_fault = _remote_fault(self) if self.remote else ""
        found = (remote_fault, self._login_fault(), self._status_fault())
        faults = [fault for fault in found if fault]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _login_fault(self) -> str:
        usual = "ssh" if self.ssh_key else "https"
        scheme = urlsplit(self.remote).scheme if self.remote else usual
        if self.token and self.ssh_key:
            return "token and ssh_key exclude each other; keep one"
        if self.token and scheme == "ssh":
            return "a token needs a remote with https://; for ssh:// set ssh_key"
        if self.ssh_key and scheme != "ssh":
            return "ssh_key needs a remote with ssh://; for https:// set token"
        if self.ssh_key and not self.known_hosts:
            return "ssh_key needs known_hosts: without the host's key anybody could be the host"
        return ""

    def _status_fault(self) -> str:
        wanted = self.commit_status
        if wanted is None:
            return ""
        if wanted.app_id and self.kind != "github":
            return f"commit_status.app_id is a GitHub App's; for {self.kind} set its token"
        if wanted.user and self.kind != "bitbucket":
            return f"commit_status.user is for Bitbucket Cloud; {self.kind} takes a token alone"
        return ""


def _remote_fault(host: HostSettings) -> str:
    """Return the fault of the setting `remote`, without its value, which may contain a password."""
    try:
        fields = {name for _, name, _, _ in Formatter().parse(host.remote) if name}
        url = host.remote.format(host=host.host, owner="o", repository="r")
        parts = urlsplit(url)
        place = parts.hostname
    except (ValueError, KeyError, IndexError):
        return "remote is not a URL with {host}, {owner} and {repository}"
    if not fields <= _FIELDS or "{" in parts.netloc or parts.query or parts.fragment or not place:
        return "remote is not a URL with {host}, {owner} and {repository}"
    if not {"owner", "repository"} <= fields and "*" in "".join(host.repository):
        return "remote lacks {owner} or {repository}: all repositories would be fetched from one"
    if parts.password is not None or (parts.username and parts.scheme != "ssh"):
        return "remote holds a login; put the name into user, and set token"
    if parts.scheme == "http" and place not in _LOOPBACK:
        return "remote with http:// would send the token in the clear; use https://"
    return (
        "" if parts.scheme in {"http", "https", "ssh"} else "remote begins with no https://, ssh://"
    )
