"""Many pushes over many repositories through `asyncbuild serve`, judged by the servers.

    make soak                      1,000 pushes over 50 repositories, 200 malformed messages between

Prints one JSON object: what became of the pushes, throughput, and the service's resident memory
over time. Exit code 1 if a push was not built once, in order and right, if a malformed message is
not in the dead-letter queue with a reason, or if memory grew by more than a fifth after the first
hundred builds.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import chain

import anyio
import orjson
from support.malformed import malformed
from support.service import (
    Service,
    environment,
    make_pushes,
    open_service,
    read_dead_letters,
    send,
    wait_settled,
)

from asyncbuild.local.servers import journal
from asyncbuild.local.stack import BUCKET, Stack, open_stack
from asyncbuild.local.verify import Pushed, verify

_MOST_GROWTH = 1.2
_SETTLED_SECONDS = 1_800


async def _send_all(stack: Stack, lanes: Sequence[Sequence[Pushed]], bad: Sequence[str]) -> None:
    pushes = list(chain.from_iterable(zip(*lanes, strict=True)))
    every = max(1, len(pushes) // len(bad)) if bad else 0
    left = list(bad)
    for number, push in enumerate(pushes):
        if left and number % every == 0:
            await send(stack, left.pop(), push.group)
        await stack.send(push)
    for text in left:
        await send(stack, text, pushes[-1].group)


async def _sample(service: Service, stack: Stack, samples: list[tuple[float, int, int]]) -> None:
    begun = time.monotonic()
    while True:
        built = len(journal.read(stack.journal)) if stack.journal.exists() else 0
        samples.append((round(time.monotonic() - begun, 1), built, service.rss_bytes()))
        await anyio.sleep(1)


async def main(repositories: int, pushes: int, bad: int) -> int:
    """Run the soak; return 0 if all is well."""
    each = pushes // repositories
    names = [f"repository-{number:03d}" for number in range(repositories)]
    samples: list[tuple[float, int, int]] = []
    async with open_stack(names) as stack:
        lanes = await make_pushes(stack, repositories=repositories, pushes=each)
        texts = malformed(bad)
        async with open_service(environment(stack)) as service:
            await service.wait_logged("service.started")
            begun = time.monotonic()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_sample, service, stack, samples)
                await _send_all(stack, lanes, texts)
                await wait_settled(stack, _SETTLED_SECONDS)
                seconds = time.monotonic() - begun
                samples.append((round(seconds, 1), repositories * each, service.rss_bytes()))
                tasks.cancel_scope.cancel()
            service.terminate()
            code = await service.wait(120)
        found = await verify(
            list(chain(*lanes)), journal.read(stack.journal), s3=stack.s3, bucket=BUCKET
        )
        dead = await read_dead_letters(stack)
    reasons = [m["MessageAttributes"]["Reason"]["StringValue"] for m in dead]
    early = next((rss for _, built, rss in samples if built >= 100), samples[-1][2])
    growth = samples[-1][2] / early
    document = {
        "pushes": found.pushes,
        "built": found.built,
        "missing": len(found.missing),
        "duplicated": len(found.duplicated),
        "out_of_order": len(found.out_of_order),
        "wrong_content": len(found.wrong_content),
        "malformed": len(texts),
        "dead_lettered_with_reason": sum(1 for reason in reasons if reason),
        "right_ones_dead_lettered": sorted(m["Body"] for m in dead) == sorted(texts),
        "seconds": round(seconds, 1),
        "pushes_per_second": round(found.built / seconds, 1),
        "rss_mib_after_100": round(early / 2**20, 1),
        "rss_mib_at_end": round(samples[-1][2] / 2**20, 1),
        "growth": round(growth, 3),
        "exit_code": code,
        "faults": found.faults[:20],
    }
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    well = (
        not found.faults
        and document["right_ones_dead_lettered"]
        and growth <= _MOST_GROWTH
        and code == 0
    )
    return 0 if well else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repositories", type=int, default=50)
    parser.add_argument("--pushes", type=int, default=1_000)
    parser.add_argument("--malformed", type=int, default=200)
    options = parser.parse_args()
    sys.exit(anyio.run(main, options.repositories, options.pushes, options.malformed))
