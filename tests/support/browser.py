"""A real browser: Debian's chromium without a window, driven by the DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import orjson
from support.wait import PATIENCE_SECONDS

BROWSER = shutil.which("chromium")
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-port=0",
)
_START_SECONDS = 60
_ANSWER_SECONDS = 30
_POLL_SECONDS = 0.05


class NoAnswer(Exception):
    """A command that the browser refused, for example because its page was being closed."""


@dataclass(slots=True)
class Tab:
    """One page of the browser; `errors` are the errors on its console."""

    socket: aiohttp.ClientWebSocketResponse
    errors: list[str] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    async def call(self, method: str, **params: object) -> Any:  # noqa: ANN401 - JSON
        """Send one command, and return its result.

        Raises:
            NoAnswer: the browser has none.
        """
        number = next(self._numbers)
        await self.socket.send_json({"id": number, "method": method, "params": params})
        with anyio.fail_after(_ANSWER_SECONDS):
            while True:
                message = orjson.loads((await self.socket.receive()).data)
                if message.get("id") == number:
                    if "error" in message:
                        raise NoAnswer(f"{method}: {message['error']}")
                    return message["result"]
                self._note(message)

    async def open(self, address: str) -> None:
        """Open an address, and wait until everything is loaded."""
        await self.call("Page.navigate", url=address)
        await self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def evaluate(self, script: str) -> Any:  # noqa: ANN401 - JSON
        """Return the value of a JavaScript expression."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def wait(self, condition: str) -> Any:  # noqa: ANN401 - JSON
        """Wait until a JavaScript expression is true, on a page that may be about to close.

        Returns:
            Its value: `condition && [one, another]` looks at one and the same page.
        """
        with anyio.fail_after(PATIENCE_SECONDS):
            while True:
                with suppress(NoAnswer):
                    if value := await self.evaluate(condition):
                        return value
                await anyio.sleep(_POLL_SECONDS)

    async def press(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    async def show_as(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Set the size of the screen, and the user's choice of a light or dark theme."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def allow_scripts(self, *, allowed: bool) -> None:
        """Allow or forbid JavaScript from the next page on."""
        await self.call("Emulation.setScriptExecutionDisabled", value=not allowed)

    async def photograph(self, path: Path, *, whole: bool = False) -> None:
        """Write a PNG of the visible part, or of the whole page."""
        answer = await self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        await anyio.Path(path).write_bytes(base64.b64decode(answer["data"]))

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(message["params"]["exceptionDetails"]))
        if message.get("method") == "Log.entryAdded":
            entry = message["params"]["entry"]
            if entry["level"] == "error":
                self.errors.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")


@asynccontextmanager
async def open_tab(profile: Path) -> AsyncIterator[Tab]:
    """Start a browser with an empty profile; it ends with the block."""
    assert BROWSER, "chromium is not installed"
    command = [BROWSER, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"]
    process = await anyio.open_process(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        port = await _read_port(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            page = await _wait_page(session, port)
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                for domain in ("Page", "Runtime", "Log"):
                    await tab.call(f"{domain}.enable")
                yield tab
                await tab.call("Browser.close")
        with anyio.move_on_after(_ANSWER_SECONDS):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


async def _read_port(path: Path) -> int:
    with anyio.fail_after(_START_SECONDS):
        while not (lines := _lines_of(path)):  # noqa: ASYNC110 - a browser raises no event
            await anyio.sleep(_POLL_SECONDS)
    return int(lines[0])


async def _wait_page(session: aiohttp.ClientSession, port: int) -> Any:  # noqa: ANN401 - JSON
    """Return the only page, which opens after the port."""
    with anyio.fail_after(_START_SECONDS):
        while True:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                for each in await answer.json():
                    if each["type"] == "page":
                        return each
            await anyio.sleep(_POLL_SECONDS)


def _lines_of(path: Path) -> list[str]:
    """Return both lines: the port, and the path of the browser's own socket."""
    lines = path.read_text().split() if path.exists() else []
    return lines if len(lines) > 1 else []
