"""Credentials that pull a repository: the service's own, or those of a role in its account."""

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import anyio
from aiobotocore.credentials import (
    AioAssumeRoleCredentialFetcher,
    AioDeferredRefreshableCredentials,
)
from botocore import exceptions as boto

from asyncbuild.aws.classify import errors_of
from asyncbuild.aws.session import Aws, client_config
from asyncbuild.config.routing import AccountSettings
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import NoPermission, Retry

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

# A fault of one account's role must not end the service for all others.
_errors_of = partial(errors_of, instead={NoPermission: Retry})


class AccountCredentials:
    """Credentials by the account that owns a repository: the service's own, or a role there.

    One deferred source per role, made at its first use and kept: many callers at once make one
    AssumeRole, and botocore renews the result before it expires.
    """

    def __init__(self, aws: Aws, settings: Settings) -> None:
        self._aws = aws
        self._settings = settings
        self._roles: dict[str, AioDeferredRefreshableCredentials] = {}
        self._own_account: str | None = None
        self._looking = anyio.Lock()

    async def get(self, account: str, region: str) -> "ReadOnlyCredentials":
        """Return credentials that may pull in `account`; the service's own if `account` is empty.

        Raises:
            Retry: AWS refuses the role; or none is configured for that account, and it is not the
                service's own. With its own credentials CodeCommit would serve the repository of the
                same name in its own account.
            BadCredentials: There are no credentials at all.
        """
        role = self._role(account, region)
        if role is not None:
            with _errors_of(f"assume {role.role_arn}"):
                return await self._assumed(role, region).get_frozen_credentials()
        if account and account != await self.find_own_account(region):
            raise Retry(
                f"account {account} is neither this service's own nor one of [[accounts]]",
                remedy="add an [[accounts]] entry with a role that may pull there",
            )
        return await self._own()

    def _role(self, account: str, region: str) -> AccountSettings | None:
        for entry in self._settings.accounts:
            if entry.account == account and (not entry.regions or region in entry.regions):
                return entry
        return None

    async def _own(self) -> "ReadOnlyCredentials":
        with _errors_of("find AWS credentials"):
            credentials = await cast("Any", self._aws.session).get_credentials()
            if credentials is None:
                raise boto.NoCredentialsError
            return cast("ReadOnlyCredentials", await credentials.get_frozen_credentials())

    def _assumed(self, role: AccountSettings, region: str) -> AioDeferredRefreshableCredentials:
        key = f"{role.role_arn}|{role.external_id}|{role.session_name}"
        if key not in self._roles:
            self._roles[key] = self._assume(role, region)
        return self._roles[key]

    def _assume(self, role: AccountSettings, region: str) -> AioDeferredRefreshableCredentials:
        session = cast("Any", self._aws.session)._session  # noqa: SLF001 - aioboto3 hides aiobotocore's
        extra = {"RoleSessionName": role.session_name}
        if role.external_id:
            extra["ExternalId"] = role.external_id

        async def refresh() -> Any:  # noqa: ANN401 - botocore's metadata
            source = await session.get_credentials()
            if source is None:
                raise boto.NoCredentialsError
            fetcher = AioAssumeRoleCredentialFetcher(
                client_creator=partial(
                    session.create_client,
                    region_name=self._aws.region or region,
                    endpoint_url=self._settings.aws.endpoint_url,
                ),
                source_credentials=source,
                role_arn=role.role_arn,
                extra_args=extra,
            )
            return await fetcher.fetch_credentials()

        return AioDeferredRefreshableCredentials(refresh, "assume-role")

    async def find_own_account(self, region: str) -> str:
        """Return the service's own account, asked once; GetCallerIdentity needs no permission."""
        async with self._looking:
            if self._own_account is None:
                with _errors_of("ask STS for this service's account"):
                    async with cast("Any", self._aws.session).client(
                        "sts",
                        region_name=self._aws.region or region,
                        endpoint_url=self._settings.aws.endpoint_url,
                        config=client_config(self._settings.aws, pool=1),
                    ) as client:
                        answer = await client.get_caller_identity()
                self._own_account = str(answer["Account"])
        return self._own_account
