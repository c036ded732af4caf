"""Wording of numbers and states for people, on the page and in the terminal view alike."""

import shlex
from datetime import UTC, datetime
from typing import Final

from rich.filesize import decimal

from asyncbuild.domain.errors import Kind
from asyncbuild.status.schema import HeldPush, LaneStatus, OutageStatus, SettledPush, Status

_MINUTE: Final = 60
_HOUR: Final = 3_600
_DAY: Final = 86_400
_GIST_LEAST: Final = 40
_STAGES: Final = {
    "prepare": "looks for what is there",
    "fetch": "fetches",
    "upload": "archives",
    "start": "starts build or pipeline",
}
_PEERS: Final = {
    "s3": "S3",
    "sqs": "SQS",
    "codebuild": "CodeBuild",
    "codepipeline": "CodePipeline",
}
_STATES: Final = {
    "preparing": "waits for a consumer",
    "prepared": "archived, waits for its turn",
    "starting": "starts the build",
    "settling": "is being deleted from the queue",
    "failed": "failed, waits for its turn to be given up",
    "burying": "goes to the dead-letter queue",
    "paused": "waits to be tried again",
    "dropped": "goes back to the queue",
}


def seconds(value: float | None) -> str:
    """Return a duration: `0.48 s`, `12.3 s`, `2 min 05 s`, `3 h 12 min`, `4 d 3 h`."""
    if value is None:
        return ""
    if value < 10:  # noqa: PLR2004 - two digits are enough
        return f"{value:.2f} s"
    if value < _MINUTE:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def age(value: float) -> str:
    """Return a growing duration, without the digits that only flicker."""
    return f"{max(0, int(value))} s" if value < _MINUTE else seconds(value)


def short(value: float) -> str:
    """Return a duration for a narrow column, at most six signs: `55 s`, `12 min`, `3 h`, `4 d`."""
    whole = max(0, int(value))
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if whole >= size:
            return f"{min(whole // size, 999)} {unit}"
    return f"{whole} s"


def brief(value: float | None) -> str:
    """Return a duration in at most six signs: `0.48 s`, `12.3 s`, `12 min`."""
    return seconds(value) if value is None or value < _MINUTE else short(value)


def window(value: int) -> str:
    """Return the length of a window: `5 min`, `12 h`."""
    return f"{value // _HOUR} h" if value >= _HOUR else f"{value // _MINUTE} min"


def size(nbytes: int | None) -> str:
    """Return a size: `499.5 kB`."""
    return "" if nbytes is None else decimal(nbytes)


def branch(ref: str) -> str:
    """Return a ref without its common prefix."""
    return ref.removeprefix("refs/heads/").removeprefix("refs/")


def clock(moment: float) -> str:
    """Return a time of day in UTC: `04:49:05`."""
    return datetime.fromtimestamp(moment, UTC).strftime("%H:%M:%S")


def iso(moment: float) -> str:
    """Return a moment in UTC: `2026-11-23T04:49:05Z`."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def doing(push: HeldPush) -> str:
    """Return the activity for a push, or the reason why it waits."""
    if push.state == "waiting":
        return "waits behind the pushes before it"
    if push.state in {"preparing", "starting"} and push.stage:
        if push.stage == "upload" and push.progress is None:
            return "is about to archive"
        return _STAGES.get(push.stage, push.stage)
    return _STATES.get(push.state, push.state)


def again(row: SettledPush) -> str:
    """Return the command line that builds a settled push, or one target of it, once more.

    It names the ref: a commit may have been pushed on several, with different rules.
    """
    target = row.project or row.pipeline
    what = ("asyncbuild build", shlex.quote(row.repository), row.commit)
    parts = (*what, "--ref", shlex.quote(row.ref), "--again")
    return " ".join((*parts, f"--project {target}" if target else "")).rstrip()


def tone(push: HeldPush) -> str:
    """Return the colour of a push: `idle`, `busy`, `ready` or `bad`."""
    if push.state in {"failed", "burying", "paused"}:
        return "bad"
    if push.state in {"prepared", "starting", "settling"}:
        return "ready"
    return "busy" if push.stage else "idle"


def state(status: Status) -> str:
    """Return the state: `ready`, `not ready`, `stopping`, `outage: git, 55 s`, `limit: S3, 9 s`."""
    known = status.state or ("ready" if status.ready else "not-ready")
    if known not in {"outage", "limit"}:
        return known.replace("-", " ")
    kind = status.outages[0].kind
    told = [each for each in status.outages if each.kind == kind]
    sides = dict.fromkeys(peer(each) for each in told)
    since = min(each.since for each in told)
    return f"{known}: {', '.join(sides)}, {age(status.time - since)}"


def peer(outage: OutageStatus) -> str:
    """Return the side that is away or at its limit: `git`, `git at github.com`, `S3`."""
    name = _PEERS.get(outage.peer, outage.peer)
    return f"{name} at {outage.place}" if "." in outage.place else name


def waits(outage: OutageStatus) -> str:
    """Return `14 pushes of 3 repositories wait`; empty if none does."""
    if not outage.pushes:
        return ""
    many = outage.repositories != 1
    pushes = f"{outage.pushes} pushes" if outage.pushes != 1 else "1 push"
    of = f"{outage.repositories} repositories" if many else "1 repository"
    return f"{pushes} of {of} {'wait' if outage.pushes != 1 else 'waits'}"


def was(outage: OutageStatus) -> str:
    """Return `git was away for 1 min 05 s; 6 pushes of 5 repositories waited`."""
    until = outage.last if outage.until is None else outage.until
    what = "was away" if outage.kind == Kind.OUTAGE else "was at its limit"
    waited = waits(outage).removesuffix("s").removesuffix(" wait")
    said = f"{peer(outage)} {what} for {age(until - outage.since)}"
    return f"{said}; {waited} waited" if waited else said


def outcome(verdict: str) -> str:
    """Return a verdict for people: a build that is `built` in records was started, no more."""
    return {"built": "started", "handed-over": "handed over"}.get(verdict, verdict)


def gist(reason: str) -> str:
    """Return the part of a reason that says why: without the action, and without the remedy."""
    said = reason.rpartition(" (")[0] or reason if reason.endswith(")") else reason
    parts = said.split(": ")
    # The action comes first; a short last part says little without the one before it.
    return ": ".join(parts[-2:] if len(parts[-1]) < _GIST_LEAST else parts[-1:])


def name_of(lane: LaneStatus) -> str:
    """Return the repository, or the group if no event in it could be understood."""
    return lane.repository or f"group {lane.group}"
