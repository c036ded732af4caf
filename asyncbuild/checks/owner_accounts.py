"""Checks of accounts that own repositories: assumes each role, and asks what only reads."""

from collections.abc import AsyncIterator, Awaitable
from typing import Any, Final, cast

from asyncbuild.aws.accounts import AccountCredentials
from asyncbuild.aws.classify import errors_of
from asyncbuild.aws.error_codes import lacks_right
from asyncbuild.aws.session import Aws, client_config
from asyncbuild.checks.failed_questions import failed_finding
from asyncbuild.checks.judges.finding import Finding, Level
from asyncbuild.checks.judges.owner_rights import OwnerAnswers, judge_owner
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import StageError

_LOOKUPS_MOST: Final = 10  # a stack may name its repositories, so not each need be readable


async def look_at_accounts(aws: Aws, settings: Settings) -> AsyncIterator[Finding]:
    """Yield findings about each role and what it may ask; a failure of one is a finding, too.

    Args:
        aws: Session of the service.
        settings: The whole configuration.
    """
    needed = bool(settings.reconcile.url)
    questions = _Questions(aws, settings)
    for entry in settings.accounts:
        region = next(iter(entry.regions), aws.region or "")
        try:
            await questions.credentials.get(entry.account, region)
        except StageError as error:
            yield failed_finding("account.role", error)
            continue
        yield Finding(Level.OK, "account.role", f"role {entry.role_arn} can be assumed")
        yield await _judged(questions.ask(entry.account, region, entry.role_arn), needed=needed)
    if needed and aws.region:
        yield await _judged(questions.ask("", aws.region, ""), needed=needed)


async def _judged(asked: Awaitable[OwnerAnswers], *, needed: bool) -> Finding:
    try:
        return judge_owner(await asked, needed=needed)
    except StageError as error:
        return failed_finding("account.repositories", error)


class _Questions:
    """Asks CodeCommit in several accounts.

    Args:
        aws: Session of the service.
        settings: The whole configuration.
    """

    def __init__(self, aws: Aws, settings: Settings) -> None:
        self.credentials = AccountCredentials(aws, settings)
        self._aws = aws
        self._settings = settings

    async def ask(self, account: str, region: str, role: str) -> OwnerAnswers:
        """Ask in one Region of an account; the others have the same role.

        Args:
            account: The account; empty for the service's own.
            region: The Region.
            role: ARN of the role there; empty for the service's own.

        Raises:
            StageError: AWS cannot be reached, or knows no such question.
        """
        keys = await self.credentials.get(account, region)
        owner = account or await self.credentials.find_own_account(region)
        async with cast("Any", self._aws.session).client(
            "codecommit",
            region_name=region,
            endpoint_url=self._settings.aws.endpoint_url,
            config=client_config(self._settings.aws, pool=1),
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            aws_session_token=keys.token,
        ) as client:
            doing = f"list the repositories of account {owner} in {region}"
            answer, denied = await _answer(doing, client.list_repositories())
            listed = [
                str(each["repositoryName"]) for each in (answer or {}).get("repositories", ())
            ]
            lookups: list[tuple[str, str]] = []
            for name in listed[:_LOOKUPS_MOST]:
                doing = f"ask CodeCommit for repository {name} of account {owner}"
                _, code = await _answer(doing, client.get_repository(repositoryName=name))
                lookups.append((name, code))
        return OwnerAnswers(owner, region, role, denied, tuple(lookups))


async def _answer(doing: str, call: Awaitable[Any]) -> tuple[Any, str]:
    """Return the answer, or the error code that says that the right is missing."""
    try:
        with errors_of(doing):
            return await call, ""
    except StageError as error:
        if not lacks_right(error.code):
            raise
        return None, error.code or ""
