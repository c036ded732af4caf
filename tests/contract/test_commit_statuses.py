"""One suite for the posters of commit statuses, each against the stand-in of its forge.

What goes over the wire is checked by the forges' own descriptions: of GitHub's (npm
`@octokit/openapi` 23.0.2, MIT), and of Gitea's and Azure DevOps' (each file names its source), the
operations that are used are in `tests/fixtures/foreign/openapi`. The rules of the other forges'
documentation are the stand-in's, which names them.
"""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from openapi_schema_validator import OAS30Validator

from asyncbuild.domain.errors import Busy, ConfigError, Denied, Outage, Reject, Retry, StageError
from asyncbuild.domain.reports.commit_status import CommitStatus, StatusState
from asyncbuild.domain.repository import Repository
from asyncbuild.forges.statuses.azure_devops_status import AzureDevOpsStatuses
from asyncbuild.forges.statuses.bitbucket_server_status import BitbucketServerStatuses
from asyncbuild.forges.statuses.bitbucket_status import BitbucketStatuses, key_of
from asyncbuild.forges.statuses.gitea_status import GiteaStatuses
from asyncbuild.forges.statuses.github_status import GitHubCredential, GitHubStatuses
from asyncbuild.forges.statuses.gitlab_status import GitLabStatuses
from asyncbuild.forges.statuses.poster_protocol import StatusPlace, StatusPoster
from asyncbuild.forges.statuses.status_http import open_session
from asyncbuild.local.forge.forge_server import open_forge
from asyncbuild.local.forge.forge_standin import CommitContext, ForgeAnswer, ForgeStandin

COMMIT = "a" * 40
TOKEN = "status-token"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.TraditionalOpenSSL,
    serialization.NoEncryption(),
).decode()
KINDS = ("github", "github-app", "gitlab", "bitbucket", "data-center", "gitea", "azure")


def is_app(token: str) -> bool:
    """Return whether a JWT is one of the App, as GitHub checks it: at most ten minutes long."""
    try:
        told = jwt.decode(token, KEY.public_key(), algorithms=["RS256"], issuer="77")
    except jwt.PyJWTError:
        return False
    return bool(told["exp"] - told["iat"] <= 600)


@dataclass
class Opened:
    """A poster, the stand-in that it posts to, and the commit."""

    kind: str
    poster: StatusPoster
    forge: ForgeStandin
    now: float = field(default_factory=time.time)
    repository: Repository = field(
        default_factory=lambda: Repository.of_host("git.example.org", "acme", "shop")
    )

    @property
    def place(self) -> StatusPlace:
        """Return the commit that is posted to."""
        return StatusPlace(self.repository, "refs/heads/feature/x", COMMIT)

    def at(self, context: str) -> CommitContext:
        """Return the name of a status on the forge."""
        key = key_of(context) if self.kind == "bitbucket" else context
        name = self.repository.full_name
        if self.kind == "azure" and name.count("/") == 1:  # the main repository of its project
            name = f"{name}/{self.repository.name}"
        return CommitContext(name, COMMIT, key)


@asynccontextmanager
async def open_poster(kind: str) -> AsyncIterator[Opened]:
    """Open a poster and its stand-in."""
    async with AsyncExitStack() as stack:
        forge = await stack.enter_async_context(open_forge(ForgeStandin(), is_app=is_app))
        session = await stack.enter_async_context(open_session())
        opened = Opened(kind, poster=None, forge=forge)  # type: ignore[arg-type]  # set below
        opened.poster = _make(opened, session)
        yield opened


