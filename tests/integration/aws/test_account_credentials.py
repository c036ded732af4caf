"""Credentials by account: the service's own, or one role assumed once for all callers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from aiohttp import web

from asyncbuild.aws.accounts import AccountCredentials
from asyncbuild.aws.session import Aws
from asyncbuild.config import Settings
from asyncbuild.domain.errors import Kind, Retry, Scope
from asyncbuild.local.servers.children import ACCESS_KEY, LocalServer

OWN, THEIRS, OTHERS = "111111111111", "222222222222", "333333333333"
REGION = "eu-west-1"


@dataclass
class Sts:
    """A stand-in of AWS STS with its query protocol; records its requests."""

    asked: list[dict[str, str]] = field(default_factory=list)
    refused: frozenset[str] = frozenset()
    port: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one call."""
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.asked.append(form)
        if form["Action"] == "GetCallerIdentity":
            return _answer(
                f"<GetCallerIdentityResult><Account>{OWN}</Account></GetCallerIdentityResult>"
            )
        if form["RoleArn"] in self.refused:
            error = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
            return web.Response(status=403, text=f"<ErrorResponse>{error}</ErrorResponse>")
        number = len(self.asked)
        expires = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return _answer(
            f"<AssumeRoleResult><Credentials><AccessKeyId>ASIA{number}</AccessKeyId>"
            f"<SecretAccessKey>secret{number}</SecretAccessKey>"
            f"<SessionToken>token{number}</SessionToken><Expiration>{expires}</Expiration>"
            "</Credentials></AssumeRoleResult>"
        )

    def count(self, action: str) -> int:
        """Return how often an action was requested."""
        return sum(each["Action"] == action for each in self.asked)


def _answer(result: str) -> web.Response:
    return web.Response(text=f"<Response>{result}</Response>", content_type="text/xml")


@asynccontextmanager
async def open_sts() -> AsyncIterator[Sts]:
    """Serve on a free port of 127.0.0.1."""
    sts = Sts()
    application = web.Application()
    application.router.add_post("/", sts.handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        sts.port = runner.addresses[0][1]
        yield sts
    finally:
        await runner.cleanup()


@pytest.fixture
async def sts() -> AsyncIterator[Sts]:
    """An STS that counts."""
    async with open_sts() as sts:
        yield sts


def role(account: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - AccountSettings' own
    """Return an `[[accounts]]` entry."""
    return {"account": account, "role_arn": f"arn:aws:iam::{account}:role/pull", **more}


def credentials(endpoint_url: str, *accounts: dict[str, Any]) -> AccountCredentials:
    """Return credentials as the service opens them."""
    settings = Settings(
        aws={"region": REGION, "endpoint_url": endpoint_url, "max_tries": 1},
        accounts=accounts,
    )
    return AccountCredentials(Aws(settings), settings)


async def test_twenty_callers_assume_a_role_once(sts: Sts) -> None:
    """External id and session name are those of the entry; each account has its own."""
    accounts = credentials(
        f"http://127.0.0.1:{sts.port}",
        role(THEIRS, external_id="agreed", session_name="builds"),
        role(OTHERS),
    )
    keys: list[str | None] = []

    async def ask(account: str) -> None:
        keys.append((await accounts.get(account, REGION)).access_key)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask, THEIRS)
    assert len(keys) == 20
    assert len(set(keys)) == 1
    await ask(OTHERS)
    assert len(set(keys)) == 2
    assert sts.count("AssumeRole") == 2
    first = sts.asked[0]
    assert (first["ExternalId"], first["RoleSessionName"]) == ("agreed", "builds")


async def test_the_own_account_needs_no_role(sts: Sts) -> None:
    """Looked up once; also where no account is configured."""
    accounts = credentials(f"http://127.0.0.1:{sts.port}", role(THEIRS))
    for account in (OWN, OWN, ""):
        assert (await accounts.get(account, REGION)).access_key == ACCESS_KEY
    assert (sts.count("GetCallerIdentity"), sts.count("AssumeRole")) == (1, 0)


async def test_an_unknown_account_is_a_retry(sts: Sts) -> None:
    """Our own credentials would fetch our own repository of the same name."""
    accounts = credentials(f"http://127.0.0.1:{sts.port}", role(THEIRS, regions=["us-east-1"]))
    for account in (THEIRS, OTHERS):
        with pytest.raises(Retry, match=r"add an \[\[accounts\]\] entry"):
            await accounts.get(account, REGION)
    assert (await accounts.get(THEIRS, "us-east-1")).token == f"token{len(sts.asked)}"


async def test_a_refused_role_is_named(sts: Sts) -> None:
    """Only that account's pushes fail; refusals are not cached, since it may be granted later."""
    sts.refused = frozenset({f"arn:aws:iam::{THEIRS}:role/pull"})
    accounts = credentials(f"http://127.0.0.1:{sts.port}", role(THEIRS))
    with pytest.raises(Retry, match=f"assume arn:aws:iam::{THEIRS}:role/pull") as caught:
        await accounts.get(THEIRS, REGION)
    error = caught.value
    assert (error.kind, error.scope, error.code) == (Kind.RETRY, Scope.PUSH, "AccessDenied")
    assert "allow AssumeRole" in error.remedy
    sts.refused = frozenset()
    assert (await accounts.get(THEIRS, REGION)).token


async def test_ministack_grants_credentials_for_a_role(ministack: LocalServer) -> None:
    """An independent STS answers the same calls."""
    accounts = credentials(ministack.endpoint_url, role(THEIRS))
    found = await accounts.get(THEIRS, REGION)
    assert found.token
    assert found.access_key != ACCESS_KEY
