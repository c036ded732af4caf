"""`check` tries credentials for commit statuses by questions, against the stand-in of each forge.

Requests to GitHub, and the stand-in's answers, are compared with GitHub's own description:
`tests/fixtures/foreign/openapi/github-probes.json`, a part of npm `@octokit/openapi` 23.0.2, MIT.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from openapi_schema_validator import OAS30Validator
from support.proxy import open_proxy, pass_on

from asyncbuild.aws.session import Aws
from asyncbuild.checks.commit_reports import look_at_statuses
from asyncbuild.checks.judges.finding import Finding, FindingKind, Level
from asyncbuild.config import Settings
from asyncbuild.config.hosts import CommitStatusSettings, HostSettings
from asyncbuild.local.forge.forge_server import open_forge
from asyncbuild.local.forge.forge_standin import ForgeAnswer, ForgeStandin

NOW = datetime(2026, 11, 30, tzinfo=UTC)
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_DESCRIBED = json.loads(
    (Path(__file__).parents[1] / "fixtures/foreign/openapi/github-probes.json").read_text()
)["paths"]
_KINDS = {
    "github": "github",
    "github-app": "github",
    "gitlab": "gitlab",
    "bitbucket": "bitbucket",
    "data-center": "bitbucket-server",
    "gitea": "forgejo",
    "azure": "azure-devops",
}
# What the forge says of a credential that it does not take.
_REFUSALS = {"azure": "203"}
_WARNING, _PROBLEM, _OK = Level.WARNING, Level.PROBLEM, Level.OK


def _is_app(token: str) -> bool:
    try:
        jwt.decode(token, KEY.public_key(), algorithms=["RS256"], issuer="77")
    except jwt.PyJWTError:
        return False
    return True


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATUS_TOKEN", "status-token")
    pem = KEY.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    monkeypatch.setenv("APP_KEY", pem.decode())


@asynccontextmanager
async def _open(standin: ForgeStandin) -> AsyncIterator[str]:
    async with open_forge(standin, is_app=_is_app) as forge:
        yield forge.endpoint_url


async def _findings(
    kind: str, endpoint_url: str, secret: str = "", *, repository: tuple[str, ...] = ("acme/*",)
) -> list[Finding]:
    below = "github" if kind == "github-app" else kind
    api_url = f"{endpoint_url}/{below}"
    wanted = CommitStatusSettings(token=secret or "env:STATUS_TOKEN", api_url=api_url)
    if kind == "github-app":
        key = secret or "env:APP_KEY"
        wanted = CommitStatusSettings(app_id="77", app_private_key=key, api_url=api_url)
    host = HostSettings(
        host="git.example.org",
        kind=_KINDS[kind],
        repository=repository,
        signature="off",
        commit_status=wanted,
    )
    settings = Settings(hosts=(host,))
    found = look_at_statuses(Aws(settings), settings, clock=lambda: NOW)
    return [each async for each in found]


def _app(permission: str = "write", **installations: str) -> ForgeStandin:
    return ForgeStandin(app_permission=permission, installations=installations)


@pytest.mark.parametrize(
    ("kind", "standin", "expected"),
    [
        ("github", ForgeStandin(), [("status.credential", _OK)]),
        ("github", ForgeStandin(scopes=("repo:status",)), [("status.scopes", _OK)]),
        ("github", ForgeStandin(scopes=("read:org",)), [("status.scopes", _PROBLEM)]),
        ("github-app", _app(acme="write"), [("status.app", _OK)]),
        ("github-app", _app("read", acme="write"), [("status.app", _PROBLEM)]),
        ("github-app", _app(), [("status.app", _PROBLEM)]),
        (
            "github-app",
            _app(acme="write", old="read", gone="suspended"),
            [("status.app", _OK), ("status.app", _PROBLEM), ("status.app", _WARNING)],
        ),
        ("gitlab", ForgeStandin(scopes=("api",)), [("status.scopes", _OK)]),
        ("gitlab", ForgeStandin(scopes=("read_api",)), [("status.scopes", _PROBLEM)]),
        (
            "gitlab",
            ForgeStandin(scopes=("api",), ends_on="2026-12-10"),
            [("status.expiry", _WARNING), ("status.scopes", _OK)],
        ),
        ("gitlab", ForgeStandin(scopes=("api",), ends_on="2027-12-10"), [("status.scopes", _OK)]),
        ("bitbucket", ForgeStandin(scopes=("repository",)), [("status.scopes", _OK)]),
        ("bitbucket", ForgeStandin(scopes=("account",)), [("status.scopes", _PROBLEM)]),
        ("data-center", ForgeStandin(), [("status.credential", _OK)]),
        ("gitea", ForgeStandin(), [("status.credential", _OK)]),
        ("gitea", ForgeStandin(scopes=("write:repository",)), [("status.credential", _OK)]),
        ("gitea", ForgeStandin(scopes=("write:issue",)), [("status.credential", _PROBLEM)]),
        ("azure", ForgeStandin(), [("status.credential", _OK)]),
    ],
)
async def test_rights_are_told_without_a_status_being_written(
    kind: str, standin: ForgeStandin, expected: list[tuple[str, Level]]
) -> None:
    """Each forge tells what it tells; a lacking right names the remedy."""
    async with _open(standin) as url:
        found = await _findings(kind, url)
    assert [(each.name, each.level) for each in found] == expected
    assert standin.history == []
    assert all(each.remedy and each.why for each in found if each.level is not _OK)


@pytest.mark.parametrize("kind", _KINDS)
async def test_a_credential_that_is_refused_is_a_matter_of_rights(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """401 says it of a token, and of an App's key that is not its own."""
    monkeypatch.setenv("OTHER", "wrong")
    if kind == "github-app":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        monkeypatch.setenv("OTHER", pem.decode())
    async with _open(ForgeStandin()) as url:
        (found,) = await _findings(kind, url, "env:OTHER")
    assert (found.name, found.level) == ("status.credential", _PROBLEM)
    assert found.kind is FindingKind.RIGHTS
    assert _REFUSALS.get(kind, "401") in found.what
    assert "wrong" not in str(found)


