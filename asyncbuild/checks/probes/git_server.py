"""Probe of CodeCommit's git server: its protocol, what it serves, and how long passwords last.

All questions go through git, as the service uses it, to one repository; nothing is written to it.
"""

import re
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from anyio import to_thread

from asyncbuild.aws.accounts import AccountCredentials
from asyncbuild.aws.session import Aws
from asyncbuild.checks.judges.packet_trace import Protocol, parse_trace
from asyncbuild.checks.judges.probe_answer import Answer, Question
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import StageError
from asyncbuild.domain.repository import Repository
from asyncbuild.forges.codecommit_login import AwsCredentials
from asyncbuild.forges.git_remote import Remote
from asyncbuild.forges.remotes import Remotes, signing
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.mirrors.transport import FETCH
from asyncbuild.git.process.command import Command, Git, ProcessKind

VERSION: Final = Question(
    "git.protocol-v2",
    "Does the server speak git's protocol v2?",
    "git agrees with the server by itself; the service works with both.",
)
BY_ID: Final = Question(
    "git.fetch-by-id",
    "Does the server serve a commit that no ref points to by its id?",
    "The service fetches the ref first and asks for an id only when the ref has moved on. With a "
    "no it then deepens the ref, which costs more of a fetch for pushes that were overtaken.",
)
FILTER: Final = Question(
    "git.filter",
    "Does the server leave files out on request (--filter=blob:none)?",
    "The service does not ask for it: an archive needs every file.",
)
LIFETIME: Final = Question(
    "git.password-lifetime",
    "Does a git password live for at least five minutes?",
    "Every call of git gets a new one. With a no a slow fetch of several requests may be refused "
    "in its midst; it is tried again.",
)
QUESTIONS = (VERSION, BY_ID, FILTER, LIFETIME)
OWN_ACCOUNT: Final = "000000000000"  # means the caller's own account
_ENOUGH_SECONDS = 300
_LONGEST_SECONDS = 86_400
_EXACT_SECONDS = 30
_BRANCHES_MOST = 5
_V2 = 2
_LINE = re.compile(r"^([0-9a-f]{40,64})\t(\S+)$", re.MULTILINE)
_TIP = "refs/asyncbuild/tip"


async def iter_answers(
    aws: Aws, settings: Settings, repository: Repository
) -> AsyncIterator[Answer]:
    """Yield the answers about one repository; `OWN_ACCOUNT` means the caller's own credentials.

    Args:
        aws: Session for credentials.
        settings: The whole configuration.
        repository: Repository that is read.
    """
    by_account = signing(AccountCredentials(aws, settings))
    git = Git(settings.git)

    async def credentials(account: str, region: str) -> AwsCredentials:
        return await by_account("" if account == OWN_ACCOUNT else account, region)

    def remote(age_seconds: float = 0) -> Remote:
        then = partial(_past, age_seconds)
        return Remotes(settings.git, credentials, now=then).remote(repository)

    with tempfile.TemporaryDirectory(prefix="asyncbuild-probe-") as scratch:
        try:
            server = _ProbedServer(git, remote(), Path(scratch))
            refs, protocol = await server.list_refs()
        except StageError as error:
            for question in QUESTIONS:
                yield question.unknown(str(error))
            return
        yield _judge_version(protocol)
        for question, ask in (
            (BY_ID, server.ask_by_id(refs, protocol)),
            (FILTER, server.ask_filter(refs, protocol)),
            (LIFETIME, _ask_lifetime(git, remote)),
        ):
            try:
                yield await ask
            except StageError as error:
                yield question.unknown(str(error))


