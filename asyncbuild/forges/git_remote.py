"""Remote: where one repository is fetched from, and what one git call needs to be let in.

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
    """Where one repository is fetched from.

    Attributes:
        url: What git is given; it holds no secret.
        name: The same, for people.
        patience_seconds: How long the server may be silent.
        login: Makes the header of one call; None for anonymous access.
        ssh: Makes GIT_SSH_COMMAND of one call; None for other ways in.
        reach: What the server's answers may lead to.
        pin: Makes settings that keep git to addresses that may be reached; None where the
            configuration names the server.
        forge: Which has it, as `Repository.forge`; empty where that does not matter.
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
        """The variables of one git call, with a fresh credential.

        Raises:
            Retry: there are no credentials for the repository's account at the moment.
            Outage: the server's name cannot be looked up.
            Reject: its address may not be reached.
        """
        # We end a silent git ourselves. This is for one that outlived us and holds its lock still.
        patience = math.ceil(self.patience_seconds * 1.5)
        settings = {
            "http.lowSpeedLimit": "1",
            "http.lowSpeedTime": str(patience),
            # A redirect would carry the header along, and may lead to any server that this machine
            # can reach: what a configured one names is not configured.
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
    """Host and port of the web server that a URL, of SSH, too, belongs to; none of a path."""
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
    """Settings for one git call, as git-config(1) ENVIRONMENT has them."""
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables
