"""Commit statuses of Azure DevOps Services and Azure DevOps Server.

REST API 6.0, "Statuses - Create": a status has a context of a name and a genre, and the newest of
one context counts. Version 6.0 is that of Azure DevOps Server 2020; later ones take it, too.
"""

import base64
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

import aiohttp

from asyncbuild.domain.reports.commit_status import CommitStatus, StatusState
from asyncbuild.domain.repository import Repository
from asyncbuild.forges.statuses.poster_protocol import StatusPlace
from asyncbuild.forges.statuses.status_http import post_json

API_VERSION: Final = "6.0"
_STATES: Final = {
    StatusState.PENDING: "pending",
    StatusState.SUCCESS: "succeeded",
    StatusState.FAILURE: "failed",
    StatusState.ERROR: "error",
}


class AzureDevOpsStatuses:
    """Poster of statuses on Azure DevOps.

    Args:
        session: Connections.
        api_url: Address of the API, without a slash at its end: what precedes the organization.
        token: Returns the token: a personal access token with the scope "Code (status)".
    """

    def __init__(
        self, session: aiohttp.ClientSession, api_url: str, token: Callable[[], str]
    ) -> None:
        self._session = session
        self._api_url = api_url
        self._token = token

    async def post(self, place: StatusPlace, status: CommitStatus) -> None:
        """Post a status, as `StatusPoster.post`."""
        repository = _repository_path(place.repository)
        genre, _, name = status.context.rpartition("/")
        body: dict[str, object] = {
            "state": _STATES[status.state],
            "description": status.description,
            "context": {"name": name, "genre": genre},
        }
        if status.target_url:
            body["targetUrl"] = status.target_url
        await post_json(
            self._session,
            f"{self._api_url}/{statuses_path(repository, place.commit)}",
            body,
            headers={"Authorization": basic_authorization(self._token())},
            doing=place.doing,
        )


def statuses_path(repository: str, commit: str) -> str:
    """Return the path of a commit's statuses, with the version of the API.

    Args:
        repository: Path of the repository.
        commit: Id of the commit.
    """
    return f"{repository}/commits/{commit}/statuses?api-version={API_VERSION}"


def basic_authorization(token: str) -> str:
    """Return the header for a personal access token, which needs no user name."""
    return f"Basic {base64.b64encode(f':{token}'.encode()).decode()}"


def _repository_path(repository: Repository) -> str:
    """Return the path of a repository: the main one of a project has the project's name."""
    organization, _, project = repository.owner.partition("/")
    parts = (organization, project or repository.name)
    name = quote(repository.name, safe="")
    return f"{'/'.join(quote(each) for each in parts)}/_apis/git/repositories/{name}"
