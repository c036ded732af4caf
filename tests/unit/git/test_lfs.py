"""Git LFS without a server: pointers, filling of a tar, and servers that may be named."""

import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.lfs import pointer_of

from asyncbuild.domain.errors import Kind, Reject, Retry, Scope
from asyncbuild.git.content.lfs.batch_api import choose_url, derive_url
from asyncbuild.git.content.lfs.http_answers import by_status
from asyncbuild.git.content.lfs.tar_filter import Found, PointerScan, with_contents
from asyncbuild.git.formats.lfs_pointers import Pointer, parse_pointer

_OID = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
_POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{_OID}\nsize 12345\n".encode()


@pytest.mark.parametrize(
    "content",
    [
        _POINTER,
        _POINTER.rstrip(),
        _POINTER.replace(b"\n", b"\r\n"),
        _POINTER.replace(b"git-lfs", b"hawser"),
        _POINTER.replace(b"https://git-lfs.github.com/spec/v1", b"http://git-media.io/v/2"),
        _POINTER.replace(b"\n", b"\n\n"),
        b"\n \r\n" + _POINTER + b" \t\n" * 3,
        "\u3000\xa0".encode() + _POINTER,
        _POINTER.replace(b"12345", b"+0012345"),
    ],
)
def test_a_pointer_is_read(content: bytes) -> None:
    """The specification's example, line ends of Windows, earlier names, white space."""
    found = parse_pointer(content)
    assert Pointer(_OID, 12_345) == found
    assert f"4d/7a/{_OID}" == Pointer(_OID, 12_345).path


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        _POINTER + b"x",
        _POINTER + b" " * 1_024,
        _POINTER.replace(b"sha256", b"sha1"),
        _POINTER.replace(_OID.encode(), b"../../x"),
        _POINTER.replace(b"12345", b"-1"),
        _POINTER.replace(b"github.com", b"example.com"),
        b"x" + _POINTER,
        b"\x1c" + _POINTER,
        _POINTER.replace(b"\n", b" \n"),
        _POINTER.replace(b"12345", b"12_345"),
        _POINTER.replace(b"12345", b"9" * 19),
        _POINTER + b"x-more 1\n",
        _POINTER[::-1],
    ],
)
def test_other_contents_are_not_pointers(content: bytes) -> None:
    """Other files are archived unchanged."""
    assert parse_pointer(content) is None


def test_an_extension_is_refused() -> None:
    """Only the extension's own program could restore the content."""
    content = _POINTER.replace(b"oid", b"ext-0-crypt sha256:" + _OID.encode() + b"\noid", 1)
    with pytest.raises(Reject, match="extension"):
        parse_pointer(content)


_PIECES = st.sampled_from(
    [
        *(b"\n", b"\r\n", b" ", b"\t", b"\x0b", b"\x0c", b"\x1c", b"\0", b"\xc2\xa0", b"\xff"),
        *(b"+", b"-", b"0", b"_", b"9" * 18, b"ext-0-x sha256:0\n", b"x y\n", b"version", b"oid"),
        *(b"http://git-media.io/v/2", b"https://hawser.github.com/spec/v1", b"sha1:", b"SIZE 1\n"),
    ]
)


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="apt-get install git-lfs")
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(_POINTER)), st.integers(0, 3), _PIECES), max_size=3
    )
)
def test_pointers_are_recognised_as_by_git_lfs(
    tmp_path: Path, changes: list[tuple[int, int, bytes]]
) -> None:
    """Pieces are inserted and cut: no pointer that git-lfs would fill stays unfilled."""
    content = _POINTER
    for at, cut, piece in changes:
        content = content[:at] + piece + content[at + cut :]
    (tmp_path / "f").write_bytes(content)
    command = ["git-lfs", "pointer", "--check", "--file", str(tmp_path / "f")]
    theirs = subprocess.run(command, check=False, capture_output=True).returncode == 0
    try:
        ours = parse_pointer(content) is not None
    except Reject:
        ours = True
    assert theirs == ours


_NAMES = st.sampled_from(
    ["a", "b.bin", "d/e.bin", "ü/ü.bin", "n" * 120, "d/" * 60 + "deep.bin", "p" * 90 + "/q" * 60]
)
_CONTENTS = st.one_of(st.binary(max_size=40), st.binary(min_size=1_000, max_size=2_000))


