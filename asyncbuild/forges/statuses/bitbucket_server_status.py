"""Build statuses of commits on Bitbucket Data Center, from version 7.4 on.

REST API, "Builds and deployments", "Store a build status": it is created or replaced by its key.
"""

from collections.abc import Callable
from typing import Final
from urllib.parse import quote

import aiohttp

from asyncbuild.domain.reports.commit_status import CommitStatus, StatusState
from asyncbuild.forges.statuses.poster_protocol import StatusPlace
from asyncbuild.forges.statuses.status_http import post_json

_STATES: Final = {
    StatusState.PENDING: "INPROGRESS",
    StatusState.SUCCESS: "SUCCESSFUL",
    StatusState.FAILURE: "FAILED",
    StatusState.ERROR: "CANCELLED",
}


_URL_MOST: Final = 450  # REST API, "Store a build status", 400: a longer one is refused


class BitbucketServerStatuses:
    """Poster of statuses on Bitbucket Data Center.

    Args:
        session: Connections.
        api_url: Address of the API, without a slash at its end.
        token: Returns the token: an HTTP access token that may write to the repository.
    """

    def __init__(
        self, session: aiohttp.ClientSession, api_url: str, token: Callable[[], str]
    ) -> None:
        self._session = session
        self._api_url = api_url
        self._token = token

    async def post(self, place: StatusPlace, status: CommitStatus) -> None:
        """Post a status, as `StatusPoster.post`."""
        repository = place.repository
        project, name = quote(repository.owner, safe=""), quote(repository.name, safe="")
        page = f"https://{repository.forge}/projects/{project}/repos/{name}/commits/{place.commit}"
        await post_json(
            self._session,
            f"{self._api_url}/projects/{project}/repos/{name}/commits/{place.commit}/builds",
            {
                "key": status.context,
                "state": _STATES[status.state],
                "name": status.context,
                "description": status.description,
                "url": status.target_url if 0 < len(status.target_url) <= _URL_MOST else page,
                "ref": place.ref,
            },
            headers={"Authorization": f"Bearer {self._token()}"},
            doing=place.doing,
        )
