"""Checks of the roles in accounts that own repositories: assumes each, and asks what only reads."""

from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any, Final, cast

from asyncbuild.aws.accounts import AccountCredentials
from asyncbuild.aws.classify import errors_of
from asyncbuild.aws.error_codes import lacks_right
from asyncbuild.aws.session import Aws, client_config
from asyncbuild.checks.failed_questions import failed_finding
from asyncbuild.checks.judges.finding import Finding, Level
from asyncbuild.checks.judges.owner_rights import OwnerAnswers, judge_owner
from asyncbuild.config.routing import AccountSettings
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import StageError

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

_LOOKUPS_MOST: Final = 10  # a stack may name its repositories, so not each need be readable


async def look_at_accounts(aws: Aws, settings: Settings) -> AsyncIterator[Finding]:
    """Yield findings about each role and what it may ask; a failure of one is a finding, too.

    Args:
        aws: Session of the service.
        settings: The whole configuration.
    """
    credentials = AccountCredentials(aws, settings)
    for entry in settings.accounts:
        region = next(iter(entry.regions), aws.region or "")
        try:
            keys = await credentials.get(entry.account, region)
        except StageError as error:
            yield failed_finding("account.role", error)
            continue
        yield Finding(Level.OK, "account.role", f"role {entry.role_arn} can be assumed")
        try:
            answers = await _ask(aws, settings, entry, region, keys)
        except StageError as error:
            yield failed_finding("account.repositories", error)
        else:
            yield judge_owner(answers, needed=True)


async def _ask(
    aws: Aws,
    settings: Settings,
    entry: AccountSettings,
    region: str,
    keys: "ReadOnlyCredentials",
) -> OwnerAnswers:
    """Ask CodeCommit in the first Region of one account; the others have the same role.

    Raises:
        StageError: CodeCommit cannot be reached.
    """
    async with cast("Any", aws.session).client(
        "codecommit",
        region_name=region,
        endpoint_url=settings.aws.endpoint_url,
        config=client_config(settings.aws, pool=1),
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.token,
    ) as client:
        doing = f"list the repositories of account {entry.account} in {region}"
        answer, denied = await _answer(doing, client.list_repositories())
        listed = [str(each["repositoryName"]) for each in (answer or {}).get("repositories", ())]
        lookups: list[tuple[str, str]] = []
        for name in listed[:_LOOKUPS_MOST]:
            doing = f"ask CodeCommit for repository {name} of account {entry.account}"
            _, code = await _answer(doing, client.get_repository(repositoryName=name))
            lookups.append((name, code))
    return OwnerAnswers(entry.account, region, entry.role_arn, denied, tuple(lookups))


async def _answer(doing: str, call: Awaitable[Any]) -> tuple[Any, str]:
    """Return the answer, or the error code that says that the right is missing."""
    try:
        with errors_of(doing):
            return await call, ""
    except StageError as error:
        if not lacks_right(error.code):
            raise
        return None, error.code or ""
