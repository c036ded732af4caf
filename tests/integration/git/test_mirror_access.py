"""Access to repositories, hostile values of events, and secrets that do not leak (I10, I11)."""

import base64
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from support.git_http import LIFETIME, open_git_server
from support.mirrors import (
    ACCOUNT,
    KEY,
    MAIN,
    REGION,
    SECRET,
    TOKEN,
    Site,
    archive_of,
    fixed,
    read_archive,
    repository,
)
from support.repositories import SourceRepository

from asyncbuild.config import GitSettings
from asyncbuild.domain.errors import Reject, Retry, StageError
from asyncbuild.domain.repository import Repository
from asyncbuild.forges.codecommit_login import AwsCredentials, codecommit_login
from asyncbuild.forges.remotes import Remotes
from asyncbuild.git.mirrors.cache import open_mirrors

OTHER = "210987654321"


@pytest.mark.parametrize(
    ("credentials", "refusal"),
    [
        (AwsCredentials(KEY, "another secret", TOKEN), "wrong signature"),
        (AwsCredentials("AKIAOTHER", SECRET, TOKEN), "unknown access key"),
        (AwsCredentials(KEY, SECRET, None), "wrong session token"),
    ],
)
async def test_a_refused_login_is_retried(
    site: Site, credentials: AwsCredentials, refusal: str
) -> None:
    """403 for one repository is a Retry with a remedy; nothing prompts, nothing ends."""
    commit = site.source.commit({"a": b"1"})
    async with site.open_mirrors(credentials=fixed(credentials)) as mirrors:
        with pytest.raises(Retry, match="codecommit:GitPull") as caught:
            await archive_of(mirrors, commit)
    assert set(site.server.refused) == {refusal}
    assert credentials.secret_key not in str(caught.value)


async def test_each_call_has_a_new_password(site: Site) -> None:
    """Fifteen minutes later a new one is sent; the first would be expired by then."""
    now = datetime.now(UTC)
    clock = iter([now, now + LIFETIME * 2])
    async with site.open_mirrors(now=lambda: next(clock)) as mirrors:
        await archive_of(mirrors, site.source.commit({"a": b"1"}))
        site.server.behaviour.now = now + LIFETIME * 2
        await archive_of(mirrors, site.source.commit({"a": b"2"}))
    assert site.server.refused == []


async def test_a_wrong_clock_is_named(site: Site) -> None:
    """An expired password is answered with 403; the remedy names the clock."""
    commit = site.source.commit({"a": b"1"})
    late = datetime.now(UTC) - timedelta(hours=1)
    async with site.open_mirrors(now=lambda: late) as mirrors:
        with pytest.raises(Retry, match="clock"):
            await archive_of(mirrors, commit)
    assert set(site.server.refused) == {"expired"}


async def test_a_password_opens_one_repository(tmp_path: Path) -> None:
    """Two accounts, two keys: each repository is fetched as the account that owns it."""
    theirs = AwsCredentials("AKIATHEIRS", "their secret", "their token")
    ours = AwsCredentials(KEY, SECRET)
    sources = {name: SourceRepository(tmp_path / "remote" / name) for name in ("ours", "theirs")}
    commits = {name: source.commit({"a": name.encode()}) for name, source in sources.items()}
    asked: list[tuple[str, str]] = []

    async def credentials(account: str, region: str) -> AwsCredentials:
        asked.append((account, region))
        return {ACCOUNT: ours, OTHER: theirs}[account]

    async with open_git_server(
        tmp_path / "remote",
        region=REGION,
        keys={KEY: (SECRET, None), "AKIATHEIRS": ("their secret", "their token")},
        names={KEY: frozenset({"ours"}), "AKIATHEIRS": frozenset({"theirs"})},
    ) as server:
        settings = GitSettings(
            remote=server.template, credentials="codecommit", cache_directory=tmp_path / "cache"
        )
        async with open_mirrors(settings, Remotes(settings, credentials)) as mirrors:
            for account, name in ((ACCOUNT, "ours"), (OTHER, "theirs")):
                where = Repository.of_codecommit(account, REGION, name)
                async with mirrors.open(where, ref=MAIN, commit=commits[name]) as snapshot:
                    assert await read_archive(snapshot) == sources[name].archive(commits[name])
            with pytest.raises(Retry):
                async with mirrors.open(
                    Repository.of_codecommit(ACCOUNT, REGION, "theirs"),
                    ref=MAIN,
                    commit=commits["theirs"],
                ):
                    pass
    assert asked == [(ACCOUNT, REGION), (OTHER, REGION), (ACCOUNT, REGION)]
    assert server.refused == ["not allowed"]


