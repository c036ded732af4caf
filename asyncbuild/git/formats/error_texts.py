"""Table of the words of git and of servers that report each fault. Pure.

They are searched in lines that `git/formats/error_classes.py` has prepared: `''` replaces quoted
text, `URL`, `REF` and `ID` replace those.
"""

import re
from enum import StrEnum
from typing import Final, NamedTuple


class GitFault(StrEnum):
    """Kinds of failure of a git process."""

    BUSY = "busy"
    MEMORY = "out of memory"
    DISK_FULL = "disk full"
    LOGIN = "login"
    REFUSED = "refused"
    MOVED = "moved"
    NO_REPOSITORY = "no such repository"
    NO_REF = "no such ref"
    NO_OBJECT = "no such object"
    NOT_BY_ID = "no fetch by id"
    NOT_SHALLOW = "no fetch at a depth"
    NO_PATH = "no such path"
    BAD_CONFIG = "bad configuration"
    BAD_TREE = "a tree that git refuses"
    NETWORK = "network"
    CORRUPT = "corrupt mirror"
    SILENT = "silent"
    OTHER = "other"


class Sign(NamedTuple):
    """Words that report a fault."""

    fault: GitFault
    pattern: re.Pattern[str]
    of_server: bool = False  # True if the server may say it; otherwise only this git


def _own(fault: GitFault, *sentences: str) -> Sign:
    pattern = f"^(?:fatal|error|warning): .*?(?:{'|'.join(sentences)})"
    return Sign(fault, re.compile(pattern, re.IGNORECASE))


def _server(fault: GitFault, *words: str) -> Sign:
    return Sign(fault, re.compile("|".join(words), re.IGNORECASE), of_server=True)


