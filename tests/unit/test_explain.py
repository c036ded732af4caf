"""`asyncbuild explain` tells how an archive was made."""

from typing import Any

import pytest

from asyncbuild import explain

_DELTA = {
    "kind": "delta",
    "base": "web/0123456789abcdef.zip",
    "copied_bytes": 29_000_000,
    "files_read": 2,
}


@pytest.mark.parametrize(
    ("archive", "told"),
    [
        (None, ""),
        (
            {"kind": "full", "sent_bytes": 9_000, "files_read": 1_234},
            "full: 9.0 kB sent, 1,234 files read",
        ),
        (
            {**_DELTA, "sent_bytes": 2_000},
            "delta of 0123456789: 2.0 kB sent, 29.0 MB copied, 2 files read",
        ),
        (
            {"kind": "copy", "base": "a.zip", "sent_bytes": 0, "copied_bytes": 5},
            "copy of a: 0 bytes sent, 5 bytes copied",
        ),
        ({"kind": "full", "reused": True}, "was there"),
        ({"bucket": "b", "key": "k"}, "full: 0 bytes sent"),
    ],
)
def test_how_an_archive_was_made(archive: dict[str, Any] | None, told: str) -> None:
    """Kind, base, bytes sent and copied, files read; records of older versions have less."""
    assert told == explain._how_it_was_made({"archive": archive})


def test_a_record_is_told_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Whole at any width, a ref with markup as it is; what there is nothing of is left out."""
    record = {
        "pushed_at": "2026-11-23T10:00:05+00:00",
        "ref": "refs/heads/[bold]" + "x" * 100,
        "commit": "0123456789abcdef",
        "verdict": "built",
        "reason": "rule: default",
        "build": {"id": "web:1"},
        "archive": {"bucket": "b", "key": "web/main.zip", "reused": True},
    }
    explain._show(
        [record, {"recorded_at": "2026-11-23T10:00:06", "verdict": "nothing-to-do"}], "web", None, 1
    )
    assert capsys.readouterr().out.splitlines() == [
        "2026-11-23 10:00:05  built        0123456789  refs/heads/[bold]" + "x" * 100,
        "    why      rule: default",
        "    started  web:1",
        "    archive  s3://b/web/main.zip",
        "    made     was there",
        "2026-11-23 10:00:06  nothing-to-do",
    ]