def _tar(files: dict[str, bytes], prefix: str, form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as opened:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    return out.getvalue()


async def _fill(tar: bytes, cut: int, scan: PointerScan, objects: Path) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        for begin in range(0, len(tar), cut):
            yield tar[begin : begin + cut]

    async def find(found: Found) -> Path:
        return objects / found.pointer.oid

    return b"".join([piece async for piece in with_contents(chunks(), scan, find)])


@settings(max_examples=60, deadline=None)
@given(
    files=st.dictionaries(_NAMES, st.tuples(_CONTENTS, st.booleans()), max_size=6),
    prefix=st.sampled_from(["", "vendor/lib/"]),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    cut=st.integers(min_value=1, max_value=5_000),
)
async def test_a_filled_tar_contains_the_contents(
    tmp_path_factory: pytest.TempPathFactory,
    files: dict[str, tuple[bytes, bool]],
    prefix: str,
    form: int,
    cut: int,
) -> None:
    """The stream may be cut anywhere, names are drawn; files that are not known pointers stay."""
    objects = tmp_path_factory.mktemp("objects")
    given_, pointers = {"look-alike": _POINTER}, {}
    expected = dict(given_)
    for name, (content, large) in files.items():
        expected[name] = content
        given_[name] = content
        if large:
            oid = hashlib.sha256(content).hexdigest()
            (objects / oid).write_bytes(content)
            given_[name] = pointer_of(content)
            pointers[name.encode()] = Pointer(oid, len(content))
    filled = await _fill(
        _tar(given_, prefix, form), cut, PointerScan(pointers, prefix.encode()), objects
    )
    assert len(filled) % tarfile.RECORDSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(filled), encoding="utf-8") as opened:
        found = {each.name: opened.extractfile(each) for each in opened}
        read = {name: each.read() if each else b"" for name, each in found.items()}
    assert {prefix + name: content for name, content in expected.items()} == read


async def test_a_content_of_more_than_8_gib_has_its_size(tmp_path: Path) -> None:
    """The header field has eleven octal digits; a larger size is written in another form."""
    size = 9 * 1024**3
    scan = PointerScan({b"a": Pointer(_OID, size)})
    (found,) = [
        each
        for each in scan.feed(_tar({"a": _POINTER}, "", tarfile.GNU_FORMAT))
        if isinstance(each, Found)
    ]
    assert size == tarfile.TarInfo.frombuf(found.header, "utf-8", "strict").size


async def test_a_content_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    """The archive fails and is never shorter."""
    (tmp_path / _OID).write_bytes(b"short")
    scan = PointerScan({b"a": Pointer(_OID, 12_345)})
    with pytest.raises(Retry, match="shorter"):
        await _fill(_tar({"a": _POINTER}, "", tarfile.GNU_FORMAT), 512, scan, tmp_path)


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("https://h/o/r", "https://h/o/r.git/info/lfs"),
        ("https://h/o/r/", "https://h/o/r.git/info/lfs"),
        ("https://h:8443/o/r.git", "https://h:8443/o/r.git/info/lfs"),
    ],
)
def test_the_server_is_beside_the_repository(remote: str, expected: str) -> None:
    """The URL is derived as by git-lfs."""
    assert expected == derive_url(remote) == choose_url(remote, "")


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("https://h/other/info/lfs/", "https://h/other/info/lfs"),
        ("https://h:443/x", "https://h:443/x"),
        ("https://somebody:secret@h/x", "https://h/x"),
    ],
)
def test_a_commit_may_name_another_path_on_the_server(named: str, expected: str) -> None:
    """The server must be the same; a login in the URL is dropped."""
    assert expected == choose_url("https://h/o/r", named)


@pytest.mark.parametrize(
    "named",
    [
        *("https://evil/x", "http://h/x", "https://h:444/x", "ssh://h/x", "file:///etc", "/etc"),
        *("https://h@evil/x", "https://h.evil/x", "https://h/../x", "https://h/%2e%2e/x", "//h/x"),
        *("https://h/x?y", "https://h/x#y", "https://h/x\n", "https://[h/x", "x", "https://h:x/"),
        "https://u:s3cret@evil/x",
    ],
)
def test_a_commit_cannot_name_another_server(named: str) -> None:
    """Pushers cannot have the login sent elsewhere, and no login is shown (I10)."""
    with pytest.raises(Reject, match=r"\.lfsconfig names") as caught:
        choose_url("https://h/o/r", named)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "after_seconds", "kind"),
    [
        (401, None, Kind.RETRY),
        (403, None, Kind.RETRY),
        (404, None, Kind.REJECT),
        (410, None, Kind.REJECT),
        (422, None, Kind.REJECT),
        (429, None, Kind.BUSY),
        (429, 7.0, Kind.BUSY),
        (444, None, Kind.RETRY),
        (500, None, Kind.OUTAGE),
        (502, None, Kind.OUTAGE),
        (503, None, Kind.OUTAGE),
        (503, 7.0, Kind.BUSY),
        (507, None, Kind.BUSY),
        (509, None, Kind.BUSY),
        (999, None, Kind.RETRY),
        (0, None, Kind.RETRY),
    ],
)
def test_each_status_has_a_kind_and_a_code(
    status: int, after_seconds: float | None, kind: Kind
) -> None:
    """No status concerns other pushes; the error of a body without a status (0) has no code."""
    error = by_status(status, "fetch", after_seconds)
    code = str(status) if status else None
    assert (error.kind, error.scope, error.code) == (kind, Scope.PUSH, code)
    assert error.after_seconds == (after_seconds if kind.is_waited_out else None)
