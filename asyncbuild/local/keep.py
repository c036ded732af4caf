"""Closing text of `demo --keep`: how to look at what it keeps, from another terminal."""

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from asyncbuild.config.variables import ENV_PREFIX
from asyncbuild.local.servers.children import ACCESS_KEY, SECRET_KEY
from asyncbuild.local.stack import Stack


def text_of(cloud: Stack, *, page: str, repository: str) -> str:
    """Return all addresses, one block of variables, and four commands that work with them.

    Args:
        cloud: The demo's cloud.
        page: Address of the status page.
        repository: A repository for `explain`.
    """
    settings, variables = cloud.settings, _variables(cloud, page)
    command = _command()
    foreign = [name for name in cloud.foreign if name not in variables]
    lines = [
        f"page      {page}",
        f"queue     {settings.queue.url}",
        f"results   {settings.results.url}",
        f"bucket    s3://{settings.storage.bucket} at {settings.aws.endpoint_url}",
        f"builds    {settings.builds.endpoint_url}",
        f"remotes   {cloud.directory}/remotes",
        "",
        "To look at it from another terminal, paste there:",
        "",
        *([f"unset {' '.join(foreign)}"] if foreign else []),
        f"export {' '.join(f'{name}={shlex.quote(value)}' for name, value in variables.items())}",
        f"{command} explain {shlex.quote(repository)}",
        f"{command} build {shlex.quote(repository)} --again --wait",
        f"{command} top",
        f"{command} dead-letters list",
        "",
        "Ctrl-C ends everything.",
    ]
    return "".join(f"  {line}\n" if line else "\n" for line in lines)


def _variables(cloud: Stack, page: str) -> Mapping[str, str]:
    settings = cloud.settings
    own = {
        "aws__region": settings.aws.region,
        "aws__endpoint_url": settings.aws.endpoint_url,
        "queue__url": settings.queue.url,
        "results__url": settings.results.url,
        "storage__bucket": settings.storage.bucket,
        "storage__addressing_style": settings.storage.addressing_style,
        "status__listen": urlsplit(page).netloc or settings.status.listen,
    }
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        **{ENV_PREFIX + name.upper(): str(value) for name, value in own.items()},
    }


def _command() -> str:
    """Return the path of this program, so that another terminal finds it."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m asyncbuild"
    found = shutil.which(called.name)
    same = found is not None and Path(found).resolve() == called.resolve()
    return called.name if same else shlex.quote(str(called.absolute()))
