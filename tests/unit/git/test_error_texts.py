"""Real messages of git, ssh, curl and servers, and their classification.

Collected from git 2.39 and 2.47 with torn repositories, from public bug reports, and from the
sources of JGit, gitlab-shell, OpenSSH and curl.
"""

import pytest

from asyncbuild.domain.errors import Reject
from asyncbuild.git.formats.error_classes import GitFault, find_fault, stage_error

_ID = "5cf3dd4d2b1f1c7e8e0a3a9d1f2c4b5a69788796"
_SSH = (
    "\nfatal: Could not read from remote repository.\n\nPlease make sure you have the correct "
    "access rights\nand the repository exists.\n"
)
_URL = "https://host.example/corrupt/ssl.git/"
_HTTP = f"fatal: unable to access '{_URL}': "

# Local git about its own objects and files: 2.39 and 2.47 print the same.
_DAMAGE = (
    "error: inflate: data stream error (unknown compression method)",
    f"error: unable to unpack {_ID} header\nfatal: loose object {_ID} (stored in 5c/f3) is corrupt",
    "error: object file objects/5c/f3 is empty",
    f"error: header for {_ID} too long, exceeds 32 bytes\nfatal: not a tree object",
    f"error: corrupt loose object '{_ID}'",
    "error: non-monotonic index objects/pack/pack-1.idx",
    "error: index file objects/pack/pack-1.idx is too small",
    "error: wrong index v2 file size in objects/pack/pack-1.idx",
    "error: packfile objects/pack/pack-1.pack does not match index",
    "error: file objects/pack/pack-1.pack is not a GIT packfile",
    "error: file objects/pack/pack-1.pack is far too short to be a packfile",
    f"fatal: packed object {_ID} (stored in objects/pack/pack-1.pack) is corrupt",
    f"error: failed to read delta base object {_ID} at offset 461 from objects/pack/pack-1.pack",
    "error: bad offset for revindex",
    "error: unable to load rev-index for pack 'objects/pack/pack-1.pack'",
    "fatal: multi-pack-index signature 0x67617262 does not match signature 0x4d494458",
    "fatal: multi-pack-index required OID fanout chunk missing or corrupted",
    "error: multi-pack-index file objects/pack/multi-pack-index is too small",
    "fatal: not a git repository: '/cache/repository.git'",
    f"fatal: bad object {_ID}",
    "fatal: bad object refs/asyncbuild/refs/1",
    f"fatal: bad tree object {_ID}",
    f"fatal: unable to read tree ({_ID})",
    f"fatal: unable to read {_ID}",
    f"error: Could not read {_ID}\nfatal: Failed to traverse parents of commit {_ID}",
    f"fatal: missing blob object '{_ID}'",
    f"error: invalid object 100644 {_ID} for 'f'",
    f"fatal: not a tree object: {_ID}",
    f"fatal: failed to read object {_ID}: Bad file descriptor",
    "fatal: bad config line 4 in file /cache/repository.git/config",
    "error: refs/x/one: invalid sha1 pointer 0000000000000000000000000000000000000000",
)
# Damage reported by a git that fetches: the server's failure follows.
_FETCHING = (
    "fatal: bad shallow line: a833c8a6429957399a44\nfatal: the remote end hung up unexpectedly",
    f"fatal: error in object: unshallow {_ID}\nfatal: the remote end hung up unexpectedly",
    "fatal: unterminated line in /cache/repository.git/packed-refs: e478299761d04a79",
    "fatal: unexpected line in /cache/repository.git/packed-refs: e4782",
    (
        "error: cannot lock ref 'refs/x/one': unable to resolve reference 'refs/x/one': reference "
        "broken\nFrom file:///src\n ! [new branch]      main       -> refs/x/one  (unable)"
    ),
    f"fatal: bad object refs/x/one\nerror: remote did not send all necessary objects at {_URL}",
    "fatal: pack has 2 unresolved deltas\nfatal: fetch-pack: invalid index-pack output",
    f"fatal: did not receive expected object {_ID}",
    "fatal: mismatched algorithms: client sha1; server sha256",
)
_SERVERS = (
    # GitHub
    (GitFault.NO_REPOSITORY, f"ERROR: Repository not found.{_SSH}"),
    (
        GitFault.NO_REPOSITORY,
        f"remote: Repository not found.\nfatal: repository '{_URL}' not found",
    ),
    (
        GitFault.LOGIN,
        (
            "ERROR: The `acme' organization has enabled or enforced SAML SSO. To access\nthis "
            f"repository, you must use the HTTPS remote with a personal access token\n{_SSH}"
        ),
    ),
    (
        GitFault.LOGIN,
        (
            "remote: The `acme' organization has enabled or enforced SAML SSO. To access\nremote: "
            f"this repository, you must act\n{_HTTP}The requested URL returned error: 403"
        ),
    ),
    (GitFault.LOGIN, f"ERROR: Your account is suspended. Please check with your admin.{_SSH}"),
    (
        GitFault.LOGIN,
        f"remote: Invalid username or password.\nfatal: Authentication failed for '{_URL}'",
    ),
    (GitFault.NO_OBJECT, f"fatal: remote error: upload-pack: not our ref {_ID}"),
    (
        GitFault.NETWORK,
        f"remote: Internal Server Error\n{_HTTP}The requested URL returned error: 500",
    ),
    (GitFault.BUSY, f"{_HTTP}The requested URL returned error: 429"),
    # GitLab
    (GitFault.NO_REPOSITORY, f"GitLab: The project you were looking for could not be found.{_SSH}"),
    (
        GitFault.NO_REPOSITORY,
        (
            "remote: \nremote: ========\nremote: \nremote: ERROR: The project you were looking for "
            "could not be found or you don't have permission to view it.\nremote: \nremote: ===="
            f"\nremote: {_SSH}"
        ),
    ),
    (
        GitFault.LOGIN,
        (
            "remote:\nremote: =====\nremote: Cannot find valid SSO session. Please login via your "
            f"group's SSO at https://host.example/saml/sso?token=x\nremote: ====={_SSH}"
        ),
    ),
    (
        GitFault.LOGIN,
        (
            "remote: HTTP Basic: Access denied. The provided password or token is incorrect or "
            f"your account has 2FA enabled\nfatal: Authentication failed for '{_URL}'"
        ),
    ),
    (GitFault.NETWORK, f"GitLab: Internal API unreachable{_SSH}"),
    (GitFault.BUSY, f"remote: GitLab: This endpoint has been rate limited.{_SSH}"),
    # Bitbucket Cloud and Server
    (GitFault.NO_REPOSITORY, f"conq: repository does not exist.{_SSH}"),
    (
        GitFault.NO_REPOSITORY,
        (
            "Repository not found\nThe requested repository does not exist, or you do not have "
            f"permission to access it.{_SSH}"
        ),
    ),
    (GitFault.LOGIN, f"Forbidden{_SSH}"),
    (GitFault.LOGIN, f"Unauthorized\nYou do not have access to this repository.{_SSH}"),
    (
        GitFault.BUSY,
        (
            "fatal: remote error: Bitbucket is currently under heavy load and is not able to "
            "service your request. Please wait briefly and try your request again"
        ),
    ),
    # CodeCommit
    (GitFault.LOGIN, f"{_HTTP}The requested URL returned error: 403"),
    (GitFault.NO_REPOSITORY, f"fatal: repository '{_URL}' not found"),
    (GitFault.BUSY, f"remote: Rate Exceeded\n{_HTTP}The requested URL returned error: 400"),
    # JGit: Gerrit, GitBucket
    (GitFault.NO_OBJECT, f"fatal: remote error: want {_ID} not valid"),
    (GitFault.NO_OBJECT, f"fatal: remote error: missing unknown {_ID}"),
    (GitFault.NO_REPOSITORY, f"fatal: remote error: Git repository not found{_SSH}"),
    # git on the server
    (GitFault.NO_REPOSITORY, f"fatal: '/srv/x.git' does not appear to be a git repository{_SSH}"),
    (
        GitFault.NO_REPOSITORY,
        "fatal: remote error: access denied or repository not exported: /x.git",
    ),
    (GitFault.REFUSED, f"fatal: detected dubious ownership in repository at '/srv/x.git'{_SSH}"),
    (GitFault.NOT_BY_ID, f"error: Server does not allow request for unadvertised object {_ID}"),
    (
        GitFault.NETWORK,
        (
            f"remote: fatal: bad tree object {_ID}\nremote: aborting due to possible repository "
            "corruption on the remote side.\nfatal: protocol error: bad pack header"
        ),
    ),
    (
        GitFault.NETWORK,
        (
            "fatal: git upload-pack: aborting due to possible repository corruption on the remote "
            "side.\nfatal: early EOF\nfatal: fetch-pack: invalid index-pack output"
        ),
    ),
    (GitFault.NOT_SHALLOW, "fatal: dumb http transport does not support shallow capabilities"),
    (GitFault.NOT_SHALLOW, "fatal: Server does not support shallow clients"),
    (
        GitFault.NO_OBJECT,
        (
            f"error: Unable to find {_ID} under {_URL}\nCannot obtain needed object {_ID}\n"
            "error: fetch failed."
        ),
    ),
    (GitFault.MOVED, f"{_HTTP}The requested URL returned error: 301"),
    # OpenSSH
    (GitFault.LOGIN, f"git@host.example: Permission denied (publickey).{_SSH}"),
    (GitFault.LOGIN, f"Host key verification failed.{_SSH}"),
    (
        GitFault.LOGIN,
        (
            "Received disconnect from 192.0.2.1 port 22:2: Too many authentication failures\n"
            f"Disconnected from 192.0.2.1 port 22{_SSH}"
        ),
    ),
    (
        GitFault.LOGIN,
        (
            "Unable to negotiate with 192.0.2.1 port 22: no matching host key type found. Their "
            f"offer: ssh-rsa{_SSH}"
        ),
    ),
    (GitFault.NETWORK, f"ssh: connect to host host.example port 22: Connection timed out{_SSH}"),
    (GitFault.NETWORK, f"ssh: connect to host host.example port 22: No route to host{_SSH}"),
    (
        GitFault.NETWORK,
        f"ssh: Could not resolve hostname host.example: Temporary failure in name resolution{_SSH}",
    ),
    (
        GitFault.NETWORK,
        (
            f"kex_exchange_identification: Connection closed by remote host\nConnection closed by "
            f"192.0.2.1 port 22{_SSH}"
        ),
    ),
    (GitFault.NETWORK, f"client_loop: send disconnect: Broken pipe{_SSH}"),
    # curl
    (GitFault.NETWORK, f"{_HTTP}Could not resolve host: host.example"),
    (GitFault.NETWORK, f"{_HTTP}Failed to connect to host.example port 443 after 2 ms: Could not"),
    (
        GitFault.NETWORK,
        f"{_HTTP}GnuTLS recv error (-110): The TLS connection was non-properly ended.",
    ),
    (GitFault.NETWORK, f"{_HTTP}OpenSSL SSL_read: SSL_ERROR_SYSCALL, errno 104"),
    (
        GitFault.NETWORK,
        f"{_HTTP}server certificate verification failed. CAfile: none CRLfile: none",
    ),
    (
        GitFault.NETWORK,
        f"{_HTTP}Operation too slow. Less than 1 bytes/sec transferred the last 180 s",
    ),
    (GitFault.NETWORK, f"{_HTTP}Empty reply from server"),
    (GitFault.NETWORK, f"{_HTTP}Received HTTP code 502 from proxy after CONNECT"),
    (GitFault.NETWORK, f"{_HTTP}Recv failure: Connection reset by peer"),
    (
        GitFault.NETWORK,
        (
            "error: RPC failed; curl 92 HTTP/2 stream 5 was not closed cleanly: CANCEL (err 8)\n"
            "error: 4404 bytes of body are still expected\nfetch-pack: unexpected disconnect while "
            "reading sideband packet\nfatal: early EOF\nfatal: fetch-pack: invalid index"
        ),
    ),
    (GitFault.NETWORK, f"{_HTTP}The requested URL returned error: 502"),
)


