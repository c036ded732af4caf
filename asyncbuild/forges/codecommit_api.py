"""Calls of the CodeCommit API: ids of repositories, and the names of all of an account."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, cast

from asyncbuild.aws.accounts import AccountCredentials
from asyncbuild.aws.classify import errors_of
from asyncbuild.aws.session import Aws, client_config
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import Denied, NoPermission, Reject, Retry, reading
from asyncbuild.domain.git_names import check_repository
from asyncbuild.domain.repository import CodeCommitNamespace, Repository

# One account's policy, or one repository that is gone, must not end the service.
_errors_of = partial(errors_of, peer="codecommit", instead={NoPermission: Denied})


class CodeCommitApi:
    """Asks CodeCommit, with the credentials of the account concerned.

    Args:
        aws: Session of the service.
        credentials: Credentials by account.
        settings: All settings.
    """

    def __init__(self, aws: Aws, credentials: AccountCredentials, settings: Settings) -> None:
        self._aws = aws
        self._credentials = credentials
        self._settings = settings

    async def find_id(self, repository: Repository) -> str:
        """Return the id of a repository, which is the message group of its events.

        Raises:
            Reject: The repository does not exist.
            Denied: The role may not ask.
            StageError: CodeCommit cannot be asked.
        """
        there = repository.namespace
        if not isinstance(there, CodeCommitNamespace):
            raise Reject(f"{repository.path} is not a repository of CodeCommit")
        doing = f"ask CodeCommit for the id of {repository.path}"
        async with self._open(there.account, there.region, doing) as client:
            with _errors_of(doing):
                answer = await client.get_repository(repositoryName=repository.name)
        with reading("the answer to GetRepository", raises=Retry, peer="codecommit"):
            return str(answer["repositoryMetadata"]["repositoryId"])

    def accounts(self) -> list[tuple[str, str]]:
        """Return the accounts with their regions, as configured; the own account is empty."""
        own = self._aws.region or ""
        listed = [("", own)] if own else []
        for each in self._settings.accounts:
            listed += [(each.account, region) for region in each.regions or (own,) if region]
        return listed

    async def list_repositories(self, account: str, region: str) -> AsyncIterator[Repository]:
        """Yield all repositories of an account in a region.

        Names that a command could take for an option are left out (I11).

        Args:
            account: The account; empty for the service's own.
            region: The region.

        Raises:
            Denied: The role may not ask.
            StageError: CodeCommit cannot be asked.
        """
        owner = account or await self._credentials.find_own_account(region)
        doing = f"list the repositories of account {owner} in {region}"
        async with self._open(account, region, doing) as client:
            more: dict[str, str] = {}
            while True:
                with _errors_of(doing):
                    page = await client.list_repositories(**more)
                for each in page.get("repositories", ()):
                    name = str(each.get("repositoryName", ""))
                    with suppress(Reject):
                        if not name.startswith("-"):
                            yield check_repository(Repository.of_codecommit(owner, region, name))
                if not page.get("nextToken"):
                    return
                more = {"nextToken": page["nextToken"]}

    @asynccontextmanager
    async def _open(self, account: str, region: str, doing: str) -> AsyncIterator[Any]:
        keys = await self._credentials.get(account, region)
        with _errors_of(doing):
            maker = cast("Any", self._aws.session).client(
                "codecommit",
                region_name=region,
                endpoint_url=self._settings.aws.endpoint_url,
                config=client_config(self._settings.aws, pool=1),
                aws_access_key_id=keys.access_key,
                aws_secret_access_key=keys.secret_key,
                aws_session_token=keys.token,
            )
            client = await maker.__aenter__()
        try:
            yield client
        finally:
            await maker.__aexit__(None, None, None)
