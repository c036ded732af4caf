"""Classification of the sentences of git and of git servers."""

import errno
import os
import re

import pytest

from asyncbuild.domain.errors import Busy, Outage, Reject, Retry, Scope, StageError
from asyncbuild.git.formats.error_classes import (
    GitFailed,
    GitFault,
    find_fault,
    machine_error,
    quote,
    stage_error,
)
from asyncbuild.git.formats.error_texts import SIGNS

SENTENCES = [
    (GitFault.BUSY, "fatal: unable to access 'http://h/r/': The requested URL returned error: 429"),
    (GitFault.BUSY, "remote: Rate Exceeded\nfatal: unable to access 'u': ... returned error: 400"),
    (
        GitFault.NETWORK,
        "fatal: unable to access 'http://h/r/': The requested URL returned error: 503",
    ),
    (
        GitFault.BUSY,
        "remote: Rate limit exceeded\nfatal: unable to access 'u': returned error: 503",
    ),
    (
        GitFault.BUSY,
        "remote: busy, Retry-After: 7\nfatal: unable to access 'u': returned error: 503",
    ),
    (
        GitFault.MEMORY,
        "fatal: packfile a.pack cannot be mapped, check RLIMIT_DATA: Cannot allocate memory",
    ),
    (
        GitFault.BUSY,
        "error: open(objects/aa/bb): Too many open files\nfatal: loose object is corrupt",
    ),
    (GitFault.BUSY, "error: cannot fork() for index-pack: Cannot allocate memory"),
    (GitFault.BUSY, "fatal: unable to create thread: Resource temporarily unavailable"),
    (GitFault.MEMORY, "error: inflate: out of memory\nfatal: packed object aabb is corrupt"),
    (
        GitFault.MEMORY,
        "error: index-pack died of signal 9\nfatal: invalid index-pack output",
    ),
    (GitFault.NETWORK, "remote: fatal: Out of memory, malloc failed\nfatal: early EOF"),
    (GitFault.OTHER, "fatal: remote error: Out of memory, malloc failed"),
    (GitFault.MEMORY, "fatal: Out of memory, malloc failed (tried to allocate 5368709121 bytes)"),
    (
        GitFault.LOGIN,
        "fatal: unable to access 'http://h/r/': The requested URL returned error: 403",
    ),
    (GitFault.LOGIN, "fatal: Authentication failed for 'http://h/r/'"),
    (GitFault.LOGIN, "fatal: could not read Username for 'http://h': terminal prompts disabled"),
    (GitFault.LOGIN, "git@h: Permission denied (publickey).\nfatal: Could not read from remote"),
    (GitFault.NO_REPOSITORY, "fatal: repository 'http://h/v1/repos/ssl/' not found"),
    (GitFault.NO_REPOSITORY, "fatal: '/x' does not appear to be a git repository"),
    (GitFault.NO_REF, "fatal: couldn't find remote ref refs/heads/corrupt"),
    (GitFault.NO_REF, "fatal: couldn't find remote ref refs/heads/fix-throttling"),
    (
        GitFault.NO_REF,
        "error: x:corrupt.md^{commit}: expected commit type, but the object dereferences to blob",
    ),
    (GitFault.NO_PATH, "fatal: pathspec ':(literal)throttle' did not match any files"),
    (
        GitFault.NO_REF,
        "Could not find remote branch x to clone.\nfatal: Remote branch x not found in upstream",
    ),
    (GitFault.NOT_BY_ID, "error: Server does not allow request for unadvertised object 1111"),
    (GitFault.NO_OBJECT, "fatal: remote error: upload-pack: not our ref 1111"),
    (GitFault.NETWORK, "fatal: unable to access 'http://h/r/': Could not resolve host: h"),
    (GitFault.NETWORK, "fatal: unable to access 'http://h/': Failed to connect to h port 1"),
    (GitFault.NETWORK, "error: RPC failed; curl 18 transfer closed\nfatal: early EOF"),
    (GitFault.NETWORK, "fatal: fetch-pack: invalid index-pack output"),
    (GitFault.DISK_FULL, "fatal: write error: No space left on device\nfatal: early EOF"),
    (GitFault.CORRUPT, "fatal: bad object refs/asyncbuild/refs/1"),
    (
        GitFault.CORRUPT,
        "error: object file objects/aa/bb is empty\nfatal: loose object aabb is corrupt",
    ),
    (GitFault.CORRUPT, "error: packfile a.pack does not match index"),
    (GitFault.CORRUPT, "fatal: not a git repository: '/cache/repository.git'"),
    (GitFault.CORRUPT, "fatal: not a valid object name: aabb"),
    (GitFault.CORRUPT, "error: invalid object 100644 fd53 for 'x'\nerror: cannot read 'fd53'"),
    (GitFault.NETWORK, "ssh: Connection closed\nfatal: Could not read from remote repository."),
    (GitFault.NETWORK, "remote: fatal: write error: No space left on device"),
    (GitFault.OTHER, "fatal: remote error: bad object 1111"),
    (GitFault.OTHER, "fatal: something never seen"),
    (GitFault.OTHER, ""),
]


