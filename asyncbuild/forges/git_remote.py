"""Remote: URL to fetch one repository from, and the credentials of one git call.

A credential is made for each call and travels in git's environment (`http.<url>.extraHeader` by
GIT_CONFIG_COUNT): never in an argument, a URL, a file or a message (I10).
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from asyncbuild.domain.reachable import Reach

_HTTP: Final = 80
_HTTPS: Final = 443


@dataclass(frozen=True, slots=True)
class Remote:
    """URL to fetch one repository from, with the access that git needs there.

    Attributes:
        url: URL for git; it contains no secret.
        name: URL for people.
        patience_seconds: Longest silence of the server.
        login: Makes the header of one call; None for anonymous access.
        ssh: Makes GIT_SSH_COMMAND of one call; None for other protocols.
        reach: Addresses that the server's answers may lead to.
        pin: Makes settings that keep git to addresses that may be reached; None where the
            configuration names the server.
        forge: The forge, as `Repository.forge`; empty where that does not matter.
    """

    url: str
    name: str
    patience_seconds: float = 120
    login: Callable[[], Awaitable[str]] | None = field(default=None, repr=False)
    ssh: Callable[[], str] | None = field(default=None, repr=False)
    reach: Reach = field(default_factory=Reach)
    pin: Callable[[], Awaitable[Mapping[str, str]]] | None = field(default=None, repr=False)
    forge: str = ""

    async def environment(self) -> dict[str, str]:
        """Return the environment variables of one git call, with a fresh credential.

        Raises:
            Retry: There are no credentials for the repository's account at the moment.
            Outage: The server's name cannot be looked up.
            Reject: The server's address may not be reached.
        """
        # The service ends a silent git itself. This is for one that outlived it and still holds its
        # lock.
        patience = math.ceil(self.patience_seconds * 1.5)
        settings = {
            "http.lowSpeedLimit": "1",
            "http.lowSpeedTime": str(patience),
            # A redirect would pass the header on, and may lead to any server that this machine can
            # reach: the targets of a configured server's redirects are not configured.
            "http.followRedirects": "false",
            **(await self.pin() if self.pin is not None else {}),
        }
        if self.login is not None:
            parts = urlsplit(self.url)
            settings[f"http.{parts.scheme}://{parts.netloc}/.extraHeader"] = await self.login()
        variables = config_environment(settings)
        if self.ssh is not None:
            variables["GIT_SSH_COMMAND"] = self.ssh()
        return variables


def places_of(url: str) -> list[tuple[str, int]]:
    """Return host and port of the web server of a URL, of an SSH URL, too; empty for a path."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return []
    if not parts.hostname:
        return []
    usual = _HTTP if parts.scheme == "http" else _HTTPS
    return [(parts.hostname, usual if port is None or parts.scheme == "ssh" else port)]


def config_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return settings for one git call as environment variables (git-config(1), ENVIRONMENT)."""
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables
