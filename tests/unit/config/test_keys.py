"""Keys that would lie among the records, or be shared by two owners, are refused at start."""

from typing import Any

import pytest

from asyncbuild.config import Settings
from asyncbuild.config.keys import key_faults

_HOST = {"host": "github.com", "kind": "github", "signature": "off"}
_RULE = {"action": "upload"}


def _faults(*hosts: dict[str, Any], default: str = "", **rule: Any) -> list[str]:  # noqa: ANN401 - settings
    entries = tuple({**_HOST, **each} for each in hosts)
    storage = {"key": default} if default else {}
    settings = Settings(hosts=entries, storage=storage, rules=({**_RULE, **rule},))
    return [text for text, _ in key_faults(settings)]


@pytest.mark.parametrize(
    ("hosts", "rule", "refused"),
    [
        ([{}], {"key": "fixed.zip"}, "rules[0].key"),
        ([{}], {"key": "{repository}/{branch}.zip"}, "rules[0].key"),
        ([{"repository": ["acme/*", "evil/*"]}], {"key": "a.zip"}, "rules[0].key"),
        ([{"repository": ["acme/*"]}], {"key": "a.zip"}, ""),
        ([{}], {"key": "{region}/{repository}.zip"}, ""),
        ([{}], {"key": "{repository}/{commit}.zip"}, ""),
        ([{}], {"key": "a.zip", "repository": "acme/web"}, ""),
        ([{}], {"key": "a.zip", "repository": ["acme/web", "evil/web"]}, "rules[0].key"),
        ([{}], {"key": "a.zip", "action": "ignore"}, ""),
        ([], {"key": "{repository}/{branch}.zip"}, ""),
        ([], {"key": ".asyncbuild/ledger/{commit}.zip"}, "rules[0].key"),
        ([], {"key": "{repository}/ledger/{commit}.zip"}, ""),
    ],
)
def test_keys_that_are_refused(
    hosts: list[dict[str, Any]], rule: dict[str, Any], refused: str
) -> None:
    """The error names the setting, and what to change."""
    found = _faults(*hosts, **rule)
    assert [each.partition(" ")[0] for each in found] == [refused] * bool(refused)


def test_the_default_key_is_named_by_its_own_setting() -> None:
    """The fault is reported once, however many rules use the default."""
    (fault,) = _faults({}, default="{branch}.zip")
    assert fault.startswith("storage.key = ")
