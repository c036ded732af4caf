"""`asyncbuild top`: the page's contents on a terminal, from `/status.json` of here or elsewhere."""

import signal
from urllib.parse import urlsplit

import aiohttp
import anyio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from asyncbuild.errors import Reject, Retry, StageError
from asyncbuild.status import wording
from asyncbuild.status.document import Bucket, Settled, Status, parse

_TIMEOUT_SECONDS = 5.0
_TONES = {"idle": "bright_black", "busy": "yellow", "ready": "cyan", "bad": "bold red"}
_VERDICTS = {"built": "green", "handed-over": "green", "uploaded": "blue"}
_STEPS = " ▁▂▃▄▅▆▇█"
_TROUBLES_MOST = 4
_OTHER_LINES = 17
_NAME_WIDTH = 56


async def run(address: str, *, every_seconds: float, once: bool) -> None:
    """Show the service at `address` until SIGINT, or once.

    Raises:
        Retry: nobody answers there at the first try. Later it is shown, and tried again.
        Reject: what answers is no asyncbuild.
    """
    console = Console(highlight=False)
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    ) as session:
        url = _document_url(address)
        status = await _fetch(session, url)
        if once or not console.is_terminal:
            console.print(draw(status, lines=1_000))
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_end_on_signal, tasks.cancel_scope)
            with Live(console=console, screen=True, auto_refresh=False) as live:
                await _keep_fresh(live, session, url, status, every_seconds)


async def _keep_fresh(
    live: Live, session: aiohttp.ClientSession, url: str, status: Status, every_seconds: float
) -> None:
    fault = ""
    while True:
        shown = draw(status, lines=live.console.height, fault=fault)
        live.update(shown, refresh=True)
        await anyio.sleep(every_seconds)
        try:
            status, fault = await _fetch(session, url), ""
        except StageError as error:
            fault = error.reason


async def _end_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


def _document_url(address: str) -> str:
    """`HOST:PORT` or the page's address → the address of the document."""
    if address == "off":
        raise Reject("status.listen is off", remedy="name an address, or set status.listen")
    url = address if "://" in address else f"http://{address}"
    if urlsplit(url).scheme not in {"http", "https"}:
        raise Reject(f"{address} is no address", remedy="write http://HOST:PORT/ or HOST:PORT")
    return url.removesuffix("/").removesuffix("/status.json") + "/status.json"


async def _fetch(session: aiohttp.ClientSession, url: str) -> Status:
    try:
        async with session.get(url) as answer:
            if answer.status != 200:  # noqa: PLR2004 - OK, RFC 9110
                raise Reject(f"{url} answers {answer.status} {answer.reason}")
            return parse(await answer.read())
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Retry(
            f"nobody answers at {url}: {str(error) or 'no answer in time'}",
            remedy="name the address that the service logged as status.listening",
        ) from error


