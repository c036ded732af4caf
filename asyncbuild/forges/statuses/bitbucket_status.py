"""Build statuses of commits on Bitbucket Cloud.

REST API, "Commit statuses", "Create a build status for a commit": a status is created or replaced
by its key, which has at most 40 characters; its URL is required.
"""

import base64
import hashlib
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

import aiohttp

from asyncbuild.domain.reports.commit_status import CommitStatus, StatusState
from asyncbuild.forges.statuses.poster_protocol import StatusPlace
from asyncbuild.forges.statuses.status_http import post_json

_KEY_MOST: Final = 40
_STATES: Final = {
    StatusState.PENDING: "INPROGRESS",
    StatusState.SUCCESS: "SUCCESSFUL",
    StatusState.FAILURE: "FAILED",
    StatusState.ERROR: "STOPPED",
}


class BitbucketStatuses:
    """Poster of statuses on Bitbucket Cloud.

    Args:
        session: Connections.
        api_url: Address of the API, without a slash at its end.
        token: Returns the token, with the scope to write to the repository.
        user: User of an API token; empty for an access token of a repository or workspace.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        api_url: str,
        token: Callable[[], str],
        *,
        user: str = "",
    ) -> None:
        self._session = session
        self._api_url = api_url
        self._token = token
        self._user = user

    async def post(self, place: StatusPlace, status: CommitStatus) -> None:
        """Post a status, as `StatusPoster.post`."""
        repository = place.repository
        path = f"{quote(repository.owner, safe='')}/{quote(repository.name, safe='')}"
        page = f"https://{repository.forge}/{repository.full_name}/commits/{place.commit}"
        await post_json(
            self._session,
            f"{self._api_url}/repositories/{path}/commit/{place.commit}/statuses/build",
            {
                "key": key_of(status.context),
                "state": _STATES[status.state],
                "name": status.context,
                "description": status.description,
                "url": status.target_url or page,
                "refname": place.ref.split("/", 2)[2],
            },
            headers={"Authorization": authorization(self._token(), self._user)},
            doing=place.doing,
        )


def key_of(context: str) -> str:
    """Return the key of a context: itself, or a beginning and a digest of a long one."""
    if len(context) <= _KEY_MOST:
        return context
    digest = hashlib.sha256(context.encode()).hexdigest()[:12]
    return f"{context[: _KEY_MOST - 1 - len(digest)]}-{digest}"


def authorization(token: str, user: str) -> str:
    """Return the header for a token: Basic with a user, else Bearer (RFC 7617, RFC 6750)."""
    if user:
        return "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()
    return f"Bearer {token}"
