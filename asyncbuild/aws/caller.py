"""Caller: the user or role whose credentials this process has."""

from typing import Any, cast

from asyncbuild.aws.classify import errors_of
from asyncbuild.aws.session import Aws, client_config
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import StageError


async def find_caller(aws: Aws, settings: Settings) -> str:
    """Return the ARN of the caller; empty if STS cannot be asked. It needs no permission.

    Args:
        aws: Session of the process.
        settings: All settings.
    """
    config = client_config(settings.aws, pool=1)
    try:
        with errors_of("ask STS who calls"):
            maker = cast("Any", aws.session).client(
                "sts", endpoint_url=settings.aws.endpoint_url, config=config
            )
            async with maker as client:
                return str((await client.get_caller_identity())["Arn"])
    except StageError:
        return ""