@pytest.mark.parametrize("words", _DAMAGE)
def test_local_damage_is_recognised(words: str) -> None:
    """Messages of a git that only reads, or that fetches: the mirror is suspected."""
    assert find_fault(words, remote=False) is GitFault.CORRUPT
    assert find_fault(words) is GitFault.CORRUPT


@pytest.mark.parametrize("words", _FETCHING)
def test_damage_during_a_fetch_is_recognised(words: str) -> None:
    """The server's failure that follows is not an outage."""
    assert find_fault(words) is GitFault.CORRUPT


@pytest.mark.parametrize("words", [*_DAMAGE, *_FETCHING])
def test_damage_at_the_server_does_not_suspect_the_mirror(words: str) -> None:
    """Words told by the server suspect nothing here."""
    for prefix in ("remote: ", "fatal: remote error: "):
        told = "\n".join(prefix + line for line in words.splitlines())
        assert find_fault(told) is not GitFault.CORRUPT


@pytest.mark.parametrize(("fault", "words"), _SERVERS)
def test_messages_of_servers_are_classified(fault: GitFault, words: str) -> None:
    """Each is quoted in a line that is bounded and printable."""
    assert find_fault(words) is fault
    reason = stage_error(words, doing="fetch", ended="exited with 128").reason
    assert reason.isprintable()
    assert len(reason) < 1000


