"""Secrets of Secrets Manager, read from a server that keeps them."""

from typing import Any, cast
from uuid import uuid4

import aioboto3
import pytest

from asyncbuild.aws.session import Aws
from asyncbuild.config import Settings
from asyncbuild.domain.errors import Fatal
from asyncbuild.forges import keyring
from asyncbuild.local.servers.children import ACCESS_KEY, SECRET_KEY, LocalServer

REGION = "eu-west-1"


async def test_a_secret_is_read_whole_or_by_its_key(ministack: LocalServer) -> None:
    """The text itself, one key of a JSON object, and an error that names the missing part."""
    session = aioboto3.Session(
        aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name=REGION
    )
    maker = cast("Any", session).client("secretsmanager", endpoint_url=ministack.endpoint_url)
    folder = f"hosts-{uuid4().hex[:8]}"  # other tests use the server, too
    async with maker as client:
        await client.create_secret(Name=f"{folder}/plain", SecretString="plain text")
        keyed = '{"token": "one of many"}'
        await client.create_secret(Name=f"{folder}/keyed", SecretString=keyed)
    given: dict[str, Any] = {"region": REGION, "endpoint_url": ministack.endpoint_url}
    aws = Aws(Settings(aws=given))
    assert await keyring._ask(f"{folder}/plain", aws) == "plain text"
    assert await keyring._ask(f"{folder}/keyed#token", aws) == "one of many"
    with pytest.raises(Fatal, match=f"{folder}/nothing"):
        await keyring._ask(f"{folder}/nothing", aws)
