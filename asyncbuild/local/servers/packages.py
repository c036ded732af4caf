"""Third-party servers, each pinned and in a virtual environment of its own.

They are programs, not libraries: ministack pins another botocore than ours, so it does not belong
into the environment that the service itself runs in.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asyncbuild.config.sections import MIB
from asyncbuild.domain.errors import ConfigError, Fatal, Outage, StageError
from asyncbuild.local.servers.resources import require_room
from asyncbuild.runtime.scratch import free_bytes

_INSTALL_DEADLINE_SECONDS = 600
_INSTALLED_BYTES = 160 * MIB  # ministack with what it depends on, and pip's download of it
_REMEDY_PLACE = "name a directory that this user may write with XDG_CACHE_HOME"
_REMEDY_INDEX = (
    "give this machine access to a Python package index; pip's settings apply (PIP_INDEX_URL, "
    "PIP_PROXY, PIP_CERT)"
)
# pip's warning each time that it tries again: an exception of the connection, with its words.
_UNREACHED = re.compile(r"after connection broken by '(?P<why>.*)': /")
_NO_VERSIONS = "(from versions: none)"


@dataclass(frozen=True, slots=True)
class Package:
    """One server in a package index, and its purpose here."""

    name: str
    requirement: str
    role: str = "a server"


MINISTACK = Package("ministack", "ministack==1.5.33", "the server that stands in for SQS and S3")


def servers_directory() -> Path:
    """Return the directory of the environments: `.servers` of a checkout, else in the user's cache.

    Raises:
        ConfigError: The user has no home directory, and XDG_CACHE_HOME is not set.
    """
    checkout = Path(__file__).resolve().parents[3]
    if os.access(checkout / "pyproject.toml", os.R_OK) and os.access(checkout, os.W_OK):
        return checkout / ".servers"
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:  # neither HOME nor an entry in /etc/passwd
        reason = f"user {os.geteuid()} has no home directory to install servers in"
        raise ConfigError(reason, remedy=_REMEDY_PLACE) from error
    return Path(cache) / "asyncbuild" / "servers"


def to_install(package: Package) -> str:
    """Return the announcement of an installation; empty if the package is installed.

    Raises:
        ConfigError: No place for it was found.
    """
    root = servers_directory()
    if _is_whole(root / package.name, package):
        return ""
    return f"Installing {package.requirement}, {package.role}, into {root}: once, about a minute …"


def ensure_server(package: Package, root: Path | None = None) -> Path:
    """Install `package` unless that has been done; blocks, so call it from a thread.

    An environment cannot be renamed (its scripts name their interpreter by absolute path), hence
    it is built in place: a marker, written last, says that it is whole, and a file lock keeps
    other processes waiting meanwhile. A half-built one is removed and built again.

    Returns:
        The environment's directory; its programs are in `bin`.

    Raises:
        Outage: The package index cannot be reached.
        StageError: It could not be installed.
    """
    root = root or servers_directory()
    environment = root / package.name
    if _is_whole(environment, package):
        return environment
    try:
        root.mkdir(parents=True, exist_ok=True)
        require_room(root, _INSTALLED_BYTES, f"{package.requirement} needs", _REMEDY_PLACE)
        with _lock(root / f"{package.name}.lock"):
            if not _is_whole(environment, package):  # another process may have built it meanwhile
                _build(environment, package)
    except OSError as error:
        raise ConfigError(
            f"{package.requirement} cannot be installed into {root}: {error.strerror}, "
            f"{free_bytes(root):,} bytes free",
            remedy=_REMEDY_PLACE,
        ) from error
    return environment


def _is_whole(environment: Path, package: Package) -> bool:
    marker = environment / ".complete"
    try:
        installed = marker.read_text(encoding="utf-8")
    except OSError:
        return False
    # The interpreter is a link: the Python that made the environment may have been removed.
    return installed == package.requirement and (environment / "bin" / "python").exists()


def _build(environment: Path, package: Package) -> None:
    shutil.rmtree(environment, ignore_errors=True)
    _run(package, [sys.executable, "-m", "venv", str(environment)])
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--quiet", "--no-input"]
    _run(package, [*pip, "--disable-pip-version-check", "install", package.requirement])
    (environment / ".complete").write_text(package.requirement, encoding="utf-8")


def _run(package: Package, command: list[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed commands, no input from outside
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=_INSTALL_DEADLINE_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise Fatal(f"cannot install {package.requirement}: {error}") from error
    if done.returncode != 0:
        raise _failed(package, done.stdout)


def _failed(package: Package, said: str) -> StageError:
    """Return the reason of pip's failure, in one line of its many."""
    what = f"cannot install {package.requirement}, {package.role}"
    unreached = _UNREACHED.search(said)
    if unreached or _NO_VERSIONS in said:
        words = unreached["why"].rpartition(": ")[2].rstrip("'\")") if unreached else ""
        words = re.sub(r"^\[Errno -?\d+\] ", "", words)
        why = f": {words}" if words else ", or does not have it"
        return Outage(f"{what}: the package index cannot be reached{why}", remedy=_REMEDY_INDEX)
    lines = [line for line in said.strip().splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return Fatal(f"{what}: {(errors or lines or ['no word of why'])[0]}", remedy=_REMEDY_INDEX)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock that ends with the process, even if that is killed."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
