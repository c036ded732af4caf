"""Commit statuses of GitHub and GitHub Enterprise Server, by a token or as a GitHub App.

REST API, "Commit statuses", "Create a commit status". Requests, tokens of installations and their
JWT are gidgethub's.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import gidgethub
import gidgethub.aiohttp
import gidgethub.apps
import jwt

from asyncbuild.domain.errors import ConfigError, Denied, Retry, reading
from asyncbuild.domain.foreign_text import plain
from asyncbuild.domain.reports.commit_status import CommitStatus
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.times import read_time
from asyncbuild.forges.statuses.poster_protocol import StatusPlace
from asyncbuild.forges.statuses.status_http import PEER, reaching, refusal

_REQUESTER: Final = "asyncbuild"
_EARLY_SECONDS: Final = 300.0  # before a token of an installation expires, another one is asked for


@dataclass(frozen=True, slots=True)
class GitHubCredential:
    """Credential of an entry of `[[hosts]]`: a token, or an App's id and its private key.

    Attributes:
        token: Returns the token; None for an App.
        app_id: Id of the App, or its client id; empty for a token.
        private_key: Returns the App's private key in PEM; None for a token.
    """

    token: Callable[[], str] | None = field(default=None, repr=False)
    app_id: str = ""
    private_key: Callable[[], str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class _InstallationToken:
    value: str = field(repr=False)
    expires_at: float  # epoch seconds


class GitHubStatuses:
    """Poster of statuses on GitHub.

    Args:
        session: Connections.
        api_url: Address of the API, without a slash at its end.
        credential: Token or App.
        clock: Clock in epoch seconds.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        api_url: str,
        credential: GitHubCredential,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api = _Api(session, _REQUESTER, base_url=api_url)
        self._credential = credential
        self._clock = clock
        self._installations: dict[str, _InstallationToken] = {}  # by owner

    async def post(self, place: StatusPlace, status: CommitStatus) -> None:
        """Post a status, as `StatusPoster.post`; a token that GitHub refuses is asked for again."""
        first = await self._token(place)
        try:
            await self._post(place, status, token=first)
        except Denied:
            if self._credential.token is not None:
                raise
            self._installations.pop(place.repository.owner, None)
            await self._post(place, status, token=await self._token(place))

    async def _post(self, place: StatusPlace, status: CommitStatus, *, token: str) -> None:
        body: dict[str, str] = {
            "state": status.state,
            "context": status.context,
            "description": status.description,
        }
        if status.target_url:
            body["target_url"] = status.target_url
        with _classified(place.doing):
            await self._api.post(
                "/repos/{owner}/{repo}/statuses/{sha}",
                _names(place.repository, sha=place.commit),
                data=body,
                oauth_token=token,
            )

    async def _token(self, place: StatusPlace) -> str:
        if self._credential.token is not None:
            return self._credential.token()
        owner = place.repository.owner
        known = self._installations.get(owner)
        if known is None or known.expires_at - _EARLY_SECONDS < self._clock():
            known = await self._ask_token(place.repository)
            self._installations[owner] = known
        return known.value

    async def _ask_token(self, repository: Repository) -> _InstallationToken:
        """Return a new token of the App's installation that has the repository.

        REST API, "Apps", "Get a repository installation for the authenticated app" and "Create an
        installation access token for an app": a token is valid for one hour.
        """
        doing = f"get a token of the GitHub App {self._credential.app_id} for {repository.owner}"
        app_id, key = self._credential.app_id, self._private_key()
        with _classified(doing):
            signed = gidgethub.apps.get_jwt(app_id=app_id, private_key=key)
            found = await self._api.getitem(
                "/repos/{owner}/{repo}/installation", _names(repository), jwt=signed
            )
            with reading(f"the installation of {repository.full_name}", raises=Retry, peer=PEER):
                installation = str(int(found["id"]))
            answer = await gidgethub.apps.get_installation_access_token(
                self._api, installation_id=installation, app_id=app_id, private_key=key
            )
        with reading(f"the token of installation {installation}", raises=Retry, peer=PEER):
            until = read_time(answer["expires_at"])
            if until is None or not isinstance(answer["token"], str):
                raise ValueError
            return _InstallationToken(answer["token"], until.timestamp())

    def _private_key(self) -> str:
        if self._credential.private_key is None:
            raise ConfigError(
                "[hosts.commit_status] names neither a token nor an App's private key"
            )
        return self._credential.private_key()


class _Api(gidgethub.aiohttp.GitHubAPI):
    """Client of gidgethub that follows no redirect."""

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, Mapping[str, str], bytes]:
        async with self._session.request(
            method, url, headers=headers, data=body, allow_redirects=False
        ) as answer:
            return answer.status, answer.headers, await answer.read()


@contextmanager
def _classified(doing: str) -> Iterator[None]:
    """Turn errors of gidgethub, PyJWT and aiohttp into errors of stages.

    Args:
        doing: What the requests are for, for people.
    """
    with reaching(doing):
        try:
            yield
        except gidgethub.HTTPException as error:
            raise refusal(doing, int(error.status_code), plain(str(error)), error.headers) from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise ConfigError(
                f"{doing}: the private key cannot be used",
                remedy="store the App's private key as GitHub gives it: a PEM file",
            ) from None


def _names(repository: Repository, **more: str) -> dict[str, str]:
    return {"owner": repository.owner, "repo": repository.name, **more}
