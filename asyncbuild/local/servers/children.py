"""Servers as children: ministack (SQS, S3, EventBridge, STS), on loopback only.

Each runs in a session of its own with a temporary directory of its own, on ports that were free a
moment ago, and does not outlive its parent.
"""

import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import anyio
from anyio.abc import Process

from asyncbuild.domain.errors import Fatal
from asyncbuild.local.servers.packages import MINISTACK, Package, ensure_server
from asyncbuild.local.servers.served import no_port
from asyncbuild.runtime.scratch import open_scratch

HOST = "127.0.0.1"
ACCESS_KEY = SECRET_KEY = "test"  # noqa: S105 - servers are configured to accept it

_START_DEADLINE_SECONDS = 60.0
_POLL_SECONDS = 0.02
_TERM_SECONDS = 3.0
_START_TRIES = 3
_TAIL_BYTES = 2_000


@dataclass(frozen=True, slots=True)
class LocalServer:
    """Child process that answers at `endpoint_url`."""

    name: str
    endpoint_url: str
    pid: int
    log: Path
    directory: Path


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """Command that starts one server on certain ports, and the signal that ends it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    endpoint_url: str
    ready: Mapping[str, bytes]  # URLs that must answer, and text that each answer must contain
    end_signal: signal.Signals
    leftovers: Sequence[Path] = ()


@asynccontextmanager
async def open_ministack(*, region: str = "eu-west-1") -> AsyncIterator[LocalServer]:
    """Run ministack until the block ends; installs it first if need be.

    Raises:
        Fatal: It cannot be installed or does not start.
    """
    python = await installed_program(MINISTACK, "python")

    def plan(directory: Path) -> ServerCommand:
        (port,) = free_ports(1)
        return ServerCommand(
            name=MINISTACK.name,
            command=[python, "-m", "ministack"],
            environment={
                "BIND_HOST": HOST,  # all interfaces by default
                "GATEWAY_PORT": str(port),
                "MINISTACK_REGION": region,
                "LOG_LEVEL": "WARNING",
                "IOT_MTLS_ENABLED": "0",  # otherwise it listens on a fixed port, too
                # With a Docker socket it removes containers that an earlier run may have left.
                "DOCKER_HOST": f"unix://{directory}/no-docker.sock",
            },
            endpoint_url=f"http://{HOST}:{port}",
            ready={f"http://{HOST}:{port}/_ministack/health": b""},
            end_signal=signal.SIGTERM,
        )

    async with open_server(plan) as server:
        yield server


async def installed_program(package: Package, program: str) -> str:
    """Install `package` if need be, and return the path of one of its programs."""
    environment = await anyio.to_thread.run_sync(ensure_server, package)
    return str(environment / "bin" / program)


def free_ports(count: int) -> list[int]:
    """Return different ports that are free now; all are held until the last one is known.

    Raises:
        Fatal: Too few ports are free.
    """
    with ExitStack() as sockets:
        try:
            held = [sockets.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        except OSError as error:
            raise no_port(error) from error
        return [int(each.getsockname()[1]) for each in held]


@asynccontextmanager
async def open_server(plan_in: Callable[[Path], ServerCommand]) -> AsyncIterator[LocalServer]:
    """Start a server, wait for its first answer, yield it, end it.

    Between choosing a port and opening it another process may take it: then try other ports.
    """
    for tries_left in reversed(range(_START_TRIES)):
        with open_scratch("asyncbuild-server-") as directory:
            plan = plan_in(directory)
            process = await _start(plan, directory)
            try:
                try:
                    await _wait_for_answer(plan, process, directory / "log")
                except Fatal as error:
                    if tries_left and "already in use" in error.reason:
                        continue
                    raise
                log = directory / "log"
                yield LocalServer(plan.name, plan.endpoint_url, process.pid, log, directory)
                return
            finally:
                await _end(plan, process)


async def _start(plan: ServerCommand, directory: Path) -> Process:
    bound_child = Path(__file__).with_name("bound_child.py")
    wrapper = [sys.executable, "-I", "-S", str(bound_child), str(os.getpid())]
    inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    private = {"HOME": str(directory), "TMPDIR": str(directory)}
    with (directory / "log").open("wb") as log:
        return await anyio.open_process(
            [*wrapper, *plan.command],
            stdin=None,
            stdout=log,
            stderr=log,
            cwd=directory,
            env={**inherited, **private, **plan.environment},
            start_new_session=True,  # Ctrl-C in the terminal is for the parent alone
        )


async def _wait_for_answer(plan: ServerCommand, process: Process, log: Path) -> None:
    missing = dict(plan.ready)
    with anyio.move_on_after(_START_DEADLINE_SECONDS):
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while missing and process.returncode is None:
                url, wanted = next(iter(missing.items()))
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(url) as answer:
                        good = answer.status == 200 and wanted in await answer.read()  # noqa: PLR2004 - OK
                        if good and _listens(process.pid, answer.url.port):
                            del missing[url]
                            continue
                await anyio.sleep(_POLL_SECONDS)
    if not missing:
        return
    how = "does not answer" if process.returncode is None else f"ended ({process.returncode})"
    raise Fatal(f"{plan.name} {how} at its start; its log ends: {_tail(log)}")


def _listens(pid: int, port: int | None) -> bool:
    """Return whether the port belongs to the child, and not to a process that took it first.

    That process's answer looks the same, and the child needs a moment to notice and end.
    """
    if not Path("/proc/self/fd").is_dir():  # not Linux: the answer has to do
        return True
    inodes = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                inodes.add(str(descriptor.readlink()))
        lines = Path(f"/proc/{pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    except OSError:  # the child ended because of it
        return False
    rows = [line.split() for line in lines]  # proc(5): local address is 1, state 3, inode 9
    return any(
        row[3] == "0A" and row[1].endswith(f":{port:04X}") and f"socket:[{row[9]}]" in inodes
        for row in rows
    )


def _tail(log: Path) -> str:
    text = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
    return text or "(nothing)"


async def _end(plan: ServerCommand, process: Process) -> None:
    """End the whole process group, then remove its files in other directories."""
    with anyio.CancelScope(shield=True):
        for number in (plan.end_signal, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with anyio.move_on_after(_TERM_SECONDS):
                await process.wait()
        await process.aclose()
        for path in plan.leftovers:
            path.unlink(missing_ok=True)
