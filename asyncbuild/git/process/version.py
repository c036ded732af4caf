"""Supported versions of git, and the version that is installed.

Older ones are refused when a command begins: a mirror or an archive made in an unproved way would
show no sign of it. Newer ones are accepted; those that the tests run with are in the README.
"""

import re
import subprocess
from typing import Final

from anyio import to_thread

from asyncbuild.domain.errors import Retry, Unsupported
from asyncbuild.git.formats.error_classes import machine_error

# The oldest that the tests of mirrors and archives pass with. Features that are needed: settings
# from the environment (GIT_CONFIG_COUNT 2.31, GIT_CONFIG_GLOBAL 2.32) and `repack --geometric`
# (2.32). But 2.32 leaves the broken objects of a damaged mirror beside those that it fetches again.
OLDEST_GIT: Final = (2, 34)
OLDEST_GIT_TEXT: Final = ".".join(map(str, OLDEST_GIT))
_VERSION: Final = re.compile(r"git version (\d+)\.(\d+)\S*")
_TIMEOUT_SECONDS: Final = 60  # only a busy machine makes it slow


def parse_version(text: str) -> tuple[int, int] | None:
    """Return major and minor number from the output of `git version`; None for other output."""
    found = _VERSION.match(text)
    return (int(found[1]), int(found[2])) if found else None


async def require_git() -> str:
    """Return the version of git on PATH, as git prints it.

    Raises:
        Unsupported: It is missing, does not run, or is older than `OLDEST_GIT`.
        StageError: The machine cannot start a process, or git does not end.
    """
    return await to_thread.run_sync(_require)


def _require() -> str:
    remedy = f"install git {OLDEST_GIT_TEXT} or newer, and put it first on PATH"
    try:
        done = subprocess.run(
            ["git", "version"],  # noqa: S607 - the one on PATH is meant
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise Unsupported("git is not installed", remedy=remedy) from error
    except PermissionError as error:
        raise Unsupported(f"git does not run: {error.strerror}", remedy=remedy) from error
    except OSError as error:
        raise machine_error(error, "ask git for its version") from error
    except subprocess.TimeoutExpired as error:
        raise Retry(f"git did not say its version within {_TIMEOUT_SECONDS} s") from error
    text = done.stdout.decode("utf-8", "replace").strip()
    version = parse_version(text)
    if version is None:
        raise Unsupported(f"git does not say its version, but {text[:200]!a}", remedy=remedy)
    if version < OLDEST_GIT:
        raise Unsupported(f"{text} is older than {OLDEST_GIT_TEXT}", remedy=remedy)
    return text.removeprefix("git version ")
