"""Classification of git's failures by its standard error, done once, here. Pure.

Callers switch on the kind. git has no error codes: it exits with 128 or 1 and a sentence, in
English because LC_ALL=C. An unknown kind is `OTHER`, which is tried again.

The meaning of a line depends on its author. A git that talks to a server passes on the server's
words: with `remote:` before them, but by SSH and from a path also without. Quoted text, URLs and
names of refs are cut out before a line is matched, because a pusher chooses them. `CORRUPT` is a
suspicion, which the mirror itself confirms or not (`git/mirrors/integrity.py`).

Matching takes time proportional to the text, whatever that is: it runs in the loop, and a server
that writes 16 KiB of one letter must not delay every other push. So no pattern here or in
`error_texts.py` is applied to a line of more than `_READ_MOST` characters, and those that match
whole lines begin with a fixed word, or are bounded.
"""

import errno
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from asyncbuild.domain.errors import Busy, Outage, Reject, Retry, StageError
from asyncbuild.git.formats.error_texts import SIGNS, GitFault

__all__ = ["GitFailed", "GitFault", "find_fault", "machine_error", "quote", "stage_error"]

_LINE_MOST = 300
_READ_MOST = 1_000  # characters of a line that are matched, without names
_LINES_MOST = 200  # the first and the last lines of git and its server
_EXHAUSTED = frozenset(
    {
        errno.EAGAIN,
        errno.EDQUOT,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
    }
)
_REMEDIES: Mapping[GitFault, str] = {
    GitFault.LOGIN: "allow codecommit:GitPull on the repository to the task's role, or to the role "
    "of its [[accounts]] entry, and check this machine's clock; for another host renew the token "
    "or key of its [[hosts]] entry, and check known_hosts",
    GitFault.MEMORY: "give the task more memory",
    GitFault.REFUSED: "see at the server what it means",
    GitFault.MOVED: "the repository was renamed or moved at its server: name it by its new URL",
}
_AWAY = "if it lasts, check git.remote and the way to the server"
# git shows no Retry-After: a limit is known by 429 or by the server's words, and not by a 503.
_FAILING = "the server fails by itself and speaks of no limit: if it lasts, look there"
_SERVER_ERROR = re.compile(r"returned error: 5\d\d")
_LOUD = re.compile(r"(fatal|error|remote|warning): ?", re.IGNORECASE)
_OF_SERVER = re.compile(r"remote:|fatal: remote error", re.IGNORECASE)
_LISTING = re.compile(r"\s|From ")  # list of fetched refs, one a line
_URL = re.compile(r"[a-z][a-z0-9+.-]{0,30}://[^\s']*", re.IGNORECASE)
_REF = re.compile(r"\brefs/[^\s':]+")
_ID = re.compile(r"\b(?:[0-9a-f]{64}|[0-9a-f]{40})\b")
_OPENING = re.compile(r"(?<!\w)'")
_CLOSING = re.compile(r"'(?!\w)")
# Blank lines and progress (git-upload-pack(1), JGit).
_ORNAMENT = re.compile(
    r"remote:\s*([=*-]*|(enumerating|counting|compressing|finding|getting|total|resolving)\b.*)$",
    re.IGNORECASE,
)
_STATUS = re.compile(r"returned error: (\d{3})")
_USERINFO = re.compile(r"(?<=//)[^/@\s]+@")


class GitFailed(Retry):
    """A git process failed in a way that another try may mend.

    Args:
        reason: What happened, for people.
        fault: Kind of the failure.
        remedy: What to do about it, for people.
        code: HTTP status of the server; None without one.
    """

    def __init__(
        self,
        reason: str,
        *,
        fault: GitFault = GitFault.OTHER,
        remedy: str = "",
        code: str | None = None,
    ) -> None:
        super().__init__(reason, remedy=remedy, code=code)
        self.fault = fault


class _Saying(NamedTuple):
    line: str
    text: str  # without names
    of_server: bool  # for certain


def find_fault(stderr: str, *, remote: bool = True) -> GitFault:
    """Return the kind of failure that these lines report.

    Args:
        stderr: Standard error of git.
        remote: Whether this git talked to a server.
    """
    return _decide(stderr, remote=remote)[0]


def quote(stderr: str) -> str:
    """Return the most telling line, fit for a log: one line, printable, no user names in URLs."""
    lines = [line.strip() for line in _split(stderr)]
    loud = [line for line in lines if _LOUD.match(line)]
    fatal = [line for line in loud if line.lower().startswith("fatal")]
    return _clean((fatal[:1] or loud[-1:] or lines[-1:] or ["it said nothing"])[0])


def machine_error(error: OSError, doing: str) -> StageError:
    """Return the error for a refusal by the machine; reaching a limit counts no attempt (I5)."""
    reason = f"{doing}: {error.strerror or error}"
    code = errno.errorcode.get(error.errno or 0)
    return Busy(reason, code=code) if error.errno in _EXHAUSTED else Retry(reason, code=code)


