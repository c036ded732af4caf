"""Interface as users see it: commands, settings, ids, exit codes, archives. No accidental change.

Each test compares with a file of `tests/fixtures/interface`. `make pin` (PIN_INTERFACE=1) writes
them again after a change that is meant; the difference belongs into changelog.d/.
"""

import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

import pytest
from isal import isal_zlib
from manual.setting_schema import settings_with_defaults
from support.interface import (
    as_json,
    as_lines,
    compare,
    digests_of_options,
    identifiers,
    keys_of_decisions,
    run_all,
)
from support.lfs import pointer_of
from support.repositories import SourceRepository
from zlib_ng import zlib_ng


def _helps(commands: list[str]) -> dict[str, str]:
    """Return the help of each command, and of those below it."""
    ended = run_all([[*each.split(), "--help"] for each in commands])
    assert {each.code for each in ended} == {0}
    told = {name: each.output.decode() for name, each in zip(commands, ended, strict=True)}
    below = [f"{each} {name}".strip() for each in commands for name in _listed(told[each])]
    return {**told, **(_helps(below) if below else {})}


def _listed(text: str) -> list[str]:
    return re.findall(r"^  ([a-z-]+)  ", text.partition("\nCommands:\n")[2], re.MULTILINE)


def _outline(text: str) -> str:
    """Return the usage of a command, its options, and which are required or have a default."""
    usage = re.findall(r"^Usage: (.*(?:\n +.*)*)", text)
    lines = [re.sub(r"\s+", " ", usage[0])]
    for each in re.findall(r"^  (-.*(?:\n {4,}.*)*)", text, re.MULTILINE):
        names, _, says = re.sub(r"\n +", "  ", each).partition("  ")
        brackets = re.findall(r"\[[^]]+\]", re.sub(r"\s+", " ", says))
        lines.append("  " + " ".join([names, *brackets]))
    return "\n".join([*lines, *(f"  {name} ..." for name in _listed(text))])


def test_commands_and_options() -> None:
    """Names, arguments and defaults, as each `--help` prints them."""
    compare("commands.txt", "\n".join(map(_outline, _helps([""]).values())))


def test_settings() -> None:
    """Names, types, bounds and defaults of all settings."""
    compare("settings.txt", as_lines(settings_with_defaults()))


def test_every_setting_has_its_variable() -> None:
    """Each setting is read from its variable: the default is accepted, a wrong number is refused.

    A text may be anything; what it is read for is seen in a run.
    """
    told: dict[str, dict[str, object]] = json.loads(as_json(settings_with_defaults()))
    variables = {
        "ASYNCBUILD_" + name.upper().replace(".", "__"): each
        for name, each in told.items()
        if "[]" not in name
    }
    defaults = {
        name: value if isinstance(value := each["default"], str) else json.dumps(value)
        for name, each in variables.items()
        if each.get("default") is not None
    }
    wrong = {
        name: "wrong"
        for name, each in variables.items()
        if each.get("type") in {"integer", "number", "boolean"} or "enum" in each
    }
    assert len(wrong) > 35
    asked = ["check", "--push", "web", "refs/heads/main"]
    assert [each.code for each in run_all([asked], **defaults)] == [0]
    (refused,) = run_all([asked], **wrong)
    assert refused.code == 78
    assert [name for name in wrong if f"{name}: " not in refused.errors] == []
    assert [each.code for each in run_all([asked], ASYNCBUILD_QUEUE__BATCHES="1")] == [78]


def test_identifiers() -> None:
    """Paths of repositories in keys, idempotency tokens of builds, ids of traces."""
    compare("identifiers.json", as_json(identifiers()))


async def test_keys_of_decisions() -> None:
    """Keys of records that a run of the service may not write."""
    compare("decisions.json", as_json(await keys_of_decisions()))


def test_digests_of_options() -> None:
    """Values of {options} in keys."""
    compare("options.json", as_json(digests_of_options()))


# --- exit codes -----------------------------------------------------------------------------------


