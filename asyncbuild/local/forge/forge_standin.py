"""Stand-in for the forges' APIs of commit statuses: it checks and keeps what is posted.

Its rules, each with its source (GH = GitHub REST API, GL = GitLab REST API, BC = Bitbucket Cloud
REST API, DC = Bitbucket Data Center REST API):

- A wrong credential is 401 (all but Azure DevOps). A repository that is not known is 404 (all).
- GH, "Create a commit status": 201; four states; 422 for a commit that is not known, a description
  of more than 140 characters, and from the 1,001st status of one commit and context on.
- GH, "Apps": an installation is found by repository with the App's JWT (RS256, at most ten minutes
  long), and its token is valid for one hour.
- GL, "Set the pipeline status of a commit": 201; 400 "Cannot transition status via ..." for the
  state that an unfinished status has already. After an end a further status is begun, with any
  state (GitLab's source, `Ci::CreateCommitStatusService`, `external_commit_status_scope`).
- BC, "Create a build status for a commit": 201, or 200 for a known key; key (at most 40
  characters), state and url are required, else 400.
- What a credential may do: GH, "Scopes for OAuth apps", X-OAuth-Scopes, and "Get the authenticated
  app"; GL, "Personal access tokens API", own token; BC names scopes in the same header as GH.
- DC, "Store a build status": 204; key, state and url (at most 450 characters) are required, else
  400. The right to read the repository suffices.
- Gitea and Forgejo, "repoCreateStatus": 201; five states; 404 for a commit that is not known. What
  is below `/user` wants the scope `read:user`, too (routers/api/v1/api.go).
- Azure DevOps, "Statuses - Create": 201; a context with a name is required, else 400. A wrong
  credential is 203 with a page to log in.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from asyncbuild.domain.reports.commit_status import StatusState

DESCRIPTION_MOST: Final = 140
STATUSES_MOST: Final = 1_000
KEY_MOST: Final = 40
URL_MOST: Final = 450


class ForgeAnswer(NamedTuple):
    """Answer of a forge: status of HTTP, JSON body, headers."""

    status: int
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = {}


class CommitContext(NamedTuple):
    """Name of one status: full name of the repository, id of the commit, context."""

    repository: str
    commit: str
    context: str


@dataclass(frozen=True, slots=True)
class KeptStatus:
    """A status as the forge shows it."""

    state: StatusState
    description: str
    target_url: str


@dataclass(slots=True)
class ForgeStandin:
    """State of the stand-in, with the switches for tests.

    Attributes:
        tokens: Tokens that may write statuses.
        repositories: Full names of the repositories that exist; None for any.
        commits: Ids of the commits that exist; None for any.
        statuses: Latest status of each commit and context.
        history: All accepted posts, oldest first.
        refused: Number of refused posts by status of HTTP.
        ordered: Answers to give to the next requests, whatever they are.
        scopes: Scopes of the tokens, as the forge tells them; None if it tells none.
        ends_on: Day on which the tokens end, for GitLab; None if they do not.
        app_permission: Permission of the GitHub App for commit statuses; empty for none.
        installations: Its installations: permission of each by account.
        endpoint_url: Address of the server.
    """

    tokens: set[str] = field(default_factory=lambda: {"status-token"})
    repositories: set[str] | None = None
    commits: set[str] | None = None
    statuses: dict[CommitContext, KeptStatus] = field(default_factory=dict)
    history: list[tuple[CommitContext, KeptStatus]] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)
    ordered: deque[ForgeAnswer] = field(default_factory=deque)
    scopes: tuple[str, ...] | None = None
    ends_on: str | None = None
    app_permission: str = "write"
    installations: dict[str, str] = field(default_factory=lambda: {"acme": "write"})
    endpoint_url: str = ""
    _jobs: dict[CommitContext, str] = field(default_factory=dict)

    def answer(self, answer: ForgeAnswer) -> ForgeAnswer:
        """Count an answer if it is a refusal, and return it."""
        if answer.status >= 300:  # noqa: PLR2004 - Redirection, Client Error, Server Error
            self.refused[answer.status] += 1
        return answer

    def knows(self, repository: str) -> bool:
        """Return whether a repository exists."""
        return self.repositories is None or repository in self.repositories

    def post_github(self, at: CommitContext, body: Mapping[str, Any]) -> ForgeAnswer:
        """Answer a status posted to GitHub."""
        states = {each.value: each for each in StatusState}
        state, description = states.get(str(body.get("state"))), body.get("description") or ""
        if self.commits is not None and at.commit not in self.commits:
            return _unprocessable(f"No commit found for SHA: {at.commit}")
        if state is None or not isinstance(description, str):
            return _unprocessable("Validation Failed")
        if len(description) > DESCRIPTION_MOST:
            return _unprocessable("description is too long (maximum is 140 characters)")
        if sum(1 for kept, _ in self.history if kept == at) >= STATUSES_MOST:
            return _unprocessable(
                "This SHA and context has reached the maximum number of statuses."
            )
        self._keep(at, KeptStatus(state, description, body.get("target_url") or ""))
        return ForgeAnswer(201, {"state": state, "context": at.context})

    def post_gitlab(self, at: CommitContext, body: Mapping[str, Any]) -> ForgeAnswer:
        """Answer a status posted to GitLab, which keeps it as a job with transitions."""
        wanted = str(body.get("state"))
        if wanted not in _GITLAB:
            return ForgeAnswer(400, {"error": "state does not have a valid value"})
        now, (state, event) = self._jobs.get(at, "created"), _GITLAB[wanted]
        now = "created" if now in _GITLAB_ENDS else now
        if now == wanted or (now, wanted) == ("running", "pending"):
            told = f"Cannot transition status via :{event} from :{now}"
            return ForgeAnswer(
                400, {"message": f'{told} (Reason(s): Status cannot transition via "{event}")'}
            )
        self._jobs[at] = wanted
        self._keep(at, KeptStatus(state, body.get("description", ""), body.get("target_url", "")))
        return ForgeAnswer(201, {"status": wanted, "name": at.context})

    def post_bitbucket(self, at: CommitContext, body: Mapping[str, Any]) -> ForgeAnswer:
        """Answer a status posted to Bitbucket Cloud."""
        if not body.get("key") or not body.get("url") or body.get("state") not in _BITBUCKET:
            return ForgeAnswer(400, {"type": "error", "error": {"message": "Bad request"}})
        if len(body["key"]) > KEY_MOST:
            told = {"message": "key: Ensure this value has at most 40 characters"}
            return ForgeAnswer(400, {"type": "error", "error": told})
        known = at in self.statuses
        self._keep(at, KeptStatus(_BITBUCKET[body["state"]], body["description"], body["url"]))
        return ForgeAnswer(200 if known else 201, {"key": body["key"], "state": body["state"]})

    def post_bitbucket_server(self, at: CommitContext, body: Mapping[str, Any]) -> ForgeAnswer:
        """Answer a status posted to Bitbucket Data Center."""
        url = str(body.get("url") or "")
        if (
            not body.get("key")
            or not 0 < len(url) <= URL_MOST
            or body.get("state") not in _DATA_CENTER
        ):
            told = {"context": "state", "message": "Please specify key, state and url."}
            return ForgeAnswer(400, {"errors": [told]})
        self._keep(at, KeptStatus(_DATA_CENTER[body["state"]], body["description"], body["url"]))
        return ForgeAnswer(204)

    def post_gitea(self, at: CommitContext, body: Mapping[str, Any]) -> ForgeAnswer:
        """Answer a status posted to Gitea or Forgejo."""
        states = {**{each.value: each for each in StatusState}, "warning": StatusState.ERROR}
        state = states.get(str(body.get("state")))
        if self.commits is not None and at.commit not in self.commits:
            return ForgeAnswer(404, {"message": f"object does not exist [id: {at.commit}]"})
        if state is None:
            return ForgeAnswer(422, {"message": "unknown CommitStatus state"})
        self._keep(at, KeptStatus(state, body.get("description", ""), body.get("target_url", "")))
        return ForgeAnswer(201, {"status": body["state"], "context": at.context})

    def post_azure(self, at: CommitContext, body: Mapping[str, Any]) -> ForgeAnswer:
        """Answer a status posted to Azure DevOps."""
        state, context = body.get("state"), body.get("context")
        if state not in _AZURE or not isinstance(context, dict) or not context.get("name"):
            return ForgeAnswer(400, {"message": "A status needs a state and a context's name."})
        if self.commits is not None and at.commit not in self.commits:
            return ForgeAnswer(404, {"message": f"TF401175: {at.commit} could not be resolved."})
        link = body.get("targetUrl", "")
        self._keep(at, KeptStatus(_AZURE[state], body.get("description", ""), link))
        return ForgeAnswer(201, {"state": state, "context": context})

    def _keep(self, at: CommitContext, status: KeptStatus) -> None:
        self.statuses[at] = status
        self.history.append((at, status))


_GITLAB: Final = {
    "pending": (StatusState.PENDING, "enqueue"),
    "running": (StatusState.PENDING, "run"),
    "success": (StatusState.SUCCESS, "success"),
    "failed": (StatusState.FAILURE, "drop"),
    "canceled": (StatusState.ERROR, "cancel"),
}
_GITLAB_ENDS: Final = frozenset({"success", "failed", "canceled"})
_BITBUCKET: Final = {
    "INPROGRESS": StatusState.PENDING,
    "SUCCESSFUL": StatusState.SUCCESS,
    "FAILED": StatusState.FAILURE,
    "STOPPED": StatusState.ERROR,
}
_DATA_CENTER: Final = {
    "INPROGRESS": StatusState.PENDING,
    "SUCCESSFUL": StatusState.SUCCESS,
    "FAILED": StatusState.FAILURE,
    "CANCELLED": StatusState.ERROR,
    "UNKNOWN": StatusState.ERROR,
}


_AZURE: Final = {
    "pending": StatusState.PENDING,
    "succeeded": StatusState.SUCCESS,
    "failed": StatusState.FAILURE,
    "error": StatusState.ERROR,
}


def _unprocessable(message: str) -> ForgeAnswer:
    return ForgeAnswer(422, {"message": message, "documentation_url": "https://docs.github.com"})