def _make(opened: Opened, session: Any) -> StatusPoster:  # noqa: ANN401, PLR0911 - one a forge
    url = opened.forge.endpoint_url
    match opened.kind:
        case "github":
            credential = GitHubCredential(token=lambda: TOKEN)
            return GitHubStatuses(session, f"{url}/github", credential)
        case "github-app":
            credential = GitHubCredential(app_id="77", private_key=lambda: PEM)
            clock: Callable[[], float] = lambda: opened.now  # noqa: E731 - one expression
            return GitHubStatuses(session, f"{url}/github", credential, clock=clock)
        case "gitlab":
            return GitLabStatuses(session, f"{url}/gitlab", lambda: TOKEN)
        case "bitbucket":
            return BitbucketStatuses(session, f"{url}/bitbucket", lambda: TOKEN, user="bot")
        case "gitea":
            return GiteaStatuses(session, f"{url}/gitea", lambda: TOKEN)
        case "azure":
            return AzureDevOpsStatuses(session, f"{url}/azure", lambda: TOKEN)
        case _:
            return BitbucketServerStatuses(session, f"{url}/data-center", lambda: TOKEN)


def status_of(state: StatusState, context: str = "asyncbuild/shop") -> CommitStatus:
    """Return a status."""
    return CommitStatus(state, context, f"words of {state}", "https://example.org/build/1")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [each for each in StatusState if each.is_end])
async def test_a_status_is_shown_as_it_was_posted(kind: str, end: StatusState) -> None:
    """Pending, then each end; and the same once more, which changes nothing."""
    async with open_poster(kind) as opened:
        for state in (StatusState.PENDING, StatusState.PENDING, end, end):
            await opened.poster.post(opened.place, status_of(state))
            kept = opened.forge.statuses[opened.at("asyncbuild/shop")]
            assert (kept.state, kept.target_url) == (state, "https://example.org/build/1")
            assert kept.description == f"words of {state}"


@pytest.mark.parametrize("kind", KINDS)
async def test_groups_in_groups_and_long_contexts(kind: str) -> None:
    """Owners with slashes, names with dots, a context of 200 characters, no link."""
    owner = "acme/web shop" if kind == "azure" else "acme"
    owner = "group/sub" if kind == "gitlab" else owner
    async with open_poster(kind) as opened:
        opened.repository = Repository.of_host("git.example.org", owner, "web.shop")
        long = CommitStatus(StatusState.SUCCESS, "ci/" + "x" * 197, "fine")
        await opened.poster.post(opened.place, long)
        assert opened.forge.statuses[opened.at(long.context)].description == "fine"


NOW = int(time.time())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("answer", "error", "pause"),
    [
        (ForgeAnswer(401, {"message": "Bad credentials"}), Denied, None),
        (ForgeAnswer(403, {"message": "Resource not accessible"}), Denied, None),
        (ForgeAnswer(403, {"message": "secondary limit"}, {"Retry-After": "60"}), Busy, 60),
        (ForgeAnswer(429, {"message": "slow down"}, {"Retry-After": "7"}), Busy, 7),
        (ForgeAnswer(404, {"message": "Not Found"}), Reject, None),
        (ForgeAnswer(409, {"message": "Another update is in progress"}), Retry, None),
        (ForgeAnswer(422, {"message": "No commit found", "errors": ["x"]}), Reject, None),
        (ForgeAnswer(500, {"message": "oops"}), Outage, None),
        (ForgeAnswer(502), Outage, None),
        (ForgeAnswer(503, None, {"Retry-After": "9"}), Busy, 9),
        (ForgeAnswer(302, None, {"Location": "https://elsewhere.example.org/"}), Retry, None),
    ],
)
async def test_each_refusal_has_its_error(
    kind: str, answer: ForgeAnswer, error: type[StageError], pause: float | None
) -> None:
    """By status, with the forge's words and pause, and never with the credential."""
    async with open_poster(kind) as opened:
        opened.forge.ordered.extend([answer] * 4)
        with pytest.raises(error) as raised:
            await opened.poster.post(opened.place, status_of(StatusState.SUCCESS))
        assert type(raised.value) is error
        assert raised.value.code == str(answer.status)
        assert raised.value.after_seconds == pause
        assert TOKEN not in str(raised.value)
        assert (answer.body or {}).get("message", "") in raised.value.reason