def _past(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def _judge_version(protocol: Protocol | None) -> Answer:
    if protocol is None:
        return VERSION.unknown("git's trace holds no advertisement; this remote is not a server")
    listed = ", ".join(sorted(protocol.capabilities)) or "nothing"
    seen = f"version {protocol.version}; it names {listed}"
    return VERSION.yes(seen) if protocol.version == _V2 else VERSION.no(seen)


@dataclass(frozen=True, slots=True)
class _ProbedServer:
    """Server of one repository, and a directory for fetches from it."""

    git: Git
    remote: Remote
    scratch: Path

    async def list_refs(self) -> tuple[dict[str, str], Protocol | None]:
        """Return refs with their ids, and the server's protocol."""
        trace = self.scratch / "trace"
        environment = {
            **await self.remote.environment(),
            "GIT_TRACE_PACKET": str(trace),
            "GIT_PROTOCOL": "version=2",
        }
        text = await self.git.run(
            Command(
                ("-c", "protocol.version=2", "ls-remote", "--end-of-options", self.remote.url),
                f"list the refs of {self.remote.name}",
                environment=environment,
                work=ProcessKind.FETCH,
            )
        )
        seen = await to_thread.run_sync(partial(_read, trace))
        refs = {name: id_ for id_, name in _LINE.findall(text.decode("utf-8", "replace"))}
        return refs, parse_trace(seen)

    async def ask_by_id(self, refs: dict[str, str], protocol: Protocol | None) -> Answer:
        """Fetch a commit behind a tip by its id; return the answer."""
        says = _says(protocol, says=protocol is not None and protocol.may_serve_ids)
        tips = set(refs.values())
        for name in [each for each in refs if each.startswith("refs/heads/")][:_BRANCHES_MOST]:
            behind = await self._find_behind(name)
            if behind and behind not in tips:
                break
        else:
            return BY_ID.unknown(
                "no branch looked at has a commit that is not a tip; push two to one"
            )
        directory = await self._init("by-id")
        try:
            await self._fetch(directory, behind, "--depth=1")
        except GitFailed as error:
            if error.fault in {GitFault.NOT_BY_ID, GitFault.NO_OBJECT}:
                return BY_ID.no(f"commit {behind} was refused; {says}")
            raise
        return BY_ID.yes(f"commit {behind} was served; {says}")

    async def _find_behind(self, ref: str) -> str:
        """Return the parent of a branch's tip; empty if it has none."""
        directory = await self._init("behind")
        await self._fetch(directory, ref, "--depth=2")
        arguments = ("rev-list", "--first-parent", "--max-count=2", _TIP)
        listed = await self.git.run(Command(arguments, "read history", git_directory=directory))
        commits = listed.decode("ascii").split()
        return commits[1] if len(commits) > 1 else ""

    async def ask_filter(self, refs: dict[str, str], protocol: Protocol | None) -> Answer:
        """Fetch a branch without files; return whether the server left them out."""
        says = _says(protocol, says=protocol is not None and protocol.may_filter)
        branch = next((each for each in refs if each.startswith("refs/heads/")), None)
        if branch is None:
            return FILTER.unknown("the repository has no branch")
        directory = await self._init("filter")
        await self._fetch(directory, branch, "--depth=1", "--filter=blob:none")
        arguments = ("rev-list", "--objects", "--missing=print", _TIP)
        listed = await self.git.run(Command(arguments, "list objects", git_directory=directory))
        missing = sum(line.startswith(b"?") for line in listed.splitlines())
        if missing:
            return FILTER.yes(f"{missing} files were left out; {says}")
        return FILTER.no(f"every file came along; {says}")

    async def _init(self, name: str) -> Path:
        directory = self.scratch / name
        arguments = ("init", "--bare", "--quiet", "--initial-branch=none", str(directory))
        await self.git.run(Command(arguments, "make a scratch repository"))
        return directory

    async def _fetch(self, directory: Path, wanted: str, *options: str) -> None:
        await self.git.run(
            Command(
                (*FETCH, *options, "--end-of-options", self.remote.url, f"+{wanted}:{_TIP}"),
                f"fetch {wanted} of {self.remote.name}",
                git_directory=directory,
                environment=await self.remote.environment(),
                work=ProcessKind.FETCH,
            )
        )


async def _ask_lifetime(git: Git, remote: Callable[[float], Remote]) -> Answer:
    """Try passwords of different ages. Each contains its time, so the probe need not wait."""
    if remote(0).login is None:
        return LIFETIME.unknown("this remote asks for no password")

    async def is_good(age_seconds: float) -> bool:
        aged = remote(age_seconds)
        command = Command(
            ("ls-remote", "--end-of-options", aged.url, "HEAD"),
            f"ask {aged.name} with a password of {age_seconds:.0f} s",
            environment=await aged.environment(),
            work=ProcessKind.FETCH,
        )
        try:
            await git.run(command)
        except GitFailed as error:
            if error.fault is GitFault.LOGIN:
                return False
            raise
        return True

    if await is_good(_LONGEST_SECONDS):
        return LIFETIME.yes("a password of 24 hours was taken, or none is looked at")
    good, bad = 0, _LONGEST_SECONDS
    while bad - good > _EXACT_SECONDS:
        middle = (good + bad) // 2
        if await is_good(middle):
            good = middle
        else:
            bad = middle
    seen = f"one of {good} s was taken, one of {bad} s was refused"
    return LIFETIME.yes(seen) if good >= _ENOUGH_SECONDS else LIFETIME.no(seen)


def _says(protocol: Protocol | None, *, says: bool) -> str:
    if protocol is None:
        return "this remote is not a server"
    return "the server says that it does" if says else "the server does not say that it does"


def _read(path: Path) -> str:
    return path.read_text("utf-8", "replace") if path.exists() else ""
