"""Servers as children: they start, answer on loopback alone, and leave nothing over."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from support.seaweedfs import open_seaweedfs
from support.servers import REGION, open_s3_client
from support.wait import PATIENCE_SECONDS

from asyncbuild.domain.errors import Fatal
from asyncbuild.local.servers import children as servers
from asyncbuild.local.servers.children import LocalServer, open_ministack
from asyncbuild.local.servers.packages import Package, ensure_server

BOTH = pytest.mark.parametrize("open_server", [open_ministack, open_seaweedfs])
OpenServer = Callable[[], AbstractAsyncContextManager[LocalServer]]


async def wait_until_gone(pid: int) -> None:
    """Return once no process has that id."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while await anyio.Path(f"/proc/{pid}").exists():  # noqa: ASYNC110 - no event for it
            await anyio.sleep(0.02)


def weed_socket(server: LocalServer) -> Path:
    """Return the socket of a SeaweedFS, whose directory is compiled into it."""
    port = server.endpoint_url.rpartition(":")[2]
    return Path(f"/tmp/seaweedfs-s3-{port}.sock")  # noqa: S108 - see above


def listening_addresses(pid: int) -> set[str]:
    """Return the local addresses of a process's listening TCP sockets, as /proc/net has them."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
        except FileNotFoundError:
            continue
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:  # LISTEN
                addresses.add(fields[1].split(":")[0])
    return addresses


@BOTH
async def test_two_run_side_by_side_and_leave_nothing(open_server: OpenServer) -> None:
    """Two of a kind serve S3 on different ports; afterwards processes and files are gone."""
    async with open_server() as one, open_server() as other:
        assert one.endpoint_url != other.endpoint_url
        for server in (one, other):
            async with open_s3_client(server) as client:
                await client.create_bucket(
                    Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION}
                )
                await client.put_object(Bucket="bucket", Key="key", Body=b"body")
            assert {"0100007F"} == listening_addresses(server.pid), "not on 127.0.0.1 alone"
            assert weed_socket(server).exists() == (open_server is open_seaweedfs)
    for server in (one, other):
        await wait_until_gone(server.pid)
        assert not server.directory.exists()
        assert not weed_socket(server).exists()


async def test_child_dies_with_a_killed_parent() -> None:
    """A parent that gets SIGKILL takes its server with it."""
    script = (
        "import anyio\n"
        "from asyncbuild.local.servers.children import open_ministack\n"
        "async def main():\n"
        "    async with open_ministack() as server:\n"
        "        print(server.pid, server.directory, flush=True)\n"
        "        await anyio.sleep_forever()\n"
        "anyio.run(main)\n"
    )
    async with await anyio.open_process(
        [sys.executable, "-c", script], stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        line = await BufferedByteReceiveStream(parent.stdout).receive_until(b"\n", 1000)
        pid, directory = line.decode().split()
        parent.send_signal(signal.SIGKILL)
        await parent.wait()
    await wait_until_gone(int(pid))
    shutil.rmtree(directory, ignore_errors=True)  # the next server may have removed it


async def test_a_cancelled_block_ends_its_server() -> None:
    """Cancelling the owner ends the server before the cancellation goes on."""
    pid = 0
    with anyio.CancelScope() as scope:
        async with open_ministack() as server:
            pid = server.pid
            scope.cancel()
            await anyio.sleep_forever()
    assert pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_server_that_dies_at_start_shows_its_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Failed starts are one error with the end of the server's own output."""
    environment = tmp_path / "ministack"
    (environment / "bin").mkdir(parents=True)
    program = environment / "bin" / "python"
    program.write_text("#!/bin/sh\necho no room left on this machine >&2\nexit 3\n")
    program.chmod(0o755)
    (environment / ".complete").write_text("ministack==1.5.33")
    monkeypatch.setattr("asyncbuild.local.servers.packages.servers_directory", lambda: tmp_path)
    with pytest.raises(Fatal, match=r"ministack ended \(3\).*no room left on this machine"):
        async with open_ministack():
            pass


async def test_a_taken_port_is_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """If another process takes the chosen port first, the next try uses another one."""
    async with open_ministack() as first:
        taken = int(first.endpoint_url.rpartition(":")[2])
        choices, choose = iter([[taken]]), servers.free_ports
        monkeypatch.setattr(servers, "free_ports", lambda n: next(choices, None) or choose(n))
        async with open_ministack() as second:
            assert first.endpoint_url != second.endpoint_url


def test_a_broken_environment_is_built_again(tmp_path: Path) -> None:
    """An environment without its marker is not used, and one that fails quotes pip's output."""
    half_built = tmp_path / "nothing"
    half_built.mkdir()
    (half_built / "rubbish").touch()
    with pytest.raises(Fatal, match="no-such-file"):
        ensure_server(Package("nothing", "./no-such-file.whl"), tmp_path)
    assert not (half_built / "rubbish").exists()
    assert not (half_built / ".complete").exists()
