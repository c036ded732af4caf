"""Commit statuses of GitLab.

REST API, "Commits API", "Set the pipeline status of a commit". GitLab keeps a status as a job of an
external pipeline, which has states and transitions of its own. After an end it begins another job,
so any state can follow (GitLab's source, `app/services/ci/create_commit_status_service.rb`).
"""

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

import aiohttp

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.reports.commit_status import CommitStatus, StatusState
from asyncbuild.forges.statuses.poster_protocol import StatusPlace
from asyncbuild.forges.statuses.status_http import post_json

_STATES: Final = {
    StatusState.PENDING: "running",
    StatusState.SUCCESS: "success",
    StatusState.FAILURE: "failed",
    StatusState.ERROR: "canceled",
}
# "Cannot transition status via :run from :running": the unfinished status has that state already.
_TRANSITION: Final = re.compile(r"Cannot transition status via :(\w+) from :(\w+)")
_LEADS_TO: Final = {"run": "running", "success": "success", "drop": "failed", "cancel": "canceled"}


class GitLabStatuses:
    """Poster of statuses on GitLab.

    Args:
        session: Connections.
        api_url: Address of the API, without a slash at its end.
        token: Returns the token: of a project, a group or a user, with the scope `api`.
    """

    def __init__(
        self, session: aiohttp.ClientSession, api_url: str, token: Callable[[], str]
    ) -> None:
        self._session = session
        self._api_url = api_url
        self._token = token

    async def post(self, place: StatusPlace, status: CommitStatus) -> None:
        """Post a status, as `StatusPoster.post`."""
        project = quote(place.repository.full_name, safe="")
        body = {
            "state": _STATES[status.state],
            "name": status.context,
            "description": status.description,
            # Without it GitLab takes any pipeline of the commit.
            "ref": place.ref.split("/", 2)[2],
        }
        if status.target_url:
            body["target_url"] = status.target_url
        try:
            await post_json(
                self._session,
                f"{self._api_url}/projects/{project}/statuses/{place.commit}",
                body,
                headers={"PRIVATE-TOKEN": self._token()},
                doing=place.doing,
            )
        except Reject as error:
            found = _TRANSITION.search(error.reason)
            if found is None or _LEADS_TO.get(found[1]) != found[2]:
                raise
