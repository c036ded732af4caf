"""An AWS service that is unreachable for a while: no push is blamed, all are built later."""

from itertools import chain
from typing import Any

import anyio
import pytest
from support.chaos_proxy import Fault, Odds, open_chaos_proxy
from support.service import (
    Service,
    environment,
    make_pushes,
    open_service,
    read_dead_letters,
    wait_settled,
)

from asyncbuild.local.servers import journal
from asyncbuild.local.stack import BUCKET, Stack, open_stack
from asyncbuild.local.verify import verify

pytestmark = pytest.mark.timeout(400)
_AWAY = Odds({Fault.ERROR: 0.5, Fault.CUT_BEFORE: 0.5})
_MAX_ATTEMPTS = 2


def _server(stack: Stack, service: str) -> tuple[str, str]:
    """Return the section of the settings with a service's address, and the address."""
    if service == "s3":
        return "storage", str(stack.settings.aws.endpoint_url)
    return "builds", stack.standin.endpoint_url


async def _wait_outages(service: Service, count: int) -> None:
    """Wait until so many attempts have failed because the server was unreachable."""
    with anyio.fail_after(120):
        while sum(line.get("kind") == "outage" for line in service.log) < count:  # noqa: ASYNC110 - a log
            await anyio.sleep(0.02)


@pytest.mark.parametrize("away", ["s3", "codebuild"])
async def test_an_outage_is_waited_out(away: str) -> None:
    """Many more attempts fail than a push may make; none is dead-lettered, order is kept (I5)."""
    async with open_stack(["repository-000", "repository-001"]) as stack:
        lanes = await make_pushes(stack, repositories=2, pushes=4)
        section, server = _server(stack, away)
        async with open_chaos_proxy(away, server, seed=1, odds=_AWAY) as proxy:
            proxy.calm = True
            more: dict[str, Any] = {
                section: {"endpoint_url": proxy.endpoint_url(0)},
                "aws": {"max_tries": 1},
                "lanes": {
                    "max_attempts": _MAX_ATTEMPTS,
                    "retry_first_seconds": 0.05,
                    "busy_most_seconds": 0.1,
                },
            }
            async with open_service(environment(stack, **more)) as service:
                await service.wait_logged("service.started")
                proxy.calm = False
                for push in chain(*lanes):
                    await stack.send(push)
                await _wait_outages(service, 10 * _MAX_ATTEMPTS)
                proxy.calm = True
                await wait_settled(stack)
                service.terminate()
                assert await service.wait() == 0
        assert await read_dead_letters(stack) == []
        pushes = list(chain(*lanes))
        found = await verify(pushes, journal.read(stack.journal), s3=stack.s3, bucket=BUCKET)
    assert found.faults == []
    assert found.built == len(pushes)