def draw(status: Status, *, lines: int, fault: str = "") -> RenderableType:
    """Everything that fits into so many lines, the most urgent first."""
    held = sum(len(lane.pushes) for lane in status.lanes)
    troubles = status.troubles[:_TROUBLES_MOST]
    room = max(6, lines - _OTHER_LINES - len(troubles))
    lanes = min(held, max(3, room * 2 // 3))
    parts: list[RenderableType] = [_head(status, fault), Text(), _figures(status, held), Text()]
    parts += [_lanes(status, lanes), Text(), _recent(status.recent[: room - lanes])]
    if status.dead_letters:
        parts += [Text(), _dead_letters(status)]
    if troubles:
        parts += [Text(), *(_trouble(f"{t.event}: {t.reason}") for t in troubles)]
    return Padding(Group(*parts), (0, 1))


def _head(status: Status, fault: str) -> RenderableType:
    service = status.service
    line = Text.assemble(("asyncbuild ", "bold"))
    if fault:
        line.append(f"● {fault}", style="bold red")
    elif service.stopping:
        line.append("● stopping", style="yellow")
    elif status.ready:
        line.append("● ready", style="green")
    else:
        faults = "; ".join(f"{c.name}: {c.says}" for c in status.checks if not c.ok)
        line.append(_plain(f"● not ready: {faults}"), style="bold red")
    up = wording.age(status.time - service.started)
    name = service.queue.rpartition("/")[2]
    line.append(_plain(f"   {name} → {service.bucket}   up {up}"), style="bright_black")
    return line


def _figures(status: Status, held: int) -> RenderableType:
    depth, consumers = status.queue, status.consumers
    figures = {
        "waiting": str(depth.waiting) if depth else "-",
        "in hand": str(held),
        "consumers": f"{consumers.total - consumers.free}/{consumers.total}",
        "oldest": wording.age(status.oldest_waiting_seconds) if held else "-",
        "built": str(status.totals.pushes.get("built", 0)),
        "dead letters": str(depth.dead_letters if depth else len(status.dead_letters)),
    }
    grid = Table.grid(padding=(0, 3))
    spark, most = _spark(status.series.buckets)
    window = wording.window(status.series.window_seconds)
    grid.add_row(*(Text(value, style="bold") for value in figures.values()), spark)
    grid.add_row(
        *(Text(name, style="bright_black") for name in figures),
        Text(f"builds, last {window}, at most {most}", style="bright_black"),
    )
    return grid


def _spark(buckets: tuple[Bucket, ...]) -> tuple[Text, int]:
    most = max((each.built for each in buckets), default=0)
    top = len(_STEPS) - 1
    signs = (_STEPS[-(-each.built * top // most)] if most else " " for each in buckets[-30:])
    return Text("".join(signs), style="cyan"), most


def _lanes(status: Status, rows: int) -> RenderableType:
    table = _table("repository", "push", "what happens")
    table.add_column("age", justify="right", no_wrap=True)
    shown = 0
    for lane in status.lanes:
        name = wording.name_of(lane)
        for push in lane.pushes:
            if shown == rows:
                break
            shown += 1
            what = Text(wording.doing(push), style=_TONES[wording.tone(push)])
            if push.progress:
                progress = push.progress
                sizes = f"{wording.size(progress.tar_bytes)} → {wording.size(progress.zip_bytes)}"
                what.append(f"  {progress.entries:,} files, {sizes}", style="bright_black")
            if push.reason:
                what.append(f"  {_plain(push.reason)}", style="red")
            age = wording.age(status.time - push.sent) if push.sent else ""
            table.add_row(Text(_plain(name)), _ref(push.ref, push.commit), what, age)
            name = ""
    held = sum(len(lane.pushes) for lane in status.lanes)
    if held > shown:
        table.add_row("", Text(f"and {held - shown} more", style="bright_black"), "", "")
    return table if held else Text("nothing in hand", style="bright_black")


def _recent(recent: tuple[Settled, ...]) -> RenderableType:
    table = _table("settled", "push", "outcome")
    table.add_column("archive", justify="right", no_wrap=True)
    table.add_column("sent", justify="right", no_wrap=True)  # less, where S3 copied the rest
    table.add_column("to build", justify="right", no_wrap=True)
    for each in recent:
        outcome = Text(_plain(each.verdict), style=_VERDICTS.get(each.verdict, "bright_black"))
        table.add_row(
            Text(_plain(each.repository)),
            _ref(each.ref, each.commit),
            outcome,
            wording.size(each.size_bytes),
            wording.size(each.sent_bytes),
            wording.seconds(each.since_push_seconds) if each.started else "",
        )
    return table


def _dead_letters(status: Status) -> RenderableType:
    letters = status.dead_letters[:3]
    lines = (
        f"✗ {one.repository or one.message_id} {one.ref or ''}: {one.reason}" for one in letters
    )
    return Group(*(_trouble(line, style="red") for line in lines))


def _trouble(line: str, style: str = "yellow") -> Text:
    return Text(_plain(line), style=style, no_wrap=True, overflow="ellipsis")


def _ref(ref: str, commit: str) -> Text:
    return Text.assemble(_plain(wording.branch(ref)), " ", (_plain(commit[:10]), "bright_black"))


def _plain(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
    for name in columns:
        # Names give way where the screen is narrow; numbers do not.
        table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=_NAME_WIDTH)
    return table
