"""Calls of the CodeCommit API, against a server that checks them by botocore's model."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from support.events import ACCOUNT, REGION

from asyncbuild.aws.session import Aws
from asyncbuild.config import AwsSettings, Settings
from asyncbuild.domain.errors import Denied, Reject
from asyncbuild.domain.repository import Repository
from asyncbuild.forges.codecommit_api import CodeCommitApi
from asyncbuild.local.servers.aws_json import AwsError, Document, application, service_model
from asyncbuild.local.servers.served import open_site

WEB = Repository.of_codecommit(ACCOUNT, REGION, "web")


@dataclass(frozen=True)
class CodeCommitKeys:
    """Keys, as botocore has them."""

    access_key: str = "key"
    secret_key: str = "secret"
    token: str | None = None


class OwnKeys:
    """Credentials of one account, which is the service's own."""

    async def get(self, _account: str, _region: str) -> Any:  # noqa: ANN401 - botocore's credentials
        """Return keys."""
        return CodeCommitKeys()

    async def find_own_account(self, _region: str) -> str:
        """Return the account."""
        return ACCOUNT


async def answer(operation: str, request: Document) -> Document:
    """Answer as CodeCommit: three repositories on two pages, of which one has an id."""
    if operation == "ListRepositories":
        if "nextToken" not in request:
            listed = [{"repositoryName": "web"}, {"repositoryName": "-x"}]
            return {"repositories": listed, "nextToken": "more"}
        return {"repositories": [{"repositoryName": "shop"}]}
    names: Mapping[str, str] = {"web": "id-of-web"}
    name = request["repositoryName"]
    if name == "secret":
        raise AwsError("AccessDeniedException", "no")
    if name not in names:
        raise AwsError("RepositoryDoesNotExistException", f"{name} does not exist")
    return {"repositoryMetadata": {"repositoryName": name, "repositoryId": names[name]}}


@pytest.fixture
async def api() -> AsyncIterator[CodeCommitApi]:
    """Calls to the stand-in."""
    site = application(service_model("codecommit"), answer)
    async with open_site(site) as url:
        settings = Settings(aws=AwsSettings(region=REGION, endpoint_url=url, max_tries=1))
        keys: Any = OwnKeys()
        yield CodeCommitApi(Aws(settings), keys, settings)


async def test_the_id_of_a_repository_is_its_message_group(api: CodeCommitApi) -> None:
    """EventBridge puts a repository's events into the group of that id."""
    assert await api.find_id(WEB) == "id-of-web"


async def test_a_repository_that_is_gone_is_rejected(api: CodeCommitApi) -> None:
    """It is not asked for again in this round."""
    with pytest.raises(Reject, match="does not exist"):
        await api.find_id(Repository.of_codecommit(ACCOUNT, REGION, "gone"))
    with pytest.raises(Reject, match="not a repository of CodeCommit"):
        await api.find_id(Repository.of_host("github.com", "acme", "web"))


async def test_a_missing_right_does_not_end_the_service(api: CodeCommitApi) -> None:
    """One account's policy concerns its repositories alone."""
    with pytest.raises(Denied):
        await api.find_id(Repository.of_codecommit(ACCOUNT, REGION, "secret"))


async def test_all_pages_are_listed_without_dangerous_names(api: CodeCommitApi) -> None:
    """A repository whose first push was lost is on some page (I11 for the rest)."""
    assert api.accounts() == [("", REGION)]
    found = [each async for each in api.list_repositories("", REGION)]
    assert found == [WEB, Repository.of_codecommit(ACCOUNT, REGION, "shop")]
