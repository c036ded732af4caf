"""What git's standard error says went wrong. Searched once, here; callers switch on the kind. Pure.

git has no error codes: it exits with 128 or 1 and a sentence, in English because LC_ALL=C. Nobody
takes values out of the sentences; a kind we do not know is `OTHER`, which is tried again.
"""

import errno
import re
from collections.abc import Mapping
from enum import StrEnum

from asyncbuild.errors import Busy, Outage, Reject, Retry, StageError

_LINE_MOST = 300
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


class Fault(StrEnum):
    """Kinds of failure of a git process."""

    BUSY = "busy"
    MEMORY = "out of memory"
    DISK_FULL = "disk full"
    LOGIN = "login"
    NO_REPOSITORY = "no such repository"
    NO_REF = "no such ref"
    NO_OBJECT = "no such object"
    NOT_BY_ID = "no fetch by id"
    NO_PATH = "no such path"
    NETWORK = "network"
    CORRUPT = "corrupt mirror"
    SILENT = "silent"
    OTHER = "other"


# The first that matches decides: what a server says comes before the consequences it has here, and
# sentences in which a pusher's names stand come before those that such a name could pretend to be.
_SIGNS: Mapping[Fault, tuple[str, ...]] = {
    # It may be one file that will never fit: so it counts. But nothing is corrupt because of it.
    Fault.MEMORY: (
        r"out of memory",
        r"(mmap failed|cannot be mapped).*cannot allocate memory",
        r"died of signal 9",  # as whoever is chosen when memory ends
    ),
    Fault.NO_REF: (
        r"could(n't| not) find remote ref",
        r"no such remote ref",
        r"remote branch .* not found in upstream",
        r"expected commit type, but",  # a name, but of something else
    ),
    Fault.NO_PATH: (r"pathspec '.*' did not match any file",),
    Fault.BUSY: (
        r"returned error: (429|503)",
        r"rate exceeded",
        r"too many requests",
        r"throttl",
        r"cannot allocate memory",
        r"too many open files",
        r"resource temporarily unavailable",  # no process or thread more
    ),
    Fault.DISK_FULL: (
        r"no space left on device",
        r"disk quota exceeded",
        r"file too large",
    ),
    Fault.NOT_BY_ID: (r"unadvertised object",),
    Fault.NO_OBJECT: (r"not our ref",),
    Fault.LOGIN: (
        r"returned error: (401|403)",
        r"authentication failed",
        r"could not read (username|password)",
        r"permission denied \(",  # ssh: (publickey)
        r"access denied",
        r"host key verification failed",
    ),
    Fault.NO_REPOSITORY: (
        r"repository '.*' (not found|does not exist)",
        r"returned error: 404",
        r"does not appear to be a git repository",
        r"error: repository not found",  # GitHub over ssh
    ),
    Fault.NETWORK: (
        r"could(n't| not) (resolve|connect)",
        r"failed to connect",
        r"connection (refused|reset|timed out)",
        r"network is unreachable",
        r"connection closed",
        r"could not read from remote",  # ssh went away
        r"operation (timed out|too slow)",
        r"early eof",
        r"hung up unexpectedly",
        r"unexpected disconnect",
        r"rpc failed",
        r"gnutls|ssl",
        r"broken pipe",
        r"returned error: 5\d\d",
        r"transfer closed",
        r"empty reply",
        r"bad line length",
        r"invalid index-pack output",
    ),
    Fault.CORRUPT: (
        r"bad (object|tree|config|pack)",
        r"missing (blob|tree|commit|object)",
        r"corrupt",
        r"object file .* is empty",
        r"packfile .* (cannot be|does not match)",
        r"pack has bad",
        r"(index|shallow) file",
        r"\.idx",
        r"sha1 mismatch",
        r"inflate",
        r"not a git repository",
        r"(invalid|not a valid) ('?tree|'?commit|object)",
        r"unresolved delta",
        r"(failed|unable|could not) (to )?(read|parse|find|get|load)",
        r"did not receive expected object",
        r"remote did not send all",
    ),
}
_TABLE = {fault: re.compile("|".join(signs), re.IGNORECASE) for fault, signs in _SIGNS.items()}
_REMEDIES: Mapping[Fault, str] = {
    Fault.LOGIN: "allow codecommit:GitPull on the repository to the task's role, or to the role of "
    "its [[accounts]] entry, and check this machine's clock; for another host renew the token or "
    "key of its [[hosts]] entry, and check known_hosts",
    Fault.MEMORY: "give the task more memory",
}
_LOCAL = frozenset({Fault.MEMORY, Fault.DISK_FULL, Fault.CORRUPT})
_REMOTE_LINE = re.compile(r"^(remote:|fatal: remote error).*$", re.IGNORECASE | re.MULTILINE)
_LOUD = re.compile(r"(fatal|error|remote|warning): ?", re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s']*", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=//)[^/@\s]+@")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\x80-\U0010ffff]+")


class GitFailed(Retry):
    """A git process failed in a way that another try may mend; `fault` says how."""

    def __init__(self, reason: str, *, fault: Fault = Fault.OTHER, remedy: str = "") -> None:
        super().__init__(reason, remedy=remedy)
        self.fault = fault


def find_fault(stderr: str) -> Fault:
    """The kind of failure that these lines tell of."""
    text = _URL.sub("URL", stderr)  # a repository may be called ssl or corrupt
    ours = _REMOTE_LINE.sub("", text)  # its full disk is no reason to clear ours
    for fault, pattern in _TABLE.items():
        if pattern.search(ours if fault in _LOCAL else text):
            return fault
    return Fault.OTHER


def quote(stderr: str) -> str:
    """The line that says most, fit for a log: one line, printable, without user names in URLs."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", stderr) if line.strip()]
    loud = [line for line in lines if _LOUD.match(line)]
    fatal = [line for line in loud if line.lower().startswith("fatal")]
    line = (fatal[:1] or loud[-1:] or lines[-1:] or ["it said nothing"])[0]
    return _UNPRINTABLE.sub(" ", _USERINFO.sub("***@", line))[:_LINE_MOST]


def machine_error(error: OSError, doing: str) -> StageError:
    """What the machine refuses: a limit that was reached is nobody's fault (I5)."""
    reason = f"{doing}: {error.strerror or error}"
    return Busy(reason) if error.errno in _EXHAUSTED else Retry(reason)


def stage_error(stderr: str, *, doing: str, ended: str) -> StageError:
    """Name what a failed git process means for the push.

    A refused login is `Retry`, not the end of the service: it concerns one repository or one
    account, may come from a role not yet known everywhere in IAM, and after the last attempt the
    push waits in the dead-letter queue until somebody has mended it.
    """
    fault = find_fault(stderr)
    reason = f"{doing}: git {ended}: {quote(stderr)}"
    match fault:
        case Fault.BUSY:
            return Busy(reason)
        case Fault.NETWORK:
            return Outage(reason, remedy="if it lasts, check git.remote and the way to the server")
        case Fault.NO_REPOSITORY:
            return Reject(
                reason,
                remedy="check the repository's name and git.remote; of another host, the `remote` "
                "of its [[hosts]] entry, and that its token or key may read the repository",
            )
        case Fault.NO_PATH:
            return Reject(reason, remedy="correct paths, or let the rule match only refs with them")
        case _:
            return GitFailed(reason, fault=fault, remedy=_REMEDIES.get(fault, ""))
