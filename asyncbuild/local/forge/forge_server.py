"""Server of `ForgeStandin` on loopback: the paths and credentials of each forge.

GitHub is below `/github`, GitLab below `/gitlab`, Bitbucket Cloud below `/bitbucket`, and Bitbucket
Data Center below `/data-center`, Gitea and Forgejo below `/gitea`, Azure DevOps below `/azure`.
"""

import base64
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from aiohttp import web

from asyncbuild.local.forge.forge_standin import CommitContext, ForgeAnswer, ForgeStandin
from asyncbuild.local.servers.served import open_site

_NO_APP: Final = ForgeAnswer(401, {"message": "A JSON web token could not be decoded"})
_REPOSITORY_SCOPES: Final = frozenset({"read:repository", "write:repository"})
_LOGIN: Final = 203
Checks = Callable[[str], bool]
"""Check of an App's JWT: whether it is one of a known App."""


@asynccontextmanager
async def open_forge(
    standin: ForgeStandin, *, port: int = 0, is_app: Checks = lambda _: False
) -> AsyncIterator[ForgeStandin]:
    """Serve on 127.0.0.1 while inside; yield the stand-in, with its endpoint.

    Args:
        standin: State of the stand-in.
        port: Port; 0 takes a free one.
        is_app: Checks the JWT of a GitHub App.
    """
    server = _Server(standin, is_app)
    app = web.Application()
    app.add_routes(
        [
            web.post("/github/repos/{owner}/{name}/statuses/{commit}", server.github),
            web.get("/github/repos/{owner}/{name}/installation", server.installation),
            web.post("/github/app/installations/{id}/access_tokens", server.access_token),
            web.get("/github/rate_limit", server.rate_limit),
            web.get("/github/app", server.app),
            web.get("/github/app/installations", server.installations),
            web.get("/gitlab/personal_access_tokens/self", server.gitlab_token),
            web.get("/bitbucket/user", server.bitbucket_user),
            web.get("/data-center/repos", server.data_center_repositories),
            web.post("/gitlab/projects/{project}/statuses/{commit}", server.gitlab),
            web.post(
                "/bitbucket/repositories/{owner}/{name}/commit/{commit}/statuses/build",
                server.bitbucket,
            ),
            web.post(
                "/data-center/projects/{owner}/repos/{name}/commits/{commit}/builds",
                server.data_center,
            ),
            web.post("/gitea/repos/{owner}/{name}/statuses/{commit}", server.gitea),
            web.get("/gitea/user/repos", server.gitea_repositories),
            web.get("/gitea/repos/search", server.gitea_search),
            web.post(
                "/azure/{organization}/{project}/_apis/git/repositories/{name}/commits/{commit}"
                "/statuses",
                server.azure,
            ),
            web.get(
                "/azure/{organization}/_apis/git/repositories/{name}/commits/{commit}/statuses",
                server.azure_statuses,
            ),
        ]
    )
    async with open_site(app, port=port) as standin.endpoint_url:
        yield standin


