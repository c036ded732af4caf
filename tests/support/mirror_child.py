"""A process that opens one commit, prints a line and waits to be killed.

python mirror_child.py TEMPLATE CACHE COMMIT
"""

import sys
from pathlib import Path

import anyio

from asyncbuild.config import GitSettings
from asyncbuild.domain.repository import Repository
from asyncbuild.forges.codecommit_login import AwsCredentials
from asyncbuild.forges.remotes import Remotes
from asyncbuild.git.mirrors.cache import open_mirrors


async def main(*arguments: str) -> None:
    """Open the commit and hold it."""
    template, cache, commit = arguments
    settings = GitSettings(
        remote=template,
        credentials="codecommit",
        cache_directory=Path(cache),
        silence_timeout_seconds=120,
    )

    async def credentials(account: str, region: str) -> AwsCredentials:
        return AwsCredentials("AKIAEXAMPLE", "s3cr3t/Example+Key", "t0ken/Example==")

    web = Repository.of_codecommit("123456789012", "eu-west-1", "web")
    async with (
        open_mirrors(settings, Remotes(settings, credentials)) as mirrors,
        mirrors.open(web, ref="refs/heads/main", commit=commit),
    ):
        sys.stdout.write("open\n")
        sys.stdout.flush()
        await anyio.sleep(600)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