def stage_error(stderr: str, *, doing: str, ended: str, remote: bool = True) -> StageError:
    """Return the error that a failed git process means for the push.

    A refused login is `Retry` and does not end the service: it concerns one repository or one
    account, may come from a role not yet known everywhere in IAM, and after the last attempt the
    push waits in the dead-letter queue until an operator has mended it.

    Args:
        stderr: Standard error of git.
        doing: What git was to do, for people.
        ended: How it ended, for people.
        remote: Whether this git talked to a server.
    """
    fault, line = _decide(stderr, remote=remote)
    if not remote:  # names are cleaned here, so that a line feed in one begins no line
        stderr = _replace_quoted(stderr, _clean)
    reason = f"{doing}: git {ended}: {_tell(stderr, line, remote=remote)}"
    code = _http_status(stderr) if remote else None
    match fault:
        case GitFault.BUSY:
            return Busy(reason, code=code)
        case GitFault.NETWORK:
            remedy = _AWAY if not _SERVER_ERROR.search(reason) else _FAILING
            return Outage(reason, remedy=remedy, code=code)
        case GitFault.NO_REPOSITORY:
            return Reject(
                reason,
                remedy="check the repository's name and git.remote; of another host, the `remote` "
                "of its [[hosts]] entry, and that its token or key may read the repository",
                code=code,
            )
        case GitFault.NO_PATH:
            return Reject(reason, remedy="correct paths, or let the rule match only refs with them")
        case GitFault.BAD_TREE:
            return Reject(reason, remedy="take that path out of the commit: git can check out none")
        case _:
            return GitFailed(reason, fault=fault, remedy=_REMEDIES.get(fault, ""), code=code)


def _http_status(stderr: str) -> str | None:
    """Return the HTTP status that this git reports; one that a server quotes is not its own."""
    for said in _iter_sayings(stderr, remote=True):
        if not said.of_server and (found := _STATUS.search(said.text)):
            return found[1]
    return None


def _tell(stderr: str, line: str, *, remote: bool) -> str:
    """Return the deciding line, the HTTP status and the server's sentence for people, each once."""
    loudest = quote(stderr)
    told = _clean(line) or loudest
    others = (loudest if _STATUS.search(loudest) else "", _server_line(stderr) if remote else "")
    return told + "".join(f" ({each})" for each in others if each and each not in told)


def _decide(stderr: str, *, remote: bool) -> tuple[GitFault, str]:
    """Return the fault, and the server's line that reports it; empty if git's own line does."""
    sayings = list(_iter_sayings(stderr, remote=remote))
    for sign in SIGNS:
        if sign.of_server and not remote:
            continue
        for said in sayings:
            if (sign.of_server or not said.of_server) and sign.pattern.search(said.text):
                return sign.fault, said.line if sign.of_server else ""
    return GitFault.OTHER, ""


def _iter_sayings(stderr: str, *, remote: bool) -> Iterator[_Saying]:
    if not remote:  # a path may hold line ends and quotes, and is quoted then
        stderr = _replace_quoted(stderr, _without)
    for line in _split(stderr):
        if remote and _LISTING.match(line):
            continue
        text = _replace_quoted(_URL.sub("URL", line) if "://" in line else line, _without)
        text = _shorten(_ID.sub("ID", _REF.sub("REF", text)).strip())
        yield _Saying(line.strip(), text, remote and _OF_SERVER.match(line) is not None)


def _split(stderr: str) -> list[str]:
    """Return the lines that are not blank; if there are very many, those at both ends."""
    lines = [line for line in re.split(r"[\r\n]+", stderr) if line.strip()]
    if len(lines) <= _LINES_MOST:
        return lines
    return lines[: _LINES_MOST // 2] + lines[-_LINES_MOST // 2 :]


def _replace_quoted(text: str, by: Callable[[str], str]) -> str:
    """Replace the text between the first opening quote and the last closing one.

    A regular expression would search for the end again from every quote.
    """
    opening = _OPENING.search(text)
    if opening is None:
        return text
    begin = opening.start()
    end = max((each.end() for each in _CLOSING.finditer(text, begin + 1)), default=0)
    return text[:begin] + by(text[begin:end]) + text[end:] if end else text


def _without(_quoted: str) -> str:
    return "''"


def _shorten(text: str) -> str:
    """Return a line's beginning and end: git reports the error in either."""
    if len(text) <= _READ_MOST:
        return text
    return f"{text[: _READ_MOST // 2]} {text[-_READ_MOST // 2 :]}"


def _server_line(stderr: str) -> str:
    """Return the first line of a server that is meant for people."""
    for line in _split(stderr):
        if line.lower().startswith("remote:") and not _ORNAMENT.match(line):
            return _clean(line.strip())
    return ""


def _clean(line: str) -> str:
    """Return one printable line of bounded length, without user names in URLs."""
    shown = "".join(each if each.isprintable() else " " for each in _USERINFO.sub("***@", line))
    return shown[:_LINE_MOST]
