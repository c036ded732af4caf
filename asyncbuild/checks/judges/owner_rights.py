"""Judge of what a pull role may ask CodeCommit in its account. Pure."""

from dataclasses import dataclass

from asyncbuild.checks.judges.finding import Finding, FindingKind, Level

_NAME = "account.repositories"
_WHY = "pushes of its repositories that no event told are not found"


@dataclass(frozen=True, slots=True)
class OwnerAnswers:
    """Answers to the questions asked in one account and Region, with one role.

    Attributes:
        account: The account that owns repositories.
        region: Region of the repositories.
        role: ARN of the role; empty for the service's own, in its own account.
        listing_denied: Error code of ListRepositories that says that the right is missing; empty if
            it was answered.
        lookups: Repositories that GetRepository was asked for, each with such a code.
    """

    account: str
    region: str
    role: str
    listing_denied: str = ""
    lookups: tuple[tuple[str, str], ...] = ()


def judge_owner(answers: OwnerAnswers, *, needed: bool) -> Finding:
    """Return the one finding about an account: is its stack as new as this service needs?

    Args:
        answers: The answers.
        needed: Whether the service looks for pushes that no event told.
    """
    there = f"repositories of account {answers.account} in {answers.region}"
    asker = f"role {answers.role}" if answers.role else "this service"
    lacking = _lacking(answers)
    if not lacking:
        return Finding(Level.OK, _NAME, f"{asker} may list {there}, and read their message groups")
    stack, template = f"the stack of account {answers.account}", "asyncbuild template account"
    if not answers.role:
        stack, template = "the service's stack", "asyncbuild template"
    return Finding(
        Level.WARNING if needed else Level.NOTE,
        _NAME,
        f"{asker} may not call {lacking} for {there}",
        _WHY,
        f"update {stack} with what `{template}` prints, which allows codecommit:GetRepository and "
        "codecommit:ListRepositories",
        FindingKind.RIGHTS,
    )


def _lacking(answers: OwnerAnswers) -> str:
    """Return the calls that are denied; of repositories that the role may not read, all must be.

    A stack may name its repositories, so the role need not read each that is listed.
    """
    if answers.listing_denied:
        return f"ListRepositories ({answers.listing_denied})"
    denied = [code for _, code in answers.lookups if code]
    if denied and len(denied) == len(answers.lookups):
        return f"GetRepository ({denied[0]})"
    return ""
