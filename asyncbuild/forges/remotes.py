"""Mapping of repositories to remotes (URL and access), and of URLs to repositories."""

import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from asyncbuild.aws.partitions import dns_suffix
from asyncbuild.config.sections import GitSettings
from asyncbuild.domain.errors import Reject, Retry
from asyncbuild.domain.git_names import check_repository
from asyncbuild.domain.reachable import Reach
from asyncbuild.domain.repository import CodeCommitNamespace, Repository, decode_repository
from asyncbuild.forges.addresses import (
    Address,
    mark,
    match,
    parse_address,
    show_url,
    split_scp,
)
from asyncbuild.forges.codecommit_login import AwsCredentials, codecommit_login
from asyncbuild.forges.codecommit_urls import REPOS, parse_codecommit, region_of_host
from asyncbuild.forges.git_remote import Remote, places_of
from asyncbuild.forges.origins import Origin

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

CredentialSource = Callable[[str, str], Awaitable[AwsCredentials]]
"""Function (account, region) → credentials that may pull there, not about to expire."""

_SCHEMES = frozenset({"file", "http", "https", "ssh"})
_HTTPS = 443
_FIELDS = {  # fields of git.remote, and the values they may have
    "account": r"[0-9]{12}",
    "region": r"[a-z0-9-]+",
    "dns_suffix": r"[a-z0-9.-]+",
    "repository": r"[^/]+",
}


class AccountKeys(Protocol):
    """AWS credentials by account; `aws.accounts.AccountCredentials` implements it."""

    async def get(self, account: str, region: str) -> "ReadOnlyCredentials":
        """Return credentials that may pull in `account`."""


def signing(accounts: AccountKeys) -> CredentialSource:
    """Return a source of AWS credentials, which sign logins, from those of each account."""

    async def get(account: str, region: str) -> AwsCredentials:
        found = await accounts.get(account, region)
        return AwsCredentials(found.access_key or "", found.secret_key or "", found.token)

    return get


class Places(Protocol):
    """Mapping of repositories to remotes, and of URLs to repositories."""

    def remote(self, repository: Repository) -> Remote:
        """Return the remote of a repository."""

    def find(self, url: str, beside: Repository) -> Repository:
        """Return the repository that a URL means if `beside` names it."""


