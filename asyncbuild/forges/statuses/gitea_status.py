"""Commit statuses of Gitea and Forgejo.

API, "repoCreateStatus": it takes GitHub's fields, and any number of statuses of one context.
"""

from collections.abc import Callable
from urllib.parse import quote

import aiohttp

from asyncbuild.domain.reports.commit_status import CommitStatus
from asyncbuild.forges.statuses.poster_protocol import StatusPlace
from asyncbuild.forges.statuses.status_http import post_json


class GiteaStatuses:
    """Poster of statuses on Gitea or Forgejo.

    Args:
        session: Connections.
        api_url: Address of the API, without a slash at its end.
        token: Returns the token: an access token with the scope `write:repository`.
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
        owner, name = quote(repository.owner, safe=""), quote(repository.name, safe="")
        await post_json(
            self._session,
            f"{self._api_url}/repos/{owner}/{name}/statuses/{place.commit}",
            {
                "state": status.state,
                "context": status.context,
                "description": status.description,
                "target_url": status.target_url,
            },
            headers={"Authorization": f"token {self._token()}"},
            doing=place.doing,
        )