@pytest.mark.parametrize(("fault", "words"), _SERVERS)
def test_a_local_git_reports_no_outage(fault: GitFault, words: str) -> None:
    """Paths may contain words of a server's outage; no push waits because of them."""
    own = {GitFault.NOT_BY_ID, GitFault.NOT_SHALLOW, GitFault.CORRUPT, GitFault.OTHER}
    assert find_fault(words, remote=False) in own


@pytest.mark.parametrize(
    "name",
    ["corrupt", "inflate", "a.idx", "no space left on device", "out of memory", "ssl", "403"],
)
def test_names_are_not_read(name: str) -> None:
    """Names in quotes, in URLs, as refs, in the list of fetched refs."""
    ref = name.replace(" ", "-")
    for words in (
        f"error: something of '{name}/.git/x' is odd",
        f"error: something of 'it's {name}/.git/x' is odd",
        f"fatal: unable to access 'https://host.example/{ref}/': what",
        f"error: something of refs/heads/{ref} is odd",
        f"From https://host.example/{ref}\n * [new branch]      {ref} -> refs/x\nfatal: what",
    ):
        assert find_fault(words) is GitFault.OTHER, words
        assert find_fault(words, remote=False) is GitFault.OTHER, words


@pytest.mark.parametrize("name", ["corrupt", "inflate", "a.idx", "403", "it's out of memory", "x'"])
def test_a_path_that_git_refuses_rejects_the_push(name: str) -> None:
    """No retry helps, whatever the path; a server with the same words is not this git."""
    for words in (f"error: invalid path '{name}/.git/x'", f"error: invalid path '../{name}'"):
        error = stage_error(words, doing="read", ended="exited with 255", remote=False)
        assert isinstance(error, Reject)
        assert "out of the commit" in error.remedy
        assert find_fault(f"remote: {words}") is not GitFault.BAD_TREE


@pytest.mark.parametrize("name", ["x'\nfatal: bad object 1\n'", "x\nfatal: Too many open files"])
def test_a_name_makes_no_line_of_its_own(name: str) -> None:
    """A path with line ends and quotes is still read and quoted as one sentence."""
    words = f"error: invalid path '{name}/.git/x'"
    assert find_fault(words, remote=False) is GitFault.BAD_TREE
    reason = stage_error(words, doing="read", ended="exited", remote=False).reason
    assert "error: invalid path" in reason