@pytest.mark.parametrize(("fault", "sentence"), SENTENCES)
def test_sentences_are_classified(fault: GitFault, sentence: str) -> None:
    """Names within a sentence do not matter."""
    assert find_fault(sentence) is fault


def test_names_in_urls_are_not_read() -> None:
    """A repository may have any name."""
    for name in ("corrupt", "ssl", "no-space-left-on-device", "rate exceeded"):
        assert find_fault(f"fatal: unable to access 'https://h/{name}/': what") is GitFault.OTHER


def test_exhausted_memory_counts_and_has_a_remedy() -> None:
    """One file may never fit, so the attempt counts."""
    error = stage_error("fatal: Out of memory, malloc failed", doing="read", ended="exited")
    assert isinstance(error, GitFailed)
    assert "memory" in error.remedy


def test_a_throttle_counts_no_attempt() -> None:
    """Busy, so that the push loses no attempt (I5)."""
    assert isinstance(stage_error("returned error: 429", doing="fetch", ended="x"), Busy)


def test_an_unreachable_server_counts_no_attempt() -> None:
    """An Outage, so that an hour of it costs no push an attempt (I5)."""
    for stderr in ("Could not resolve host: h", "returned error: 502", "Connection refused"):
        assert isinstance(stage_error(stderr, doing="fetch", ended="x"), Outage)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 522])
@pytest.mark.parametrize("words", ["Service Unavailable", "", "Please come back"])
def test_a_server_error_is_an_outage_unless_it_names_a_limit(status: int, words: str) -> None:
    """The words decide, since git shows no header; the error says what decided."""
    text = f"remote: {words}\nfatal: unable to access 'http://h/r/': returned error: {status}"
    error = stage_error(text, doing="fetch", ended="exited")
    assert isinstance(error, Outage)
    assert f"returned error: {status}" in error.reason
    assert "speaks of no limit" in error.remedy
    for limit in ("rate limit reached", "Too many requests", "Retry after 7 seconds"):
        error = stage_error(f"remote: {limit}\n{text}", doing="fetch", ended="exited")
        assert type(error) is Busy
        assert limit in error.reason


def test_a_missing_repository_is_rejected() -> None:
    """The push is dead-lettered at once."""
    error = stage_error("fatal: repository 'http://h/r/' not found", doing="fetch", ended="x")
    assert isinstance(error, Reject)


def test_a_refused_login_is_retried_and_ends_no_service() -> None:
    """Retry with a remedy, not Fatal."""
    error = stage_error("returned error: 403", doing="fetch", ended="exited with 128")
    assert isinstance(error, GitFailed)
    assert "codecommit:GitPull" in error.remedy


def test_a_quote_is_one_clean_line() -> None:
    """No control characters, no progress, no user names of URLs, bounded."""
    stderr = "Receiving objects:  10%\rfatal: https://user:pw@h/r \x1b[31m bad" + "x" * 1000
    line = quote(stderr)
    assert line.startswith("fatal: https://***@h/r")
    assert "user" not in line
    assert "\x1b" not in line
    assert len(line) <= 300


# errno(3): resources that are used up now and become available again.
_EXHAUSTED = {"EAGAIN", "EDQUOT", "EMFILE", "ENFILE", "ENOMEM", "ENOSPC"}


