"""Judges of the credentials that post commit statuses, by what the forges tell of them. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from asyncbuild.aws.error_codes import lacks_right
from asyncbuild.checks.judges.finding import Finding, FindingKind, Level
from asyncbuild.config.hosts import HostSettings
from asyncbuild.domain.errors import Busy, Denied, Outage, StageError
from asyncbuild.domain.reports.credential_facts import AppInstallation, CredentialFacts

_ENDS_SOON: Final = timedelta(days=14)
# One of these is enough. GitHub, "Scopes for OAuth apps"; GitLab, "Personal access tokens", scopes;
# Bitbucket Cloud, "Commit statuses": a status needs the scope to read the repository.
_ENOUGH: Final = {
    "github": ("repo", "repo:status"),
    "gitlab": ("api",),
    "bitbucket": (
        *("repository", "repository:write", "repository:admin"),
        *("read:repository:bitbucket", "write:repository:bitbucket"),
    ),
}
_RIGHT_OF_APP: Final = "Repository permissions, Commit statuses: Read and write"
_NO_STATUS: Final = "no status would be posted; its reports would become dead letters"


def judge_credential(
    host: HostSettings, facts: CredentialFacts, now: datetime
) -> Iterator[Finding]:
    """Yield the findings about a credential that its forge has taken.

    Args:
        host: Entry of `[[hosts]]` with the table `commit_status`.
        facts: What the forge told.
        now: The present time.
    """
    if facts.installations is not None:
        yield from _judge_app(host, facts)
        return
    if not facts.is_tried:
        yield Finding(
            Level.NOTE,
            "status.credential",
            f"the credential for commit statuses of {host.host} was not tried",
            "a question to Azure DevOps names an organization, and the host's entry names none",
            'write repository = ["ORGANIZATION/*"] into the entry',
        )
        return
    yield from _judge_end(host, facts, now)
    if facts.scopes is None:
        yield Finding(
            Level.OK,
            "status.credential",
            f"{host.host} takes the credential for commit statuses; it does not tell its rights",
        )
        return
    enough, has = _ENOUGH.get(host.kind, ()), ", ".join(facts.scopes) or "no scope"
    if any(scope in enough for scope in facts.scopes):
        yield Finding(
            Level.OK,
            "status.scopes",
            f"the credential for commit statuses of {host.host} has {has}",
        )
        return
    yield Finding(
        Level.PROBLEM,
        "status.scopes",
        f"the credential for commit statuses of {host.host} has {has}",
        _NO_STATUS,
        f"make one with the scope {enough[-1] if host.kind == 'github' else enough[0]} "
        "(docs/hosts.md)",
        FindingKind.RIGHTS,
    )


def judge_no_secret(error: StageError) -> Finding:
    """Return the finding about a credential that cannot be read where it is kept."""
    return Finding(
        Level.PROBLEM,
        "status.secret",
        error.reason,
        "the service does not start without it",
        error.remedy or "store it, and let the task's role read it (SecretArns of the stack)",
        FindingKind.RIGHTS if lacks_right(error.code) else FindingKind.SETUP,
    )


def judge_refusal(host: HostSettings, api_url: str, error: StageError) -> Finding:
    """Return the finding about a credential that could not be tried.

    Args:
        host: Entry of `[[hosts]]`.
        api_url: Address of the API.
        error: What came in place of an answer.
    """
    if isinstance(error, Denied):
        return Finding(
            Level.PROBLEM,
            "status.credential",
            error.reason,
            _NO_STATUS,
            f"store a valid credential for {host.host} (docs/hosts.md)",
            FindingKind.RIGHTS,
        )
    if isinstance(error, Outage):
        return Finding(
            Level.PROBLEM,
            "status.reach",
            f"{api_url} cannot be reached from here: {error.reason}",
            "reports wait meanwhile, two days each, and then become dead letters; pushes and "
            "results are not delayed",
            "give the tasks' subnets a NAT, HTTPS_PROXY or a route to it; what was given up "
            "meanwhile goes out with `asyncbuild report --again --all`",
            FindingKind.REACH,
        )
    if isinstance(error, Busy):
        return Finding(
            Level.NOTE,
            "status.credential",
            error.reason,
            "the forge asks for a pause, so nothing can be said of the credential",
        )
    return Finding(
        Level.PROBLEM,
        "status.credential",
        error.reason,
        _NO_STATUS,
        error.remedy or "see whether api_url of [hosts.commit_status] is that of the forge's API",
    )


def _judge_app(host: HostSettings, facts: CredentialFacts) -> Iterator[Finding]:
    name = "status.app"
    app = f"the GitHub App for {host.host}"
    if facts.permission != "write":
        yield Finding(
            Level.PROBLEM,
            name,
            f"{app} has the permission statuses: {facts.permission or 'none'}",
            _NO_STATUS,
            f"give it {_RIGHT_OF_APP}, and accept that in each installation",
            FindingKind.RIGHTS,
        )
        return
    if not facts.installations:
        yield Finding(
            Level.PROBLEM,
            name,
            f"{app} is installed nowhere",
            _NO_STATUS,
            "install it on the account with the repositories",
            FindingKind.RIGHTS,
        )
        return
    for each in facts.installations:
        yield _judge_installation(f"the installation of {app} on {each.account}", each)


def _judge_installation(subject: str, installation: AppInstallation) -> Finding:
    name, effect = "status.app", "no status is posted to repositories there"
    if installation.suspended:
        told = f"{subject} is suspended"
        return Finding(Level.WARNING, name, told, effect, "resume it, or uninstall it")
    if installation.statuses == "write":
        return Finding(Level.OK, name, f"{subject} may write commit statuses")
    return Finding(
        Level.PROBLEM,
        name,
        f"{subject} has the permission statuses: {installation.statuses or 'none'}",
        effect,
        "accept the App's new permissions there (Settings, GitHub Apps, Review request)",
        FindingKind.RIGHTS,
    )


def _judge_end(host: HostSettings, facts: CredentialFacts, now: datetime) -> Iterator[Finding]:
    if facts.expires_at is not None and facts.expires_at - now < _ENDS_SOON:
        yield Finding(
            Level.WARNING,
            "status.expiry",
            f"the credential for commit statuses of {host.host} ends on "
            f"{facts.expires_at:%Y-%m-%d}",
            "from then on no status is posted; its reports become dead letters",
            "store another one; the service reads it within a minute",
        )