class Remotes:
    """Mapping of repositories to remotes by the template `git.remote`.

    Args:
        settings: `[git]`.
        credentials: Source of AWS credentials; None where no remote needs any.
        origins: Access to a repository of other hosts; None for repositories of CodeCommit.
        hosted: Repository of other hosts at an address; None for other addresses.
        now: Clock for the times in signatures.
    """

    def __init__(
        self,
        settings: GitSettings,
        credentials: CredentialSource | None = None,
        *,
        origins: Callable[[Repository], Origin | None] = lambda _repository: None,
        hosted: Callable[[Address], Repository | None] = lambda _address: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._origins = origins
        self._hosted = hosted
        self._template = settings.remote
        self._signing = settings.credentials
        self._patience_seconds = settings.silence_timeout_seconds
        self._credentials = credentials
        self._now = now
        self._reach = Reach(settings.internal)

    def remote(self, repository: Repository) -> Remote:
        """Return the remote of a repository.

        Raises:
            Reject: A part of the repository's name cannot be a part of a URL.
        """
        check_repository(repository)
        origin = self._origins(repository)
        if origin is not None:
            url = origin.url
            reach = self._reach.trusting(*places_of(url), *places_of(f"https://{origin.host}"))
            return Remote(url, url, self._patience_seconds, origin.login, origin.ssh, reach)
        account, region, name = repository.segments
        needed = "{dns_suffix}" in self._template  # other hosts' repositories have no AWS region
        url = self._template.format(
            account=account,
            region=region,
            dns_suffix=dns_suffix(region) if needed else "",
            repository=quote(name),
        )
        return self.remote_of_url(url, account=account, region=region)

    def find(self, url: str, beside: Repository) -> Repository:
        """Return the repository that a URL means; it is fetched as that repository always is.

        So the URL itself, which anyone may have written, is never followed.

        Args:
            url: Absolute URL.
            beside: A repository that names the URL: its account and region apply where the URL
                names none.

        Raises:
            Reject: This service is not set up to fetch that repository.
        """
        address = parse_address(url)
        found = self._hosted(address) if address else None
        found = found or self._codecommit(url, address, beside)
        if found is None and address is not None:
            found = self._by_template(address, beside)
        if found is None:
            raise Reject(
                f"{show_url(url)} is not a repository that this service is set up to fetch",
                remedy="name a repository of the same account or of a host with a [[hosts]] entry, "
                "or add such an entry",
            )
        return check_repository(found)

    def _codecommit(
        self, url: str, address: Address | None, beside: Repository
    ) -> Repository | None:
        """Return a repository of CodeCommit, in the account of `beside`; None for other URLs."""
        region, name = parse_codecommit(url) or (None, "")
        if region is None and address and address.path.startswith(REPOS):
            region = region_of_host(address.host)
            name = address.path.removeprefix(REPOS)
        if region is None or not isinstance(beside.namespace, CodeCommitNamespace):
            return None
        there = beside.namespace
        return Repository.of_codecommit(there.account, region or there.region, name)

    def _by_template(self, address: Address, beside: Repository) -> Repository | None:
        """Return the repository for which `git.remote` yields this address, if there is one."""
        marked = self.remote_of_url(self._template.format(**mark(_FIELDS))).url
        found = match(parse_address(marked), address, _FIELDS)
        if not found:
            return None
        usual = beside.segments
        repository = decode_repository(
            found.get("account", usual.account),
            found.get("region", usual.region),
            found.get("repository", usual.name),
        )
        return None if self._origins(repository) else repository

    def knows(self, address: Address) -> bool:
        """Return whether the configuration names the server of an address."""
        beside = Repository.of_codecommit("0" * 12, "eu-west-1", "repository")
        return self._hosted(address) is not None or self._by_template(address, beside) is not None

    def remote_at(self, url: str, *, region: str | None = None) -> Remote:
        """Return the remote of any URL or path; repositories of `[[hosts]]` have a configured one.

        Args:
            url: URL, scp-like name or path.
            region: AWS region for signatures; None to read it from the URL.

        Raises:
            Reject: The URL is of another kind.
        """
        parts = urlsplit(url)
        address = parse_address(url)
        by_login = parts.scheme in {"http", "https"} and "@" in parts.netloc
        found = self._hosted(address) if address and not by_login else None
        if found is not None:
            return self.remote(found)
        if address is not None and split_scp(url):
            return Remote(url, url, reach=self._reach.trusting((address.host, _HTTPS)))
        return self.remote_of_url(url, region=region)

    def remote_of_url(self, url: str, *, account: str = "", region: str | None = None) -> Remote:
        """Return the remote of any URL or path.

        Args:
            url: URL or path.
            account: Account whose credentials are used; empty for the service's own.
            region: AWS region for signatures; None to read it from the URL.

        Raises:
            Reject: The URL is of another kind.
        """
        parts = urlsplit(url)
        if not parts.scheme and ":" not in url.split("/", 1)[0]:
            return Remote(str(Path(url).absolute()), url)
        if parts.scheme not in _SCHEMES:
            raise Reject(
                f"remote {url!a} is neither a path nor a URL of a known kind",
                remedy="use https://, ssh:// or file://",
            )
        userinfo, _, host = parts.netloc.rpartition("@")
        if parts.scheme == "ssh":
            return Remote(url, url, reach=self._reach.trusting(*places_of(url)))
        bare = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        login = self._login(bare, userinfo, account, region)
        reach = self._reach.trusting(*places_of(bare))
        return Remote(bare, bare, self._patience_seconds, login, reach=reach)

    def _login(
        self, url: str, userinfo: str, account: str, region: str | None
    ) -> Callable[[], Awaitable[str]] | None:
        if userinfo:
            return _fixed_login(userinfo)
        served = region_of_host(urlsplit(url).hostname or "")
        if self._signing == "codecommit" or (self._signing == "auto" and served):
            return self._codecommit_login(url, account, region or served or "")
        return None

    def _codecommit_login(
        self, url: str, account: str, region: str
    ) -> Callable[[], Awaitable[str]]:
        async def login() -> str:
            if self._credentials is None:
                raise Retry(f"{url} needs AWS credentials, and there are none")
            credentials = await self._credentials(account, region)
            parts = urlsplit(url)
            signed = codecommit_login(
                credentials,
                host=parts.hostname or "",
                path=parts.path,
                region=region,
                time=self._now(),
            )
            return signed.header()

        return login


def _fixed_login(userinfo: str) -> Callable[[], Awaitable[str]]:
    """Return a login that sends `user:password` of a configured URL in a header, not in the URL."""
    user, _, password = userinfo.partition(":")
    pair = f"{unquote(user)}:{unquote(password)}".encode()
    header = f"Authorization: Basic {base64.b64encode(pair).decode()}"

    async def login() -> str:
        return header

    return login