@pytest.mark.parametrize("code", sorted(errno.errorcode))
def test_an_exhausted_resource_of_the_machine_counts_no_attempt(code: int) -> None:
    """Busy for each limit that was reached, Retry for each other refusal (I5)."""
    error = machine_error(OSError(code, os.strerror(code)), "start git")
    assert type(error) is (Busy if errno.errorcode[code] in _EXHAUSTED else Retry)
    assert error.reason == f"start git: {os.strerror(code)}"


def test_a_system_error_without_a_number_is_quoted() -> None:
    """Libraries raise some that have only a text."""
    error = machine_error(OSError("no luck"), "start git")
    assert (type(error), error.reason) == (Retry, "start git: no luck")


@pytest.mark.parametrize(
    ("stderr", "line"),
    [
        ("", "it said nothing"),
        ("\n \r\n", "it said nothing"),
        ("one\ntwo\n", "two"),
        ("one\nerror: two\nthree", "error: two"),
        ("error: one\nwarning: two\nthree", "warning: two"),
        ("fatal: one\nFatal: two\nerror: three", "fatal: one"),
        ("error: one\rFATAL: two\rerror: three\r", "FATAL: two"),
        ("fatal: one\ttwo", "fatal: one two"),
    ],
)
def test_the_most_telling_line_is_quoted(stderr: str, line: str) -> None:
    """The first fatal line, else the last complaint, else the last line."""
    assert quote(stderr) == line


@pytest.mark.parametrize(
    ("stderr", "told", "remote"),
    [
        # The server's sentence is kept, without ornament.
        (
            "remote: ==\nremote: Counting objects: 3\nremote: Hi\nremote: Bye\nfatal: early EOF",
            "fatal: early EOF (remote: Hi)",
            True,
        ),
        ("REMOTE: no\nfatal: early EOF", "fatal: early EOF (REMOTE: no)", True),
        ("remote: no\nfatal: early EOF", "fatal: early EOF", False),
        ("remote: Counting objects: 3\nfatal: early EOF", "fatal: early EOF", True),
        # The deciding line comes first, then the status, each once.
        (
            "remote: Rate Exceeded\nfatal: unable: returned error: 400",
            "remote: Rate Exceeded (fatal: unable: returned error: 400)",
            True,
        ),
        ("fatal: unable: returned error: 503", "fatal: unable: returned error: 503", True),
        ("remote: Rate Exceeded\nfatal: early EOF", "remote: Rate Exceeded", True),
    ],
)
def test_the_deciding_line_is_quoted_with_status_and_server_sentence(
    stderr: str,
    told: str,
    remote: bool,  # noqa: FBT001 - a table
) -> None:
    """Status and sentence follow the operation and how it ended."""
    error = stage_error(stderr, doing="fetch web", ended="exited with 128", remote=remote)
    assert error.reason == f"fetch web: git exited with 128: {told}"


@pytest.mark.parametrize(
    ("stderr", "kind", "fault", "remedy"),
    [
        ("Could not resolve host: h", Outage, None, "git.remote and the way"),
        ("returned error: 502", Outage, None, "speaks of no limit"),
        ("fatal: repository 'x' not found", Reject, None, "check the repository's name"),
        ("fatal: pathspec 'x' did not match any files", Reject, None, "correct paths"),
        ("returned error: 429", Busy, None, ""),
        ("returned error: 403", GitFailed, GitFault.LOGIN, "codecommit:GitPull"),
        ("fatal: Out of memory, malloc failed", GitFailed, GitFault.MEMORY, "more memory"),
        ("fatal: bad object 1", GitFailed, GitFault.CORRUPT, ""),
        ("returned error: 301", GitFailed, GitFault.MOVED, "new URL"),
        ("fatal: something never seen", GitFailed, GitFault.OTHER, ""),
    ],
)
def test_each_kind_has_its_class_and_its_remedy(
    stderr: str, kind: type[StageError], fault: GitFault | None, remedy: str
) -> None:
    """Callers read the kind from the error; the remedy is empty where nothing helps."""
    error = stage_error(stderr, doing="read", ended="exited")
    assert type(error) is kind
    assert error.reason == f"read: git exited: {stderr}"
    assert remedy in error.remedy
    assert bool(error.remedy) == bool(remedy)
    if isinstance(error, GitFailed):
        assert error.fault is fault


def test_a_failure_of_git_has_no_kind_by_default() -> None:
    """Callers that know no more create it so."""
    error = GitFailed("it failed")
    assert (error.fault, error.remedy, error.kind) == (GitFault.OTHER, "", Retry.kind)


