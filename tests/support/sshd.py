"""A real OpenSSH server on loopback, for the user who runs the tests, with one accepted key."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.abc
from anyio import to_thread
from anyio.streams.buffered import BufferedByteReceiveStream
from support.signals import send_signal
from support.wait import PATIENCE_SECONDS

_TRIES = 5
PROGRAM = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running server.

    Attributes:
        port: On 127.0.0.1.
        key: The private key that is let in.
        other_key: One that is not.
        known_hosts: The line that a client needs.
    """

    port: int
    key: str
    other_key: str
    known_hosts: str

    def template(self, root: Path) -> str:
        """Return a remote for repositories `root/OWNER/NAME`."""
        user = getpass.getuser()
        return f"ssh://{user}@127.0.0.1:{self.port}{root}/{{owner}}/{{repository}}"


def make_key(path: Path) -> tuple[str, str]:
    """Return a new key pair: private and public."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(command, check=True)
    return path.read_text(), path.with_suffix(".pub").read_text().strip()


def _prepare(directory: Path) -> tuple[str, str, str]:
    directory.mkdir()
    _, host_public = make_key(directory / "host")
    key, public = make_key(directory / "client")
    other, _ = make_key(directory / "other")
    (directory / "authorized_keys").write_text(public + "\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # needed by Debian's sshd to drop its privileges
    return host_public, key, other


@asynccontextmanager
async def open_sshd(directory: Path, *, programs: Path | None = None) -> AsyncIterator[Sshd]:
    """Serve on a free port; `programs` comes first on the PATH of those who log in."""
    assert PROGRAM is not None
    host_public, key, other = await to_thread.run_sync(_prepare, directory)
    options = {
        "HostKey": directory / "host",
        "AuthorizedKeysFile": directory / "authorized_keys",
        "ListenAddress": "127.0.0.1",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "prohibit-password",
        "PasswordAuthentication": "no",
        "AcceptEnv": "GIT_PROTOCOL",
        **({"SetEnv": f"PATH={programs}:{os.environ['PATH']}"} if programs else {}),
    }
    arguments = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    command = [PROGRAM, "-D", "-e", "-f", "/dev/null", *arguments]
    for _ in range(_TRIES):  # another program may take the port a moment before
        port = _free_port()
        async with await anyio.open_process(
            [*command, "-p", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                if await _listens(process):
                    yield Sshd(port, key, other, f"[127.0.0.1]:{port} {host_public}")
                    return
            finally:
                send_signal(process, signal.SIGTERM)
    raise AssertionError("sshd does not start")


async def _listens(process: anyio.abc.Process) -> bool:
    """Wait until it listens or has ended; return whether it listens."""
    assert process.stderr
    told = BufferedByteReceiveStream(process.stderr)
    with anyio.fail_after(PATIENCE_SECONDS):
        try:
            while b"listening on" not in await told.receive_until(b"\n", 4096):
                pass
        except anyio.IncompleteRead:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
