"""Access of git to each forge: paths of its URLs, its SSH port, its user names. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from asyncbuild.domain.repository import ForgeKind


@dataclass(frozen=True, slots=True)
class GitAccess:
    """Ways to a repository of one forge.

    Attributes:
        token_user: User name for a token of an app, a project or a repository, from the
            forge's documentation.
        web_path: Path of a repository below `https://HOST`, without `.git`.
        ssh_port: SSH port where it is not the usual one.
        suffix: End of a repository's URL.
        ssh_host: Host that takes SSH; `{host}` is the one of the pages.
        ssh_path: Path of a repository below that host, without the suffix.
    """

    token_user: str
    web_path: str = "/{owner}/{repository}"
    ssh_port: int | None = None
    suffix: str = ".git"
    ssh_host: str = "{host}"
    ssh_path: str = "/{owner}/{repository}"

    def template(self, host: str, *, by_ssh: bool) -> str:
        """Return the usual URL of repositories, with the fields `{owner}` and `{repository}`.

        Args:
            host: Host of the forge's pages, with a port where it differs from the usual one.
            by_ssh: Whether to use SSH in place of HTTPS.
        """
        if not by_ssh:
            return f"https://{host}{self.web_path}{self.suffix}"
        name = self.ssh_host.format(host=host.partition(":")[0])
        place = f"{name}:{self.ssh_port}" if self.ssh_port else name
        return f"ssh://git@{place}{self.ssh_path}{self.suffix}"


GIT_ACCESS: Final[Mapping[ForgeKind, GitAccess]] = {
    ForgeKind.GITHUB: GitAccess("x-access-token"),
    ForgeKind.GITLAB: GitAccess("oauth2"),  # accepts any name
    # A personal token needs its own user name, in the setting `user`.
    ForgeKind.BITBUCKET: GitAccess("x-token-auth"),
    ForgeKind.BITBUCKET_SERVER: GitAccess(
        "x-token-auth", web_path="/scm/{owner}/{repository}", ssh_port=7999
    ),
    ForgeKind.GITEA: GitAccess("x-access-token"),  # accepts any name with a token as the password
    ForgeKind.FORGEJO: GitAccess("x-access-token"),
    # Azure DevOps, "Use personal access tokens", accepts any name; "Use SSH keys", the URL.
    ForgeKind.AZURE_DEVOPS: GitAccess(
        "x-access-token",
        web_path="/{owner}/_git/{repository}",
        suffix="",
        ssh_host="ssh.{host}",
        ssh_path="/v3/{owner}/{repository}",
    ),
}