async def test_the_hourly_limit_of_github_names_its_end() -> None:
    """403 without Retry-After: the pause lasts until the limit is reset."""
    reset = int(time.time()) + 600
    headers = {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "0"}
    answer = ForgeAnswer(403, {"message": "API rate limit exceeded"}, headers)
    answer = answer._replace(headers={**headers, "x-ratelimit-reset": str(reset)})
    async with open_poster("github") as opened:
        opened.forge.ordered.append(answer)
        with pytest.raises(Busy) as raised:
            await opened.poster.post(opened.place, status_of(StatusState.SUCCESS))
        assert raised.value.after_seconds == pytest.approx(600, abs=60)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_forge_that_is_not_there_is_an_outage(kind: str) -> None:
    """Its port is closed."""
    async with open_poster(kind) as opened:
        forge = opened.forge
        poster = opened.poster
    async with open_session() as session:
        opened = Opened(kind, poster, forge)
        closed = _make(opened, session)
        with pytest.raises(Outage):
            await closed.post(opened.place, status_of(StatusState.SUCCESS))


async def test_an_app_asks_for_a_token_once_an_hour_and_again_if_it_is_refused() -> None:
    """Tokens are kept by owner; one that GitHub takes back is replaced at once."""
    async with open_poster("github-app") as opened:
        forge = opened.forge
        for state in (StatusState.PENDING, StatusState.SUCCESS):
            await opened.poster.post(opened.place, status_of(state))
        assert forge.tokens == {TOKEN, "ghs_1"}
        forge.tokens.discard("ghs_1")
        await opened.poster.post(opened.place, status_of(StatusState.SUCCESS))
        opened.now += 3_400
        await opened.poster.post(opened.place, status_of(StatusState.SUCCESS))
        assert forge.tokens == {TOKEN, "ghs_2", "ghs_3"}


async def test_an_app_without_a_usable_key_is_a_fault_of_the_configuration() -> None:
    """The reason names the key, not its text."""
    async with open_poster("github") as opened, open_session() as session:
        credential = GitHubCredential(app_id="77", private_key=lambda: "not a key")
        poster = GitHubStatuses(session, f"{opened.forge.endpoint_url}/github", credential)
        with pytest.raises(ConfigError, match="private key") as raised:
            await poster.post(opened.place, status_of(StatusState.SUCCESS))
        assert "not a key" not in str(raised.value)


async def test_a_state_after_an_end_begins_a_new_status_of_gitlab() -> None:
    """A second build of a commit is pending again, and ends as it ends."""
    states = (StatusState.SUCCESS, StatusState.PENDING, StatusState.FAILURE, StatusState.SUCCESS)
    async with open_poster("gitlab") as opened:
        for state in states:
            await opened.poster.post(opened.place, status_of(state))
            assert opened.forge.statuses[opened.at("asyncbuild/shop")].state is state
    assert opened.forge.refused == {}


async def test_a_link_that_data_center_would_refuse_is_left_out() -> None:
    """The page of the commit is linked in its place."""
    async with open_poster("data-center") as opened:
        status = status_of(StatusState.SUCCESS)
        for length, kept in ((450, True), (451, False)):
            link = "https://example.org/".ljust(length, "x")
            await opened.poster.post(opened.place, replace(status, target_url=link))
            shown = opened.forge.statuses[opened.at("asyncbuild/shop")].target_url
            assert (shown == link) is kept
            assert shown


@dataclass(frozen=True)
class Sent:
    """A request as a forge got it; of an empty body {}."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any]


@asynccontextmanager
async def open_recorder(seen: list[Sent]) -> AsyncIterator[str]:
    """Serve a forge that takes everything, and keeps what it got; yield its address."""

    async def record(request: web.Request) -> web.Response:
        text = await request.text()
        body = json.loads(text) if text else {}
        seen.append(Sent(request.method.lower(), request.path, dict(request.query), body))
        if request.path.endswith("/installation"):
            return web.json_response({"id": 1})
        if request.path.endswith("/access_tokens"):
            until = "2099-01-01T00:00:00Z"
            return web.json_response({"token": "t", "expires_at": until}, status=201)
        return web.json_response({}, status=201)

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", record)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address: Any = runner.addresses[0]
        yield f"http://127.0.0.1:{address[1]}"
    finally:
        await runner.cleanup()


def described(name: str) -> dict[str, Any]:
    """Return a part of a forge's own description."""
    text = (Path(__file__).parents[1] / f"fixtures/foreign/openapi/{name}.json").read_text()
    told: dict[str, Any] = json.loads(text)
    return told


