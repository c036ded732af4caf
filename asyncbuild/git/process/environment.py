"""Environment of every git: the variables for programs and network, nothing else of the host."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

_CONFIG: Final = Path(__file__).with_name("gitconfig")
_KEPT: Final = (  # needed to find programs and reach the network
    *("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSH_AUTH_SOCK"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
)


def scrub(host: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of git, given that of this process."""
    return {
        **{name: host[name] for name in _KEPT if name in host},
        "GIT_ALLOW_PROTOCOL": "file:http:https:ssh",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(_CONFIG),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_DEFAULT_REF_FORMAT": "files",  # `git/mirrors/directory.py` reads refs as files
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
        "GIT_TERMINAL_PROMPT": "0",
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "TZ": "UTC",  # dates that export-subst writes
    }
