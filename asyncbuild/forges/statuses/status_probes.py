"""Questions to forges about the credentials that post commit statuses. They write nothing."""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from asyncbuild.config.hosts import CommitStatusSettings, HostSettings
from asyncbuild.domain.errors import ConfigError, Denied, Reject, Retry, reading
from asyncbuild.domain.reports.credential_facts import AppInstallation, CredentialFacts
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.domain.times import read_time
from asyncbuild.forges.statuses.azure_devops_status import basic_authorization, statuses_path
from asyncbuild.forges.statuses.bitbucket_status import authorization
from asyncbuild.forges.statuses.status_http import PEER, ForgeReply, get_json
from asyncbuild.forges.statuses.status_posters import api_url_of

_FORBIDDEN: Final = "403"
_NOT_FOUND: Final = "404"
_NO_REPOSITORY: Final = "00000000-0000-0000-0000-000000000000"
_NO_COMMIT: Final = "0" * 40
_WILD: Final = re.compile(r"[*?\[!]")
_GITHUB: Final = {"Accept": "application/vnd.github+json"}


async def ask_about(  # noqa: PLR0911 - one for each forge
    session: aiohttp.ClientSession,
    host: HostSettings,
    wanted: CommitStatusSettings,
    secret: str,
) -> CredentialFacts:
    """Ask a forge about the credential in `[hosts.commit_status]`.

    Args:
        session: The connections.
        host: The entry.
        wanted: That table of it.
        secret: The token, or the private key of the App.

    Raises:
        ConfigError: The private key cannot be used.
        StageError: The forge refuses, or cannot be reached, as `StatusPoster.post`.
    """
    url, doing = api_url_of(host), f"try the credential for commit statuses at {api_url_of(host)}"
    match ForgeKind(host.kind):
        case ForgeKind.GITHUB if wanted.app_id:
            return await _ask_app(session, url, app_id=wanted.app_id, key=secret)
        case ForgeKind.GITHUB:
            return await _ask_github(session, url, secret, doing)
        case ForgeKind.GITLAB:
            path = f"{url}/personal_access_tokens/self"
            headers = {"PRIVATE-TOKEN": secret}
            return _of_gitlab(await get_json(session, path, headers=headers, doing=doing), doing)
        case ForgeKind.BITBUCKET:
            login = authorization(secret, wanted.user)
            return await _ask_bitbucket(session, url, login, doing)
        case ForgeKind.BITBUCKET_SERVER:
            headers = {"Authorization": f"Bearer {secret}"}
            await get_json(session, f"{url}/repos?limit=1", headers=headers, doing=doing)
        case ForgeKind.GITEA | ForgeKind.FORGEJO:
            return await _ask_gitea(session, url, secret, doing)
        case ForgeKind.AZURE_DEVOPS:
            return await _ask_azure_devops(session, host, secret, doing)
    return CredentialFacts()


async def _ask_github(
    session: aiohttp.ClientSession, url: str, token: str, doing: str
) -> CredentialFacts:
    headers = {**_GITHUB, "Authorization": f"Bearer {token}"}
    facts = _by_header(await get_json(session, f"{url}/rate_limit", headers=headers, doing=doing))
    # Of a fine-grained token GitHub names no scopes, of a classic one perhaps none.
    return facts if facts.scopes or token.startswith("ghp_") else CredentialFacts()


async def _ask_bitbucket(
    session: aiohttp.ClientSession, url: str, login: str, doing: str
) -> CredentialFacts:
    headers = {"Authorization": login}
    try:
        return _by_header(await get_json(session, f"{url}/user", headers=headers, doing=doing))
    except Denied as error:
        if error.code != _FORBIDDEN:
            raise
        return CredentialFacts()  # it is valid, and may not read its own account