def test_a_name_with_line_ends_is_shown_on_one_line() -> None:
    """Without a server no line of a server can be quoted."""
    words = "error: invalid path 'a\nfatal: b\n/.git/x'"
    error = stage_error(words, doing="read", ended="exited", remote=False)
    assert error.reason == "read: git exited: error: invalid path 'a fatal: b /.git/x'"


_REPEATED = ("x", " 'a", "' ", "a\n", "remote: a\n", "://", "a://", "refs/", "\r \r", "a" * 41)
_WORDS = sorted({word for each in SIGNS for word in re.findall(r"(\w+)\)? \.\*", each[1].pattern)})


@pytest.mark.parametrize("remote", [True, False])
@pytest.mark.parametrize("begin", ["", "fatal: "])
def test_a_servers_text_is_read_in_linear_time(begin: str, *, remote: bool) -> None:
    """Text that repeats a word, a quote or a URL's beginning 100,000 times is read in time.

    A search for the end from every position would take hours: longer than a test may.
    """
    for piece in (*_REPEATED, *(f"{word} " for word in _WORDS)):
        text = begin + piece * (2**18 // len(piece))
        error = stage_error(text, doing="fetch", ended="exited", remote=remote)
        assert error.reason.startswith("fetch: git exited")
        assert len(error.reason) < 1_000


def test_both_ends_of_a_long_line_are_read() -> None:
    """Text in the middle comes from a name or a server."""
    middle = "words " * 10_000
    assert find_fault(f"fatal: early EOF {middle}") is GitFault.NETWORK
    assert find_fault(f"fatal: {middle} early EOF") is GitFault.NETWORK
    assert find_fault(f"fatal: bad object {middle}") is GitFault.CORRUPT
    lines = "remote: words\n" * 10_000
    assert find_fault(f"{lines}fatal: early EOF") is GitFault.NETWORK
    assert find_fault(f"fatal: early EOF\n{lines}") is GitFault.NETWORK


@pytest.mark.parametrize(
    ("stderr", "kind", "code"),
    [
        (
            "fatal: unable to access 'http://h/r/': The requested URL returned error: 429",
            "busy",
            "429",
        ),
        (
            "fatal: unable to access 'http://h/r/': The requested URL returned error: 503",
            "outage",
            "503",
        ),
        (
            "error: RPC failed; HTTP 502 curl 22 The requested URL returned error: 502",
            "outage",
            "502",
        ),
        (
            "fatal: unable to access 'http://h/r/': The requested URL returned error: 403",
            "retry",
            "403",
        ),
        ("remote: Not Found\nfatal: repository 'http://h/r/' not found", "reject", None),
        ("fatal: unable to access 'http://h/': Could not resolve host: h", "outage", None),
        ("remote: returned error: 500\nfatal: remote error: what", "outage", None),
        ("fatal: couldn't find remote ref refs/heads/returned error: 500", "retry", None),
        ("fatal: something never seen", "retry", None),
    ],
)
def test_the_code_is_the_http_status_reported_by_git(
    stderr: str, kind: str, code: str | None
) -> None:
    """A status in a server's text or in a ref name is not read. None of them ends the service."""
    error = stage_error(stderr, doing="fetch", ended="exited with 128")
    assert (error.kind, error.scope, error.code) == (kind, Scope.PUSH, code)


def test_a_local_git_has_no_http_status() -> None:
    """Paths may contain any words."""
    error = stage_error("fatal: returned error: 500", doing="read", ended="x", remote=False)
    assert error.code is None


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ENOSPC, "busy", "ENOSPC"),
        (errno.EMFILE, "busy", "EMFILE"),
        (errno.EACCES, "retry", "EACCES"),
        (errno.ENOENT, "retry", "ENOENT"),
        (None, "retry", None),
    ],
)
def test_the_code_of_a_system_error_is_its_errno_name(
    number: int | None, kind: str, code: str | None
) -> None:
    """A limit that is reached counts no attempt (I5)."""
    failed = OSError("odd") if number is None else OSError(number, os.strerror(number))
    error = machine_error(failed, "start git")
    assert (error.kind, error.scope, error.code) == (kind, Scope.PUSH, code)