@pytest.mark.parametrize("kind", _KINDS)
async def test_a_forge_beyond_a_closed_network_is_told_with_the_remedy(kind: str) -> None:
    """Its address, what becomes of the reports meanwhile, and how they go out later."""
    async with _open(ForgeStandin()) as url:
        pass
    (found,) = await _findings(kind, url)
    assert (found.name, found.level, found.kind) == ("status.reach", _PROBLEM, FindingKind.REACH)
    assert url in found.what
    assert "reports wait" in found.why
    assert "NAT" in found.remedy
    assert "report --again" in found.remedy


async def test_a_credential_that_cannot_be_tried_is_not_said_to_be_taken() -> None:
    """Azure DevOps is asked about an organization; one that is not there answers with a page."""
    async with _open(ForgeStandin()) as url:
        (untried,) = await _findings("azure", url, repository=("*",))
        (page,) = await _findings("azure", f"{url}/elsewhere")
    assert (untried.level, page.level) == (Level.NOTE, _PROBLEM)
    assert "not tried" in untried.what


async def test_what_says_nothing_of_the_credential_is_no_fault_of_it() -> None:
    """A pause is a note; 403 of Bitbucket's own account is a valid token; a secret is missing."""
    standin = ForgeStandin()
    async with _open(standin) as url:
        standin.ordered.append(ForgeAnswer(429, {"message": "slow"}, {"Retry-After": "60"}))
        (pause,) = await _findings("gitlab", url)
        standin.ordered.append(ForgeAnswer(403, {"error": {"message": "account"}}))
        (account,) = await _findings("bitbucket", url)
        standin.ordered.append(ForgeAnswer(404))
        (address,) = await _findings("gitlab", url)
        (secret,) = await _findings("gitlab", url, "env:NOT_SET")
        (key,) = await _findings("github-app", url, "env:STATUS_TOKEN")
    assert pause.level is Level.NOTE
    assert account.level is _OK
    assert (address.name, address.level) == ("status.credential", _PROBLEM)
    assert (secret.name, secret.level) == ("status.secret", _PROBLEM)
    assert "private key" in key.what


async def test_questions_to_github_fit_its_own_description() -> None:
    """Only GET, known paths and parameters; and the stand-in answers as described."""
    seen: list[tuple[str, str, set[str]]] = []
    answers: list[tuple[str, Any]] = []
    async with _open(ForgeStandin(scopes=("repo",))) as url:

        async def handle(client: aiohttp.ClientSession, request: web.Request) -> web.StreamResponse:
            path = request.path.removeprefix("/github")
            seen.append((request.method.lower(), path, {*request.query}))
            async with client.get(f"{url}{request.path_qs}", headers=request.headers) as answer:
                answers.append((path, await answer.json()))
            return await pass_on(client, url, request, b"")

        async with open_proxy(handle) as ports:
            for kind in ("github", "github-app"):
                await _findings(kind, f"http://127.0.0.1:{ports[0]}")
    assert {path for _, path, _ in seen} == set(_DESCRIBED)
    for method, path, query in seen:
        assert query <= {each["name"] for each in _DESCRIBED[path][method]["parameters"]}
    for path, document in answers:
        OAS30Validator(_DESCRIBED[path]["get"]["responses"]["200"]).validate(document)