async def _ask_gitea(
    session: aiohttp.ClientSession, url: str, token: str, doing: str
) -> CredentialFacts:
    """Ask what needs a token, then what needs its scope for repositories.

    Gitea's source, routers/api/v1/api.go: `/user/repos` wants the scopes for users and for
    repositories, and `/repos/search` the latter alone, or no token at all.
    """
    headers = {"Authorization": f"token {token}"}
    try:
        await get_json(session, f"{url}/user/repos?limit=1", headers=headers, doing=doing)
    except Denied as error:
        if error.code != _FORBIDDEN:
            raise
        await get_json(session, f"{url}/repos/search?limit=1", headers=headers, doing=doing)
    return CredentialFacts()


async def _ask_azure_devops(
    session: aiohttp.ClientSession, host: HostSettings, secret: str, doing: str
) -> CredentialFacts:
    """Ask for statuses in an organization that the entry names; if it names none, ask nothing.

    REST API, "Statuses - List", needs the scope "Code (status)" and no more, but for a repository
    and a commit: there are none with these ids, which is told to those alone who may ask.
    """
    organization = host.repository[0].partition("/")[0]
    if _WILD.search(organization):
        return CredentialFacts(is_tried=False)
    repository = f"{quote(organization)}/_apis/git/repositories/{_NO_REPOSITORY}"
    url = f"{api_url_of(host)}/{statuses_path(repository, _NO_COMMIT)}"
    headers = {"Authorization": basic_authorization(secret)}
    try:
        await get_json(session, url, headers=headers, doing=doing)
    except Reject as error:
        if error.code != _NOT_FOUND or error.reason.endswith(_NOT_FOUND):  # or a page, not JSON
            raise
    return CredentialFacts()


def _by_header(reply: ForgeReply) -> CredentialFacts:
    """Return the scopes that GitHub and Bitbucket Cloud name in a header of each answer.

    GitHub, "Scopes for OAuth apps": `X-OAuth-Scopes`; of a fine-grained token it is missing.
    """
    told = reply.headers.get("x-oauth-scopes")
    if told is None:
        return CredentialFacts()
    return CredentialFacts(tuple(each.strip() for each in told.split(",") if each.strip()))


def _of_gitlab(reply: ForgeReply, doing: str) -> CredentialFacts:
    """Return what GitLab tells ("Personal access tokens API", own token), of any kind of token."""
    with reading(doing, raises=Retry, peer=PEER):
        until = reply.document["expires_at"]
        return CredentialFacts(
            tuple(str(each) for each in reply.document["scopes"]),
            # A day: the token ends at its beginning, in UTC.
            read_time(f"{until}T00:00:00Z") if until else None,
        )


async def _ask_app(
    session: aiohttp.ClientSession, url: str, *, app_id: str, key: str
) -> CredentialFacts:
    """Ask for the App and its installations ("Apps", "Get the authenticated app")."""
    # They bring cryptography: only those who post to GitHub load it.
    import gidgethub.apps  # noqa: PLC0415 - see above
    import jwt  # noqa: PLC0415 - see above

    doing = f"try the GitHub App {app_id} at {url}"
    try:
        signed = gidgethub.apps.get_jwt(app_id=app_id, private_key=key)
    except (jwt.PyJWTError, ValueError, TypeError):
        raise ConfigError(
            f"{doing}: the private key cannot be used",
            remedy="store the App's private key as GitHub gives it: a PEM file",
        ) from None
    headers = {**_GITHUB, "Authorization": f"Bearer {signed}"}
    app = await get_json(session, f"{url}/app", headers=headers, doing=doing)
    path = f"{url}/app/installations?per_page=100"
    found = await get_json(session, path, headers=headers, doing=doing)
    with reading(doing, raises=Retry, peer=PEER):
        return CredentialFacts(
            permission=_permission(app.document),
            installations=tuple(
                AppInstallation(
                    account=str((each.get("account") or {}).get("login", "?")),
                    statuses=_permission(each),
                    suspended=each.get("suspended_at") is not None,
                )
                for each in found.document
            ),
        )


def _permission(document: Mapping[str, Any]) -> str:
    return str(document["permissions"].get("statuses", ""))