class _Server:
    """Handlers of the paths."""

    def __init__(self, standin: ForgeStandin, is_app: Checks) -> None:
        self._standin = standin
        self._is_app = is_app
        self._given = 0

    async def github(self, request: web.Request) -> web.Response:
        """Answer a status of GitHub."""
        return await self._post(request, "context", self._standin.post_github)

    async def gitlab(self, request: web.Request) -> web.Response:
        """Answer a status of GitLab."""
        return await self._post(request, "name", self._standin.post_gitlab)

    async def bitbucket(self, request: web.Request) -> web.Response:
        """Answer a status of Bitbucket Cloud."""
        return await self._post(request, "key", self._standin.post_bitbucket)

    async def data_center(self, request: web.Request) -> web.Response:
        """Answer a status of Bitbucket Data Center."""
        return await self._post(request, "key", self._standin.post_bitbucket_server)

    async def gitea(self, request: web.Request) -> web.Response:
        """Answer a status of Gitea or Forgejo."""
        return await self._post(request, "context", self._standin.post_gitea)

    async def gitea_repositories(self, request: web.Request) -> web.Response:
        """Answer the list of repositories of a token of Gitea."""
        scopes = self._standin.scopes or ("read:user", "write:repository")
        if _credential(request) in self._standin.tokens and "read:user" not in scopes:
            return self._respond(_no_scope("read:user"))
        return self._tell(request, {})

    async def gitea_search(self, _: web.Request) -> web.Response:
        """Answer a search for repositories of Gitea, which needs no token."""
        if _REPOSITORY_SCOPES.isdisjoint(self._standin.scopes or _REPOSITORY_SCOPES):
            return self._respond(_no_scope("read:repository"))
        return web.json_response({"data": [], "ok": True})

    async def azure(self, request: web.Request) -> web.Response:
        """Answer a status of Azure DevOps."""
        refused = self._refuse_azure(request)
        return refused or await self._post(request, "context", self._standin.post_azure)

    async def azure_statuses(self, request: web.Request) -> web.Response:
        """Answer a question for statuses of Azure DevOps as for an unknown repository."""
        told = {"message": "TF401019: The Git repository with name or identifier does not exist"}
        return self._refuse_azure(request) or self._respond(ForgeAnswer(404, told))

    def _refuse_azure(self, request: web.Request) -> web.Response | None:
        if not self._standin.ordered and _credential(request) not in self._standin.tokens:
            self._standin.refused[_LOGIN] += 1
            return web.Response(
                status=_LOGIN, text="<html>Sign In</html>", content_type="text/html"
            )
        if request.query.get("api-version") != "6.0":
            told = {"message": "No api-version was supplied for the request."}
            return self._respond(ForgeAnswer(400, told))
        return None

    async def installation(self, request: web.Request) -> web.Response:
        """Answer which installation of the App has a repository."""
        if self._standin.ordered:
            return self._respond(self._standin.ordered.popleft())
        if not self._is_app(_bearer(request)):
            return self._respond(_NO_APP)
        names = request.match_info
        if not self._standin.knows(f"{names['owner']}/{names['name']}"):
            return self._respond(ForgeAnswer(404, {"message": "Not Found"}))
        return self._respond(ForgeAnswer(200, {"id": 4711}))

    async def access_token(self, request: web.Request) -> web.Response:
        """Answer a request for a token of an installation."""
        if self._standin.ordered:
            return self._respond(self._standin.ordered.popleft())
        if not self._is_app(_bearer(request)) or request.match_info["id"] != "4711":
            return self._respond(_NO_APP)
        self._given += 1
        token = f"ghs_{self._given}"
        self._standin.tokens.add(token)
        until = datetime.now(UTC) + timedelta(hours=1)
        told = {"token": token, "expires_at": until.strftime("%Y-%m-%dT%H:%M:%SZ")}
        return self._respond(ForgeAnswer(201, told))

    async def rate_limit(self, request: web.Request) -> web.Response:
        """Answer the limits of a token of GitHub."""
        rate = {"limit": 5000, "remaining": 4999, "reset": 1, "used": 1}
        body = {"resources": {"core": rate}, "rate": rate}
        return self._tell(request, body)

    async def app(self, request: web.Request) -> web.Response:
        """Answer a question of the App about itself."""
        if not self._is_app(_bearer(request)):
            return self._respond(_NO_APP)
        return self._respond(
            ForgeAnswer(200, {"id": 77, "permissions": _permissions(self._standin.app_permission)})
        )

    async def installations(self, request: web.Request) -> web.Response:
        """Answer which installations the App has."""
        if not self._is_app(_bearer(request)):
            return self._respond(_NO_APP)
        told = [
            {
                "id": number,
                "account": {"login": account},
                "permissions": _permissions(permission),
                "suspended_at": "2026-01-01T00:00:00Z" if permission == "suspended" else None,
            }
            for number, (account, permission) in enumerate(self._standin.installations.items())
        ]
        return web.json_response(told)

    async def gitlab_token(self, request: web.Request) -> web.Response:
        """Answer a question of a token of GitLab about itself."""
        standin = self._standin
        return self._tell(
            request,
            {
                "id": 1,
                "scopes": standin.scopes or (),
                "active": True,
                "expires_at": standin.ends_on,
            },
        )

    async def bitbucket_user(self, request: web.Request) -> web.Response:
        """Answer who a token of Bitbucket Cloud is."""
        return self._tell(request, {"type": "user", "display_name": "bot"})

    async def data_center_repositories(self, request: web.Request) -> web.Response:
        """Answer a list of repositories of Bitbucket Data Center."""
        return self._tell(request, {"values": [], "isLastPage": True})

    def _tell(self, request: web.Request, body: Mapping[str, Any]) -> web.Response:
        if self._standin.ordered:
            return self._respond(self._standin.ordered.popleft())
        if _credential(request) not in self._standin.tokens:
            return self._respond(ForgeAnswer(401, {"message": "Bad credentials"}))
        scopes = self._standin.scopes
        headers = {} if scopes is None else {"X-OAuth-Scopes": ", ".join(scopes)}
        return self._respond(ForgeAnswer(200, body, headers))

    async def _post(
        self,
        request: web.Request,
        context: str,
        answer: Callable[[CommitContext, Mapping[str, Any]], ForgeAnswer],
    ) -> web.Response:
        if self._standin.ordered:
            return self._respond(self._standin.ordered.popleft())
        if _credential(request) not in self._standin.tokens:
            return self._respond(ForgeAnswer(401, {"message": "Bad credentials"}))
        names = request.match_info
        repository = _named(names)
        if not self._standin.knows(repository):
            return self._respond(ForgeAnswer(404, {"message": "Not Found"}))
        try:
            body = orjson.loads(await request.read())
        except ValueError:
            return self._respond(ForgeAnswer(400, {"message": "Problems parsing JSON"}))
        named = body.get(context, "default")
        if isinstance(named, dict):  # Azure DevOps
            named = f"{named['genre']}/{named['name']}" if named.get("genre") else named["name"]
        at = CommitContext(repository, names["commit"], str(named))
        return self._respond(answer(at, body))

    def _respond(self, answer: ForgeAnswer) -> web.Response:
        self._standin.answer(answer)
        body = None if answer.body is None else orjson.dumps(answer.body)
        return web.Response(
            status=answer.status,
            body=body,
            headers=dict(answer.headers),
            content_type="application/json",
        )


def _named(names: Mapping[str, str]) -> str:
    """Return the full name of the repository in a path."""
    if "organization" in names:
        return f"{names['organization']}/{names['project']}/{names['name']}"
    return names.get("project") or f"{names['owner']}/{names['name']}"


def _no_scope(scope: str) -> ForgeAnswer:
    told = f"token does not have at least one of required scope(s): [{scope}]"
    return ForgeAnswer(403, {"message": told})


def _permissions(statuses: str) -> dict[str, str]:
    told = {"metadata": "read"}
    return {**told, "statuses": statuses} if statuses in {"read", "write"} else told


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme.lower() in {"bearer", "token"} else ""


def _credential(request: web.Request) -> str:
    """Return the token of a request, however the forge takes it."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme == "Basic":
        return base64.b64decode(value).decode().partition(":")[2]
    return request.headers.get("PRIVATE-TOKEN") or _bearer(request)
