"""`asyncbuild check` and the stacks of accounts that own repositories: is each as new as needed?"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import pytest
from aiohttp import web

from asyncbuild.aws.session import Aws
from asyncbuild.checks.judges.finding import Finding, Level
from asyncbuild.checks.owner_accounts import look_at_accounts
from asyncbuild.config import Settings
from asyncbuild.local.servers.children import ACCESS_KEY, SECRET_KEY

NEW, OLD, NARROW, CLOSED, OWN = ("1" * 12, "2" * 12, "3" * 12, "4" * 12, "5" * 12)
REGION: Final = "eu-west-1"
_DENIED: Final = "AccessDeniedException"
# Operations of CodeCommit that the role of an account may call, and on which repositories.
_MAY: Final[Mapping[str, tuple[str, ...]]] = {
    NEW: ("ListRepositories", "web", "shop"),
    OLD: (),
    NARROW: ("ListRepositories", "shop"),
    CLOSED: ("ListRepositories",),
    ACCESS_KEY: (),  # the service's own role, of an older stack
}


async def _answer(request: web.Request) -> web.Response:
    """Answer as STS and as CodeCommit, to the role that the access key tells."""
    target = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
    if not target:
        form = await request.post()
        if form["Action"] == "GetCallerIdentity":
            told = f"<GetCallerIdentityResult><Account>{OWN}</Account></GetCallerIdentityResult>"
            return web.Response(content_type="text/xml", text=f"<Response>{told}</Response>")
        account = str(form["RoleArn"]).split(":")[4]
        return web.Response(
            content_type="text/xml",
            text="<Response><AssumeRoleResult><Credentials>"
            f"<AccessKeyId>{account}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
            "<SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>"
            "</Credentials></AssumeRoleResult></Response>",
        )
    account = request.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
    asked = (await request.json()).get("repositoryName", target)
    if asked not in _MAY[account]:
        return _json({"__type": _DENIED, "message": "no"}, status=400)
    if target == "ListRepositories":
        names = ("web", "shop")
        return _json({"repositories": [{"repositoryName": name} for name in names]})
    return _json({"repositoryMetadata": {"repositoryId": "id", "repositoryName": asked}})


def _json(document: object, *, status: int = 200) -> web.Response:
    body = json.dumps(document)
    return web.Response(text=body, status=status, content_type="application/x-amz-json-1.1")


@asynccontextmanager
async def _open_server() -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_post("/", _answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _look(endpoint_url: str, *accounts: str, rounds: bool = False) -> list[Finding]:
    queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/reconcile.fifo"
    settings = Settings(
        reconcile={"url": queue if rounds else ""},
        aws={"region": REGION, "endpoint_url": endpoint_url, "max_tries": 1},
        accounts=[
            {"account": each, "role_arn": f"arn:aws:iam::{each}:role/asyncbuild-pull"}
            for each in accounts
        ],
    )
    return [each async for each in look_at_accounts(Aws(settings), settings)]


@pytest.fixture(autouse=True)
def _own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)


@pytest.mark.parametrize("rounds", [True, False])
async def test_an_older_stack_is_named_with_its_account_and_remedy(*, rounds: bool) -> None:
    """One finding for each account; only a service with rounds needs the newer stack."""
    async with _open_server() as url:
        findings = await _look(url, OLD, NEW, rounds=rounds)
    roles = [each for each in findings if each.name == "account.role"]
    assert [each.level for each in roles] == [Level.OK, Level.OK]
    old, new, *own = [each for each in findings if each.name == "account.repositories"]
    assert new.level is Level.OK
    assert old.level is (Level.WARNING if rounds else Level.NOTE)
    assert len(own) == rounds
    assert f"account {OLD}" in old.what
    assert f"ListRepositories ({_DENIED})" in old.what
    assert f"update the stack of account {OLD}" in old.remedy
    assert "asyncbuild template account" in old.remedy


@pytest.mark.parametrize(("account", "level"), [(NARROW, Level.OK), (CLOSED, Level.WARNING)])
async def test_a_role_for_some_repositories_is_as_it_should_be(account: str, level: Level) -> None:
    """Of the repositories that are listed, the role has to read one at least."""
    async with _open_server() as url:
        _, finding, _ = await _look(url, account, rounds=True)
    assert finding.level is level
    assert ("GetRepository" in finding.what) is (level is Level.WARNING)


async def test_the_service_itself_may_lack_the_rights() -> None:
    """With rounds the own account is asked, too; its remedy is the service's stack."""
    async with _open_server() as url:
        (finding,) = await _look(url, rounds=True)
    assert finding.level is Level.WARNING
    assert f"account {OWN} in {REGION}" in finding.what
    assert "update the service's stack with what `asyncbuild template` prints" in finding.remedy


async def test_a_server_that_does_not_answer_is_a_finding() -> None:
    """The role cannot be assumed: one finding with the reason, and none about repositories."""
    (finding,) = await _look("http://127.0.0.1:9", NEW)
    assert (finding.name, finding.level) == ("account.role", Level.PROBLEM)
