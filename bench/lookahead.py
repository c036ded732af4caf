"""One busy repository through a slow link: the effect of `lanes.lookahead`.

Two hundred pushes of one repository, each archive about a second on its way to S3 (the proxy holds
every PutObject back for so long), with `lanes.lookahead` 1 and 8. Order is checked from CodeBuild's
journal each time. `PYTHONPATH=tests python bench/lookahead.py --repeat 3`.
"""

import time
from contextlib import AsyncExitStack

import anyio
import click
from support import chaos
from support.chaos_proxy import Odds, open_chaos_proxy
from support.service import environment, open_service

from asyncbuild.local.servers import journal
from asyncbuild.local.stack import BUCKET, open_stack
from asyncbuild.local.verify import verify


async def measure(lookahead: int, *, pushes: int, seconds: float) -> float:
    """Return pushes a second, from the start of the service until the last message is gone."""
    plan = chaos.Plan(repositories=1, pushes=pushes, big_pushes=0)
    async with AsyncExitStack() as exits:
        stack = await exits.enter_async_context(open_stack(["repository-000"]))
        proxy = await exits.enter_async_context(
            open_chaos_proxy("s3", str(stack.settings.aws.endpoint_url), seed=1, odds=Odds({}))
        )
        proxy.slowness_seconds = seconds
        (lane,) = await chaos.make_pushes(stack.directory, plan)
        for push in lane:
            await stack.send(push)
        variables = environment(
            stack,
            consumers=8,
            lanes={"lookahead": lookahead},
            archive={"delta": "off"},
            storage={"endpoint_url": proxy.endpoint_url(0)},
            status={"listen": "off"},
        )
        async with open_service(variables) as service:
            await service.wait_logged("service.started")
            begun = time.monotonic()
            while await stack.count_waiting():  # noqa: ASYNC110 - a queue raises no event
                await anyio.sleep(0.05)
            took = time.monotonic() - begun
        found = await verify(lane, journal.read(stack.journal), s3=stack.s3, bucket=BUCKET)
        if found.faults or found.built != pushes:
            raise SystemExit(f"not in order, or not whole: {found.faults[:3]}")
    return pushes / took


@click.command()
@click.option("--pushes", default=200, show_default=True)
@click.option("--seconds", default=1.0, show_default=True, help="Each archive's way to S3.")
@click.option("--repeat", default=1, show_default=True)
def main(pushes: int, seconds: float, repeat: int) -> None:
    """Alternate both settings, and print pushes a second and their ratio."""
    for number in range(repeat):
        one = anyio.run(lambda: measure(1, pushes=pushes, seconds=seconds))
        eight = anyio.run(lambda: measure(8, pushes=pushes, seconds=seconds))
        print(
            f"run {number + 1}: lookahead 1 {one:.2f}/s, lookahead 8 {eight:.2f}/s, "
            f"ratio {eight / one:.1f}; order kept"
        )


if __name__ == "__main__":
    main()