async def test_a_role_that_cannot_be_assumed_fails_its_push_alone(site: Site) -> None:
    """The error is the push's, as it was classified."""

    async def refuse(account: str, region: str) -> AwsCredentials:
        raise Retry("assume arn:aws:iam::1:role/x: AccessDenied", remedy="trust it")

    commit = site.source.commit({"a": b"1"})
    async with site.open_mirrors(credentials=refuse) as mirrors:
        with pytest.raises(Retry, match=r"AccessDenied \(trust it\)"):
            await archive_of(mirrors, commit)


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu-west-1", "https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/web"),
        ("cn-north-1", "https://git-codecommit.cn-north-1.amazonaws.com.cn/v1/repos/web"),
        ("us-gov-west-1", "https://git-codecommit.us-gov-west-1.amazonaws.com/v1/repos/web"),
    ],
)
def test_urls_of_all_partitions(region: str, url: str) -> None:
    """The domain is that of the region's partition."""
    assert (
        Remotes(GitSettings()).remote(Repository.of_codecommit(ACCOUNT, region, "web")).url == url
    )


@pytest.mark.parametrize(
    ("url", "signed"),
    [
        ("https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/web", True),
        ("https://git-codecommit-fips.us-east-1.amazonaws.com/v1/repos/web", True),
        ("https://vpce-1.git-codecommit.us-east-1.vpce.amazonaws.com/v1/repos/web", True),
        ("https://git-codecommit.cn-north-1.amazonaws.com.cn/v1/repos/web", True),
        ("https://git-codecommit.eu-west-1.amazonaws.com.example.org/v1/repos/web", False),
        ("https://git-codecommit.cn-north-1.amazonaws.com/v1/repos/web", False),
        ("https://git-codecommit.example.org/v1/repos/web", False),
        ("https://example.org/v1/repos/web", False),
    ],
)
async def test_credentials_are_sent_to_aws_alone(url: str, *, signed: bool) -> None:
    """A host that only looks like CodeCommit receives none."""
    remotes = Remotes(GitSettings(), fixed(AwsCredentials(KEY, SECRET, TOKEN)))
    environment = await remotes.remote_of_url(url).environment()
    assert signed == any("extraHeader" in value for value in environment.values())


async def test_a_login_in_the_template_is_removed_from_the_url() -> None:
    """`user:password@` of the configuration becomes a header; URL and name do not contain it."""
    settings = GitSettings(remote="https://bot:p%40ss@git.example.org/{repository}.git")
    remote = Remotes(settings).remote(repository())
    assert remote.url == "https://git.example.org/web.git"
    assert "p@ss" not in repr(remote)
    header = base64.b64encode(b"bot:p@ss").decode()
    assert f"Authorization: Basic {header}" in (await remote.environment()).values()


def _everything(root: Path) -> Iterator[bytes]:
    """Yield contents of all files below, and their names."""
    for path in root.rglob("*"):
        yield str(path).encode()
        with suppress(FileNotFoundError):  # git is at work here
            if path.is_file():
                yield path.read_bytes()


def _command_lines() -> Iterator[bytes]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield (process / "cmdline").read_bytes()
        except OSError:
            continue  # it ended


