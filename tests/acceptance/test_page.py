"""The page in a real browser, with a real service behind it."""

import shlex
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import orjson
import pytest
from support.browser import BROWSER, Tab, open_tab
from support.events import body
from support.service import Service, environment, open_service, send, wait_settled

from asyncbuild.local.stack import QUEUE, Stack, open_stack
from asyncbuild.local.verify import Pushed
from asyncbuild.local.workload import SampleRepository

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        BROWSER is None, reason="chromium is not installed: apt-get install chromium"
    ),
]
# git allows no space in a ref; the parser of HTML takes a slash for one.
_HOSTILE_REF = "<img/src=x/onerror=alert(1)>"
_HOSTILE = "<img src=x onerror=alert(1)>"
# One question, to a page with all three rows: a moment later it may be reloading.
_WITHOUT_SCRIPTS = """
document.readyState === 'complete' && document.querySelectorAll('#recent tbody tr').length === 3 &&
['svg.plot rect.a', '#top button', 'noscript meta', '[style]'].map(
    each => document.querySelectorAll(each).length
)
"""


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    """Servers, queue, bucket and projects of this test's own."""
    async with open_stack(["shop"]) as stack:
        yield stack


async def _make_pushes(stack: Stack) -> Sequence[Pushed]:
    async def at_once(_: object) -> None: ...

    story = await SampleRepository.create(
        stack.directory, "shop", ["main", _HOSTILE_REF, "main"], seed=3
    )
    return [push async for push in story.iter_pushes(at_once)]


async def _address_of(service: Service) -> str:
    return str((await service.wait_logged("status.listening"))["address"])


async def test_the_page_updates_itself(stack: Stack, tmp_path: Path) -> None:
    """Builds appear by themselves; names are text; nothing is blocked or broken; then it ends."""
    pushes = await _make_pushes(stack)
    event = orjson.loads(body())
    event["detail"]["referenceFullName"] = f"refs/heads/{_HOSTILE}"
    results = (await stack.sqs.create_queue(QueueName="results"))["QueueUrl"]
    variables = environment(stack, status={"embedded_metrics": True}, results={"url": results})
    async with open_tab(tmp_path) as tab, open_service(variables) as service:
        await tab.open(await _address_of(service))
        assert await tab.evaluate("document.querySelector('#recent .none').textContent")
        for push in pushes:
            await stack.send(push)
        await send(stack, orjson.dumps(event).decode(), "hostile")
        await wait_settled(stack)
        await tab.wait("document.querySelectorAll('#recent tbody tr').length === 3")
        await tab.wait("document.querySelectorAll('#dead_letters tbody tr').length === 1")
        assert await tab.evaluate("document.querySelectorAll('#recent .result .sign').length") == 3
        text = await tab.evaluate("document.body.innerText")
        assert _HOSTILE_REF in text
        assert "<img src=x" in text
        assert await tab.evaluate("document.querySelectorAll('img').length") == 0
        await _check_again(tab, pushes[-1])
        await _check_fits(tab)
        await _check_keyboard(tab)
        assert tab.errors == []
        service.terminate()
        assert await service.wait() == 0
        await tab.wait("document.querySelector('#live .gone') !== null")
    to_build = [line for line in service.log if "SecondsFromPushToBuild" in line]
    assert len([each for line in to_build for each in line["SecondsFromPushToBuild"]]) == 3
    assert {line["queue"] for line in to_build} == {QUEUE}


async def _check_again(tab: Tab, push: Pushed) -> None:
    """Check the command line that builds a push again: it opens, and stays open in an update."""
    first = "document.querySelector('#recent details.again')"
    await tab.evaluate(f"{first}.querySelector('summary').click()")
    told = await tab.evaluate(f"{first}.querySelector('code').innerText")
    words = ["asyncbuild", "build", "shop", push.commit, "--ref", push.ref, "--again"]
    assert shlex.split(told) == [*words, "--project", "shop"]
    clock = "document.querySelector('#top time').dateTime"
    before = await tab.evaluate(clock)
    await tab.wait(f"{clock} !== '{before}'")
    assert await tab.evaluate(f"{first}.open") is True


async def _check_fits(tab: Tab) -> None:
    """Check that nothing scrolls sideways, on a phone either, and that the dark page is dark."""
    for width in (390, 820, 1280):
        await tab.show_as(width=width)
        await tab.wait(f"document.documentElement.clientWidth === {width}")
        assert await tab.evaluate("document.documentElement.scrollWidth") <= width
    ground = "getComputedStyle(document.body).backgroundColor"
    light = await tab.evaluate(ground)
    await tab.show_as(width=1280, dark=True)
    await tab.wait(f"{ground} !== '{light}'")


async def _check_keyboard(tab: Tab) -> None:
    """Check the keyboard: a skip link first, Pause holds the page, the focus stays in place."""
    await tab.press("Tab")
    await tab.wait("document.activeElement.className === 'skip'")
    await tab.evaluate("document.querySelector('#top button').focus()")
    clock = "document.querySelector('#top time').dateTime"
    before = await tab.evaluate(clock)
    await tab.wait(f"{clock} !== '{before}'")
    assert await tab.evaluate("document.activeElement.textContent") == "Pause"
    await tab.evaluate("document.activeElement.click()")
    held = await tab.evaluate(clock)
    await anyio.sleep(2.5)  # two updates that must not be shown: no event to wait for
    assert await tab.evaluate(clock) == held


async def test_the_page_is_complete_without_scripts(stack: Stack, tmp_path: Path) -> None:
    """Tables, charts and all; it reloads by itself."""
    pushes = await _make_pushes(stack)
    async with open_tab(tmp_path) as tab, open_service(environment(stack)) as service:
        for push in pushes:
            await stack.send(push)
        await wait_settled(stack)
        await tab.allow_scripts(allowed=False)
        await tab.call("Page.navigate", url=await _address_of(service))
        # The test may still evaluate scripts, though the page itself may not.
        plots, buttons, reloads, styled = await tab.wait(_WITHOUT_SCRIPTS)
        assert plots >= 2
        assert (buttons, reloads, styled) == (0, 1, 0)