class _Refusing(BaseHTTPRequestHandler):
    """A handler that answers with the status at the start of the path."""

    def do_GET(self) -> None:
        """Refuse."""
        self.send_response(int(self.path.split("/")[1]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing on standard error."""


@pytest.fixture
def refusing() -> Iterator[str]:
    """URL of a server without repositories."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_exit_codes(tmp_path: Path, refusing: str) -> None:
    """Commands end by themselves; signals and full disks have other tests."""
    source = SourceRepository(tmp_path / "source")
    commit = source.commit({"a": b"1"})
    (tmp_path / "no.toml").write_text("no = ")
    places = {
        "REPOSITORY": str(source.path),
        "REFUSING": refusing,
        "COMMIT": commit,
        "DIRECTORY": str(tmp_path),
        "NOWHERE": "http://127.0.0.1:9",
    }
    lines = """
        --version
        --help

        no-such-command
        archive REPOSITORY
        archive REPOSITORY COMMIT -o DIRECTORY/a.zip -q
        archive REPOSITORY COMMIT -o DIRECTORY/no/a.zip -q
        archive REPOSITORY COMMIT -o DIRECTORY/b.zip -q --subtree ../x
        archive REPOSITORY COMMIT -o DIRECTORY/b.zip -q --subtree no
        archive REPOSITORY 0000000000000000000000000000000000000000 -o DIRECTORY/b.zip -q
        archive REPOSITORY no-such-branch -o DIRECTORY/b.zip -q
        archive DIRECTORY/no main -o DIRECTORY/b.zip -q
        archive file://REPOSITORY no-such-branch -o DIRECTORY/b.zip -q
        archive NOWHERE/x main -o DIRECTORY/b.zip -q
        archive REFUSING/401/x main -o DIRECTORY/b.zip -q
        archive REFUSING/403/x main -o DIRECTORY/b.zip -q
        archive REFUSING/404/x main -o DIRECTORY/b.zip -q
        archive REFUSING/429/x main -o DIRECTORY/b.zip -q
        archive REFUSING/503/x main -o DIRECTORY/b.zip -q
        check --config DIRECTORY/no.toml
        check --config DIRECTORY/missing.toml
        check --push web refs/heads/main
        check --push web refs/tags/v1
        check --changed x
        dead-letters list
        dead-letters send-back
        drain
        explain
        explain web
        health
        report
        report --all
        report --again
        serve
        template
        template no-such-template
        top 127.0.0.1:9 --once
    """
    asked = [line.strip() for line in lines.strip("\n").split("\n")[:-1]]
    commands = []
    for line in asked:
        words = line
        for name, place in places.items():
            words = words.replace(name, place)
        commands.append(words.split())
    variables = {
        "ASYNCBUILD_AWS__ENDPOINT_URL": "http://127.0.0.1:9",
        "ASYNCBUILD_AWS__MAX_TRIES": "1",
        "ASYNCBUILD_STATUS__LISTEN": "127.0.0.1:9",
        "ASYNCBUILD_LOG__FORMAT": "json",
    }
    told = [
        f"{ended.code:3} asyncbuild {line}"
        for line, ended in zip(asked, run_all(commands, **variables), strict=True)
    ]
    compare("exit-codes.txt", "\n".join(told))


# --- archives -------------------------------------------------------------------------------------

_LARGE = b"*.bin filter=lfs diff=lfs merge=lfs -text\n"
_MODULES = b'[submodule "lib"]\n\tpath = services/lib\n\turl = ../lib.git\n'
_CONTENT = b"content of a large file\n" * 9
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "whole": (),
    "subtree": ("--subtree", "services"),
    "path": ("--path", "services/api", "--path", "!services/api/t"),
    "subtree and path": ("--subtree", "services", "--path", "api"),
    "ignore-export-attributes": ("--ignore-export-attributes",),
    "submodules": ("--submodules",),
    "lfs": ("--lfs",),
    "all": (
        *("--subtree", "services", "--path", ":!api/t", "--ignore-export-attributes"),
        *("--submodules", "--lfs"),
    ),
}


def _source(directory: Path) -> SourceRepository:
    """Return a repository with one of everything that an archive may contain."""
    random = Random(1)  # noqa: S311 - repeatable, not secret
    words = [random.randbytes(4).hex() for _ in range(300)]
    lib = SourceRepository(directory / "lib.git").commit({"lib.txt": b"lib\n" * 50})
    source = SourceRepository(directory / "source.git")
    source.commit(
        {
            ".gitattributes": _LARGE + b"*.secret export-ignore\nversion export-subst\n",
            ".gitmodules": _MODULES,
            "README": b"all of it\n" * 30,
            "empty": b"",
            "random": random.randbytes(70_000),
            "words": " ".join(random.choices(words, k=40_000)).encode(),
            "services/api/a.bin": pointer_of(_CONTENT),
            "services/api/key.secret": b"k",
            "services/api/t/test.py": b"test\n" * 100,
            "services/api/version": b"$Format:%H %ct$\n",
            "services/lib": lib,
            "übersetzung/ß": "Grüße\n".encode() * 20,
            "d" * 120 + "/" + "e" * 120: b"a long name\n",
        }
    )
    modes = b"commit refs/heads/main\ncommitter C <c@e> 1700009999 +0000\ndata 0\n"
    modes += b"from refs/heads/main^0\nM 100755 inline run\ndata 10\n#!/bin/sh\n\n"
    modes += b"M 120000 inline link\ndata 6\nREADME\n"
    source.git("fast-import", "--quiet", stdin=modes)
    oid = hashlib.sha256(_CONTENT).hexdigest()
    kept = source.path / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
    kept.parent.mkdir(parents=True)
    kept.write_bytes(_CONTENT)
    return source


@pytest.fixture(scope="module")
def archives(
    clean_environment: None, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, bytes]:
    """Return archives of a commit: stored with each of the options, deflated with none."""
    directory = tmp_path_factory.mktemp("archives")
    source = _source(directory)
    for level in (0, 1, 9):
        (directory / f"{level}.toml").write_text(f"[archive]\nlevel = {level}\n")
    wanted = {name: ("--config", f"{directory}/0.toml", *each) for name, each in _OPTIONS.items()}
    wanted |= {f"level {level}": ("--config", f"{directory}/{level}.toml") for level in (1, 9)}
    commands = [
        ["archive", str(source.path), "main", "-q", "-o", f"{directory}/{name}.zip", *options]
        for name, options in wanted.items()
    ]
    ended = run_all(commands)
    assert [each.code for each in ended] == [0] * len(commands), ended
    return {name: (directory / f"{name}.zip").read_bytes() for name in wanted}


def _members(archive: bytes) -> list[str]:
    """Each entry of the central directory, and its extra fields."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return [
            f"{each.external_attr:08x} {each.create_version} {each.extract_version} "
            f"{each.flag_bits:04x} {each.CRC:08x} {each.file_size} {each.date_time} "
            f"{each.extra.hex()} {each.filename}"
            for each in opened.infolist()
        ]


def _digest(archive: bytes) -> str:
    return f"{len(archive)} bytes, sha256 {hashlib.sha256(archive).hexdigest()}"


def test_archives_that_are_stored(archives: Mapping[str, bytes]) -> None:
    """Equal byte for byte, with each option."""
    digests = {name: _digest(archives[name]) for name in _OPTIONS}
    members = _members(archives["whole"])
    compare("archives.json", as_json({"archives": digests, "directory of the whole": members}))


def test_archives_that_are_deflated(archives: Mapping[str, bytes]) -> None:
    """Equal at other levels, where libraries and processor deflate as when it was pinned."""
    text = b"".join(b"%d %d\n" % (number, number * number) for number in range(20_000))
    streams = isal_zlib.compress(text, 2, -15) + zlib_ng.compress(text, 9, -15)
    by_these = f"libraries and a processor that make {_digest(streams)}"
    digests = {name: _digest(archives[name]) for name in ("level 1", "level 9")}
    compare("archives-deflated.json", as_json({"by": by_these, **digests}), only_if=by_these)