async def test_what_is_sent_to_github_fits_its_own_description() -> None:
    """Each request by the schema of its operation."""
    seen: list[Sent] = []
    async with open_recorder(seen) as url, open_session() as session:
        credential = GitHubCredential(app_id="77", private_key=lambda: PEM)
        poster = GitHubStatuses(session, url, credential)
        place = StatusPlace(
            Repository.of_host("github.com", "acme", "shop"), "refs/heads/main", COMMIT
        )
        for state in StatusState:
            await poster.post(place, status_of(state))
    paths = {
        f"/repos/acme/shop/statuses/{COMMIT}": "/repos/{owner}/{repo}/statuses/{sha}",
        "/repos/acme/shop/installation": "/repos/{owner}/{repo}/installation",
        "/app/installations/1/access_tokens": "/app/installations/{installation_id}/access_tokens",
    }
    assert {each.path for each in seen} == set(paths)
    for each in seen:
        operation = described("github-statuses")["paths"][paths[each.path]][each.method]
        wanted = operation.get("requestBody")
        if wanted is not None and (each.body or wanted["required"]):
            schema = wanted["content"]["application/json"]["schema"]
            OAS30Validator(schema).validate(each.body)
            assert set(each.body) <= set(schema["properties"])


_AZURE = "/{organization}/{project}/_apis/git/repositories/{repositoryId}"


@pytest.mark.parametrize(
    ("name", "path", "below"),
    [
        ("gitea-statuses", "/repos/{owner}/{repo}/statuses/{sha}", ""),
        (
            "azure-devops-statuses",
            f"{_AZURE}/commits/{{commitId}}/statuses",
            "/ship yard",
        ),
    ],
)
async def test_what_is_sent_fits_the_description_of_the_forge(
    name: str, path: str, below: str
) -> None:
    """Path, query and body of each state; and with a long context, and without a link."""
    seen: list[Sent] = []
    repository = Repository.of_host("git.example.org", f"acme{below}", "web.shop")
    place = StatusPlace(repository, "refs/heads/main", COMMIT)
    async with open_recorder(seen) as url, open_session() as session:
        poster = (GiteaStatuses if name.startswith("gitea") else AzureDevOpsStatuses)(
            session, url, lambda: TOKEN
        )
        for state in StatusState:
            await poster.post(place, status_of(state))
        await poster.post(place, CommitStatus(StatusState.SUCCESS, "ci-" + "x" * 197, "fine"))
    names = {"owner": "acme", "repo": "web.shop", "sha": COMMIT, "organization": "acme"}
    names |= {"project": "ship yard", "repositoryId": "web.shop", "commitId": COMMIT}
    told = described(name)
    operation = told["paths"][path]["post"]
    for each in seen:
        assert (each.method, each.path) == ("post", path.format_map(names))
        assert {key for key, of in operation["query"].items() if of.get("required")} <= set(
            each.query
        )
        assert set(each.query) <= set(operation["query"])
        assert each.query.get("api-version") in told.get("versions", [None])
        OAS30Validator(operation["body"]).validate(each.body)
        assert set(each.body) <= set(operation["body"]["properties"])
    assert len(seen) == len(StatusState) + 1


async def test_the_page_to_log_in_of_azure_devops_is_a_refusal() -> None:
    """It comes with 203, a success by its number, and no status was posted."""
    async with open_poster("azure") as opened:
        opened.forge.tokens.clear()
        with pytest.raises(Denied) as raised:
            await opened.poster.post(opened.place, status_of(StatusState.SUCCESS))
        assert raised.value.code == "203"
        assert opened.forge.history == []