async def test_no_secret_leaks(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    """While a fetch hangs: none in argument lists, files, logs; afterwards none in the error."""
    commit = site.source.commit({"a": b"1"})
    now = datetime.now(UTC)
    credentials = AwsCredentials(KEY, SECRET, TOKEN)
    login = codecommit_login(
        credentials, host="127.0.0.1", path="/v1/repos/web", region=REGION, time=now
    )
    secrets = [SECRET, TOKEN, login.password, login.header().rpartition(" ")[2]]
    site.server.behaviour.stall_after_bytes = 0
    seen: list[str] = []

    async def fetch() -> None:
        async with site.open_mirrors(now=lambda: now) as mirrors:
            try:
                await archive_of(mirrors, commit)
            except StageError as error:
                seen.append(f"{error!r} {error} {error.__cause__!r}")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fetch)
        await site.server.stalled.wait()
        lines = list(_command_lines())
        assert any(b"fetch" in line and site.server.url.encode() in line for line in lines)
        haystack = b"\n".join([*lines, *_everything(site.cache)])
        site.server.break_off()
    captured = capfd.readouterr()
    assert len(seen) == 1
    haystack += f"{captured.out}{captured.err}{seen}".encode()
    assert [secret for secret in secrets if secret.encode() in haystack] == []


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../../../outside"},
        {"name": ".."},
        {"name": "a/b"},
        {"name": "web\n"},
        {"name": "ｗｅｂ"},  # noqa: RUF001 - fullwidth letters
        {"name": "x" * 200},
        {"account": ".."},
        {"account": ""},
        {"region": "eu-west-1/.."},
        {"region": "@example.org/"},
        {"ref": "main"},
        {"ref": "--upload-pack=touch /tmp/x"},
        {"ref": "refs/heads/a:refs/heads/b"},
        {"ref": "refs/heads/*"},
        {"ref": "refs/heads/a\n+refs/heads/b:refs/heads/c"},
        {"ref": "refs/heads/../../config"},
        {"ref": "refs/heads/" + "x" * 2000},
        {"commit": "HEAD"},
        {"commit": "--all"},
        {"commit": "a" * 39 + "\n"},
        {"commit": "refs/heads/main"},
    ],
)
async def test_hostile_values_are_rejected(site: Site, change: dict[str, str]) -> None:
    """Each is rejected with a clear reason, before any git starts or any directory is created."""
    commit = site.source.commit({"a": b"1"})
    place = {k: v for k, v in change.items() if k in {"name", "account", "region"}}
    changed = Repository.of_codecommit(*repository().segments._replace(**place))
    push = {"ref": MAIN, "commit": commit} | {k: v for k, v in change.items() if k not in place}
    before = sorted(site.directory.rglob("*"))
    async with site.open_mirrors() as mirrors:
        with pytest.raises(Reject) as caught:
            async with mirrors.open(changed, **push):
                pass
    assert str(caught.value).replace("…", "").isascii()  # our own mark of an omission
    made = set(site.directory.rglob("*")) - set(before)
    assert all(
        site.cache / "reader" in path.parents or path.name in {"cache", "reader"} for path in made
    )
    assert site.server.connections.total() == 0


async def test_odd_but_valid_names_are_taken_literally(site: Site) -> None:
    """A branch `-x`, a repository `-rf`."""
    source = SourceRepository(site.directory / "remote" / "-rf")
    commit = source.commit({"-a": b"1"}, branch="-x")
    async with (
        site.open_mirrors() as mirrors,
        mirrors.open(repository("-rf"), ref="refs/heads/-x", commit=commit) as snapshot,
    ):
        assert await read_archive(snapshot) == source.archive(commit)


@pytest.mark.parametrize(
    "remote",
    ["ext::sh -c touch% {repository}", "fd::17/{repository}", "git@example.org:{repository}"],
)
def test_remotes_that_would_run_programs_are_refused(remote: str) -> None:
    """Transport helpers are refused in settings and on the command line: they are not URLs."""
    with pytest.raises(ValueError, match="nothing is fetched by"):
        GitSettings(remote=remote)
    with pytest.raises(Reject, match="neither a path nor a URL"):
        Remotes(GitSettings()).remote_of_url(remote)


async def test_a_missing_repository_is_rejected(site: Site) -> None:
    """404: retrying does not help."""
    async with site.open_mirrors() as mirrors:
        with pytest.raises(Reject, match="not found"):
            await archive_of(mirrors, "1" * 40, name="nowhere")


async def test_the_machines_git_configuration_is_ignored(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks, configuration and variables of the machine change nothing and run nothing."""
    trap = site.directory / "trap"
    home = site.directory / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f"[core]\n\tfsmonitor = touch {trap}\n[credential]\n\thelper = !touch {trap}\n"
        f'[url "file:///nowhere/"]\n\tinsteadOf = {site.server.url}\n[tar]\n\tumask = 077\n'
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_TRACE", str(site.directory / "trace"))
    monkeypatch.setenv("GIT_ASKPASS", f"touch {trap}")
    commit = site.source.commit({"a": b"1"})
    async with site.open_mirrors() as mirrors:
        assert await archive_of(mirrors, commit) == site.source.archive(commit)
    assert not trap.exists()
    assert not (site.directory / "trace").exists()