# The first match decides, so causes come before their consequences. Sources: git's strings of 2.39
# and 2.47, and observed words of servers; `tests/unit/git/test_error_classes.py` has them.
SIGNS: Final = (
    # One file may never fit into memory, so the attempt counts. But it proves no corruption.
    _own(
        GitFault.MEMORY,
        r"out of memory",
        r"(mmap failed|cannot be mapped).*cannot allocate memory",
        r"died of signal 9",  # the kernel's choice when memory ends
    ),
    _own(
        GitFault.NO_REF,
        r"could(n't| not) find remote (ref|branch)",
        r"no such remote ref",
        r"remote branch .* not found in upstream",
        r"expected commit type, but",  # a name, but of another kind of object
    ),
    _own(GitFault.NO_PATH, r"pathspec '' did not match any file"),
    _own(
        GitFault.BUSY,
        r"cannot allocate memory",
        r"too many open files",
        r"resource temporarily unavailable",  # no further process or thread
    ),
    _own(
        GitFault.DISK_FULL,
        r"no space left on device",
        r"disk quota exceeded",
        r"file too large",
    ),
    _own(GitFault.BAD_CONFIG, r"bad config line \d+ in (standard input|(submodule-)?blob)"),
    # `..`, `.git` and its look-alikes, absolute paths (verify_path() of git's read-cache.c)
    _own(GitFault.BAD_TREE, r"invalid path ''"),
    _own(GitFault.NOT_BY_ID, r"server does not allow request for unadvertised object"),
    _own(
        GitFault.NOT_SHALLOW,
        r"dumb http transport does not support shallow",
        r"server does not support (shallow|--depth|--deepen)",
    ),
    _server(
        GitFault.BUSY,
        r"returned error: 429",
        r"retry[- ]after",
        r"rate exceeded",
        r"rate limit",
        r"too many requests",
        r"throttl",
        r"under heavy load",  # Bitbucket Server
    ),
    _server(
        GitFault.NO_OBJECT,
        r"not our ref",
        r"want (ID) not valid",  # JGit
        r"missing unknown ID",  # the same, for an object that it lacks
        r"unable to find ID under|cannot obtain needed .*object",  # static files
    ),
    _server(
        GitFault.NO_REPOSITORY,
        r"repository '' (not found|does not exist)",
        r"returned error: (404|410)",
        r"does not appear to be a git repository",
        r"^(remote: |error: |fatal: |remote error: )*(git )?repository not found",
        r"access denied or repository not exported",  # git-daemon(1)
        r"project you were looking for could not be found",  # GitLab
        r"repository does not exist",  # Bitbucket
        r"repository .* does not exist or you do not have permission",  # Azure
        r"may not have access to this repository or it no longer exists",  # Bitbucket
        r"project not found",  # Gerrit
        r"cannot find repository",  # Gitea
    ),
    _server(
        GitFault.LOGIN,
        r"returned error: (401|403|407)",
        r"authentication failed",
        r"could not read (username|password)",
        r"permission denied \(",  # ssh: (publickey)
        r"permission denied, please try again",
        r"too many authentication failures",
        r"access denied",
        r"host key verification failed",
        r"no matching host key",
        r"saml",
        r"single sign-on",
        r"valid sso session",  # GitLab
        r"account (is|has been|was) (suspended|blocked|disabled|locked)",
        r"ip allow list",
        r"(not|don't) have (permission|access)",
        r"not allowed to (download|pull|read|access)",
        r"not authorized",
        r"(token|key|password|credentials?) (is |has |was )?(expired|revoked)",
        r"^(remote: )?(forbidden|unauthorized)\.?$",
    ),
    _server(
        GitFault.REFUSED,
        r"dubious ownership",
        r"no matching (key exchange|cipher|mac)",
        r"returned error: (400|405|406|411|413|414|415|422)",
    ),
    _server(GitFault.MOVED, r"returned error: 30[12378]"),
    _server(  # a failure of the server, in words that could be ours
        GitFault.NETWORK,
        r"on the remote side",
        r"bad pack header",
        r"^remote: (fatal|error|aborting)",
        r"pack (has bad object|is corrupted)",  # as it was received
        r"internal (server error|api)",
        r"(is|currently) (offline|unavailable|down)",
    ),
    _server(  # curl and ssh
        GitFault.NETWORK,
        r"could(n't| not) (resolve|connect)",
        r"failed to connect",
        r"connection (refused|reset|timed out|closed|was reset|died)",
        r"(network is|host is) (unreachable|down)",
        r"no route to host",
        r"operation (timed out|too slow)",
        r"timed out",
        r"received disconnect",
        r"\b(gnutls|openssl|ssl|tls)\b",
        r"ssl_",
        r"certificate",
        r"broken pipe",
        r"returned error: 5\d\d",
        r"transfer closed",
        r"(recv|send) failure",
        r"empty reply",
        r"http/2 (stream|framing)",
        r"from proxy",
        r"gitlab is not responding",
    ),
    _own(
        GitFault.CORRUPT,
        r"bad (object|tree|pack|shallow line|index|offset for revindex)",
        r"bad config (line|variable) .*\bfile\b",
        r"bad config file",
        r"missing (blob|tree|commit|tag|object)",
        r"corrupt loose object",
        r"(is|are) corrupt",
        r"missing or corrupt",
        r"object file .* is empty",
        r"(packfile|index file|multi-pack-index|rev-index|reverse-index|chunk offset|fanout)",
        r"not a (git packfile|git repository|tree object|valid object name)",
        r"too short to be a packfile",
        r"(non-monotonic|wrong) index",
        r"(sha1|hash|checksum) mismatch",
        r"inflate: ",
        r"(unable to unpack|header for) .* (header|too long)",
        r"invalid (tree|commit|object|sha1 pointer|head)",
        r"unresolved deltas?",
        r"reference broken",
        r"(unterminated|unexpected) line in .*packed-refs",
        r"points to something strange",
        r"error in object: (un)?shallow",
        r"mismatched algorithms",
        r"(failed|unable|could not|cannot) (to )?(read|parse|find|load|traverse)(?! from remote)",
        r"did not receive expected object",
        r"remote did not send all",
        r"write_reuse_object",
    ),
    _server(  # consequences of any fault
        GitFault.NETWORK,
        r"could not read from remote",
        r"early eof",
        r"hung up",
        r"rpc failed",
        r"unexpected(ly)? disconnect",
        r"bad line length",
        r"unexpected flush packet",
        r"invalid index-pack output",
    ),
)
