"""Server of bare repositories by git's smart HTTP on loopback, as a forge has one: `http-backend`.

Repositories are at `/OWNER/NAME.git`, for any owner, and can be fetched without a login.
"""

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
from aiohttp import web

from asyncbuild.local.expected_tree import GIT_ENVIRONMENT
from asyncbuild.local.servers.served import open_site

_MOST_BYTES: Final = 64 * 1024 * 1024  # of a request: what git has already
_PATHS: Final = frozenset({"info/refs", "git-upload-pack"})


@asynccontextmanager
async def open_git_site(root: Path) -> AsyncIterator[str]:
    """Serve the repositories `root/NAME` on 127.0.0.1 while inside; yield the address.

    Args:
        root: Directory of the repositories.
    """

    async def answer(request: web.Request) -> web.Response:
        name, path = request.match_info["name"], request.match_info["path"]
        if path not in _PATHS or request.query_string not in {"", "service=git-upload-pack"}:
            return web.Response(status=404)
        environment = {
            **GIT_ENVIRONMENT,
            "PATH": os.environ.get("PATH", os.defpath),
            "GIT_PROJECT_ROOT": str(root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{name}/{path}",
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        }
        if protocol := request.headers.get("Git-Protocol"):
            environment["GIT_PROTOCOL"] = protocol
        body = await request.read()  # aiohttp has inflated it
        environment["CONTENT_LENGTH"] = str(len(body))
        done = await anyio.run_process(
            ["git", "http-backend"],
            input=body,
            check=False,
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        return _respond(done.stdout)

    application = web.Application(client_max_size=_MOST_BYTES)
    application.router.add_route("*", "/{owner}/{name}.git/{path:.+}", answer)
    async with open_site(application) as address:
        yield address


def _respond(said: bytes) -> web.Response:
    """Return the response that a program says by CGI (RFC 3875, "CGI Response")."""
    head, _, body = said.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
    status = int(headers.pop("Status", "200" if headers else "500").split()[0])
    return web.Response(status=status, body=body, headers=headers)
